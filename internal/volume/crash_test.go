package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/internal/volume"
)

// changing are the system calls by which the package changes a volume, and openat, which comes before each of them.
var changing = []string{"openat", "mkdirat", "renameat", "unlinkat", "symlinkat", "linkat", "fsync", "ftruncate", "write"}

// TestCrashPoints kills the driver at every single one of its system calls that matter. Whatever it has come to: the
// invariants hold, and the next run gets to the end.
func TestCrashPoints(t *testing.T) { atEveryCall(t, "signal=SIGKILL") }

// TestErrorPoints lets every single one of these system calls fail, with the error it is likeliest to meet in life.
func TestErrorPoints(t *testing.T) { atEveryCall(t, "error=") }

func errnoOf(call string, i int) string {
	if call == "fsync" || call == "unlinkat" || i%2 == 0 {
		return "EIO"
	}
	return "ENOSPC"
}

func atEveryCall(t *testing.T, action string) {
	for name := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var points atomic.Int64
			t.Cleanup(func() { t.Logf("%d points", points.Load()) })
			calls := traceDriver(t, name, seeded(t, name))
			for _, call := range changing {
				t.Run(call, func(t *testing.T) {
					t.Parallel()
					for i, line := range calls[call] {
						if !strings.Contains(line, "/crash-") {
							continue // the Go runtime's own, before ours
						}
						// An open that only reads changes nothing: killed there the volume is as before the next call that does. That it
						// fails is tried for some, or for all of them in a minute more with VOLUME_TEST_ALL=1.
						reads := call == "openat" && !strings.Contains(line, "O_CREAT")
						if reads && (action != "error=" || i%9 != 0 && os.Getenv("VOLUME_TEST_ALL") == "") {
							continue
						}
						if strings.Contains(line, "AT_FDCWD") && action == "error=" && !reads {
							continue // the driver's own, see fill
						}
						if testing.Short() && i%4 != 0 {
							continue
						}
						inject := fmt.Sprintf("inject=%s:%s:when=%d", call, action, i+1)
						if action == "error=" {
							inject = fmt.Sprintf("inject=%s:error=%s:when=%d", call, errnoOf(call, i), i+1)
						}
						if err := atOneCall(t, name, call, inject); err != nil {
							t.Errorf("%s, which is\n\t%s\n%v", inject, line, err)
						}
						points.Add(1)
					}
				})
			}
		})
	}
}

func atOneCall(t *testing.T, name, call, inject string) error {
	dir := seeded(t, name)
	defer os.RemoveAll(filepath.Dir(dir))
	options := []string{"-o", "/dev/null", "-e", "trace=" + call, "-e", inject}
	if !strings.Contains(inject, "signal=") {
		options = append(options, "-f", "--seccomp-bpf") // much faster, but strace 6.1 then sends no signals
	}
	cmd := driver(t, name, dir, options...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(inject, "SIGKILL"):
		return errors.New("the driver was not killed")
	case err == nil: // it could do without
	case !errors.As(err, &exit):
		return err
	case exit.ExitCode() == 3 && !strings.Contains(stderr.String(), dir):
		return fmt.Errorf("error without a path: %s", &stderr)
	case exit.ExitCode() == 3 && !operation.MatchString(stderr.String()):
		return fmt.Errorf("error without an operation: %s", &stderr)
	case exit.ExitCode() != 3 && !strings.Contains(inject, "SIGKILL"):
		return fmt.Errorf("driver: %v: %s", err, &stderr)
	}
	s := scenarios[name]
	c, err := volume.Inspect(dir)
	if err != nil {
		return fmt.Errorf("after it: %w", err)
	}
	if err := s.check(dir, c); err != nil {
		return fmt.Errorf("after it (%v): %w", c.Kind, err)
	}
	if err := s.converge(dir); err != nil {
		return fmt.Errorf("next run, from %v: %w", c.Kind, err)
	}
	return nil
}

var operation = regexp.MustCompile(`^(open volume|inspect volume|new generation|complete generation|finish switch|prepare an empty|mark generation|` +
	`discard generation|quarantine generation|retire what|undo quarantine|drop quarantine|start the first|adopt the data|export from|keep what|` +
	`forget the server_uuid|submit request|read request|close request|hold|release|(open|mkdirat|mkdir|write) /)`)

// seeded makes a volume as the scenario finds it. Its name tells its calls from those of the runtime.
func seeded(t *testing.T, name string) string {
	t.Helper()
	seeds.once.Do(func() { seeds.dir, seeds.err = seedAll() })
	must(t, seeds.err)
	parent, err := os.MkdirTemp(inMemory(), "crash-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(parent) })
	dir := filepath.Join(parent, "volume")
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join(seeds.dir, name))))
	return dir
}

// seeds holds what each scenario begins with. It is made before the first driver is started: a volume that was locked here could still
// be locked by a process that is about to become another test's driver.
var seeds struct {
	once sync.Once
	dir  string
	err  error
}

func seedAll() (string, error) {
	dir, err := os.MkdirTemp(inMemory(), "seed-")
	for name, s := range scenarios {
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, name), 0o750)
		}
		if err == nil {
			err = s.seed(filepath.Join(dir, name))
		}
	}
	return dir, err
}

