package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// TestNotCloned: a replica's volume holds a database that was initialised there instead of cloned, as it happens when mysqld starts on an
// empty volume before the agent. Once adopted, the replica is cloned anew; what was written there is exported and kept, and reaches nobody.
func TestNotCloned(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(int) []string { return []string{"--adopt"} }})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)"))
	must(t, s.WaitConverged(ctx))
	cluster := lineage(ctx, t, s, 0)

	var own mysqlx.GTIDSet
	must(t, s.Change(ctx, 1, func(volume string) (err error) {
		if err := os.RemoveAll(volume); err != nil {
			return err
		}
		own, err = initialised(t, s, volume)
		return err
	}))
	waitStatus(ctx, t, s, 1, "the replica to be recognised", func(st localset.Status) bool { return has(st, "not_cloned") })
	name := waitQuarantined(ctx, t, s, 1, "not_cloned")
	mustBeEqual(ctx, t, s)
	mustRejectWrites(ctx, t, s, 1)

	if own.Count() < 3 {
		t.Fatalf("the replica had %v of its own", own)
	}
	if x := exported(t, s, 1, name); !x.Exported.Contains(own) || !x.Missing.IsEmpty() {
		t.Errorf("exported %v, missing %v, want %v", x.Exported, x.Missing, own)
	}
	if _, err := os.Stat(filepath.Join(s.Pod(1).Volume, "quarantine", name, "data", "alone", "t.ibd")); err != nil {
		t.Errorf("the data is not kept: %v", err)
	}
	for n := range 2 {
		if has := executed(ctx, t, s, n); !has.Subtract(own).Equal(has) {
			t.Errorf("pod %d has executed transactions of the other database: %v of %v", n, has, own)
		}
		if got := lineage(ctx, t, s, n); got != cluster {
			t.Errorf("pod %d belongs to cluster %s, want %s", n, got, cluster)
		}
	}
}

// initialised does in dir what the image does on an empty volume, adds a few transactions and returns them all.
func initialised(t *testing.T, s *localset.Set, dir string) (mysqlx.GTIDSet, error) {
	server := mysqltest.Start(t, mysqltest.Options{})
	password, err := os.ReadFile(s.RootPasswordFile())
	if err != nil {
		return mysqlx.GTIDSet{}, err
	}
	server.Exec(t, "CREATE DATABASE alone")
	server.Exec(t, "CREATE TABLE alone.t (id INT PRIMARY KEY)")
	server.Exec(t, "INSERT INTO alone.t VALUES (1)")
	for _, account := range []string{"CREATE USER root@'%'", "ALTER USER root@localhost"} {
		server.Exec(t, account+" IDENTIFIED BY '"+strings.TrimSpace(string(password))+"'")
		server.Exec(t, "GRANT ALL ON *.* TO "+account[strings.LastIndex(account, " ")+1:]+" WITH GRANT OPTION")
	}
	own, err := mysqlx.ParseGTIDSet(server.QueryString(t, "SELECT @@GLOBAL.gtid_executed"))
	if err == nil {
		server.Stop(t)
		err = mysqltest.CopyDataDir(dir, server.DataDir)
	}
	return own, err
}

// TestDataDrifted: a row is gone on the replica without a trace in its binlog. The source's next change to it stops the applier; it is tried
// again, never skipped, and then the replica is cloned anew.
func TestDataDrifted(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY, n INT)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1, 0), (2, 0)"))
	must(t, s.WaitConverged(ctx))
	cluster := lineage(ctx, t, s, 0)

	unseen := []byte("SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF; SET sql_log_bin = 0; DELETE FROM shop.t WHERE id = 1")
	waitFor(ctx, t, "the row to be gone", func() bool { return script(t, s, 1, unseen) == nil }) // the agent may have closed it in between
	must(t, s.Exec(ctx, 0, "UPDATE shop.t SET n = 1 WHERE id = 1"))
	st := waitStatus(ctx, t, s, 1, "the drift to be noticed", func(st localset.Status) bool { return has(st, "data_drifted") })
	if !strings.Contains(st.Explain(), "3 times") || !strings.Contains(st.Explain(), "1032") {
		t.Errorf("the status does not say what the applier met: %s", st.Explain())
	}
	name := waitQuarantined(ctx, t, s, 1, "data_drifted")
	mustBeEqual(ctx, t, s)
	mustRejectWrites(ctx, t, s, 1)
	if got := one(ctx, t, s, 1, "SELECT n FROM shop.t WHERE id = 1"); got != "1" {
		t.Errorf("the replica's row has %s", got)
	}
	if got := lineage(ctx, t, s, 1); got != cluster {
		t.Errorf("the replica belongs to cluster %s, want %s", got, cluster)
	}
	if left, err := filepath.Glob(filepath.Join(s.Pod(1).Volume, "quarantine", name, "errant-*")); err != nil || len(left) > 0 {
		t.Errorf("something was exported although nothing was errant: %v, %v", left, err)
	}
}

// TestErrantDuringRebuild: while the new copy of a replica that has diverged is being made, somebody writes on the old data again. It does not
// go out of service before that is exported too.
func TestErrantDuringRebuild(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(int) []string {
		return []string{"--max-rate=25MiB", "--compress=off"} // so that a copy has a middle
	}})
	must(t, s.WaitReady(ctx))
	must(t, load.Fill(ctx, s.RootEndpoint(0), 8<<20, nil))
	must(t, s.WaitConverged(ctx))
	before := executed(ctx, t, s, 1)
	writeOnReplica(ctx, t, s, 1, "CREATE TABLE shop.early (id INT PRIMARY KEY)")
	waitStatus(ctx, t, s, 1, "half a copy", func(st localset.Status) bool {
		return has(st, "rebuilding") && st.Clone != nil && st.Clone.BytesDone > 1<<20
	})
	writeOnReplica(ctx, t, s, 1, "CREATE TABLE shop.late (id INT PRIMARY KEY)")
	errant := executed(ctx, t, s, 1).Subtract(before)
	if errant.Count() != 2 {
		t.Fatalf("%v is errant: the copy was faster than the write", errant)
	}
	name := waitQuarantined(ctx, t, s, 1, "errant_transactions")
	mustBeEqual(ctx, t, s)
	var all mysqlx.GTIDSet
	for _, x := range allExported(t, s, 1, name) {
		all = all.Union(x.Exported)
		replay(ctx, t, s, 0, x.binlog)
	}
	if !all.Equal(errant) {
		t.Errorf("exported %v, want %v", all, errant)
	}
	mustBeEqual(ctx, t, s)
	if got := one(ctx, t, s, 1, "SELECT GROUP_CONCAT(table_name ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'shop'"); got != "early,late,orders" {
		t.Errorf("replayed on the source, the replica has %s", got)
	}
}
