package e2e

import (
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestGuards is what a running set does about what people and machines do to it.
func TestGuards(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))

	t.Run("super_read_only comes back within 2 s", func(t *testing.T) {
		for _, statement := range []string{"SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"} {
			must(t, s.Exec(ctx, 1, statement))
			begun := time.Now()
			for {
				rows, err := s.Query(ctx, 1, "SELECT @@super_read_only AND @@read_only")
				must(t, err)
				if rows[0][0] == "1" {
					break
				}
				if time.Since(begun) > 2*time.Second {
					t.Fatalf("%s: still off after %v", statement, time.Since(begun))
				}
			}
			t.Logf("%s: back after %v", statement, time.Since(begun).Round(time.Millisecond))
		}
		mustRejectWrites(ctx, t, s, 1)
	})

	t.Run("replication stopped by hand is started", func(t *testing.T) {
		must(t, s.Exec(ctx, 1, "STOP REPLICA"))
		must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)"))
		must(t, s.WaitConverged(ctx))
		must(t, s.WaitReady(ctx))
	})

	t.Run("nothing is reconfigured while nothing differs", func(t *testing.T) {
		before, err := s.Query(ctx, 1, "SELECT COUNT_STAR FROM performance_schema.events_statements_summary_global_by_event_name WHERE EVENT_NAME = 'statement/sql/change_replication_source'")
		must(t, err)
		must(t, s.Delete(ctx, 0))
		must(t, s.WaitReady(ctx))
		after, err := s.Query(ctx, 1, "SELECT COUNT_STAR FROM performance_schema.events_statements_summary_global_by_event_name WHERE EVENT_NAME = 'statement/sql/change_replication_source'")
		must(t, err)
		if before[0][0] != after[0][0] {
			t.Errorf("the channel was configured anew: %v, then %v times", before, after)
		}
	})

	t.Run("mysqld is killed: it comes back in its role", func(t *testing.T) {
		for ordinal := range 2 {
			for !s.Kill9(ordinal, localset.Mysqld) {
				must(t, ctx.Err())
			}
			waitStatus(ctx, t, s, ordinal, "mysqld to be missed", func(st localset.Status) bool { return !st.Ready })
			must(t, s.WaitReady(ctx))
		}
		must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (2)"))
		mustBeEqual(ctx, t, s)
	})

	t.Run("a source whose volume is gone gets its data back", func(t *testing.T) {
		must(t, s.WaitConverged(ctx))
		before, err := s.GTIDExecuted(ctx, 1)
		must(t, err)
		must(t, s.DeleteVolume(ctx, 0))
		must(t, s.WaitReady(ctx, 0))
		after, err := s.GTIDExecuted(ctx, 0)
		must(t, err)
		if !after.Contains(before) {
			t.Errorf("the source lacks %v", before.Subtract(after))
		}
		mustBeEqual(ctx, t, s)
	})
}
