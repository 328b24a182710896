package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
)

// TestMarkerRow is the experiment of the Kubernetes workshops: a row is written, pods are deleted, and the row is looked for. It has to be there
// whatever was lost, as long as one copy lives: with a kept volume, with a replica's volume gone, and with the first pod's.
func TestMarkerRow(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.marker (id INT PRIMARY KEY, word VARCHAR(20))"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.marker VALUES (1, 'still here')"))
	must(t, s.WaitConverged(ctx))
	first, err := s.Status(ctx, 0)
	must(t, err)
	l, stop := startLoad(ctx, t, s, load.Options{Pause: 10 * time.Millisecond})

	look := func(what string) {
		t.Helper()
		must(t, s.WaitReady(ctx))
		for n := range s.Replicas() {
			rows, err := s.Query(ctx, n, "SELECT word FROM shop.marker WHERE id = 1")
			if err != nil || len(rows) != 1 || rows[0][0] != "still here" {
				t.Fatalf("%s: pod %d has %v, %v", what, n, rows, err)
			}
			st, err := s.Status(ctx, n)
			must(t, err)
			if st.ClusterID != first.ClusterID {
				t.Errorf("%s: pod %d belongs to cluster %s, the set to %s", what, n, st.ClusterID, first.ClusterID)
			}
		}
	}
	for n := range s.Replicas() {
		must(t, s.Delete(ctx, n))
		look("deleted, volume kept")
	}
	must(t, s.DeleteVolume(ctx, 2))
	look("a replica's volume is gone")
	stop() // what is acknowledged and not replicated yet goes with the source's volume: that is what async means
	must(t, s.WaitConverged(ctx))
	must(t, s.DeleteVolume(ctx, 0))
	look("the first pod's volume is gone")
	db, err := s.DB(0)
	must(t, err)
	must(t, l.CheckNothingLost(ctx, db))
	_, stop = startLoad(ctx, t, s, load.Options{Pause: 10 * time.Millisecond}) // it takes writes, and its replicas follow
	stop()
	mustBeEqual(ctx, t, s)
	mustRejectWrites(ctx, t, s, 1)
}

// TestSiblingsDiverged: the first pod's volume is gone, and of its siblings none has everything. Nothing is chosen and nothing is changed; what each
// has is printed. With the one that contradicts gone the source comes back.
func TestSiblingsDiverged(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3, AgentArgs: func(int) []string { return []string{"--heal=report"} }})
	must(t, s.WaitReady(ctx))
	must(t, s.WaitConverged(ctx))
	writeOnReplica(ctx, t, s, 1, "CREATE DATABASE one")
	writeOnReplica(ctx, t, s, 2, "CREATE DATABASE two")
	must(t, s.DeleteVolume(ctx, 0))
	waitFor(ctx, t, "exit code 80", func() bool { return slices.Contains(s.ExitCodes(0, localset.Init), 80) })
	for n := 1; n <= 2; n++ {
		st, err := s.Status(ctx, n)
		must(t, err)
		own := st.ServerUUID + ":1"
		if log := s.LogTail(0, localset.Init, 200); !strings.Contains(log, "siblings_diverged") || !strings.Contains(log, own) {
			t.Errorf("the refusal does not say that pod %d alone has %s: %s", n, own, log)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.Pod(0).Volume, "gen", "*")); err != nil || len(left) > 0 {
		t.Errorf("the refusal left %v (%v)", left, err)
	}
	for n, name := range map[int]string{1: "one", 2: "two"} {
		if rows, err := s.Query(ctx, n, "SHOW DATABASES LIKE '"+name+"'"); err != nil || len(rows) != 1 {
			t.Errorf("pod %d: %v, %v", n, rows, err)
		}
	}
}

// TestSourceRolledBack: the first pod comes back with an older copy of its volume. It takes no write before it has caught up with a sibling, and then
// nothing is missing.
func TestSourceRolledBack(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)"))
	must(t, s.WaitConverged(ctx))
	old := filepath.Join(t.TempDir(), "old")
	must(t, s.Change(ctx, 0, func(volume string) error { return exec.Command("cp", "-a", volume, old).Run() }))
	must(t, s.WaitReady(ctx))
	l, stop := startLoad(ctx, t, s, load.Options{Pause: time.Millisecond})
	waitFor(ctx, t, "some transactions", func() bool { return l.Stats().Acked > 300 })
	stop()
	must(t, s.WaitConverged(ctx))
	before, err := s.GTIDExecuted(ctx, 1)
	must(t, err)

	must(t, s.Change(ctx, 0, func(volume string) error {
		if err := exec.Command("rm", "-rf", volume).Run(); err != nil {
			return err
		}
		return exec.Command("cp", "-a", old, volume).Run()
	}))
	must(t, s.WaitReady(ctx))
	after, err := s.GTIDExecuted(ctx, 0)
	must(t, err)
	if !after.Contains(before) {
		t.Errorf("the source lacks %v", before.Subtract(after))
	}
	db, err := s.DB(0)
	must(t, err)
	must(t, l.CheckNothingLost(ctx, db))
	if rows, err := s.Query(ctx, 0, "SELECT @@server_id"); err != nil || rows[0][0] != "100" {
		t.Errorf("server_id is %v, %v", rows, err)
	}
	_, stop = startLoad(ctx, t, s, load.Options{Pause: time.Millisecond})
	stop()
	mustBeEqual(ctx, t, s)
}
