package mysqlx_test

import (
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// One pair of servers goes through the life of a channel; each step depends on the one before.
func TestReplica(t *testing.T) {
	// The agent must not depend on the server's own sql_mode: this one makes a backslash an ordinary character.
	config := map[string]string{"sql_mode": "NO_BACKSLASH_ESCAPES,ANSI_QUOTES", "replica_net_timeout": "6"}
	source := mysqltest.Start(t, mysqltest.Options{Config: config})
	replica := mysqltest.Start(t, mysqltest.Options{Config: config})
	if err := source.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	// A clone would bring the agent's account along; here both servers begin with the same template, and replication brings it later.
	root := replica.DB()
	src := mysqlx.Source{Host: source.Host, Port: source.Port, User: mysqlx.ReplicationAccount(clusterID), Password: replPassword}
	if err := root.ConfigureSource(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if err := root.SetSuperReadOnly(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	status := func(db *mysqlx.DB) mysqlx.ReplicaStatus {
		t.Helper()
		all, err := db.ReplicaStatus(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("ReplicaStatus() = %v, %v, want one channel", all, err)
		}
		return all[0]
	}
	got := status(root)
	if got.SourceHost != src.Host || got.SourcePort != src.Port || got.SourceUser != src.User || !got.AutoPosition || !got.SSL ||
		got.HeartbeatPeriod != mysqlx.HeartbeatPeriod || got.RetryCount != mysqlx.RetryCount ||
		got.ReceiverState != "OFF" || got.ApplierState != "OFF" || got.Lag != nil || !got.LastHeartbeat.IsZero() {
		t.Errorf("ReplicaStatus() of a channel that was never started = %+v", got)
	}
	if err := root.StartReplica(t.Context()); err != nil {
		t.Fatal(err)
	}
	caughtUp := func(db *mysqlx.DB) bool {
		want, err := source.DB().Facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, facts := status(db), mysqlx.Facts{}
		if facts, err = db.Facts(t.Context()); err != nil {
			t.Fatal(err)
		}
		return facts.GTIDExecuted.Contains(want.GTIDExecuted) && s.Lag != nil && *s.Lag == 0
	}
	mysqltest.Eventually(t, "replica has caught up", func() bool { return caughtUp(root) })
	agent := open(t, agentAt(replica.Socket)) // the accounts came by replication

	t.Run("running", func(t *testing.T) {
		var s mysqlx.ReplicaStatus
		mysqltest.Eventually(t, "heartbeat", func() bool { s = status(agent); return !s.LastHeartbeat.IsZero() })
		if s.ReceiverState != "ON" || s.ApplierState != "ON" || s.ReceiverError.Number != 0 || s.ApplierError.Number != 0 ||
			s.SourceUUID != source.QueryString(t, "SELECT @@server_uuid") || s.RetrievedGTIDs.IsEmpty() || time.Since(s.LastHeartbeat).Abs() > 30*time.Second {
			t.Errorf("ReplicaStatus() = %+v", s)
		}
	})

	source.Exec(t, "CREATE DATABASE d")
	source.Exec(t, "CREATE TABLE d.t (i INT PRIMARY KEY)")
	mysqltest.Eventually(t, "table on the replica", func() bool { return caughtUp(agent) })

	t.Run("lag", func(t *testing.T) {
		// Another session holds the table: the applier waits with the transaction in its hands.
		locker := open(t, replica.Root())
		if err := locker.Exec(t.Context(), "FLUSH TABLES d.t WITH READ LOCK"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		source.Exec(t, "INSERT INTO d.t VALUES (1)")
		mysqltest.Eventually(t, "lag of a second", func() bool {
			s := status(agent)
			if s.Lag != nil && *s.Lag > time.Since(begin)+time.Second {
				t.Fatalf("lag = %v only %v after the commit", *s.Lag, time.Since(begin))
			}
			return s.Lag != nil && *s.Lag > time.Second
		})
		_ = locker.Close() // ends the session and its lock
		mysqltest.Eventually(t, "no lag", func() bool { return caughtUp(agent) })
	})

	t.Run("applier off", func(t *testing.T) {
		replica.Exec(t, "STOP REPLICA SQL_THREAD")
		source.Exec(t, "INSERT INTO d.t VALUES (2)")
		mysqltest.Eventually(t, "unknown lag", func() bool {
			s := status(agent)
			return s.ApplierState == "OFF" && s.ReceiverState == "ON" && s.Lag == nil
		})
		if err := agent.StartReplica(t.Context()); err != nil {
			t.Fatal(err)
		}
		mysqltest.Eventually(t, "no lag", func() bool { return caughtUp(agent) })
	})

	t.Run("applier error", func(t *testing.T) {
		replica.Exec(t, "SET GLOBAL super_read_only = OFF")
		replica.Exec(t, "INSERT INTO d.t VALUES (3)")
		source.Exec(t, "INSERT INTO d.t VALUES (3)")
		var s mysqlx.ReplicaStatus
		mysqltest.Eventually(t, "applier error", func() bool { s = status(agent); return s.ApplierError.Number != 0 && s.ApplierState == "OFF" })
		if s.ApplierError.Number != 1062 || !strings.Contains(s.ApplierError.Message, "Duplicate") || s.ApplierError.Time.IsZero() || s.Lag != nil {
			t.Errorf("ReplicaStatus() = %+v, want the worker's error 1062", s)
		}
		replica.Exec(t, "DELETE FROM d.t WHERE i = 3")
		if err := agent.StartReplica(t.Context()); err != nil {
			t.Fatal(err)
		}
		mysqltest.Eventually(t, "no lag", func() bool { return caughtUp(agent) })
	})

	t.Run("source gone", func(t *testing.T) {
		source.Stop(t)
		var s mysqlx.ReplicaStatus
		mysqltest.Eventually(t, "receiver error", func() bool {
			s = status(agent)
			return s.ReceiverState == "CONNECTING" && s.ReceiverError.Number != 0
		})
		if s.Lag != nil || s.ReceiverError.Message == "" || s.ReceiverError.Time.IsZero() {
			t.Errorf("ReplicaStatus() = %+v, want an unknown lag and the receiver's error", s)
		}
		source.Restart(t)
		mysqltest.Eventually(t, "receiver is back", func() bool { return caughtUp(agent) })
	})

	t.Run("configure as agent", func(t *testing.T) {
		if err := agent.ConfigureSource(t.Context(), src); err == nil {
			t.Error("ConfigureSource() of a running channel = nil")
		} else if strings.Contains(err.Error(), replPassword) {
			t.Errorf("ConfigureSource() = %v shows the password", err)
		}
		for _, step := range []func() error{
			func() error { return agent.StopReplica(t.Context()) },
			func() error { return agent.ResetReplicaAll(t.Context()) },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if all, err := agent.ReplicaStatus(t.Context()); len(all) != 0 || err != nil {
			t.Errorf("ReplicaStatus() after ResetReplicaAll = %v, %v", all, err)
		}
		if err := agent.ConfigureSource(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		if err := agent.StartReplica(t.Context()); err != nil {
			t.Fatal(err)
		}
		mysqltest.Eventually(t, "no lag", func() bool { return caughtUp(agent) })
	})
}

func TestConfigureSourceRefuses(t *testing.T) {
	db := open(t, agentAt("/nonexistent.sock"))
	good := mysqlx.Source{Host: "h", Port: 3306, User: "u", Password: "secret-word"}
	for name, change := range map[string]func(*mysqlx.Source){
		"no host":       func(s *mysqlx.Source) { s.Host = "" },
		"long host":     func(s *mysqlx.Source) { s.Host = strings.Repeat("h", 256) },
		"port 0":        func(s *mysqlx.Source) { s.Port = 0 },
		"no user":       func(s *mysqlx.Source) { s.User = "" },
		"long password": func(s *mysqlx.Source) { s.Password = strings.Repeat("secret-word", 3) },
		"line feed":     func(s *mysqlx.Source) { s.Password += "\n" },
	} {
		src := good
		change(&src)
		err := db.ConfigureSource(t.Context(), src)
		if err == nil || mysqlx.IsUnreachable(err) || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: ConfigureSource() = %v, want an error about it", name, err)
		}
	}
}
