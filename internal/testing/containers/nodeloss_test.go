package containers

import (
	"context"
	"testing"

	"ordinal/internal/testing/localset"
)

// nodeLoss takes everything of a Pod away at one instant, its address too. See docs/what-if.md#a-node-is-lost.
func nodeLoss(ctx context.Context, t *testing.T, c *Cluster) {
	first, err := c.Status(ctx, 0)
	must(t, err)
	l, stop := c.startLoad(ctx, t)

	t.Log("a replica's node: the volume comes back on another one")
	before := c.generation(t, 2)
	c.lose(ctx, t, 2)
	_, err = c.Create(2)
	must(t, err)
	must(t, c.WaitReady(ctx))
	c.caughtUp(ctx, t, 2)
	if c.generation(t, 2) != before {
		t.Error("mysql-2 was cloned although its volume was there")
	}

	t.Log("a replica's node, with its volume")
	before = c.generation(t, 1)
	c.lose(ctx, t, 1)
	must(t, c.DropVolume(1))
	_, err = c.Create(1)
	must(t, err)
	must(t, c.WaitReady(ctx))
	c.caughtUp(ctx, t, 1)
	if c.generation(t, 1) == before {
		t.Error("mysql-1 has the data that was lost")
	}

	t.Log("the source's node: the volume comes back on another one")
	c.lose(ctx, t, 0)
	_, err = c.Create(0)
	must(t, err)
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)

	t.Log("the source's node, with its volume")
	stop() // what is acknowledged and not replicated yet goes with the volume: that is what async means
	c.settled(ctx, t)
	c.lose(ctx, t, 0)
	must(t, c.DropVolume(0))
	_, err = c.Create(0)
	must(t, err)
	must(t, c.WaitReady(ctx))
	db, err := c.DB(0)
	must(t, err)
	must(t, l.CheckNothingLost(ctx, db))
	now, err := c.Status(ctx, 0)
	must(t, err)
	if now.ClusterID != first.ClusterID || now.ServerUUID == first.ServerUUID {
		t.Errorf("the source is of cluster %s with server_uuid %s, was of %s with %s", now.ClusterID, now.ServerUUID, first.ClusterID, first.ServerUUID)
	}
	_, stop = c.startLoad(ctx, t) // it takes writes, and its replicas follow
	stop()
	c.settled(ctx, t)
}

// lose switches a Pod off and looks whether it is: nobody answers at its address, and the others say so.
func (c *Cluster) lose(ctx context.Context, t *testing.T, ordinal int) {
	t.Helper()
	lost := c.Pod(ordinal)
	c.PowerOff(ordinal)
	other := (ordinal + 1) % c.Replicas()
	for _, port := range []int{localset.MySQLPort, localset.StatusPort} {
		if c.Pod(other).Reaches(lost, port) {
			t.Fatalf("%s still answers on port %d", lost.Name, port)
		}
	}
	st, code, err := c.AgentStatus(ctx, other)
	must(t, err)
	if answer := st.Pods[ordinal].Answer; code != 75 || answer != "silent" {
		t.Errorf("agent status ends with code %d and calls %s %q, want 75 and silent", code, lost.Name, answer)
	}
}
