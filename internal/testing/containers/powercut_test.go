package containers

import (
	"context"
	"testing"

	"ordinal/internal/testing/localset"
)

// powerCut kills everything at once while clients write, and starts it again: all Pods at once, then one after the other from the last to the
// first. See docs/what-if.md#all-pods-stop-at-once.
func powerCut(ctx context.Context, t *testing.T, c *Cluster) {
	var before []string
	for ordinal := range c.Replicas() {
		before = append(before, c.generation(t, ordinal))
	}
	l, stop := c.startLoad(ctx, t)
	c.PowerOff(0, 1, 2)
	for ordinal := range c.Replicas() {
		_, err := c.Create(ordinal)
		must(t, err)
	}
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)

	t.Log("and in reverse order")
	c.PowerOff(0, 1, 2)
	for ordinal := c.Replicas() - 1; ordinal >= 0; ordinal-- {
		_, err := c.Create(ordinal)
		must(t, err)
		if ordinal > 0 { // it serves what it has, and waits for its source
			c.waitStatus(ctx, t, ordinal, "a replica without a source", func(st localset.Status) bool {
				return st.State == "not_replicating" && has(st, "source_unreachable")
			})
		}
	}
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)
	stop()
	c.settled(ctx, t)
	for ordinal := range c.Replicas() {
		if c.generation(t, ordinal) != before[ordinal] {
			t.Errorf("%s was cloned anew although its volume was there", c.Name(ordinal))
		}
	}
}
