package mysqlx_test

import (
	"path/filepath"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// A source whose volume was rolled back gets what it has lost from its replica. Those transactions bear its own server_id: without another
// one it is sent them all, skips them all, and nothing looks wrong.
func TestCatchUpFromReplica(t *testing.T) {
	t.Parallel()
	const serverID, temporaryID = 100, 4_000_000_100
	data := filepath.Join(t.TempDir(), "data")
	must(t, mysqltest.Get(t).CopyTemplate(t.Context(), data))
	config := map[string]string{"server_id": "100", "skip_replica_start": "ON", "replica_net_timeout": "6"}
	start := func(data string) *mysqltest.Server {
		return mysqltest.Start(t, mysqltest.Options{Config: config, DataDir: data})
	}
	source := start(data)
	must(t, source.DB().CreateAccounts(t.Context(), spec))
	source.Exec(t, "CREATE DATABASE d")
	source.Exec(t, "CREATE TABLE d.t (i INT PRIMARY KEY)")
	source.Stop(t)
	old := filepath.Join(t.TempDir(), "old")
	must(t, mysqltest.CopyDataDir(old, data))
	source.Restart(t)

	replica := mysqltest.Start(t, mysqltest.Options{})
	follow(t, replica.DB(), source, replPassword)
	source.Exec(t, "INSERT INTO d.t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n")
	for range 20 {
		source.Exec(t, "INSERT INTO d.t SELECT MAX(i) + 1 FROM d.t")
	}
	waitFor(t, replica, source)
	source.Kill9(t)

	rolledBack := mysqltest.Start(t, mysqltest.Options{Config: config, DataDir: old, Address: source.Host, Args: []string{"--super-read-only=ON"}})
	agent := open(t, agentAt(rolledBack.Socket))
	mysqltest.Eventually(t, "the replica's receiver has given up", func() bool { return status(t, replica.DB()).ReceiverState == "OFF" })
	if e := status(t, replica.DB()).ReceiverError; e.Class() != mysqlx.ClassSourceBehind {
		t.Errorf("class of %+v = %q", e, e.Class())
	}

	follow(t, agent, replica, replPassword)
	mysqltest.Eventually(t, "heartbeat: all was sent", func() bool { return !status(t, agent).LastHeartbeat.IsZero() })
	if s := status(t, agent); rows(t, rolledBack) != "0" || !s.RetrievedGTIDs.IsEmpty() || s.ReceiverError.Number != 0 || s.ApplierError.Number != 0 {
		t.Fatalf("under its own server_id the source got %s rows, %+v: want nothing, and no error", rows(t, rolledBack), s)
	}

	// The receiver takes the new id at its start. It is gone after a crash, the transactions are not.
	catchUp := func() {
		must(t, agent.StopReplica(t.Context()))
		must(t, agent.SetServerID(t.Context(), temporaryID))
		must(t, agent.StartReplica(t.Context()))
	}
	catchUp()
	mysqltest.Eventually(t, "first rows", func() bool { return rows(t, rolledBack) != "0" })
	rolledBack.Kill9(t)
	rolledBack.Restart(t)
	if facts, err := agent.Facts(t.Context()); err != nil || facts.ServerID != serverID || rows(t, rolledBack) == "0" {
		t.Errorf("Facts() after a crash = server_id %d, %v, %s rows; want %d, and what was applied", facts.ServerID, err, rows(t, rolledBack), serverID)
	}
	catchUp()
	waitFor(t, rolledBack, replica)
	must(t, agent.StopReplica(t.Context()))
	must(t, agent.ResetReplicaAll(t.Context()))
	must(t, agent.SetServerID(t.Context(), serverID))
	if facts, err := agent.Facts(t.Context()); err != nil || facts.ServerID != serverID || rows(t, rolledBack) != "120" {
		t.Errorf("Facts() = server_id %d, %v, %s rows", facts.ServerID, err, rows(t, rolledBack))
	}

	// The replica goes on where it was, as soon as its receiver is started.
	must(t, agent.SetSuperReadOnly(t.Context(), false))
	rolledBack.Exec(t, "INSERT INTO d.t VALUES (0)")
	must(t, replica.DB().StartReplica(t.Context()))
	waitFor(t, replica, rolledBack)
	if rows(t, replica) != "121" {
		t.Errorf("replica has %s rows, want 121", rows(t, replica))
	}
}
