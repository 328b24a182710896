package e2e

import (
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestFence: a source that was born again, empty and under the same name, is a stranger to the replicas of the old one. They execute
// nothing of it: their agent does not start replication, and when somebody does by hand the source does not let them in.
func TestFence(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 4*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Policy: localset.OrderedReady, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.old (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.old VALUES (1)"))
	must(t, s.WaitConverged(ctx))
	before, err := s.GTIDExecuted(ctx, 1)
	must(t, err)

	// Started in order, the source cannot ask a replica that does not exist at the moment.
	must(t, s.Scale(ctx, 1))
	must(t, s.DeleteVolume(ctx, 0))
	must(t, s.WaitReady(ctx, 0))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.stranger (id INT PRIMARY KEY)"))

	must(t, s.Scale(ctx, 2))
	isStranger := func(st localset.Status) bool { return st.State == "source_is_stranger" && !st.Ready }
	waitStatus(ctx, t, s, 1, "the stranger to be recognised", isStranger)

	must(t, s.Exec(ctx, 1, "START REPLICA"))
	const accessDenied = "1045"
	waitFor(ctx, t, "the stranger to refuse the replica, or the agent to stop it", func() bool {
		rows, err := s.Query(ctx, 1, "SELECT LAST_ERROR_NUMBER, SERVICE_STATE FROM performance_schema.replication_connection_status")
		return err == nil && len(rows) == 1 && (rows[0][0] == accessDenied || rows[0][1] == "OFF")
	})
	waitStatus(ctx, t, s, 1, "the stranger to be recognised again", isStranger)
	after, err := s.GTIDExecuted(ctx, 1)
	must(t, err)
	if !after.Equal(before) {
		t.Errorf("the replica executed %v of a stranger", after.Subtract(before))
	}
	rows, err := s.Query(ctx, 1, "SELECT COUNT(*) FROM shop.old")
	must(t, err)
	if strings.Join(rows[0], "") != "1" {
		t.Errorf("the replica has lost its row: %v", rows)
	}
}
