package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// A handPod is a pod without an emulator around it: the test runs its programs one by one, and nobody restarts what ends.
type handPod struct {
	t      *testing.T
	bin    string
	name   string
	hosts  string // template of the peers' addresses
	listen string // address of its planes
	dir    string
	volume string
	conf   string
	secret string // path of its cluster secret
	socket string // of its mysqld; nobody is there unless a test says so
	cred   *syscall.Credential
}

// newHandPod returns a pod with an empty volume that listens on the address hosts gives it.
func newHandPod(t *testing.T, name, hosts, secret string) *handPod {
	t.Helper()
	dir, err := os.MkdirTemp("", "pod") // not t.TempDir: another uid has to get in, and sockets need short paths
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &handPod{
		t: t, bin: localset.BuildAgent(t), name: name, hosts: hosts, dir: dir,
		listen: hostOf(hosts, ordinalOf(name)), volume: filepath.Join(dir, "volume"), conf: filepath.Join(dir, "conf.d"),
		secret: secret, socket: filepath.Join(dir, "mysqld.sock"),
	}
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(p.volume, 0o755))
	must(t, os.Mkdir(p.conf, 0o755))
	return p
}

func ordinalOf(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return 0 // a bad name is what the test is about
	}
	return n
}

func hostOf(hosts string, ordinal int) string {
	return strings.ReplaceAll(hosts, "{ordinal}", strconv.Itoa(ordinal))
}

// hostsOf is the template of a set's addresses.
func hostsOf(s *localset.Set) string {
	return strings.TrimSuffix(s.Pod(0).Host, "0") + "{ordinal}"
}

// freeHosts is a template of addresses where nobody listens.
func freeHosts(t *testing.T) string {
	t.Helper()
	hosts, err := localset.FreeHosts()
	must(t, err)
	return hosts
}

// newSecret writes a cluster secret of its own and returns its path.
func newSecret(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(path, []byte(secret+"\n"), 0o600))
	return path
}

// args is the command line of a subcommand; of options given twice the last counts.
func (p *handPod) args(subcommand string, more ...string) []string {
	return append([]string{subcommand,
		"--pod-name=" + p.name, "--peer-host=" + p.hosts, "--replicas=3",
		"--volume=" + p.volume, "--mysql-config-dir=" + p.conf, "--mysql-address=" + p.socket,
		fmt.Sprintf("--data-listen=%s:%d", p.listen, localset.DataPort), fmt.Sprintf("--status-listen=%s:%d", p.listen, localset.StatusPort),
		"--secret-file=" + p.secret,
	}, more...)
}

// A program is one run of the agent.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu             sync.Mutex
	stdout, stderr bytes.Buffer
}

// An outcome is how a run ended.
type outcome struct {
	code           int // exit code, or minus the signal that ended it
	stdout, stderr string
	took           time.Duration
}

// start runs one subcommand of the pod's agent.
func (p *handPod) start(subcommand string, more ...string) *program {
	p.t.Helper()
	return startAgent(p.t, p.bin, &syscall.SysProcAttr{Credential: p.cred}, p.args(subcommand, more...)...)
}

// run is start, and waits for the end.
func (p *handPod) run(ctx context.Context, subcommand string, more ...string) outcome {
	p.t.Helper()
	begun := time.Now()
	o := p.start(subcommand, more...).wait(ctx)
	o.took = time.Since(begun)
	return o
}

// startAgent starts a program with nothing of the machine's environment that would mean something to the agent. It is killed with the
// test, and by the kernel with the thread that started it, which therefore waits for its end.
func startAgent(t *testing.T, bin string, attr *syscall.SysProcAttr, args ...string) *program {
	t.Helper()
	r := &program{t: t, cmd: exec.Command(bin, args...), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &lockedWriter{&r.mu, &r.stdout}, &lockedWriter{&r.mu, &r.stderr}
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOSTNAME=build-host", "TERM=dumb"}
	attr.Pdeathsig = syscall.SIGKILL
	r.cmd.SysProcAttr = attr
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
	must(t, <-started)
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		if t.Failed() {
			t.Logf("%v:\n%s%s", args[0], r.out(), tailOf(r.err(), 4000))
		}
	})
	return r
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (r *program) out() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stdout.String()
}

