package mysqlx_test

import (
	"errors"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// Commits of clients on a source and of replication on a replica are both seen, by the agent's account, and none is caused by looking.
func TestCommitLatency(t *testing.T) {
	t.Parallel()
	source := mysqltest.Start(t, mysqltest.Options{})
	replica := mysqltest.Start(t, mysqltest.Options{})
	if err := source.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	src := mysqlx.Source{Host: source.Host, Port: source.Port, User: mysqlx.ReplicationAccount(clusterID), Password: replPassword}
	if err := replica.DB().ConfigureSource(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if err := replica.DB().SetSuperReadOnly(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := replica.DB().StartReplica(t.Context()); err != nil {
		t.Fatal(err)
	}
	executed := func(s *mysqltest.Server) string { return s.QueryString(t, "SELECT @@GLOBAL.gtid_executed") }
	caughtUp := func() bool { return executed(replica) == executed(source) }
	source.Exec(t, "CREATE DATABASE d")
	source.Exec(t, "CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY)")
	mysqltest.Eventually(t, "replica has caught up", caughtUp)

	sample := func(timer *mysqlx.CommitTimer) (time.Duration, bool) {
		t.Helper()
		mean, ok, err := timer.CommitLatency(t.Context())
		if err != nil {
			t.Fatalf("CommitLatency() = %v", err)
		}
		return mean, ok
	}
	onSource := open(t, agentAt(source.Socket)).CommitTimer()
	onReplica := open(t, agentAt(replica.Socket)).CommitTimer()
	before := executed(source)
	for _, timer := range []*mysqlx.CommitTimer{onSource, onReplica} {
		for range 3 { // the first has nothing to compare with, the others find nothing
			if mean, ok := sample(timer); ok {
				t.Errorf("CommitLatency() of a server at rest = %v, want none", mean)
			}
		}
	}
	if after := executed(source); after != before {
		t.Errorf("sampling executed transactions: %s, then %s", before, after)
	}

	begin := time.Now()
	const commits = 50
	for range commits {
		source.Exec(t, "INSERT INTO d.t VALUES ()")
	}
	took := time.Since(begin) / commits
	mysqltest.Eventually(t, "replica has caught up", caughtUp)
	// The redo log is forced to disk by others as well; what they wait for may differ.
	if mean, ok := sample(onSource); !ok || mean <= 0 || mean > 3*took+10*time.Millisecond {
		t.Errorf("CommitLatency() on the source = %v, %t, want at most what a statement took, %v", mean, ok, took)
	}
	if mean, ok := sample(onReplica); !ok || mean <= 0 {
		t.Errorf("CommitLatency() on the replica = %v, %t", mean, ok)
	}

	// An administrator sets the counters back.
	source.Exec(t, "TRUNCATE TABLE performance_schema.file_summary_by_event_name")
	source.Exec(t, "INSERT INTO d.t VALUES ()")
	if mean, ok := sample(onSource); ok {
		t.Errorf("CommitLatency() after a reset of the counters = %v, want none", mean)
	}

	// No commit waits for the disk: what they take is what their statements take.
	source.Exec(t, "SET GLOBAL sync_binlog = 0")
	source.Exec(t, "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
	sample(onSource)
	source.Exec(t, "COMMIT")
	if mean, ok := sample(onSource); !ok || mean <= 0 || mean > time.Second {
		t.Errorf("CommitLatency() without waiting for the disk = %v, %t", mean, ok)
	}

	source.Exec(t, "UPDATE performance_schema.setup_instruments SET TIMED = 'NO' WHERE NAME = 'wait/io/file/sql/binlog'")
	if _, _, err := onSource.CommitLatency(t.Context()); !errors.Is(err, mysqlx.ErrNotTimed) {
		t.Errorf("CommitLatency() without times = %v, want ErrNotTimed", err)
	}
}

// Without performance_schema there is nothing to measure with; it must not look like a server that nobody uses.
func TestCommitLatencyNotTimed(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"performance_schema": "OFF"}})
	if mean, ok, err := s.DB().CommitTimer().CommitLatency(t.Context()); !errors.Is(err, mysqlx.ErrNotTimed) {
		t.Errorf("CommitLatency() = %v, %t, %v, want ErrNotTimed", mean, ok, err)
	}
}
