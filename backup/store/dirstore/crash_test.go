package dirstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/backup/store"
	"ordinal/backup/store/dirstore"
	"ordinal/backup/store/storetest"
)

const driverDir = "DIRSTORE_TEST_DIR"

// strace counts the calls of each thread for itself: the driver keeps to its first one.
func init() {
	if os.Getenv(driverDir) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(driverDir); dir != "" {
		os.Exit(drive(dir))
	}
	os.Exit(m.Run())
}

const size = 1<<20 + 1

func oldContent() []byte { return storetest.Content(size) }
func newContent() []byte { return storetest.Content(size + 1) }

// drive is the process that is killed: it replaces an object, makes two and deletes one.
func drive(dir string) int {
	s, err := dirstore.New(dir)
	ctx := context.Background()
	for _, step := range []func() error{
		func() error { return s.Put(ctx, "a/replaced", -1, bytes.NewReader(newContent())) },
		func() error { return s.Put(ctx, "n/n/new", size+1, bytes.NewReader(newContent())) },
		func() error { return s.PutIfAbsent(ctx, "m/manifest", newContent()) },
		func() error { return s.Delete(ctx, "d/deleted") },
	} {
		if err == nil {
			err = step()
		}
	}
	var e *store.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		fmt.Fprintf(os.Stderr, "%v (%v) hint: %s", err, e.Kind, e.Hint())
		return 3
	}
	fmt.Fprintln(os.Stderr, err)
	return 4
}

func seeded(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(scratch(t), "crash-volume")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	for _, name := range []string{"a/replaced", "d/deleted", "d/stays"} {
		if err := s.Put(t.Context(), name, -1, bytes.NewReader(oldContent())); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// driver returns the command of the driver under strace.
func driver(dir string, options ...string) *exec.Cmd {
	cmd := exec.Command("strace", append(options, os.Args[0])...)
	cmd.Env = append(os.Environ(), driverDir+"="+dir, "GOMAXPROCS=1")
	return cmd
}

// changing are the system calls by which a store changes its directory.
var changing = []string{"openat", "mkdirat", "renameat", "linkat", "unlinkat", "fsync", "write", "flock"}

var called = regexp.MustCompile(`^([a-z0-9]+)\(`)

// kill -9 at every single call: each object is as before or as after, the next run gets to its end, and leftovers are found.
func TestCrashPoints(t *testing.T) {
	needStrace(t)
	log := filepath.Join(t.TempDir(), "trace")
	if out, err := driver(seeded(t), "-o", log, "-y", "-e", "trace="+strings.Join(changing, ",")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	points := 0
	for line := range strings.Lines(string(trace)) {
		match := called.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		call := match[1]
		count[call]++
		if !strings.Contains(line, "crash-volume") || call == "openat" && !strings.Contains(line, "O_CREAT") {
			continue
		}
		points++
		number := count[call]
		t.Run(fmt.Sprintf("%s %d", call, number), func(t *testing.T) {
			t.Parallel()
			dir := seeded(t)
			inject := fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", call, number)
			if out, err := driver(dir, "-o", "/dev/null", "-e", "trace="+call, "-e", inject).CombinedOutput(); err == nil {
				t.Fatalf("%s: the driver was not killed: %s", inject, out)
			}
			checkAfterCrash(t, dir)
		})
	}
	if t.Logf("%d points", points); points < 25 {
		t.Errorf("only %d points of %v: is the trace understood?", points, count)
	}
}

func checkAfterCrash(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir)
	states := func() (out []string) {
		for _, name := range []string{"a/replaced", "n/n/new", "m/manifest", "d/deleted", "d/stays"} {
			out = append(out, state(t, s, name))
		}
		return out
	}
	before := states()
	for i, allowed := range [][]string{{"old", "new"}, {"none", "new"}, {"none", "new"}, {"old", "none"}, {"old"}} {
		if !slices.Contains(allowed, before[i]) {
			t.Errorf("after the crash the objects are %v: number %d, want %v", before, i, allowed)
		}
	}
	if n, err := s.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("Sweep() of what is young = %d, %v", n, err)
	}
	if _, err := s.Sweep(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, ".ordinal-unfinished")); len(left) > 0 {
		t.Errorf("Sweep() left %v", left)
	}
	if got := states(); !slices.Equal(got, before) {
		t.Errorf("after a sweep the objects are %v, before it %v", got, before)
	}
	if before[2] == "new" { // PutIfAbsent would refuse
		if err := s.Delete(t.Context(), "m/manifest"); err != nil {
			t.Error(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), driverDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the next run: %v: %s", err, out)
	}
	if got, want := states(), []string{"new", "new", "new", "none", "old"}; !slices.Equal(got, want) {
		t.Errorf("after the next run the objects are %v, want %v", got, want)
	}
}

func state(t *testing.T, s store.Reader, name string) string {
	t.Helper()
	r, err := s.Open(t.Context(), name, 0, -1)
	if errors.Is(err, store.ErrNotFound) {
		return "none"
	}
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	switch {
	case err != nil:
		return err.Error()
	case bytes.Equal(data, oldContent()):
		return "old"
	case bytes.Equal(data, newContent()):
		return "new"
	}
	return fmt.Sprintf("%d bytes of neither", len(data))
}

// What the kernel says becomes what a caller can act on, and nothing is half done.
func TestErrorPoints(t *testing.T) {
	needStrace(t)
	for _, test := range []struct {
		inject string
		want   error  // nil: it can do without
		hint   string // a part of it
	}{
		{"write:error=ENOSPC:when=1", store.ErrNoSpace, "prune"},
		{"fsync:error=EDQUOT", store.ErrNoSpace, "prune"},
		{"renameat:error=ENOSPC", store.ErrNoSpace, "prune"},
		{"renameat:error=ESTALE", store.ErrUnavailable, "retry"},
		{"unlinkat:error=EROFS:when=2..3", store.ErrPermission, "mount"},
		{"mkdirat:error=EROFS", store.ErrPermission, "mount"},
		{"mkdirat:error=EACCES", store.ErrPermission, "uid"},
		{"fsync:error=EIO", errPlain, ""},
		{"linkat:error=EPERM", nil, ""}, // it renames without replacing
		{"linkat:error=EOPNOTSUPP", nil, ""},
		{"flock:error=ENOLCK", nil, ""}, // the age is left
	} {
		t.Run(test.inject, func(t *testing.T) {
			t.Parallel()
			dir := seeded(t)
			call, _, _ := strings.Cut(test.inject, ":")
			out, err := driver(dir, "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+test.inject).CombinedOutput()
			if test.want == nil {
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
			var exit *exec.ExitError
			kind := fmt.Sprintf("(%v)", test.want)
			if test.want == errPlain {
				kind = "(<nil>)"
			}
			if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(string(out), kind) || !strings.Contains(string(out), test.hint) {
				t.Errorf("driver: %v: %s, want %s and a hint about %q", err, out, kind, test.hint)
			}
			if strings.Contains(test.inject, "unlinkat") {
				return
			}
			if got := state(t, open(t, dir), "a/replaced"); got != "old" && got != "new" {
				t.Errorf("the object is %s", got)
			}
		})
	}
}

var errPlain = errors.New("none of the store's errors")

func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("strace is missing")
		}
		t.Skip("strace is missing")
	}
}
