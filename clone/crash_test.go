package clone

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ordinal/internal/volume"
)

// The crash tests run this test binary as a recipient that fills a volume as an agent's init does, and kill it on the way.
const (
	driverVolume = "CLONE_TEST_VOLUME"
	driverDonor  = "CLONE_TEST_DONOR" // address
	driverCert   = "CLONE_TEST_CERT"  // of the recipient, for this test only
	driverKey    = "CLONE_TEST_KEY"
)

// drive is the recipient's process. It takes its certificate from the test, because to derive one takes long.
func drive() int {
	runtime.LockOSThread() // strace counts calls by thread: all that are not writes and syncs of content are made by this one
	config, err := driverTLS()
	if err == nil {
		r := &Recipient{TLS: func(string) *tls.Config { return config }}
		err = fill(os.Getenv(driverVolume), r, Peer{Pod: "mysql-0", Address: os.Getenv(driverDonor)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	return 0
}

func driverTLS() (*tls.Config, error) {
	der, err := base64.StdEncoding.DecodeString(os.Getenv(driverCert))
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(os.Getenv(driverKey))
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		return nil, err
	}
	// Whether the donor is the right one is not what is tested here.
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, InsecureSkipVerify: true}, nil
}

// fill takes a volume from any state to a complete copy, in the order of an agent's init.
func fill(dir string, r *Recipient, donor Peer) error {
	v, err := volume.Open(dir)
	if err != nil {
		return err
	}
	defer v.Close()
	for range 5 {
		c, err := v.Inspect()
		if err != nil {
			return err
		}
		switch c.Kind {
		case volume.Complete:
			return nil
		case volume.Switching:
			err = v.FinishSwitch()
		case volume.UnderWay:
			err = goOnFilling(v, c.Generation, r, donor)
		case volume.Empty:
			err = fillEmpty(v, r, donor)
		default:
			err = fmt.Errorf("the volume is %v", c.Kind)
		}
		if err != nil {
			return err
		}
	}
	return errors.New("it does not converge")
}

// goOnFilling takes up an unfinished copy, or removes it when nothing of it can be used.
func goOnFilling(v *volume.Volume, n int, r *Recipient, donor Peer) error {
	ctx := context.Background()
	g, err := v.Generation(n)
	if err != nil {
		return v.Discard(ctx, n)
	}
	defer g.Close()
	offer, err := r.Resume(donor, g.Root(), Wants{})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrSaved) {
		return v.Discard(ctx, n)
	}
	if err != nil {
		return err
	}
	_, err = offer.Receive(ctx, g.Root(), &quiet{})
	if errors.Is(err, ErrSnapshotGone) {
		return v.Discard(ctx, n)
	}
	if err != nil {
		return err
	}
	return v.Complete(ctx, g, volume.Facts{})
}

func fillEmpty(v *volume.Volume, r *Recipient, donor Peer) error {
	ctx := context.Background()
	offer, err := r.Ask(ctx, donor, Wants{})
	if err != nil {
		return err
	}
	g, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone, Donor: donor.Pod})
	if err != nil {
		offer.Abandon(ctx)
		return err
	}
	defer g.Close()
	if _, err = offer.Receive(ctx, g.Root(), &quiet{}); err == nil {
		if err = v.Complete(ctx, g, volume.Facts{}); err == nil {
			return nil
		}
	}
	c, inspectErr := v.Inspect()
	if inspectErr != nil || c.Kind != volume.UnderWay {
		return errors.Join(err, inspectErr)
	}
	return errors.Join(err, v.Discard(ctx, g.Number()))
}

// recipientProcess returns the command of the recipient's process under strace.
func recipientProcess(t *testing.T, donor *fakeDonor, dir string, options ...string) *exec.Cmd {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("strace is not installed")
		}
		t.Skip("strace is not installed")
	}
	leaf, err := keys().ClientTLS("mysql-1", "mysql-0").GetClientCertificate(nil)
	must(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	must(t, err)
	cmd := exec.Command(strace, slices.Concat([]string{"-f", "-qq"}, options, []string{os.Args[0]})...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GOCOVERDIR=", driverVolume+"="+dir, driverDonor+"="+donor.Address,
		driverCert+"="+base64.StdEncoding.EncodeToString(leaf.Certificate[0]), driverKey+"="+base64.StdEncoding.EncodeToString(key))
	return cmd
}

// newVolume makes an empty directory for a volume, and the name of a file beside it.
func newVolume(t *testing.T) (dir, trace string) {
	t.Helper()
	parent := scratch(t)
	dir = filepath.Join(parent, "volume")
	must(t, os.Mkdir(dir, 0o750))
	return dir, filepath.Join(parent, "trace")
}

// smallDonor sends smallCopy to whoever asks, and goes on with it after any break.
func smallDonor(t *testing.T) *fakeDonor {
	t.Helper()
	donor := newFakeDonor(t, "mysql-0")
	raw, _ := encode(t, donor.hello, smallCopy())
	donor.copy = framesOf(t, raw)
	return donor
}

