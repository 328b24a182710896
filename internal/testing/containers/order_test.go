package containers

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// orderOfEnd deletes a Pod in Kubernetes' order, with the agent as a native sidecar and as an ordinary container, and looks at what was served
// until when. docs/pods.md tells it.
func orderOfEnd(ctx context.Context, t *testing.T, c *Cluster) {
	_, stop := c.startLoad(ctx, t)
	p := c.Pod(2)
	began := time.Now()
	lastAnswer := c.deleteAndAsk(ctx, t, p, 2)
	mysqld, agent := lastExit(t, p, "mysql"), lastExit(t, p, "agent")
	want := "mysql gets TERM, mysql ended with code 0, agent gets TERM, agent ended with code 0"
	if got := started(p); !strings.HasSuffix(got, want) {
		t.Errorf("%s ended with …%s, want %s", p.Name, got[max(0, len(got)-200):], want)
	}
	if !agent.Finished.After(mysqld.Finished) {
		t.Errorf("the agent ended at %v, mysqld at %v", agent.Finished, mysqld.Finished)
	}
	if lastAnswer.Before(mysqld.Finished.Add(-probeInterval)) {
		t.Errorf("the probes were answered until %v, mysqld ended at %v", lastAnswer, mysqld.Finished)
	}
	if took := time.Since(began); took > p.grace()/2 {
		t.Errorf("the end took %v of %v", took, p.grace())
	}
	mustHaveEndedCleanly(t, p)

	t.Log("with a plain sidecar both are told at once")
	plain, err := c.plainSidecar()
	must(t, err)
	p, err = c.createFrom(2, "", plain)
	must(t, err)
	must(t, c.WaitReady(ctx, 2))
	if got, want := started(p), "init started, init ended with code 0, "; !strings.HasPrefix(got, want) {
		t.Errorf("%s began with %s, want %s", p.Name, got, want)
	}
	began = time.Now()
	must(t, c.Delete(ctx, 2))
	lastExit(t, p, "agent")
	lastExit(t, p, "mysql")
	if took := time.Since(began); took > p.grace()/2 {
		t.Errorf("the end took %v of %v", took, p.grace())
	}
	mustHaveEndedCleanly(t, p)

	_, err = c.Create(2)
	must(t, err)
	must(t, c.WaitReady(ctx))
	stop()
	c.settled(ctx, t)
}

// plainSidecar is the manifest for clusters without native sidecars, with everything else as it is.
func (c *Cluster) plainSidecar() (*Manifest, error) {
	o := c.options.Overlay
	o.Above = "resources: [../containers]\ncomponents: [../../components/plain-sidecar]\n"
	return o.Build(filepath.Join(c.options.Dir, "plain"))
}

const probeInterval = 20 * time.Millisecond

// deleteAndAsk deletes a Pod and asks its liveness probe all the time. It returns when that was answered last.
func (c *Cluster) deleteAndAsk(ctx context.Context, t *testing.T, p *Pod, ordinal int) (last time.Time) {
	t.Helper()
	deleted := make(chan error, 1)
	go func() { deleted <- c.Delete(ctx, ordinal) }()
	for {
		if code, _, err := get(ctx, "http://"+net.JoinHostPort(p.Address(), strconv.Itoa(localset.StatusPort))+"/livez"); err == nil && code == 200 {
			last = time.Now()
		}
		select {
		case err := <-deleted:
			must(t, err)
			return last
		case <-time.After(probeInterval):
		}
	}
}

// lastExit returns how a container of a Pod that is gone has ended, which must have been once, with code 0.
func lastExit(t *testing.T, p *Pod, name string) Exit {
	t.Helper()
	exits := p.Exits(name)
	if len(exits) != 1 || exits[0].Code != 0 {
		t.Fatalf("%s/%s has ended %+v, want once, with code 0", p.Name, name, exits)
	}
	return exits[0]
}

// mustHaveEndedCleanly reads mysqld's own last words. See refman/8.4 server-shutdown.
func mustHaveEndedCleanly(t *testing.T, p *Pod) {
	t.Helper()
	if last := tail(p.Log("mysql"), 3); !strings.Contains(last, "Shutdown complete") {
		t.Errorf("%s: mysqld's last words are %q", p.Name, last)
	}
}
