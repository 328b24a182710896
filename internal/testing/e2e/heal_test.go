package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

// has reports whether a pod gives a reason.
func has(st localset.Status, code string) bool {
	for _, r := range st.Reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}

// quarantined returns the names in a pod's quarantine that end in reason.
func quarantined(t *testing.T, s *localset.Set, ordinal int, reason string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Pod(ordinal).Volume, "quarantine"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-"+reason) {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestPurgedBinlogs: a replica that was away for too long cannot be fed by its source any more. It is cloned anew beside the data that it goes
// on serving, and the old data is kept.
func TestPurgedBinlogs(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1)"))
	must(t, s.WaitConverged(ctx))

	// The pod is scaled away, its volume stays: the stale volume of a scale 3→2→3.
	must(t, s.Scale(ctx, 2))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (2)"))
	must(t, s.WaitConverged(ctx))
	for n := range 2 {
		must(t, s.Exec(ctx, n, "FLUSH BINARY LOGS"))
		must(t, s.Exec(ctx, n, "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"))
	}
	must(t, s.Scale(ctx, 3))
	waitStatus(ctx, t, s, 2, "the purged binlogs to be noticed", func(st localset.Status) bool { return has(st, "binlogs_purged") })
	waitFor(ctx, t, "the old data to be in quarantine", func() bool { return len(quarantined(t, s, 2, "binlogs_purged")) == 1 })
	mustBeEqual(ctx, t, s)
	mustRejectWrites(ctx, t, s, 2)
}

// TestErrantTransactions: what somebody wrote on a replica is exported as a file that can be replayed, listed, and the replica is cloned
// anew. Nothing of it reaches the others.
func TestErrantTransactions(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	_, stop := startLoad(ctx, t, s, load.Options{Pause: 20 * time.Millisecond})
	must(t, s.WaitConverged(ctx))

	writeOnReplica(ctx, t, s, 1, "CREATE TABLE shop.errant (id INT PRIMARY KEY, note VARCHAR(100))", "INSERT INTO shop.errant VALUES (7, 'written by hand')")
	waitStatus(ctx, t, s, 1, "the errant transactions to be noticed", func(st localset.Status) bool { return has(st, "errant_transactions") })
	waitFor(ctx, t, "the old data to be in quarantine", func() bool { return len(quarantined(t, s, 1, "errant_transactions")) == 1 })
	must(t, s.WaitReady(ctx))
	stop()
	mustBeEqual(ctx, t, s)

	dir := filepath.Join(s.Pod(1).Volume, "quarantine", quarantined(t, s, 1, "errant_transactions")[0])
	files, err := filepath.Glob(filepath.Join(dir, "errant-*", "errant.json"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("exports in %s: %v", dir, files)
	}
	text, err := os.ReadFile(files[0])
	must(t, err)
	var listed struct {
		Count    int            `json:"count"`
		Exported mysqlx.GTIDSet `json:"exported"`
		Missing  mysqlx.GTIDSet `json:"missing"`
	}
	must(t, json.Unmarshal(text, &listed))
	if listed.Count != 2 || listed.Exported.Count() != 2 || !listed.Missing.IsEmpty() {
		t.Errorf("exported %+v", listed)
	}
	replay(ctx, t, s, 0, strings.TrimSuffix(files[0], "json")+"binlog")
	rows, err := s.Query(ctx, 0, "SELECT note FROM shop.errant")
	must(t, err)
	if len(rows) != 1 || rows[0][0] != "written by hand" {
		t.Errorf("replayed on the source: %v", rows)
	}
	mustBeEqual(ctx, t, s) // what was replayed keeps its GTIDs and goes to the replica as everything else
}

// TestHealReport: with --heal=report nothing is done, and it is said what would be; agent rebuild then does it.
func TestHealReport(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, AgentArgs: func(int) []string { return []string{"--heal=report"} }})
	must(t, s.WaitReady(ctx))
	must(t, s.WaitConverged(ctx))
	writeOnReplica(ctx, t, s, 1, "CREATE DATABASE errant")
	waitStatus(ctx, t, s, 1, "the agent to say what it would do", func(st localset.Status) bool { return st.State == "diverged" && has(st, "rebuild_needed") })
	if names := quarantined(t, s, 1, "errant_transactions"); len(names) != 0 {
		t.Errorf("in quarantine: %v", names)
	}
}

// TestDuplicateServerUUID: a volume that was copied with its auto.cnf gets a server_uuid of its own.
func TestDuplicateServerUUID(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.WaitConverged(ctx))
	source, err := os.ReadFile(filepath.Join(s.Pod(0).Volume, "current", "auto.cnf"))
	must(t, err)
	must(t, s.Change(ctx, 1, func(volume string) error {
		return os.WriteFile(filepath.Join(volume, "current", "auto.cnf"), source, 0o640)
	}))
	waitFor(ctx, t, "the replica to have a server_uuid of its own, and to be ready", func() bool {
		ours, err := s.Status(ctx, 1)
		theirs, err2 := s.Status(ctx, 0)
		return err == nil && err2 == nil && ours.Ready && ours.ServerUUID != "" && ours.ServerUUID != theirs.ServerUUID
	})
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.after (id INT PRIMARY KEY)"))
	mustBeEqual(ctx, t, s)
}

// TestChannelElsewhere: a channel that somebody pointed at another server is stopped and pointed back.
func TestChannelElsewhere(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 3, Database: "shop"})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 2, "STOP REPLICA"))
	// Both are needed: the agent may have started it again in between.
	waitFor(ctx, t, "the channel to be pointed elsewhere", func() bool {
		_ = s.Exec(ctx, 2, "STOP REPLICA")
		return s.Exec(ctx, 2, "CHANGE REPLICATION SOURCE TO SOURCE_HOST='"+s.Pod(1).Host+"'") == nil
	})
	waitFor(ctx, t, "the channel to lead to the source again", func() bool {
		rows, err := s.Query(ctx, 2, "SELECT HOST FROM performance_schema.replication_connection_configuration")
		return err == nil && len(rows) == 1 && rows[0][0] == s.Pod(0).Host
	})
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.after (id INT PRIMARY KEY)"))
	mustBeEqual(ctx, t, s)
}

// TestStoppedByHand: replication that somebody stopped is started again, unless they have asked for it to be left alone.
func TestStoppedByHand(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 5*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 1, "STOP REPLICA"))
	runs := func() bool {
		rows, err := s.Query(ctx, 1, "SELECT SERVICE_STATE FROM performance_schema.replication_connection_status")
		return err == nil && len(rows) == 1 && rows[0][0] == "ON"
	}
	waitFor(ctx, t, "replication to be started again", runs)

	agent(t, s, 1, "hold", "--reason", "a test")
	must(t, s.Exec(ctx, 1, "STOP REPLICA"))
	waitStatus(ctx, t, s, 1, "the hold to be respected", func(st localset.Status) bool { return has(st, "replication_held") })
	if runs() {
		t.Error("replication runs although it is held")
	}
	agent(t, s, 1, "release")
	waitFor(ctx, t, "replication to be started again", runs)
	must(t, s.WaitReady(ctx))
}
