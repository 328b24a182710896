package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// A backupResult is what agent backup prints.
type backupResult struct {
	ID          string `json:"id"`
	Donor       string `json:"donor"`
	Role        string `json:"role"`
	GTIDAtLeast string `json:"gtid_at_least"`
	Bytes       uint64 `json:"bytes"`
}

// backUp runs agent backup, as a job beside the set would.
func backUp(ctx context.Context, t *testing.T, s *localset.Set, store string, more ...string) backupResult {
	t.Helper()
	out := job(ctx, t, s, append([]string{"backup", "--store", store}, more...)...)
	var r backupResult
	must(t, json.Unmarshal(out, &r))
	return r
}

// job runs a command that is no pod of the set, and returns what it prints.
func job(ctx context.Context, t *testing.T, s *localset.Set, args ...string) []byte {
	t.Helper()
	out, stderr, err := tryJob(ctx, t, s, args...)
	if err != nil {
		t.Fatalf("agent %v: %v\n%s", args, err, stderr)
	}
	return out
}

func tryJob(ctx context.Context, t *testing.T, s *localset.Set, args ...string) (stdout []byte, stderr string, err error) {
	t.Helper()
	args = append(args, "--secret-file", s.SecretFile())
	if args[0] == "backup" {
		args = append(args, "--set", "mysql", "--peer-host", s.Hosts(), "--replicas", strconv.Itoa(s.Replicas()), "--data-port", strconv.Itoa(localset.DataPort))
	}
	cmd := exec.CommandContext(ctx, localset.BuildAgent(t), args...)
	var said, out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.Bytes(), said.String(), err
}

// waitArchived waits until the source says that everything in a set is archived.
func waitArchived(ctx context.Context, t *testing.T, s *localset.Set, want mysqlx.GTIDSet) {
	t.Helper()
	waitStatus(ctx, t, s, 0, "everything to be archived", func(st localset.Status) bool {
		if st.Archive == nil {
			return false
		}
		archived, err := mysqlx.ParseGTIDSet(st.Archive.Archived)
		return err == nil && archived.Contains(want)
	})
}

// loseEverything ends all pods at once, as a power cut does, and removes their volumes.
func loseEverything(ctx context.Context, t *testing.T, s *localset.Set) {
	t.Helper()
	replicas := s.Replicas()
	for ordinal := range replicas {
		for _, process := range []localset.Process{localset.Mysqld, localset.Agent} {
			s.Kill9(ordinal, process)
		}
	}
	must(t, s.Scale(ctx, 0))
	for ordinal := range replicas {
		must(t, os.RemoveAll(s.Pod(ordinal).Volume))
	}
}

// TestRestoreAtBirth: the whole set is lost, every volume with it. It comes back from its store by itself, with everything that was archived, and
// without what somebody then asks to be left out.
func TestRestoreAtBirth(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	store := "file://" + t.TempDir()
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(int) []string {
		return []string{"--store", store, "--restore-from", store}
	}})
	must(t, s.WaitReady(ctx)) // born with a store that is nobody's: empty
	_, stop := startLoad(ctx, t, s, load.Options{DDL: true, Connections: 2, Pause: 20 * time.Millisecond})
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY, note VARCHAR(20))"))
	b := backUp(ctx, t, s, store)
	if b.Donor != "mysql-1" || b.Role != "replica" || b.Bytes == 0 {
		t.Errorf("backed up: %+v", b)
	}
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1, 'after the backup')"))
	stop()
	mustBeEqual(ctx, t, s)
	before, cluster := executed(ctx, t, s, 0), lineage(ctx, t, s, 0)
	waitArchived(ctx, t, s, before)
	loseEverything(ctx, t, s)
	must(t, s.Scale(ctx, 2))

	must(t, s.WaitReady(ctx))
	if after := executed(ctx, t, s, 0); !after.Contains(before) {
		t.Errorf("the restored set lacks %v", before.Subtract(after))
	}
	if got := lineage(ctx, t, s, 0); got != cluster {
		t.Errorf("the restored set belongs to cluster %s, want %s", got, cluster)
	}
	if got := one(ctx, t, s, 0, "SELECT note FROM shop.t"); got != "after the backup" {
		t.Errorf("the row after the backup is %q", got)
	}
	mustBeEqual(ctx, t, s)
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (2, 'after the restore')"))
	mustBeEqual(ctx, t, s)
	mustRejectWrites(ctx, t, s, 1)
	for n := range 2 {
		db, err := s.DB(n)
		must(t, err)
		must(t, load.CheckTables(ctx, db))
	}

	t.Log("and once more, from a backup and an archive that span both lives")
	before = executed(ctx, t, s, 0)
	waitArchived(ctx, t, s, before)
	loseEverything(ctx, t, s)
	must(t, s.Scale(ctx, 2))
	must(t, s.WaitReady(ctx))
	if after := executed(ctx, t, s, 0); !after.Contains(before) {
		t.Errorf("the set that was restored twice lacks %v", before.Subtract(after))
	}
	if got := one(ctx, t, s, 0, "SELECT COUNT(*) FROM shop.t"); got != "2" {
		t.Errorf("%s rows, want 2", got)
	}
	mustBeEqual(ctx, t, s)
}