// Whenever the recipient says something to the donor, all data it has written is synced: so a stage is durable before it is confirmed.
func TestConfirmedIsSynced(t *testing.T) {
	t.Parallel()
	dir, file := newVolume(t)
	out, err := recipientProcess(t, smallDonor(t), dir, "-y", "-o", file, "-e", "trace=pwrite64,fsync,fdatasync,write,renameat").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	trace, err := os.ReadFile(file)
	must(t, err)
	call := regexp.MustCompile(`(pwrite64|fsync|fdatasync|write)\(\d+<([^>]*)>`)
	rename := regexp.MustCompile(`renameat\(\d+<([^>]*)>, "([^"]*)", \d+<([^>]*)>, "([^"]*)"`)
	dirty, written, said := make(map[string]bool), 0, 0
	for line := range strings.Lines(string(trace)) {
		m := call.FindStringSubmatch(line)
		if r := rename.FindStringSubmatch(line); r != nil && dirty[filepath.Join(r[1], r[2])] {
			delete(dirty, filepath.Join(r[1], r[2]))
			dirty[filepath.Join(r[3], r[4])] = true
		}
		switch {
		case m == nil:
		case m[1] == "pwrite64":
			dirty[m[2]] = true
			written++
		case m[1] == "fsync", m[1] == "fdatasync":
			delete(dirty, m[2])
		case (strings.HasPrefix(m[2], "socket:") || strings.HasPrefix(m[2], "TCP")) && written > 0:
			said++
			for path := range dirty {
				t.Errorf("%s is not synced when the donor is told something: %s", path, line)
			}
		}
	}
	if said < 3 || written < 5 {
		t.Errorf("the trace shows %d writes of data and %d to the donor:\n%s", written, said, trace)
	}
}

// TestCrashPoints kills the recipient at every system call by which it changes the volume, one run for each, until a run gets through.
// Whatever it has come to: what is current is complete, what is not complete is marked, and the next run gets to the end.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"openat", "mkdirat", "renameat", "unlinkat", "symlinkat", "fsync", "fdatasync", "ftruncate", "fallocate", "pwrite64", "write"} {
		atEveryCall(t, call, func(int) string { return "signal=SIGKILL" })
	}
}

// TestErrorPoints lets the same calls fail as they fail on a full or a dying disk.
func TestErrorPoints(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"openat", "fsync", "fdatasync", "pwrite64", "renameat", "ftruncate"} {
		atEveryCall(t, call, func(n int) string {
			if strings.HasSuffix(call, "sync") || n%2 == 0 {
				return "error=EIO"
			}
			return "error=ENOSPC"
		})
	}
}

// atEveryCall does something to the recipient at its first call of a kind, its second, and so on. strace counts calls by thread, and
// the recipient has several: the first thread that comes so far is hit.
func atEveryCall(t *testing.T, call string, action func(n int) string) {
	t.Run(call, func(t *testing.T) {
		t.Parallel()
		donor := smallDonor(t)
		points, through := 0, 0
		for n := 1; through < 2 && n < 500 && !t.Failed(); n++ { // two runs, because threads differ from run to run
			dir, file := newVolume(t)
			what := action(n)
			out, err := recipientProcess(t, donor, dir, "-o", file, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, what, n)).CombinedOutput()
			trace, _ := os.ReadFile(file)
			var exit *exec.ExitError
			killed := errors.As(err, &exit) && !exit.Exited()
			if killed || bytes.Contains(trace, []byte("(INJECTED)")) {
				points++
			} else {
				through++
			}
			// It ends as it should, or by the signal, or with an error that was injected.
			if err != nil && killed != strings.HasPrefix(what, "signal") || err != nil && !killed && exit.ExitCode() != 3 {
				t.Errorf("%s at %s %d: %v: %s", what, call, n, err, out)
			}
			if err := checkVolume(dir); err != nil {
				t.Errorf("%s at %s %d: %v", what, call, n, err)
			}
			if err == nil && !complete(dir) {
				t.Errorf("%s at %s %d: the recipient says that it is done, and it is not", what, call, n)
			}
			if err := fill(dir, recipient("mysql-1"), donor.Peer); err != nil {
				t.Errorf("after %s at %s %d, next run: %v", what, call, n, err)
			}
			if !complete(dir) {
				t.Errorf("after %s at %s %d, next run: not complete", what, call, n)
			}
			if err := checkVolume(dir); err != nil {
				t.Errorf("after %s at %s %d, next run: %v", what, call, n, err)
			}
			_ = os.RemoveAll(filepath.Dir(dir))
		}
		if points == 0 && call != "fallocate" {
			t.Errorf("%s was never hit", call)
		}
		donor.mu.Lock()
		defer donor.mu.Unlock()
		t.Logf("%d points; %d times a copy was gone on with", points, donor.resumed)
	})
}

// complete reports whether there is a current copy; checkVolume says whether it is a good one.
func complete(dir string) bool {
	_, err := os.Readlink(filepath.Join(dir, "current"))
	return err == nil
}

// checkVolume finds what must not be at any instant.
func checkVolume(dir string) error {
	current, err := os.Readlink(filepath.Join(dir, "current"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if current != "" {
		if err := checkSmallCopy(filepath.Join(dir, current)); err != nil {
			return fmt.Errorf("current is not whole: %w", err)
		}
		for name, want := range map[string]bool{"#clone/#status_in_progress": false, fixMarker: true, replacedMarker: true, viewStatusFile: true, "mysql": true} {
			if _, err := os.Lstat(filepath.Join(dir, current, name)); (err == nil) != want {
				return fmt.Errorf("current has %s: %v, want %v", name, err == nil, want)
			}
		}
	}
	c, err := volume.Inspect(dir)
	if err != nil {
		return err
	}
	for _, r := range c.Records {
		gen := filepath.Join(dir, "gen", fmt.Sprintf("%06d", r.Number))
		entries, err := os.ReadDir(gen)
		if r.State != volume.StateBuilding || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, e := range entries {
			if _, err := os.Lstat(filepath.Join(gen, "#clone", "#status_in_progress")); err != nil && e.Name() != "#clone" {
				return fmt.Errorf("%s is in generation %d, which is not complete and not marked", e.Name(), r.Number)
			}
		}
	}
	return nil
}
