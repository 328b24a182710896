package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// rollback returns two changes of a volume: one that copies it, and one that puts the copy in its place.
func rollback(t *testing.T) (save, back func(volume string) error) {
	t.Helper()
	old := filepath.Join(t.TempDir(), "old")
	save = func(volume string) error { return exec.Command("cp", "-a", volume, old).Run() }
	back = func(volume string) error {
		return errors.Join(os.RemoveAll(volume), exec.Command("cp", "-a", old, volume).Run())
	}
	return save, back
}

// silent reports a source that waits for a sibling.
func silent(st localset.Status) bool {
	return st.State == "gate_closed" && has(st, "sibling_silent") && strings.Contains(st.Explain(), "mysql-1")
}

// TestSilentSibling: a source restarts while its replica hangs. After --gate-patience it takes writes, under a new server_uuid: whatever the
// replica has under the old one, no number is used twice.
func TestSilentSibling(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(int) []string { return []string{"--gate-patience=2s"} }})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY, note VARCHAR(20))"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1, 'first')"))
	must(t, s.WaitConverged(ctx))
	const uuid = "SELECT @@server_uuid"
	cluster, first := lineage(ctx, t, s, 0), one(ctx, t, s, 0, uuid)

	done := t.Run("that has no more than the source", func(t *testing.T) {
		before := executed(ctx, t, s, 0)
		thaw := freeze(t, s, 1, localset.Agent, localset.Mysqld)
		defer thaw()
		must(t, s.Delete(ctx, 0))
		waitStatus(ctx, t, s, 0, "the source to wait for its sibling", silent)
		must(t, s.WaitReady(ctx, 0))
		second := one(ctx, t, s, 0, uuid)
		if second == first {
			t.Fatalf("the source took writes as %s again", first)
		}
		must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (2, 'second')"))
		if came := executed(ctx, t, s, 0).Subtract(before); came.String() != second+":1" {
			t.Errorf("new transactions are %v, want %s:1", came, second)
		}
		thaw()
		mustBeEqual(ctx, t, s)
		mustHaveKeptItsData(t, s, 1)
		first = second
	})

	// What the guard is for: the volume was rolled back, and the replica has what it lost.
	_ = done && t.Run("that has more than the source", func(t *testing.T) {
		save, back := rollback(t)
		must(t, s.Change(ctx, 0, save))
		must(t, s.WaitReady(ctx))
		before, rolled := executed(ctx, t, s, 0), one(ctx, t, s, 0, uuid)
		must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (3, 'lost'), (4, 'lost')"))
		must(t, s.WaitConverged(ctx))
		lost := executed(ctx, t, s, 1).Subtract(before)

		thaw := freeze(t, s, 1, localset.Agent, localset.Mysqld)
		defer thaw()
		must(t, s.Change(ctx, 0, back))
		must(t, s.WaitReady(ctx, 0))
		must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (3, 'third')"))
		after := executed(ctx, t, s, 0)
		if reused := after.Subtract(after.Subtract(lost)); !reused.IsEmpty() {
			t.Fatalf("%v stands for two different transactions", reused)
		}
		if got := one(ctx, t, s, 0, uuid); got == rolled {
			t.Errorf("the source took writes as %s again", rolled)
		}
		thaw()
		if x := exported(t, s, 1, waitQuarantined(ctx, t, s, 1, "errant_transactions")); !x.Exported.Equal(lost) || !x.Missing.IsEmpty() {
			t.Errorf("exported %v, missing %v, want %v", x.Exported, x.Missing, lost)
		}
		mustBeEqual(ctx, t, s)
		if got := one(ctx, t, s, 1, "SELECT note FROM shop.t WHERE id = 3"); got != "third" {
			t.Errorf("the replica has the row %q", got)
		}
	})
	if got := lineage(ctx, t, s, 0); got != cluster {
		t.Errorf("the source belongs to cluster %s, want %s", got, cluster)
	}
}