// TestRestoreBeforeADrop: somebody drops a table. The transaction is found in the archive, and the set is restored to just before it: onto the volume of
// its first pod, while the set is scaled down. A replica that kept its volume has what is to be undone: the source takes no writes as long as it is there.
func TestRestoreBeforeADrop(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	store := "file://" + t.TempDir()
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(int) []string { return []string{"--store", store} }})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.orders (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.log (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))
	backUp(ctx, t, s, store)
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.orders VALUES (1), (2), (3)"))
	must(t, s.Exec(ctx, 0, "CREATE USER shopper IDENTIFIED BY 'shops'"))
	must(t, s.Exec(ctx, 0, "DROP TABLE shop.orders"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.log VALUES (1)"))
	must(t, s.WaitConverged(ctx))
	waitArchived(ctx, t, s, executed(ctx, t, s, 0))

	found := job(ctx, t, s, "binlog", "find", "--store", store, "--table", "shop.orders", "--type", "drop", "--json")
	var drop struct {
		GTID string `json:"gtid"`
	}
	if err := json.Unmarshal(found, &drop); err != nil || drop.GTID == "" {
		t.Fatalf("found %s: %v", found, err)
	}
	// Into a directory, with a server of the command's own, which has to know accounts: the archive has statements about them.
	into := filepath.Join(t.TempDir(), "data")
	aside := []string{"restore", "--store", store, "--into", into, "--to-end", "--mysqld", mysqltest.Get(t).Script(t)}
	job(ctx, t, s, aside...)
	if _, stderr, err := tryJob(ctx, t, s, aside...); err == nil || !strings.Contains(stderr, "is not empty") {
		t.Errorf("restored once more into a directory with data: %v, %s", err, stderr)
	}

	must(t, s.Scale(ctx, 0))
	restore := []string{"restore", "--store", store, "--volume", s.Pod(0).Volume, "--before-gtid", drop.GTID}
	job(ctx, t, s, append(restore, "--plan")...)
	if entries, err := os.ReadDir(filepath.Join(s.Pod(0).Volume, "gen")); err != nil || len(entries) != 1 {
		t.Fatalf("a plan has changed the volume: %v, %v", entries, err)
	}
	job(ctx, t, s, restore...)
	must(t, s.Scale(ctx, 2))
	waitStatus(ctx, t, s, 0, "the source to see what its replica has", func(st localset.Status) bool {
		return st.State == "gate_closed" && has(st, "restored_behind_sibling") && !st.Ready
	})
	mustRejectWrites(ctx, t, s, 0)

	must(t, s.DeleteVolume(ctx, 1))
	must(t, s.WaitReady(ctx))
	if got := one(ctx, t, s, 0, "SELECT COUNT(*) FROM shop.orders"); got != "3" {
		t.Errorf("%s rows in the table that was dropped, want 3", got)
	}
	if got := one(ctx, t, s, 0, "SELECT COUNT(*) FROM shop.log"); got != "0" {
		t.Errorf("%s rows from after the drop", got)
	}
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.orders VALUES (4)"))
	mustBeEqual(ctx, t, s)

	t.Log("every volume is gone, and nobody said what to restore: with a backup known, nothing is started empty")
	loseEverything(ctx, t, s)
	must(t, s.Scale(ctx, 2))
	waitFor(ctx, t, "the source to refuse to start empty", func() bool { return slices.Contains(s.ExitCodes(0, localset.Init), 80) })
	if log := s.LogTail(0, localset.Init, 40); !strings.Contains(log, "backup_known") {
		t.Errorf("agent init does not say why: %s", log)
	}
	if _, err := os.Stat(filepath.Join(s.Pod(0).Volume, "gen")); err == nil {
		t.Error("something was begun on the empty volume")
	}
}
