package containers

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// semiSynchronous switches a set over, Pod by Pod as a rolling update does, and then takes the source's node and volume away in the middle of
// writing: nothing that was acknowledged may be missing. See docs/healing.md#durability.
func semiSynchronous(ctx context.Context, t *testing.T, c *Cluster) {
	pod := &c.manifest.Set.Spec.Template.Spec
	for i := range pod.InitContainers {
		pod.InitContainers[i].Env = append(pod.InitContainers[i].Env, corev1.EnvVar{Name: "AGENT_DURABILITY", Value: "semisync"})
	}
	for ordinal := c.Replicas() - 1; ordinal >= 0; ordinal-- {
		must(t, c.Delete(ctx, ordinal))
		_, err := c.Create(ordinal)
		must(t, err)
		must(t, c.WaitReady(ctx))
	}
	l, stop := c.startLoad(ctx, t)

	t.Log("the source's node and volume, in the middle of writing")
	c.moreWrites(ctx, t, l)
	c.PowerOff(0)
	must(t, c.DropVolume(0))
	_, err := c.Create(0)
	must(t, err)
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)

	t.Log("partition: commits wait, reads go on")
	mend, err := c.Cut([]int{0}, []int{1})
	must(t, err)
	c.mustBeCut(t, 0, 1)
	acked := l.Stats().Acked
	// Neither end is told of the cut: only time shows that nobody acknowledges.
	said, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = c.poll(said, "wait for the source to say that commits wait", func() error {
		st, err := c.Status(said, 0)
		if err == nil && !has(st, "nobody_acknowledges") {
			err = errors.New(st.Explain())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if now := l.Stats().Acked; now != acked {
		t.Errorf("%d transfers were acknowledged while no replica could have them", now-acked)
	}
	if st, err := c.Status(ctx, 0); err != nil || !st.Ready {
		t.Errorf("the source is not ready while commits wait: %s, %v", st.Explain(), err)
	}
	if _, err := c.Query(ctx, 0, "SELECT COUNT(*) FROM bank.accounts"); err != nil {
		t.Errorf("reads do not go on: %v", err)
	}
	must(t, mend())
	c.moreWrites(ctx, t, l)
	must(t, c.WaitReady(ctx))
	stop()
	c.settled(ctx, t)
}