func (r *program) err() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stderr.String()
}

func (r *program) signal(sig syscall.Signal) {
	r.t.Helper()
	must(r.t, r.cmd.Process.Signal(sig))
}

// says waits until the program has logged something.
func (r *program) says(ctx context.Context, text string) {
	r.t.Helper()
	waitFor(ctx, r.t, fmt.Sprintf("the agent to say %q", text), func() bool {
		select {
		case <-r.done:
			if !strings.Contains(r.err(), text) {
				r.t.Fatalf("the agent ended without saying %q:\n%s", text, r.err())
			}
		default:
		}
		return strings.Contains(r.err(), text)
	})
}

// wait waits for the end.
func (r *program) wait(ctx context.Context) outcome {
	r.t.Helper()
	begun := time.Now()
	select {
	case <-r.done:
	case <-ctx.Done():
		r.t.Fatalf("%v does not end:\n%s", r.cmd.Args, r.err())
	}
	o := outcome{stdout: r.out(), stderr: r.err(), code: r.cmd.ProcessState.ExitCode(), took: time.Since(begun)}
	if status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		o.code = -int(status.Signal())
	}
	return o
}

// said returns what the program printed for people: the lines of standard error that are not of its log.
func (o outcome) said() []string {
	lines := strings.Split(strings.TrimSuffix(o.stderr, "\n"), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return line == "" || strings.HasPrefix(line, "{") })
}

// mustRefuse checks a refusal: its exit code, one line that says what is wrong, one that says what to do.
func (o outcome) mustRefuse(t *testing.T, code int, what, hint string) {
	t.Helper()
	lines := o.said()
	want := []string{"(?m)^agent: .*" + what}
	if hint != "" {
		want = append(want, "(?m)^hint: .*"+hint)
	}
	if len(lines) != len(want) || o.stdout != "" {
		t.Errorf("want one line and one hint on stderr, nothing on stdout; got\n%s%s", o.stdout, o.stderr)
	}
	if o.code != code {
		t.Errorf("exit code = %d, want %d (%s)", o.code, code, lines)
	}
	all := strings.Join(lines, "\n")
	for _, pattern := range want {
		if !regexp.MustCompile(pattern).MatchString(all) {
			t.Errorf("stderr does not match %q:\n%s", pattern, all)
		}
	}
}

// listing is everything that ls -lR would tell about some directories, and the contents of links: equal listings, nothing changed.
func listing(t *testing.T, dirs ...string) []string {
	t.Helper()
	var all []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			link := ""
			if info.Mode()&fs.ModeSymlink != 0 {
				link, _ = os.Readlink(path)
			}
			sys := info.Sys().(*syscall.Stat_t)
			all = append(all, fmt.Sprintf("%s %v %d:%d %d inode %d %v %s", path, info.Mode(), sys.Uid, sys.Gid, info.Size(), sys.Ino, info.ModTime(), link))
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return all
}

// mustBeUntouched compares a listing with what is there now.
func mustBeUntouched(t *testing.T, before []string, dirs ...string) {
	t.Helper()
	after := listing(t, dirs...)
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("gone or changed: %s", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("new or changed: %s", line)
		}
	}
}

func tailOf(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// agentOf returns the process of a set's agent run, and 0 while there is none.
func agentOf(t *testing.T, s *localset.Set, ordinal int) int {
	t.Helper()
	found := 0
	forEachProcess(func(pid int, cmdline, _ string) {
		args := strings.Split(cmdline, "\x00")
		if len(args) > 1 && args[1] == "run" && slices.Contains(args, "--volume="+s.Pod(ordinal).Volume) {
			found = pid
		}
	})
	return found
}

// forEachProcess calls see with what everybody may read of each process. See proc(5).
func forEachProcess(see func(pid int, cmdline, environ string)) {
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(name, "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue // it has ended, or is the kernel's
		}
		environ, _ := os.ReadFile(filepath.Join(name, "environ"))
		see(pid, string(cmdline), string(environ))
	}
}
