package mysqld_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"ordinal/internal/mysqld"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// dataDir returns a copy of the template, in a directory that others may enter.
func dataDir(t *testing.T) string {
	t.Helper()
	d := mysqltest.Get(t)
	dir, err := os.MkdirTemp("", "mysqld")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := d.CopyTemplate(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	return data
}

func options(t *testing.T, data string) mysqld.Options {
	return mysqld.Options{Program: mysqltest.Get(t).Script(t), DataDir: data, RunDir: shortDir(t), NoAccounts: true, BufferPool: 32 << 20}
}

// shortDir is not t.TempDir, whose paths are long.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func value(t *testing.T, ctx context.Context, s *mysqld.Server, query string) string {
	t.Helper()
	rows, err := s.DB().Query(ctx, query)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%s: %v, %v", query, rows, err)
	}
	return strings.Join(rows[0], " ")
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestFind(t *testing.T) {
	d := mysqltest.Get(t)
	p, err := mysqld.Find(t.Context(), d.Script(t))
	if err != nil || !strings.HasPrefix(p.Version, d.Version.String()) || !filepath.IsAbs(p.Path) {
		t.Errorf("Find() = %+v, %v, want version %v", p, err, d.Version)
	}
}

func TestRun(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary-of-the-environment")
	ignore := goleak.IgnoreCurrent()
	o := options(t, dataDir(t))
	o.ReadOnly = true
	var pid int
	err := mysqld.Run(t.Context(), o, func(ctx context.Context, s *mysqld.Server) error {
		pid = s.PID()
		got := value(t, ctx, s, `SELECT @@skip_networking, @@event_scheduler, @@super_read_only, @@log_bin, @@innodb_buffer_pool_size,
			@@secure_file_priv, @@local_infile, CURRENT_USER()`)
		if want := "1 DISABLED 1 0 33554432 NULL 0 skip-grants user@skip-grants host"; got != want {
			t.Errorf("server has %q, want %q", got, want)
		}
		for _, replica := range []string{"skip_replica_start", "skip_slave_start"} {
			rows, err := s.DB().Query(ctx, "SELECT VARIABLE_VALUE FROM performance_schema.global_variables WHERE VARIABLE_NAME = ?", replica)
			if err != nil || len(rows) > 1 || len(rows) == 1 && rows[0][0] != "ON" {
				t.Errorf("%s = %v, %v", replica, rows, err)
			}
		}
		info, err := os.Stat(filepath.Dir(s.Socket()))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("directory of the socket has mode %v, %v, want 0700: whoever enters it is root in the server", info.Mode(), err)
		}
		for _, file := range []string{"environ", "cmdline"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err != nil || strings.Contains(string(b), "canary") {
				t.Errorf("%s of the server: %q, %v", file, b, err)
			}
		}
		tcp, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", pid))
		if err != nil || !strings.Contains(string(tcp), s.Socket()) {
			t.Errorf("the server does not listen at %s", s.Socket())
		}
		if _, err := s.DB().Facts(ctx); err != nil {
			t.Errorf("Facts() = %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("the server still runs")
	}
	if left, err := os.ReadDir(o.RunDir); err != nil || len(left) > 0 {
		t.Errorf("left in the directory for sockets: %v, %v", left, err)
	}
	goleak.VerifyNone(t, ignore)
}

// What the caller does is what Run returns, and the server is shut down in order whatever that is.
func TestRunReturnsWhatUseReturns(t *testing.T) {
	o := options(t, dataDir(t))
	var log strings.Builder
	o.Log, o.BinaryLog, o.ServerID = &log, true, 4711
	o.Args = []string{"--performance-schema=ON"}
	mine := errors.New("mine")
	err := mysqld.Run(t.Context(), o, func(ctx context.Context, s *mysqld.Server) error {
		if got := value(t, ctx, s, "SELECT @@log_bin, @@server_id, @@performance_schema"); got != "1 4711 1" {
			t.Errorf("server has %q", got)
		}
		return mine
	})
	if err != mine {
		t.Errorf("Run() = %v, want %v as it is", err, mine)
	}
	if !strings.Contains(log.String(), "Shutdown complete") {
		t.Errorf("no orderly shutdown:\n%s", log.String())
	}
}

func TestRunEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	var pid int
	err := mysqld.Run(ctx, options(t, dataDir(t)), func(ctx context.Context, s *mysqld.Server) error {
		pid = s.PID()
		cancel(over)
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, over) || alive(pid) {
		t.Errorf("Run() = %v, server alive: %t, want %v and no server", err, alive(pid), over)
	}
	started := false
	err = mysqld.Run(ctx, options(t, dataDir(t)), func(context.Context, *mysqld.Server) error { started = true; return nil })
	if !errors.Is(err, over) || started {
		t.Errorf("Run() with an ended context = %v, used: %t", err, started)
	}
}

// A panic of the caller is the caller's, and leaves no server behind.
func TestRunPanics(t *testing.T) {
	var pid int
	func() {
		defer func() { _ = recover() }()
		_ = mysqld.Run(t.Context(), options(t, dataDir(t)), func(_ context.Context, s *mysqld.Server) error {
			pid = s.PID()
			panic("of the caller")
		})
	}()
	if pid == 0 || alive(pid) {
		t.Errorf("server %d still runs", pid)
	}
}

func TestServerDies(t *testing.T) {
	for _, test := range []struct {
		name    string
		signal  syscall.Signal
		trouble mysqld.Trouble
	}{
		{"killed, as for memory", syscall.SIGKILL, mysqld.TroubleKilled},
		{"crashed", syscall.SIGABRT, mysqld.TroubleData},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := dataDir(t)
			var used, cause error
			err := mysqld.Run(t.Context(), options(t, data), func(ctx context.Context, s *mysqld.Server) error {
				_ = syscall.Kill(s.PID(), test.signal)
				used = s.DB().Exec(ctx, "DO SLEEP(60)")
				<-ctx.Done()
				cause = context.Cause(ctx)
				return used
			})
			ended, ok := errors.AsType[*mysqld.EndedError](err)
			if !ok || ended.Phase != mysqld.Running || ended.Trouble != test.trouble {
				t.Fatalf("Run() = %v, want the end of the server", err)
			}
			if used == nil || !errors.Is(err, used) {
				t.Errorf("Run() = %v, want %v in its chain", err, used)
			}
			if _, ok := errors.AsType[*mysqld.EndedError](cause); !ok {
				t.Errorf("cause of the context = %v, want the end of the server", cause)
			}
			// What it leaves behind, such as a lock of its socket, does not hinder the next one.
			if err := mysqld.Run(t.Context(), options(t, data), func(context.Context, *mysqld.Server) error { return nil }); err != nil {
				t.Errorf("Run() after that = %v", err)
			}
		})
	}
}

