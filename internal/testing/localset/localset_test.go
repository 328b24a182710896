package localset_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

func start(t *testing.T, o localset.Options) *localset.Set {
	t.Helper()
	o.AgentBinary = os.Args[0]
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "set")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		o.Dir = dir
	}
	return localset.ForTest(t, o)
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPodsLiveAndComeBack(t *testing.T) {
	dir, err := os.MkdirTemp("", "set")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	volume := filepath.Join(dir, "mysql-1", "volume")
	check(t, os.MkdirAll(volume, 0o755))
	check(t, os.WriteFile(filepath.Join(volume, "fail"), []byte("xx"), 0o600))
	s := start(t, localset.Options{Dir: dir, Replicas: 2, Database: "it's", RootPassword: `a'b"c\d #`})
	ctx := deadline(t)
	check(t, s.WaitReady(ctx))

	if got, want := s.ExitCodes(1, localset.Init), []int{75, 75, 0}; !slices.Equal(got, want) {
		t.Errorf("exit codes of init = %v, want %v", got, want)
	}
	st, err := s.Status(ctx, 1)
	if err != nil || st.Pod != "mysql-1" || !st.Ready {
		t.Errorf("Status() = %+v, %v", st, err)
	}
	// As after the image's entry point: transactions of its own, but not the passwords.
	for ordinal := range 2 {
		gtids, err := s.GTIDExecuted(ctx, ordinal)
		if err != nil || gtids.Count() != 6 {
			t.Errorf("gtid_executed = %v, %v, want 6 transactions", gtids, err)
		}
		rows, err := s.Query(ctx, ordinal, "SELECT user, host, authentication_string <> '' FROM mysql.user WHERE user = 'root' ORDER BY host")
		if got, want := fmt.Sprint(rows, err), "[[root % 1] [root localhost 1]] <nil>"; got != want {
			t.Errorf("root accounts = %s, want %s", got, want)
		}
		check(t, s.Exec(ctx, ordinal, "CREATE TABLE `it's`.t (id INT PRIMARY KEY)"))
		check(t, s.Exec(ctx, ordinal, "INSERT INTO `it's`.t VALUES (?)", 7))
	}
	tables, err := s.CompareTables(ctx)
	if err != nil || tables != 1 {
		t.Errorf("CompareTables() = %d, %v, want one table", tables, err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := s.WaitConverged(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "mysql-1 lacks") {
		t.Errorf("WaitConverged() = %v, want what mysql-1 lacks", err)
	}

	t.Run("kill -9", func(t *testing.T) {
		for _, process := range []localset.Process{localset.Mysqld, localset.Agent} {
			if !s.Kill9(0, process) {
				t.Errorf("Kill9(0, %s) found nothing", process)
			}
			mysqltest.Eventually(t, string(process)+" is started again", func() bool {
				return slices.Equal(s.ExitCodes(0, process), []int{137}) && slices.Contains(s.Running(0), process)
			})
			check(t, s.WaitReady(ctx, 0))
		}
		if s.Kill9(0, localset.Init) {
			t.Error("Kill9(0, init) found an init container in a running Pod")
		}
		wantRows(t, s, 0, "7")
	})
	t.Run("delete", func(t *testing.T) {
		check(t, s.Delete(ctx, 1))
		check(t, s.WaitReady(ctx, 1))
		wantRows(t, s, 1, "7")
		wantOrderlyEnd(t, s, "mysql-1")
	})
	t.Run("delete volume", func(t *testing.T) {
		check(t, s.DeleteVolume(ctx, 1))
		check(t, s.WaitReady(ctx, 1))
		if _, err := s.Query(ctx, 1, "SELECT id FROM `it's`.t"); err == nil {
			t.Errorf("query = %v, want no such table on a new volume", err)
		}
		if _, err := s.CompareTables(ctx); err == nil || !strings.Contains(err.Error(), "mysql-1 differs") {
			t.Errorf("CompareTables() = %v, want a difference", err)
		}
	})
	t.Run("scale", func(t *testing.T) {
		check(t, s.Exec(ctx, 1, "CREATE TABLE `it's`.t SELECT 8 AS id"))
		check(t, s.Scale(ctx, 1))
		if running := s.Running(1); running != nil {
			t.Errorf("running after scaling down: %v", running)
		}
		check(t, s.Scale(ctx, 2))
		check(t, s.WaitReady(ctx))
		wantRows(t, s, 1, "8")
	})
	s.Stop()
	for ordinal := range 2 {
		for _, process := range []localset.Process{localset.Mysqld, localset.Agent} {
			codes := s.ExitCodes(ordinal, process)
			if len(codes) == 0 || codes[len(codes)-1] != 0 {
				t.Errorf("exit codes of %s of pod %d = %v, want an orderly end", process, ordinal, codes)
			}
		}
	}
	if n := count(t, dir); n > 0 {
		t.Errorf("%d processes are left", n)
	}
}

func TestOrderedReady(t *testing.T) {
	s := start(t, localset.Options{Replicas: 2, Policy: localset.OrderedReady, Name: "db"})
	check(t, s.WaitReady(deadline(t)))
	var told []string
	for ordinal := range 2 {
		told = append(told, strings.Fields(s.LogTail(ordinal, localset.Init, 1))[3])
	}
	if want := []string{"1", "2"}; !slices.Equal(told, want) {
		t.Errorf("replicas told = %v, want %v: the Pods that exist", told, want)
	}
	started := map[string]bool{}
	for _, e := range s.Events() {
		if e.Process == localset.Mysqld && e.Kind == localset.Started && !started[e.Pod+" agent"] {
			t.Errorf("mysqld of %s was started before its sidecar", e.Pod)
		}
		if e.Kind == localset.Started {
			started[e.Pod+" "+string(e.Process)] = true
		}
		if e.Pod == "db-1" && e.Kind == localset.Created && !started["db-0 mysqld"] {
			t.Error("db-1 was created before db-0's mysqld was started")
		}
	}
}

// What is left of a first initialisation that was killed must be what the official image leaves: a server that cannot start.
func TestInterruptedFirstInitialisation(t *testing.T) {
	s := start(t, localset.Options{Replicas: 1})
	mysqltest.Eventually(t, "half of a data directory", func() bool {
		_, err := os.Stat(filepath.Join(s.Pod(0).Volume, "current", "mysql"))
		return err == nil
	})
	if !s.Kill9(0, localset.Mysqld) {
		t.Fatal("Kill9() found nothing")
	}
	mysqltest.Eventually(t, "a server that cannot start", func() bool { return len(s.ExitCodes(0, localset.Mysqld)) >= 3 })
	codes := s.ExitCodes(0, localset.Mysqld)
	if codes[0] == 0 || codes[1] == 0 || codes[1] > 128 || codes[2] == 0 {
		t.Errorf("exit codes of mysqld = %v, want failures of its own after the kill", codes)
	}
}

func TestNew(t *testing.T) {
	complete := localset.Options{Dir: t.TempDir(), AgentBinary: os.Args[0], Distribution: mysqltest.Get(t)}
	for want, change := range map[string]func(*localset.Options){
		"no agent binary":       func(o *localset.Options) { o.AgentBinary = "" },
		"no mysqld":             func(o *localset.Options) { o.Distribution = mysqltest.Distribution{} },
		"too long a path":       func(o *localset.Options) { o.Dir += strings.Repeat("/long", 20) },
		"template of loopback ": func(o *localset.Options) { o.Hosts = "10.0.0.{ordinal}" },
	} {
		o := complete
		change(&o)
		if _, err := localset.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %v, want an error with %q", err, want)
		}
	}
	// A directory that is used again holds volumes that know the secrets of before.
	var secrets []string
	for range 2 {
		s, err := localset.New(complete)
		check(t, err)
		for _, path := range []string{s.SecretFile(), s.RootPasswordFile()} {
			secret, err := os.ReadFile(path)
			check(t, err)
			secrets = append(secrets, string(secret))
		}
	}
	if secrets[0] != secrets[2] || secrets[1] != secrets[3] || secrets[0] == secrets[1] || len(secrets[0]) < 33 {
		t.Errorf("secrets = %q, want two different ones, kept", secrets)
	}
}

func wantRows(t *testing.T, s *localset.Set, ordinal int, want string) {
	t.Helper()
	rows, err := s.Query(t.Context(), ordinal, "SELECT id FROM `it's`.t")
	if err != nil || len(rows) != 1 || rows[0][0] != want {
		t.Errorf("rows of pod %d = %v, %v; want %s", ordinal, rows, err, want)
	}
}

// wantOrderlyEnd checks the order of a native sidecar: mysqld ends before the agent is told to.
func wantOrderlyEnd(t *testing.T, s *localset.Set, pod string) {
	t.Helper()
	var order []string
	for _, e := range s.Events() {
		switch {
		case e.Pod != pod:
		case e.Kind == localset.Terminating, e.Kind == localset.Gone:
			order = append(order, string(e.Kind))
		case e.Kind == localset.Exited && e.Process != localset.Init:
			order = append(order, fmt.Sprint(e.Process, e.Code))
		}
	}
	if want := []string{"terminating", "mysqld0", "agent0", "gone"}; !slices.Equal(order, want) {
		t.Errorf("end of %s = %v, want %v", pod, order, want)
	}
}
