package containers

import (
	"context"
	"testing"
)

// restarts kills containers one by one: each is started again by itself, init is not run for it, and nothing else of the Pod ends.
func restarts(ctx context.Context, t *testing.T, c *Cluster) {
	l, stop := c.startLoad(ctx, t)
	must(t, c.Pod(1).Kill9("mysql"))
	must(t, c.Pod(0).Kill9("agent"))
	c.moreWrites(ctx, t, l) // a source whose agent is away goes on
	c.eventually(ctx, t, "the ends of both", func() bool { return len(c.Pod(1).Exits("mysql")) == 1 && len(c.Pod(0).Exits("agent")) == 1 })
	must(t, c.WaitReady(ctx))
	must(t, c.Pod(0).Kill9("mysql"))
	c.eventually(ctx, t, "its end", func() bool { return len(c.Pod(0).Exits("mysql")) == 1 })
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)
	stop()
	c.settled(ctx, t)
	for ordinal := range c.Replicas() {
		if init := c.Pod(ordinal).Exits("init"); len(init) != 1 {
			t.Errorf("%s: agent init has run %d times, want once in the Pod's life", c.Name(ordinal), len(init))
		}
	}
	if n := len(c.Pod(1).Exits("agent")) + len(c.Pod(2).Exits("agent")) + len(c.Pod(2).Exits("mysql")); n != 0 {
		t.Errorf("%d containers have ended that nobody has killed", n)
	}
}
