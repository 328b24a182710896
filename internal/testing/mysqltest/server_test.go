package mysqltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ordinal/mysqlx"
)

func TestServerLife(t *testing.T) {
	s := Start(t, Options{Config: map[string]string{"innodb-buffer-pool-size": "32M", "report_host": "here"}})
	if got := s.QueryString(t, "SELECT @@innodb_buffer_pool_size"); got != "33554432" {
		t.Errorf("innodb_buffer_pool_size = %s, want the test's own", got)
	}
	if got := s.QueryString(t, "SELECT @@gtid_executed"); got != "" {
		t.Errorf("gtid_executed of a copy of the template = %q, want none", got)
	}
	s.Exec(t, "CREATE DATABASE d")
	s.Exec(t, "CREATE TABLE d.t (a INT PRIMARY KEY)")
	s.Exec(t, "INSERT INTO d.t VALUES (?), (?)", 1, 2)

	s.Kill9(t)
	if err := s.DB().Ping(t.Context()); !mysqlx.IsUnreachable(err) {
		t.Errorf("Ping() of a killed server = %v, want unreachable", err)
	}
	s.Restart(t)
	if got := s.QueryString(t, "SELECT COUNT(*) FROM d.t"); got != "2" {
		t.Errorf("rows after a crash = %s, want 2", got)
	}
	s.Restart(t, "--super-read-only=ON")
	if got := s.QueryString(t, "SELECT @@super_read_only"); got != "1" {
		t.Errorf("super_read_only = %s, want the option of Restart", got)
	}
	s.Stop(t)
	if !strings.Contains(s.Log(), "Shutdown complete") {
		t.Errorf("Log() has no orderly shutdown:\n%s", s.Log())
	}
}

// Servers must be told apart by replication, and must not share an address.
func TestServersDiffer(t *testing.T) {
	a, b := Start(t, Options{}), Start(t, Options{})
	for _, query := range []string{"SELECT @@server_uuid", "SELECT @@server_id", "SELECT @@datadir", "SELECT @@bind_address"} {
		if x, y := a.QueryString(t, query), b.QueryString(t, query); x == y {
			t.Errorf("%s: both servers say %s", query, x)
		}
	}
}

func TestLaunchTellsWhyNot(t *testing.T) {
	s, err := Launch(t, Options{Config: map[string]string{"no_such_option": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_option") {
		t.Errorf("Launch() = %v, want the log's line about the option", err)
	}
	select {
	case <-s.Done():
	default:
		t.Error("mysqld still runs")
	}
}

func TestTools(t *testing.T) {
	d := Get(t)
	for _, name := range []string{"mysql", "innochecksum"} {
		if out, err := d.Tool(name, "--version").CombinedOutput(); err != nil {
			t.Errorf("%s --version: %v: %s", name, err, out)
		}
	}
}

// A test binary that is killed must leave no mysqld behind: the test runs itself as a child that starts a server and waits.
func TestServerDiesWithParent(t *testing.T) {
	const role = "MYSQLTEST_CHILD_PIDFILE"
	if file := os.Getenv(role); file != "" {
		s := Start(t, Options{})
		if err := os.WriteFile(file+".tmp", []byte(s.DataDir+"\n"+s.Address), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".tmp", file); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	Get(t)
	file := filepath.Join(t.TempDir(), "ready")
	child := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithParent$")
	child.Env = append(os.Environ(), role+"="+file)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	var dataDir, address string
	Eventually(t, "child's server", func() bool {
		b, err := os.ReadFile(file)
		dataDir, address, _ = strings.Cut(string(b), "\n")
		return err == nil
	})
	defer os.RemoveAll(filepath.Dir(dataDir))
	db, err := mysqlx.Open(mysqlx.Endpoint{Address: address, Credentials: mysqlx.Credentials{User: "root"}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Ping(t.Context()); err != nil {
		t.Fatalf("Ping() of the child's server: %v", err)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	Eventually(t, "end of the child's server", func() bool { return mysqlx.IsConnRefused(db.Ping(t.Context())) })
}
