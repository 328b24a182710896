package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ordinal/internal/testing/localset"
)

// A tool runs commands that are no pod of a set, as a Job does: everything they are told about the set and the store is in their environment, so that
// nothing of it is in their command line. Working directory, home and directory for temporary files are its own.
type tool struct {
	t     *testing.T
	dir   string
	store string // URL
	env   []string
}

// newTool returns a tool for a set and a store.
func newTool(t *testing.T, s *localset.Set, store string) tool {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"home", "tmp", "cwd"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	return tool{t, dir, store, []string{
		"PATH=" + os.Getenv("PATH"), "HOSTNAME=build-host", "TERM=dumb", "HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + filepath.Join(dir, "tmp"),
		"AGENT_SET=mysql", "AGENT_PEER_HOST=" + s.Hosts(), "AGENT_REPLICAS=" + strconv.Itoa(s.Replicas()), "AGENT_DATA_PORT=" + strconv.Itoa(localset.DataPort),
		"AGENT_SECRET_FILE=" + s.SecretFile(), "AGENT_STORE=" + store,
	}}
}

// with is the tool with more variables, or others; those with an empty value count as not there.
func (x tool) with(env ...string) tool {
	x.env = append(slices.Clone(x.env), env...)
	return x
}

// start starts a command. It is killed with the test, and with the thread that started it.
func (x tool) start(args ...string) *program {
	x.t.Helper()
	r := &program{t: x.t, cmd: exec.Command(localset.BuildAgent(x.t), args...), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &lockedWriter{&r.mu, &r.stdout}, &lockedWriter{&r.mu, &r.stderr}
	r.cmd.Env, r.cmd.Dir = x.env, filepath.Join(x.dir, "cwd")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.cmd.Start()
		started <- err
		if err == nil {
			_ = r.cmd.Wait() // its state says more
			close(r.done)
		}
	}()
	must(x.t, <-started)
	x.t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
	})
	return r
}

// run is start, and waits for the end.
func (x tool) run(ctx context.Context, args ...string) outcome {
	x.t.Helper()
	return x.start(args...).wait(ctx)
}

// must is run for what has to succeed.
func (x tool) must(ctx context.Context, args ...string) outcome {
	x.t.Helper()
	o := x.run(ctx, args...)
	if o.code != 0 {
		x.t.Fatalf("agent %s: exit code %d\n%s%s", strings.Join(args, " "), o.code, o.stdout, tailOf(o.stderr, 4000))
	}
	return o
}

// backUp makes a backup that has to succeed.
func (x tool) backUp(ctx context.Context, args ...string) (r backupResult) {
	x.t.Helper()
	must(x.t, json.Unmarshal([]byte(x.must(ctx, append([]string{"backup"}, args...)...).stdout), &r))
	return r
}

// mustHaveLeftNothing checks that no command has written where nobody told it to.
func (x tool) mustHaveLeftNothing() {
	x.t.Helper()
	for _, name := range []string{"home", "tmp", "cwd"} {
		if left, err := filepath.Glob(filepath.Join(x.dir, name, "*")); err != nil || len(left) > 0 {
			x.t.Errorf("commands have left %v (%v)", left, err)
		}
	}
}

// shortDir makes a directory for a set's sockets: the path of t.TempDir is too long for them.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "set")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// contentOf reads a file's text without the end of its last line.
func contentOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return strings.TrimSuffix(string(text), "\n")
}
