package mysqlx_test

import (
	"maps"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// A pair is a source with the accounts and a replica of it, both started from one template.
type pair struct {
	source, replica *mysqltest.Server
	agent           *mysqlx.DB // the replica's, as the agent's account
}

func startPair(t *testing.T, config map[string]string) pair {
	t.Helper()
	with := func(extra map[string]string) mysqltest.Options {
		all := map[string]string{"skip_replica_start": "ON", "replica_net_timeout": "6"}
		maps.Copy(all, config)
		maps.Copy(all, extra)
		return mysqltest.Options{Config: all}
	}
	p := pair{source: mysqltest.Start(t, with(nil)), replica: mysqltest.Start(t, with(map[string]string{"super_read_only": "ON"}))}
	if err := p.source.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	p.source.Exec(t, "CREATE DATABASE d")
	p.source.Exec(t, "CREATE TABLE d.t (i INT PRIMARY KEY)")
	follow(t, p.replica.DB(), p.source, replPassword)
	waitFor(t, p.replica, p.source)
	p.agent = open(t, agentAt(p.replica.Socket))
	return p
}

// follow makes a server replicate from source.
func follow(t *testing.T, db *mysqlx.DB, source *mysqltest.Server, password string) {
	t.Helper()
	src := mysqlx.Source{Host: source.Host, Port: source.Port, User: mysqlx.ReplicationAccount(clusterID), Password: password}
	if err := db.ConfigureSource(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	must(t, db.StartReplica(t.Context()))
}

// waitFor waits until a server has executed all that another one has now.
func waitFor(t *testing.T, server, other *mysqltest.Server) {
	t.Helper()
	want := other.QueryString(t, "SELECT @@GLOBAL.gtid_executed")
	mysqltest.Eventually(t, "all transactions of the other server", func() bool {
		return server.QueryString(t, "SELECT GTID_SUBSET(?, @@GLOBAL.gtid_executed)", want) == "1"
	})
}

// status returns the state of the only channel.
func status(t *testing.T, db *mysqlx.DB) mysqlx.ReplicaStatus {
	t.Helper()
	all, err := db.ReplicaStatus(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("ReplicaStatus() = %v, %v, want one channel", all, err)
	}
	return all[0]
}

func rows(t *testing.T, s *mysqltest.Server) string {
	t.Helper()
	return s.QueryString(t, "SELECT COUNT(*) FROM d.t")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
