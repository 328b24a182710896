package e2e

import (
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
)

// TestAssembleUnderLoad is the product's main job: three pods from nothing, writes and DDL on the source while the replicas clone,
// then every accident a pod has in an ordinary week.
func TestAssembleUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3})
	must(t, s.WaitReady(ctx, 0))
	l, stop := startLoad(ctx, t, s, load.Options{DDL: true, Connections: 2, Pause: 20 * time.Millisecond})
	must(t, s.WaitReady(ctx))

	for ordinal := 1; ordinal < 3; ordinal++ {
		db, err := s.DB(ordinal)
		must(t, err)
		_, err = l.Check(ctx, db)
		must(t, err)
		mustRejectWrites(ctx, t, s, ordinal)
	}

	t.Log("a replica's volume is deleted: it comes back from the pod before it")
	must(t, s.DeleteVolume(ctx, 2))
	must(t, s.WaitReady(ctx, 2))
	t.Log("a replica in the middle, too")
	must(t, s.DeleteVolume(ctx, 1))
	must(t, s.WaitReady(ctx, 1))
	t.Log("a pod is deleted: it comes back with what it has")
	must(t, s.Delete(ctx, 1))
	must(t, s.WaitReady(ctx))
	stop()
	mustBeEqual(ctx, t, s)

	t.Log("the set grows and shrinks")
	must(t, s.Scale(ctx, 4))
	must(t, s.WaitReady(ctx))
	must(t, s.Scale(ctx, 2))
	must(t, s.Exec(ctx, 0, "CREATE TABLE bank.later (id INT PRIMARY KEY)"))
	mustBeEqual(ctx, t, s)

	t.Log("the source is deleted: it comes back read-only, finds that nobody is ahead, and opens")
	must(t, s.Delete(ctx, 0))
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "INSERT INTO bank.later VALUES (1)"))
	mustBeEqual(ctx, t, s)
	for ordinal := range s.Replicas() {
		db, err := s.DB(ordinal)
		must(t, err)
		must(t, load.CheckTables(ctx, db))
	}
}

// TestOrdered: pods that are created one after the other end in the same state.
func TestOrdered(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 4*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Policy: localset.OrderedReady, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	mustBeEqual(ctx, t, s)
	mustRejectWrites(ctx, t, s, 1)
}
