package mysqlx_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// Each commit has been received before its client hears of it. Without a replica it waits, and no way out but an acknowledgement tells its
// client that it is committed.
func TestSemiSync(t *testing.T) {
	t.Parallel()
	p := startPair(t, map[string]string{"plugin_load_add": "mysql_clone.so;semisync_source.so;semisync_replica.so"})
	source := open(t, agentAt(p.source.Socket))
	p.source.Exec(t, "CREATE USER app")
	p.source.Exec(t, "GRANT INSERT ON d.* TO app")
	get := func(db *mysqlx.DB) mysqlx.SemiSync {
		t.Helper()
		s, err := db.SemiSync(t.Context())
		must(t, err)
		return s
	}

	must(t, p.agent.SetSemiSyncReplica(t.Context(), true))
	if s := get(p.agent); !s.ReplicaPlugin || !s.ReplicaEnabled || s.ReplicaActive {
		t.Errorf("SemiSync() before the receiver's next start = %+v", s)
	}
	must(t, p.agent.RestartReceiver(t.Context()))
	must(t, source.SetSemiSyncSource(t.Context(), true))
	mysqltest.Eventually(t, "a replica that acknowledges", func() bool { return get(source).Clients == 1 && get(p.agent).ReplicaActive })
	p.source.Exec(t, "INSERT INTO d.t VALUES (1)")
	if s := get(source); s.Timeout != mysqlx.SemiSyncTimeout || s.WaitForReplicas != 1 || !s.WaitNoReplica || s.WaitPoint != "AFTER_SYNC" ||
		!s.SourcePlugin || !s.SourceEnabled || !s.SourceActive || s.WaitingSessions != 0 || s.Acknowledged == 0 || s.Unacknowledged != 0 {
		t.Errorf("SemiSync() = %+v", s)
	}

	waitFor(t, p.replica, p.source)
	p.replica.Kill9(t)
	mysqltest.Eventually(t, "no replica", func() bool { return get(source).Clients == 0 })
	// It would hold the lock of the accounts while it waits, and let no replica in that could acknowledge it.
	changed := spec
	changed.AgentPassword, changed.ResetPasswords = "another-aA1", true
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for name, change := range map[string]func() error{
		"CreateAccounts":  func() error { return p.source.DB().CreateAccounts(ctx, changed) },
		"RotatePasswords": func() error { return p.source.DB().RotatePasswords(ctx, changed) },
	} {
		if err := change(); !errors.Is(err, mysqlx.ErrNobodyAcknowledges) {
			t.Fatalf("%s() without a replica = %v, want ErrNobodyAcknowledges", name, err)
		}
	}

	if n, err := source.KillSemiSyncWaiters(t.Context()); n != 0 || err != nil {
		t.Errorf("KillSemiSyncWaiters() without waiters = %d, %v", n, err)
	}
	const clients = 4
	answers := make(chan error, clients)
	insert := func(i int) {
		app := open(t, mysqlx.Endpoint{Address: p.source.Socket, Credentials: mysqlx.Credentials{User: "app"}})
		go func() { answers <- app.Exec(t.Context(), fmt.Sprintf("INSERT INTO d.t VALUES (%d)", i)) }()
	}
	answer := func() error {
		t.Helper()
		select {
		case err := <-answers:
			return err
		case <-time.After(time.Minute):
			t.Fatal("no answer to an INSERT within a minute")
			return nil
		}
	}
	committing := func() string {
		return p.source.QueryString(t, "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_INFO LIKE 'INSERT%' AND PROCESSLIST_STATE LIKE 'waiting for%'")
	}
	for i := range clients {
		insert(10 + i)
	}
	mysqltest.Eventually(t, "waiters", func() bool { return committing() == "4" && get(source).WaitingSessions > 0 })
	must(t, source.SetOfflineMode(t.Context(), true)) // does not wait, and ends the connections itself
	if _, err := source.KillSemiSyncWaiters(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range clients {
		if err := answer(); !mysqlx.IsUnreachable(err) {
			t.Errorf("INSERT without a replica = %v, want a lost connection", err)
		}
	}
	if rows(t, p.source) != "1" || get(source).WaitingSessions == 0 {
		t.Errorf("%s rows, %+v after the connections have ended: want the wait to go on", rows(t, p.source), get(source))
	}
	must(t, source.SetSemiSyncSource(t.Context(), false))
	mysqltest.Eventually(t, "commits", func() bool { return rows(t, p.source) == "5" })
	must(t, source.SetSemiSyncSource(t.Context(), true))
	must(t, source.SetOfflineMode(t.Context(), false))

	// root is beyond the agent's reach, and first in the list.
	administrator := open(t, p.source.Root())
	go func() { answers <- administrator.Exec(t.Context(), "INSERT INTO d.t VALUES (20)") }()
	mysqltest.Eventually(t, "waiter", func() bool { return committing() == "1" })
	insert(21)
	mysqltest.Eventually(t, "second waiter", func() bool { return committing() == "2" })
	for _, test := range []struct {
		db       *mysqlx.DB
		complete bool
	}{{source, false}, {open(t, p.source.Root()), true}} {
		var err error
		mysqltest.Eventually(t, "a session that is ended", func() bool { // it may be on its way to where it waits
			var n int
			n, err = test.db.KillSemiSyncWaiters(t.Context())
			return n > 0
		})
		if (err == nil) != test.complete {
			t.Errorf("KillSemiSyncWaiters() = %v, want all that may be ended", err)
		}
		if err := answer(); !mysqlx.IsUnreachable(err) {
			t.Errorf("INSERT of a killed session = %v, want a lost connection", err)
		}
	}
	p.source.Kill9(t)
	p.source.Restart(t)
	if rows(t, p.source) != "7" {
		t.Errorf("%s rows after a crash, want 7: what waited was in the binary log", rows(t, p.source))
	}

	must(t, source.SetSemiSyncSource(t.Context(), true))
	insert(30)
	mysqltest.Eventually(t, "waiter", func() bool { return get(source).WaitingSessions == 1 })
	p.replica.Restart(t)
	must(t, p.agent.SetSemiSyncReplica(t.Context(), true))
	must(t, p.agent.StartReplica(t.Context()))
	if err := answer(); err != nil {
		t.Errorf("INSERT that a replica acknowledges later = %v", err)
	}

	p.replica.Kill9(t)
	mysqltest.Eventually(t, "no replica", func() bool { return get(source).Clients == 0 })
	insert(40)
	mysqltest.Eventually(t, "waiter", func() bool { return get(source).WaitingSessions == 1 })
	if n, err := source.KillSemiSyncWaiters(t.Context()); n != 1 || err != nil { // a shutdown alone tells the client that all is well
		t.Errorf("KillSemiSyncWaiters() = %d, %v, want 1", n, err)
	}
	must(t, source.Shutdown(t.Context()))
	if err := answer(); !mysqlx.IsUnreachable(err) {
		t.Errorf("INSERT when the server shuts down = %v, want a lost connection", err)
	}
	<-p.source.Done()
	p.source.Restart(t)
	if rows(t, p.source) != "9" {
		t.Errorf("%s rows after a shutdown, want 9", rows(t, p.source))
	}
}

func TestNoSemiSync(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	if got, err := s.DB().SemiSync(t.Context()); err != nil || got != (mysqlx.SemiSync{}) {
		t.Errorf("SemiSync() without the plugins = %+v, %v", got, err)
	}
	for name, set := range map[string]func(on bool) error{
		"SetSemiSyncSource":  func(on bool) error { return s.DB().SetSemiSyncSource(t.Context(), on) },
		"SetSemiSyncReplica": func(on bool) error { return s.DB().SetSemiSyncReplica(t.Context(), on) },
	} {
		if err := set(true); !errors.Is(err, mysqlx.ErrNoSemiSync) || !strings.Contains(err.Error(), "plugin_load_add") {
			t.Errorf("%s(true) without the plugins = %v, want ErrNoSemiSync", name, err)
		}
		if err := set(false); err != nil {
			t.Errorf("%s(false) without the plugins = %v", name, err)
		}
	}
}
