package containers

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ordinal/internal/testing/localset"
)

// partitionOfSource cuts the source off from its replicas, both ways, while clients go on writing to it. There is one source, by its name: no
// cut makes a second one. See docs/what-if.md#the-network-is-cut.
func partitionOfSource(ctx context.Context, t *testing.T, c *Cluster) {
	l, stop := c.startLoad(ctx, t)
	before := []string{c.generation(t, 1), c.generation(t, 2)}
	mend, err := c.Cut([]int{0}, []int{1, 2})
	must(t, err)
	c.mustBeCut(t, 0, 1)
	c.mustBeCut(t, 0, 2)
	if !c.Pod(1).Reaches(c.Pod(2), localset.MySQLPort) {
		t.Error("the replicas do not reach each other: the cut is wider than it should be")
	}
	for ordinal := 1; ordinal < c.Replicas(); ordinal++ {
		c.waitStatus(ctx, t, ordinal, "the source to be missed", func(st localset.Status) bool {
			return st.State == "not_replicating" && has(st, "source_unreachable")
		})
	}
	// Reads go on for as long as the lag may be within its bound, and not longer.
	c.eventually(ctx, t, "replicas that are not ready", func() bool { return names(c.Service("mysql-read").Endpoints()) == "mysql-0" })
	c.moreWrites(ctx, t, l)
	if got := names(c.Service("mysql-write").Endpoints()); got != "mysql-0" {
		t.Errorf("the write Service leads to %q, want the source alone", got)
	}
	st, code, err := c.AgentStatus(ctx, 0)
	must(t, err)
	if code != 75 || st.Ready {
		t.Errorf("agent status at the source ends with code %d, ready: %v, want 75", code, st.Ready)
	}
	for _, p := range st.Pods[1:] {
		if p.Answer != "silent" || p.Status != nil {
			t.Errorf("the source sees %s as %q, want silent", p.Pod, p.Answer)
		}
	}
	must(t, mend())
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)
	stop()
	c.settled(ctx, t)
	for ordinal := 1; ordinal < c.Replicas(); ordinal++ {
		if now := c.generation(t, ordinal); now != before[ordinal-1] || len(c.quarantined(ordinal)) > 0 {
			t.Errorf("%s was cloned anew after a cut of its network (%v)", c.Name(ordinal), c.quarantined(ordinal))
		}
	}
}

// mustBeCut looks whether a fault is one: no port of either Pod can be reached from the other one.
func (c *Cluster) mustBeCut(t *testing.T, a, b int) {
	t.Helper()
	for _, port := range []int{localset.MySQLPort, localset.DataPort, localset.StatusPort} {
		for _, way := range [][2]int{{a, b}, {b, a}} {
			if c.Pod(way[0]).Reaches(c.Pod(way[1]), port) {
				t.Fatalf("%s reaches port %d of %s: nothing is cut", c.Name(way[0]), port, c.Name(way[1]))
			}
		}
	}
}

// partitionOfReplica cuts a replica off twice: for a short time, after which it goes on where it was, and for longer than the binlogs are kept.
func partitionOfReplica(ctx context.Context, t *testing.T, c *Cluster) {
	l, stop := c.startLoad(ctx, t)
	before := c.generation(t, 2)
	cut := func() (mend func() error) {
		mend, err := c.Cut([]int{2}, []int{0, 1})
		must(t, err)
		c.mustBeCut(t, 2, 0)
		c.waitStatus(ctx, t, 2, "the source to be missed", func(st localset.Status) bool { return has(st, "source_unreachable") })
		c.moreWrites(ctx, t, l)
		return mend
	}
	must(t, cut()())
	must(t, c.WaitReady(ctx))
	c.caughtUp(ctx, t, 2)
	if c.generation(t, 2) != before || len(c.quarantined(2)) > 0 {
		t.Fatal("a replica that was away for some seconds was cloned anew")
	}

	mend := cut()
	c.purge(ctx, t, 0)
	c.purge(ctx, t, 1)
	must(t, mend())
	c.eventually(ctx, t, "a new copy", func() bool { return c.generation(t, 2) != before })
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)
	stop()
	c.settled(ctx, t)
	if kept := c.quarantined(2); len(kept) != 1 || !strings.HasSuffix(kept[0], "-binlogs_purged") {
		t.Errorf("in quarantine: %q, want the former data, because of binlogs_purged", kept)
	}
}

// caughtUp waits until a replica has what the source has now.
func (c *Cluster) caughtUp(ctx context.Context, t *testing.T, ordinal int) {
	t.Helper()
	want, err := c.GTIDExecuted(ctx, 0)
	must(t, err)
	must(t, c.poll(ctx, "wait until "+c.Name(ordinal)+" has caught up", func() error {
		got, err := c.GTIDExecuted(ctx, ordinal)
		if err == nil && !got.Contains(want) {
			err = fmt.Errorf("%s lacks %v", c.Name(ordinal), want.Subtract(got))
		}
		return err
	}))
}

// purge removes all binlogs of a Pod but the one that is written to. The server keeps what it is just sending to somebody, and does not know yet
// that a replica is away.
func (c *Cluster) purge(ctx context.Context, t *testing.T, ordinal int) {
	t.Helper()
	must(t, c.Exec(ctx, ordinal, "FLUSH BINARY LOGS"))
	must(t, c.poll(ctx, "purge the binlogs of "+c.Name(ordinal), func() error {
		rows, err := c.Query(ctx, ordinal, "SHOW BINARY LOGS")
		if err != nil || len(rows) == 1 {
			return err
		}
		sending, err := c.Query(ctx, ordinal, "SELECT ID FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%'")
		if err != nil {
			return err
		}
		for _, session := range sending {
			_ = c.Exec(ctx, ordinal, "KILL "+session[0]) // it may have ended by itself
		}
		if err := c.Exec(ctx, ordinal, "PURGE BINARY LOGS TO '"+rows[len(rows)-1][0]+"'"); err != nil {
			return err
		}
		return fmt.Errorf("%d binlogs are left", len(rows))
	}))
}