func TestServerDoesNotStart(t *testing.T) {
	never := func(context.Context, *mysqld.Server) error { t.Error("it was used"); return nil }
	t.Run("option", func(t *testing.T) {
		o := options(t, dataDir(t))
		o.Args = []string{"--no-such-option"}
		expectEnd(t, mysqld.Run(t.Context(), o, never), mysqld.TroubleData, "no-such-option")
	})
	t.Run("no data", func(t *testing.T) {
		data := dataDir(t)
		if err := os.Remove(filepath.Join(data, "ibdata1")); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, mysqld.Run(t.Context(), options(t, data), never), mysqld.TroubleData, "[ERROR]")
	})
	t.Run("not readable", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root to make a file that is not readable")
		}
		o, data := asOther(t)
		if err := os.Chown(filepath.Join(data, "ibdata1"), 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(data, "ibdata1"), 0o600); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, mysqld.Run(t.Context(), o, never), mysqld.TroublePermission, "ibdata1")
	})
	t.Run("no directory", func(t *testing.T) {
		err := mysqld.Run(t.Context(), options(t, filepath.Join(t.TempDir(), "none")), never)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Run() = %v, want that there is none", err)
		}
	})
	t.Run("long path", func(t *testing.T) {
		o := options(t, dataDir(t))
		o.RunDir = filepath.Join(shortDir(t), strings.Repeat("x", 90))
		if err := os.Mkdir(o.RunDir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := mysqld.Run(t.Context(), o, never)
		if _, ok := errors.AsType[*mysqld.RunDirError](err); !ok {
			t.Errorf("Run() = %v, want a RunDirError", err)
		}
		if left, err := os.ReadDir(o.RunDir); err != nil || len(left) > 0 {
			t.Errorf("left there: %v, %v", left, err)
		}
	})
	t.Run("accounts", func(t *testing.T) {
		o := options(t, dataDir(t))
		o.NoAccounts, o.Login = false, mysqlx.Credentials{User: "nobody"}
		if err := mysqld.Run(t.Context(), o, never); !mysqlx.IsAccessDenied(err) {
			t.Errorf("Run() = %v, want access denied", err)
		}
	})
}

func expectEnd(t *testing.T, err error, trouble mysqld.Trouble, text string) {
	t.Helper()
	ended, ok := errors.AsType[*mysqld.EndedError](err)
	if !ok || ended.Phase != mysqld.Starting || ended.Trouble != trouble {
		t.Fatalf("Run() = %v, want an end while starting, by %s", err, trouble)
	}
	if !strings.Contains(err.Error(), text) || ended.Hint() == "" {
		t.Errorf("Run() = %v, want the log's line with %q", err, text)
	}
}

