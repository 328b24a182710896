package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestStaleVolumes: a set is scaled from three to one and back. The volumes that come back are only behind: they are attached, follow and catch
// up, and nothing is copied.
func TestStaleVolumes(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))
	cluster, uuids := lineage(ctx, t, s, 0), map[int]string{}
	for n := range 3 {
		uuids[n] = one(ctx, t, s, n, "SELECT @@server_uuid")
	}

	must(t, s.Scale(ctx, 1))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1), (2)"))
	must(t, s.Exec(ctx, 0, "FLUSH BINARY LOGS")) // what they lack spans binlogs
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (3)"))
	must(t, s.Scale(ctx, 3))
	mustBeEqual(ctx, t, s)
	for n := range 3 {
		if now := one(ctx, t, s, n, "SELECT @@server_uuid"); now != uuids[n] {
			t.Errorf("pod %d: server_uuid is %s, was %s", n, now, uuids[n])
		}
		if got := lineage(ctx, t, s, n); got != cluster {
			t.Errorf("pod %d belongs to cluster %s, want %s", n, got, cluster)
		}
		if at, err := os.Readlink(filepath.Join(s.Pod(n).Volume, "current")); err != nil || at != filepath.Join("gen", "000001") {
			t.Errorf("pod %d serves %s (%v), want its first data", n, at, err)
		}
		mustHaveKeptItsData(t, s, n)
	}
	mustRejectWrites(ctx, t, s, 2)
}
