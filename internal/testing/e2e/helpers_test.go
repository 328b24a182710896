package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// withDeadline bounds a test: what takes longer hangs.
func withDeadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startLoad prepares and runs a load on the source until the returned function is called, which also checks that nothing of it
// was lost there.
func startLoad(ctx context.Context, t *testing.T, s *localset.Set, o load.Options) (l *load.Load, stop func()) {
	t.Helper()
	o.Endpoint = s.RootEndpoint(0)
	l = load.New(o)
	must(t, l.Prepare(ctx))
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Run(running) }()
	return l, func() {
		t.Helper()
		cancel()
		<-done
		db, err := s.DB(0)
		must(t, err)
		must(t, l.CheckNothingLost(ctx, db))
	}
}

// mustBeEqual waits until all replicas have everything and compares every table of every pod.
func mustBeEqual(ctx context.Context, t *testing.T, s *localset.Set) {
	t.Helper()
	must(t, s.WaitReady(ctx))
	must(t, s.WaitConverged(ctx))
	tables, err := s.CompareTables(ctx)
	must(t, err)
	t.Logf("%d tables are equal on %d pods", tables, s.Replicas())
}

// waitStatus waits until a pod says something.
func waitStatus(ctx context.Context, t *testing.T, s *localset.Set, ordinal int, what string, ok func(localset.Status) bool) localset.Status {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last localset.Status
	for {
		if st, err := s.Status(ctx, ordinal); err == nil {
			if last = st; ok(st) {
				return st
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("pod %d: waiting for %s: last status %+v", ordinal, what, last)
		}
	}
}

// mustRejectWrites tries to write to a replica as root.
func mustRejectWrites(ctx context.Context, t *testing.T, s *localset.Set, ordinal int) {
	t.Helper()
	err := s.Exec(ctx, ordinal, "CREATE DATABASE e2e_must_not_be")
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Fatalf("pod %d took a write: %v", ordinal, err)
	}
}

// waitFor waits until ok.
func waitFor(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s", what)
		}
	}
}

// mustNeverHaveStartedHalf looks for what mysqld says when it is started on an unfinished copy (MY-012930).
func mustNeverHaveStartedHalf(t *testing.T, s *localset.Set, pods int) {
	t.Helper()
	for ordinal := range pods {
		if log := s.LogTail(ordinal, localset.Mysqld, 1<<20); strings.Contains(log, "Incomplete cloned data") {
			t.Errorf("pod %d: mysqld was started on an unfinished copy", ordinal)
		}
	}
}

// writeOnReplica does what an operator with root's password can do: it turns super_read_only off and writes. The agent turns it on again at any
// moment, so each statement is tried until it succeeds.
func writeOnReplica(ctx context.Context, t *testing.T, s *localset.Set, ordinal int, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		waitFor(ctx, t, "a write on a replica: "+statement, func() bool {
			_ = s.Exec(ctx, ordinal, "SET GLOBAL super_read_only = OFF")
			_ = s.Exec(ctx, ordinal, "SET GLOBAL read_only = OFF")
			return s.Exec(ctx, ordinal, statement) == nil
		})
	}
}

// replay executes an exported binlog on a pod, as an operator would: mysqlbinlog FILE | mysql.
func replay(ctx context.Context, t *testing.T, s *localset.Set, ordinal int, file string) {
	t.Helper()
	read := mysqltest.Get(t).Tool("mysqlbinlog", "--no-defaults", file)
	statements, err := read.Output()
	must(t, err)
	if err := script(t, s, ordinal, statements); err != nil {
		t.Fatalf("replay %s: %v", file, err)
	}
}