// TestSemisyncWaitsForSibling: with --durability=semisync what was acknowledged may be with the replica only. A restarted source waits for it
// without a limit, and then has everything.
func TestSemisyncWaitsForSibling(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: semisync})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	save, back := rollback(t)
	must(t, s.Change(ctx, 0, save))
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)"))
	must(t, s.WaitConverged(ctx))
	before, uuid := executed(ctx, t, s, 1), one(ctx, t, s, 0, "SELECT @@server_uuid")

	thaw := freeze(t, s, 1, localset.Agent, localset.Mysqld)
	defer thaw()
	must(t, s.Change(ctx, 0, back))
	closed := waitStatus(ctx, t, s, 0, "the source to wait for its sibling", silent).ObservedAt
	// Longer than a source without that promise would wait.
	waitStatus(ctx, t, s, 0, "the source to go on waiting", func(st localset.Status) bool {
		if !silent(st) {
			t.Fatalf("the source does not wait for its sibling: %s", st.Explain())
		}
		return st.ObservedAt.Sub(closed) > 15*time.Second
	})
	mustRejectWrites(ctx, t, s, 0)
	thaw()
	mustBeEqual(ctx, t, s)
	if after := executed(ctx, t, s, 0); !after.Contains(before) {
		t.Errorf("the source lacks %v", before.Subtract(after))
	}
	if got := one(ctx, t, s, 0, "SELECT @@server_uuid"); got != uuid {
		t.Errorf("server_uuid is %s, was %s: nothing was uncertain", got, uuid)
	}
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (2)"))
	mustBeEqual(ctx, t, s)
}

// TestSourceRolledBackAndPurged: the first pod comes back with an older copy of its volume, and its sibling does not have the binlogs any more
// that it lacks. It takes no writes; it is cloned from the sibling beside its data, which is kept, and opens with everything.
func TestSourceRolledBackAndPurged(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))
	cluster := lineage(ctx, t, s, 0)
	save, back := rollback(t)
	must(t, s.Change(ctx, 0, save))
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1), (2)"))
	must(t, s.WaitConverged(ctx))
	must(t, s.Exec(ctx, 1, "FLUSH BINARY LOGS"))
	must(t, s.Exec(ctx, 1, "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"))
	before := executed(ctx, t, s, 1)

	must(t, s.Change(ctx, 0, back))
	waitStatus(ctx, t, s, 0, "the source to see what it lacks", func(st localset.Status) bool {
		return st.State == "gate_closed" && has(st, "sibling_ahead") && has(st, "binlogs_purged") && !st.Ready
	})
	name := waitQuarantined(ctx, t, s, 0, "binlogs_purged")
	mustBeEqual(ctx, t, s)
	if after := executed(ctx, t, s, 0); !after.Contains(before) {
		t.Errorf("the source lacks %v", before.Subtract(after))
	}
	if got := lineage(ctx, t, s, 0); got != cluster {
		t.Errorf("the source belongs to cluster %s, want %s", got, cluster)
	}
	if _, err := os.Stat(filepath.Join(s.Pod(0).Volume, "quarantine", name, "data", "shop", "t.ibd")); err != nil {
		t.Errorf("the old data is not kept: %v", err)
	}
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (3)"))
	mustBeEqual(ctx, t, s)
	mustRejectWrites(ctx, t, s, 1)
}

// TestSkipsItsOwn: what somebody wrote on a replica is brought to the source by replication, and then the replica's volume is rolled back to before.
// Its server skips what carries its own server_id, in silence: it would say that it follows its source and lack those rows for ever. It is
// cloned anew.
func TestSkipsItsOwn(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))
	save, back := rollback(t)
	must(t, s.Change(ctx, 1, save))
	must(t, s.WaitReady(ctx))

	thaw0, thaw1 := freeze(t, s, 0, localset.Agent), freeze(t, s, 1, localset.Agent)
	defer thaw0()
	defer thaw1()
	writeOnReplica(ctx, t, s, 1, "INSERT INTO shop.t VALUES (1)")
	password, err := os.ReadFile(s.RootPasswordFile())
	must(t, err)
	must(t, s.Exec(ctx, 0, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '%s', SOURCE_PORT = %d, SOURCE_USER = 'root', SOURCE_PASSWORD = '%s', SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1",
		s.Pod(1).Host, localset.MySQLPort, strings.TrimSpace(string(password)))))
	must(t, s.Exec(ctx, 0, "START REPLICA"))
	waitFor(ctx, t, "the source to have what was written on the replica", func() bool { return executed(ctx, t, s, 0).Contains(executed(ctx, t, s, 1)) })
	must(t, s.Exec(ctx, 0, "STOP REPLICA"))
	must(t, s.Exec(ctx, 0, "RESET REPLICA ALL"))
	thaw0()
	thaw1()

	must(t, s.Change(ctx, 1, back))
	waitQuarantined(ctx, t, s, 1, "data_drifted")
	mustBeEqual(ctx, t, s)
	if got := one(ctx, t, s, 1, "SELECT COUNT(*) FROM shop.t"); got != "1" {
		t.Errorf("%s rows on the replica, want 1", got)
	}
}
