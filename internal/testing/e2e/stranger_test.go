package e2e

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestReborn: a running replica's receiver keeps trying to reach its source, whose volume is gone and who was born again, empty and under the
// same name, while the replica's agent is frozen: nothing stands between them but the account that the stranger does not have. Not one of its
// transactions is executed. Then somebody decides for the old data: agent rebuild in the source's pod brings it back from the replica, and
// what the stranger wrote is kept.
func TestReborn(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	var alone atomic.Bool
	alone.Store(true) // the source is told of no sibling, as a set that is started in order is
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(ordinal int) []string {
		if ordinal == 0 && alone.Load() {
			return []string{"--replicas=1"}
		}
		return nil
	}})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.old (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.old VALUES (1), (2)"))
	must(t, s.WaitConverged(ctx))
	before, cluster := executed(ctx, t, s, 1), lineage(ctx, t, s, 1)
	const sum = "SELECT CONCAT(COUNT(*), ':', SUM(id)) FROM shop.old"

	thaw := freeze(t, s, 1, localset.Agent)
	must(t, s.DeleteVolume(ctx, 0))
	must(t, s.WaitReady(ctx, 0))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.stranger (id INT PRIMARY KEY)"))
	const accessDenied = "1045"
	waitFor(ctx, t, "the stranger to refuse the receiver", func() bool {
		if came := executed(ctx, t, s, 1).Subtract(before); !came.IsEmpty() {
			t.Fatalf("the stranger let the replica in, which executed %v", came)
		}
		rows, err := s.Query(ctx, 1, "SELECT LAST_ERROR_NUMBER, SERVICE_STATE FROM performance_schema.replication_connection_status")
		return err == nil && len(rows) == 1 && rows[0][0] == accessDenied && rows[0][1] == "CONNECTING"
	})
	thaw()
	waitStatus(ctx, t, s, 1, "the stranger to be recognised", func(st localset.Status) bool {
		return st.State == "source_is_stranger" && has(st, "source_is_stranger") && !st.Ready && st.ClusterID == cluster
	})
	waitFor(ctx, t, "the receiver to be stopped", func() bool {
		return one(ctx, t, s, 1, "SELECT SERVICE_STATE FROM performance_schema.replication_connection_status") == "OFF"
	})
	if after := executed(ctx, t, s, 1); !after.Equal(before) {
		t.Errorf("the replica executed %v of a stranger", after.Subtract(before))
	}
	if got := one(ctx, t, s, 1, sum); got != "2:3" {
		t.Errorf("the replica's rows are %s", got)
	}
	if stranger := lineage(ctx, t, s, 0); stranger == cluster {
		t.Fatalf("the source was not born again: it is still of cluster %s", cluster)
	}

	alone.Store(false)
	agent(t, s, 0, "rebuild")
	must(t, s.Delete(ctx, 0))
	mustBeEqual(ctx, t, s)
	for n := range 2 {
		if got := lineage(ctx, t, s, n); got != cluster {
			t.Errorf("pod %d belongs to cluster %s, want the old one's %s", n, got, cluster)
		}
		if got := one(ctx, t, s, n, sum); got != "2:3" {
			t.Errorf("pod %d: rows are %s", n, got)
		}
	}
	if after := executed(ctx, t, s, 0); !after.Contains(before) {
		t.Errorf("the source lacks %v", before.Subtract(after))
	}
	kept := filepath.Join(s.Pod(0).Volume, "quarantine", waitQuarantined(ctx, t, s, 0, "requested"), "data", "shop", "stranger.ibd")
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the stranger's table is not kept: %v", err)
	}
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.old VALUES (3)"))
	mustBeEqual(ctx, t, s)
}