// Data whose names of tables are kept in lower case start without being told.
func TestLowerCaseTableNames(t *testing.T) {
	data := filepath.Join(shortDir(t), "data")
	if err := mysqltest.Get(t).Initialize(t.Context(), data, "--lower-case-table-names=1", "--disable-log-bin"); err != nil {
		t.Fatal(err)
	}
	err := mysqld.Run(t.Context(), options(t, data), func(ctx context.Context, s *mysqld.Server) error {
		if got := value(t, ctx, s, "SELECT @@lower_case_table_names"); got != "1" {
			t.Errorf("lower_case_table_names = %s, want 1", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// asOther returns options for a data directory that belongs to another user, who can run the server.
func asOther(t *testing.T) (mysqld.Options, string) {
	t.Helper()
	const other = 999
	data := dataDir(t)
	err := filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, other, other)
	})
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, data)
	if err := exec.Command("setpriv", "--version").Run(); err != nil {
		t.Skip("needs setpriv")
	}
	version := func() ([]byte, error) {
		return exec.Command("setpriv", "--reuid=999", "--regid=999", "--clear-groups", o.Program, "--no-defaults", "--version").CombinedOutput()
	}
	if _, err := version(); err != nil {
		o.Program = reachable(t)
		if out, err := version(); err != nil {
			t.Skipf("another user cannot run this mysqld: %v: %s", err, out)
		}
	}
	return o, data
}

// reachable returns the server in a place that every user may enter, by hard links.
func reachable(t *testing.T) string {
	t.Helper()
	program := mysqltest.Get(t).Mysqld()
	root, ok := strings.CutSuffix(program, "/usr/sbin/mysqld")
	if !ok {
		t.Skip("needs a mysqld from unpacked packages")
	}
	dir := shortDir(t)
	if out, err := exec.Command("cp", "-al", root, filepath.Join(dir, "root")).CombinedOutput(); err != nil {
		t.Skipf("needs hard links: %s", out)
	}
	t.Setenv(mysqltest.EnvMysqld, filepath.Join(dir, "root/usr/sbin/mysqld"))
	d, err := mysqltest.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d.Script(t)
}

// As root we run the server as the owner of its data.
func TestRunAsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	o, data := asOther(t)
	err := mysqld.Run(t.Context(), o, func(ctx context.Context, s *mysqld.Server) error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
		if err != nil {
			return err
		}
		for _, want := range []string{"Uid:\t999\t999\t999\t999", "Gid:\t999\t999\t999\t999", "Groups:\t \n"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("the server's process has no line %q:\n%s", want, status)
			}
		}
		return s.DB().Exec(ctx, "CREATE DATABASE d")
	})
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 999 {
			t.Errorf("%s belongs to %d", path, info.Sys().(*syscall.Stat_t).Uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// As anybody else we run it as ourselves, and refuse what is somebody else's: this test is its own program for that user.
func TestRunAsOurselves(t *testing.T) {
	const role = "MYSQLD_TEST_ROLE" // "own" or "foreign"
	if which := os.Getenv(role); which != "" {
		o := mysqld.Options{Program: os.Getenv("MYSQLD_TEST_PROGRAM"), DataDir: os.Getenv("MYSQLD_TEST_DATA"), NoAccounts: true, BufferPool: 32 << 20}
		err := mysqld.Run(t.Context(), o, func(ctx context.Context, s *mysqld.Server) error { return s.DB().Exec(ctx, "CREATE DATABASE d") })
		if owner, ok := errors.AsType[*mysqld.OwnerError](err); which == "foreign" && (!ok || owner.Owner != 0 || owner.Own != 999) {
			t.Errorf("Run() = %v, want an OwnerError", err)
		} else if which == "own" && err != nil {
			t.Error(err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	o, own := asOther(t)
	binary := filepath.Join(shortDir(t), "test")
	if out, err := exec.Command("cp", os.Args[0], binary).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for which, data := range map[string]string{"own": own, "foreign": dataDir(t)} {
		cmd := exec.Command("setpriv", "--reuid=999", "--regid=999", "--clear-groups", binary, "-test.run=^TestRunAsOurselves$", "-test.v")
		cmd.Env = []string{role + "=" + which, "MYSQLD_TEST_PROGRAM=" + o.Program, "MYSQLD_TEST_DATA=" + data, "PATH=/usr/bin:/bin"}
		cmd.Dir = "/"
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%s: %v\n%s", which, err, out)
		}
	}
}

// When we are killed the server goes with us: the test is its own child.
func TestServerDiesWithUs(t *testing.T) {
	const role = "MYSQLD_TEST_PID_FILE"
	if file := os.Getenv(role); file != "" {
		o := mysqld.Options{Program: os.Getenv("MYSQLD_TEST_PROGRAM"), DataDir: os.Getenv("MYSQLD_TEST_DATA"), NoAccounts: true, BufferPool: 32 << 20}
		_ = mysqld.Run(t.Context(), o, func(ctx context.Context, s *mysqld.Server) error {
			if err := os.WriteFile(file+".tmp", []byte(strconv.Itoa(s.PID())), 0o644); err != nil {
				return err
			}
			if err := os.Rename(file+".tmp", file); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
		return
	}
	o := options(t, dataDir(t))
	file := filepath.Join(t.TempDir(), "pid")
	child := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithUs$")
	child.Env = append(os.Environ(), role+"="+file, "MYSQLD_TEST_PROGRAM="+o.Program, "MYSQLD_TEST_DATA="+o.DataDir, "TMPDIR="+o.RunDir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	var pid int
	mysqltest.Eventually(t, "child's server", func() bool {
		b, err := os.ReadFile(file)
		pid, _ = strconv.Atoi(string(b))
		return err == nil
	})
	_ = child.Process.Kill()
	_ = child.Wait()
	mysqltest.Eventually(t, "end of the child's server", func() bool { return !alive(pid) })
}
