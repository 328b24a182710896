package containers

import (
	"context"
	"testing"
)

// addressesChange lets the source and a replica come back with each other's addresses, the worst that reuse of addresses can do: who holds on to
// an address finds somebody else there. Names outlive addresses.
func addressesChange(ctx context.Context, t *testing.T, c *Cluster) {
	l, stop := c.startLoad(ctx, t)
	source, replica := c.Pod(0).Address(), c.Pod(1).Address()
	var before []string
	for ordinal := range c.Replicas() {
		before = append(before, c.generation(t, ordinal))
	}
	must(t, c.Delete(ctx, 0, 1))
	_, err := c.CreateAt(0, replica)
	must(t, err)
	_, err = c.CreateAt(1, source)
	must(t, err)
	must(t, c.WaitReady(ctx))
	c.moreWrites(ctx, t, l)
	stop()
	c.settled(ctx, t)
	if c.Pod(0).Address() != replica || c.Pod(1).Address() != source {
		t.Fatal("the addresses are the same as before")
	}
	for ordinal := range c.Replicas() {
		if c.generation(t, ordinal) != before[ordinal] {
			t.Errorf("%s was cloned anew because of an address", c.Name(ordinal))
		}
		if ordinal == 0 {
			continue
		}
		if host := c.one(ctx, t, ordinal, "SELECT HOST FROM performance_schema.replication_connection_configuration"); host != "mysql-0.mysql" {
			t.Errorf("%s replicates from %q, want the source's name", c.Name(ordinal), host)
		}
	}
}
