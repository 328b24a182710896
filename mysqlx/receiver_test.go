package mysqlx_test

import (
	"errors"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// What was received and waits to be applied outlives a change of the password, though nobody could send it again.
func TestSetSourcePassword(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	must(t, p.agent.SetSourcePassword(t.Context(), replPassword)) // the same one: nothing to see
	p.source.Exec(t, "INSERT INTO d.t VALUES (1)")
	waitFor(t, p.replica, p.source)

	locker := open(t, p.replica.Root())
	must(t, locker.Exec(t.Context(), "FLUSH TABLES d.t WITH READ LOCK"))
	p.source.Exec(t, "INSERT INTO d.t VALUES (2)")
	p.source.Exec(t, "INSERT INTO d.t VALUES (3)")
	received := func() bool {
		want := p.source.QueryString(t, "SELECT @@GLOBAL.gtid_executed")
		return p.replica.QueryString(t, "SELECT GTID_SUBSET(?, CONCAT(?, ',', @@GLOBAL.gtid_executed))", want, status(t, p.agent).RetrievedGTIDs.String()) == "1"
	}
	mysqltest.Eventually(t, "receipt", received)
	p.source.Stop(t)
	if err := p.agent.SetSourcePassword(t.Context(), "another-aA1"); err != nil {
		t.Fatal(err)
	}
	if s := status(t, p.agent); s.ReceiverState == "OFF" || s.ApplierState != "ON" {
		t.Errorf("receiver %s, applier %s, want both started", s.ReceiverState, s.ApplierState)
	}
	must(t, locker.Close())
	mysqltest.Eventually(t, "received rows", func() bool { return rows(t, p.replica) == "3" })

	p.source.Restart(t)
	mysqltest.Eventually(t, "wrong password", func() bool { return status(t, p.agent).ReceiverError.Class() == mysqlx.ClassAccessDenied })
	must(t, p.agent.SetSourcePassword(t.Context(), replPassword))
	mysqltest.Eventually(t, "right password", func() bool { return status(t, p.agent).ReceiverState == "ON" })

	p.replica.Exec(t, "STOP REPLICA SQL_THREAD")
	p.source.Exec(t, "INSERT INTO d.t VALUES (4)")
	mysqltest.Eventually(t, "receipt", received)
	before := status(t, p.agent).RetrievedGTIDs.String()
	if err := p.agent.SetSourcePassword(t.Context(), "another-aA1"); !errors.Is(err, mysqlx.ErrApplierStopped) {
		t.Errorf("SetSourcePassword() with a stopped applier = %v, want ErrApplierStopped", err)
	}
	if after := status(t, p.agent).RetrievedGTIDs.String(); after != before {
		t.Errorf("received %s, then %s", before, after)
	}
	must(t, p.agent.StartReplica(t.Context()))
	waitFor(t, p.replica, p.source)
	p.replica.Exec(t, "STOP REPLICA SQL_THREAD")
	must(t, p.agent.SetSourcePassword(t.Context(), replPassword)) // all is applied: nothing to lose
	must(t, p.agent.RestartReceiver(t.Context()))
}

// The fact that Durability.Received is about: a starting replica throws away what it has received, even after a shutdown in order, unless it
// is told not to.
func TestReceivedButNotApplied(t *testing.T) {
	t.Parallel()
	p := startPair(t, map[string]string{"sync_relay_log": "1"})
	p.replica.Exec(t, "STOP REPLICA SQL_THREAD")
	p.source.Exec(t, "INSERT INTO d.t VALUES (1)")
	want := p.source.QueryString(t, "SELECT @@GLOBAL.gtid_executed")
	receivedAll := func() bool {
		return p.replica.QueryString(t, "SELECT GTID_SUBSET(?, CONCAT(?, ',', @@GLOBAL.gtid_executed))", want, status(t, p.agent).RetrievedGTIDs.String()) == "1"
	}
	mysqltest.Eventually(t, "receipt", receivedAll)
	p.source.Kill9(t) // for good

	p.replica.Kill9(t)
	p.replica.Restart(t, "--relay-log-recovery=OFF")
	if d, err := p.agent.Durability(t.Context()); err != nil || !d.Received() {
		t.Errorf("Durability() = %+v, %v, want one that keeps what was received", d, err)
	}
	if !receivedAll() {
		t.Errorf("received = %v after a crash with relay_log_recovery=OFF", status(t, p.agent).RetrievedGTIDs)
	}
	p.replica.Restart(t)
	if d, err := p.agent.Durability(t.Context()); err != nil || d.Received() || !d.Commits() {
		t.Errorf("Durability() = %+v, %v, want one that does not keep what was received", d, err)
	}
	if s := status(t, p.agent); !s.RetrievedGTIDs.IsEmpty() || rows(t, p.replica) != "0" {
		t.Errorf("received = %v after a restart with relay_log_recovery=ON, %s rows: want nothing", s.RetrievedGTIDs, rows(t, p.replica))
	}
	must(t, p.agent.ResetReplicaAll(t.Context()))
	follow(t, p.agent, p.source, replPassword)
	if s := status(t, p.agent); !s.RetrievedGTIDs.IsEmpty() {
		t.Errorf("received = %v after ResetReplicaAll", s.RetrievedGTIDs)
	}
}