// script executes statements in one session, as root.
func script(t *testing.T, s *localset.Set, ordinal int, statements []byte) error {
	t.Helper()
	password, err := os.ReadFile(s.RootPasswordFile())
	must(t, err)
	defaults := filepath.Join(t.TempDir(), "client.cnf")
	must(t, os.WriteFile(defaults, []byte("[client]\nuser=root\npassword="+strings.TrimSpace(string(password))+"\n"), 0o600))
	write := mysqltest.Get(t).Tool("mysql", "--defaults-file="+defaults, "--host="+s.Pod(ordinal).Host, "--port=3306", "--binary-mode")
	write.Stdin = bytes.NewReader(statements)
	if out, err := write.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// agent runs a command of the agent on a pod's volume and returns what it prints.
func agent(t *testing.T, s *localset.Set, ordinal int, args ...string) string {
	t.Helper()
	cmd := exec.Command(localset.BuildAgent(t), append(args, "--volume", s.Pod(ordinal).Volume)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("agent %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// one returns the single value of a query's answer.
func one(ctx context.Context, t *testing.T, s *localset.Set, ordinal int, query string) string {
	t.Helper()
	rows, err := s.Query(ctx, ordinal, query)
	must(t, err)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("pod %d: %s: %v, want one value", ordinal, query, rows)
	}
	return rows[0][0]
}

// executed is a pod's gtid_executed.
func executed(ctx context.Context, t *testing.T, s *localset.Set, ordinal int) mysqlx.GTIDSet {
	t.Helper()
	set, err := s.GTIDExecuted(ctx, ordinal)
	must(t, err)
	return set
}

// lineage is the cluster that a pod says its data belongs to, once it knows.
func lineage(ctx context.Context, t *testing.T, s *localset.Set, ordinal int) string {
	t.Helper()
	return waitStatus(ctx, t, s, ordinal, "its cluster_id", func(st localset.Status) bool { return st.ClusterID != "" }).ClusterID
}

// freeze stops programs of a pod until the returned function is called, as on a node that hangs: connections stay, nobody answers. One
// that is killed meanwhile ends all the same.
func freeze(t *testing.T, s *localset.Set, ordinal int, processes ...localset.Process) (thaw func()) {
	t.Helper()
	for _, process := range processes {
		if !s.Signal(ordinal, process, syscall.SIGSTOP) {
			t.Fatalf("%s of pod %d does not run", process, ordinal)
		}
	}
	return sync.OnceFunc(func() {
		for _, process := range processes {
			s.Signal(ordinal, process, syscall.SIGCONT)
		}
	})
}

// An errantExport is what errant.json tells of the transactions beside it. See docs/formats/errant-transactions.md.
type errantExport struct {
	Count    int            `json:"count"`
	Exported mysqlx.GTIDSet `json:"exported"`
	Missing  mysqlx.GTIDSet `json:"missing"`
	binlog   string         // path of the file that can be replayed
}

// exported reads the one export of an entry of a pod's quarantine.
func exported(t *testing.T, s *localset.Set, ordinal int, name string) errantExport {
	t.Helper()
	all := allExported(t, s, ordinal, name)
	if len(all) != 1 {
		t.Fatalf("exports of %s: %+v, want one", name, all)
	}
	return all[0]
}

// allExported reads every export of an entry of a pod's quarantine.
func allExported(t *testing.T, s *localset.Set, ordinal int, name string) (all []errantExport) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Pod(ordinal).Volume, "quarantine", name, "errant-*", "errant.json"))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		x := errantExport{binlog: strings.TrimSuffix(file, "json") + "binlog"}
		must(t, json.Unmarshal(text, &x))
		all = append(all, x)
	}
	return all
}

// waitQuarantined waits until the one entry with this reason in a pod's quarantine is complete, and returns its name.
func waitQuarantined(ctx context.Context, t *testing.T, s *localset.Set, ordinal int, reason string) string {
	t.Helper()
	var names []string
	waitFor(ctx, t, "quarantine for "+reason, func() bool {
		_, err := os.Stat(filepath.Join(s.Pod(ordinal).Volume, "agent", "plan.json")) // of a change that is not at its end
		names = quarantined(t, s, ordinal, reason)
		return len(names) > 0 && os.IsNotExist(err)
	})
	if len(names) != 1 {
		t.Fatalf("pod %d has %d entries for %s in quarantine: %v", ordinal, len(names), reason, names)
	}
	return names[0]
}

// mustHaveKeptItsData checks that nothing of a pod was ever rebuilt or put aside.
func mustHaveKeptItsData(t *testing.T, s *localset.Set, ordinal int) {
	t.Helper()
	if kept, err := filepath.Glob(filepath.Join(s.Pod(ordinal).Volume, "quarantine", "*")); err != nil || len(kept) > 0 {
		t.Errorf("pod %d has %v in quarantine (%v), want nothing", ordinal, kept, err)
	}
}