// inMemory is where hundreds of volumes go: what fsync costs on a disk is not what is tested. "" is the usual place.
func inMemory() string {
	if unix.Access("/dev/shm", unix.W_OK) != nil {
		return ""
	}
	return "/dev/shm"
}

// driver is the test binary as the scenario's driver, under strace. Only its first thread need be traced, the driver makes all
// its calls there; the runtime's other threads, and the signals between them, would cost most of the time.
func driver(t *testing.T, name, dir string, options ...string) *exec.Cmd {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("strace is not installed")
		}
		t.Skip("strace is not installed")
	}
	cmd := exec.Command(strace, slices.Concat([]string{"-qq"}, options, []string{os.Args[0]})...)
	cmd.Env = append(os.Environ(), driverScenario+"="+name, driverDir+"="+dir, "GOCOVERDIR=", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	return cmd
}

// traceDriver runs the driver to its end and returns the lines that strace writes, by call and in the key "" all together.
func traceDriver(t *testing.T, name, dir string) map[string][]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	out, err := driver(t, name, dir, "-y", "-s", "200", "-o", file, "-e", "trace="+strings.Join(changing, ",")).CombinedOutput()
	if err != nil {
		t.Fatalf("driver: %v\n%s", err, out)
	}
	trace, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string][]string)
	for line := range strings.Lines(string(trace)) {
		line = strings.TrimSpace(line)
		if call, _, ok := strings.Cut(line, "("); ok {
			calls[call] = append(calls[call], line)
			calls[""] = append(calls[""], line)
		}
	}
	return calls
}

// TestOrderOfWrites watches what a power loss could take back. At every instant either agent/ or the rest of the
// volume may have changes that were not synced, never both: so a record or a plan is durable before what relies on it,
// and what a record says is durable before the record. And at the end nothing is left to be lost.
func TestOrderOfWrites(t *testing.T) {
	for name := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := seeded(t, name)
			dirty := make(map[string]string) // path → the call that made it so
			inAgent := func(path string) bool { return strings.HasPrefix(path, dir+"/agent") }
			switches := 0
			for _, line := range traceDriver(t, name, dir)[""] {
				changed, synced := parseCall(line)
				delete(dirty, synced)
				if strings.HasPrefix(line, "unlinkat") && len(changed) == 1 { // what is gone need not be synced
					gone := filepath.Join(changed[0], quoted.FindStringSubmatch(line)[1])
					maps.DeleteFunc(dirty, func(path, _ string) bool { return path == gone || strings.HasPrefix(path, gone+"/") })
				}
				before := maps.Clone(dirty) // a rename makes two directories dirty at once, on either side
				for _, path := range changed {
					if !strings.HasPrefix(path, dir) {
						continue
					}
					if name == "start over" && strings.HasPrefix(path, dir+"/gen/000001") {
						continue // what an interrupted initialisation wrote is nobody's promise
					}
					for other, why := range before {
						if inAgent(other) != inAgent(path) && !strings.HasPrefix(line, "openat") {
							t.Errorf("%s\nwhile not synced since\n%s", line, why)
						}
					}
					dirty[path] = line
				}
				if strings.HasPrefix(line, "renameat") && strings.Contains(line, `"current"`) {
					switches++
					for other, why := range dirty {
						if other != dir {
							t.Errorf("switch while not synced since\n%s", why)
						}
					}
				}
			}
			for _, why := range dirty {
				t.Errorf("not synced at the end: %s", why)
			}
			if (switches == 0) != scenarios[name].stays {
				t.Errorf("the trace shows %d switches of current", switches)
			}
		})
	}
}

var (
	callResult = regexp.MustCompile(`^(.*)\) += (.*)$`)
	fdPath     = regexp.MustCompile(`\d+<([^>]*)>`)
	quoted     = regexp.MustCompile(`"([^"]*)"`)
)

// parseCall returns the files and directories that a call of a trace changes, or the one that it syncs.
func parseCall(line string) (changed []string, synced string) {
	call, rest, _ := strings.Cut(line, "(")
	parts := callResult.FindStringSubmatch(rest)
	if parts == nil || strings.HasPrefix(parts[2], "-1") {
		return nil, ""
	}
	args, result := parts[1], parts[2]
	paths := fdPath.FindAllStringSubmatch(args, -1)
	switch call {
	case "fsync":
		return nil, paths[0][1]
	case "write":
		return []string{paths[0][1]}, ""
	case "openat":
		name := quoted.FindStringSubmatch(args)[1]
		if !strings.Contains(args, "O_CREAT") || name == "lock" { // the lock's name need not survive
			return nil, ""
		}
		if file := fdPath.FindStringSubmatch(result); file != nil {
			return []string{filepath.Dir(file[1])}, ""
		}
	case "mkdirat", "renameat", "unlinkat", "symlinkat", "linkat":
		for i, p := range paths {
			dir := p[1]
			if name := quoted.FindAllStringSubmatch(args, -1)[i][1]; filepath.IsAbs(name) && call != "symlinkat" {
				dir = filepath.Dir(name) // the driver's own mkdir
			}
			changed = append(changed, dir)
		}
	}
	return changed, ""
}
