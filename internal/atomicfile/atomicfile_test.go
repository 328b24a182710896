package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ordinal/internal/atomicfile"
)

// driverDir makes the test binary act as the program whose system calls TestOrder looks at.
const driverDir = "ATOMICFILE_TEST_DRIVER"

func TestMain(m *testing.M) {
	dir := os.Getenv(driverDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	root, err := os.OpenRoot(dir)
	if err == nil {
		err = atomicfile.WriteRoot(root, "sub/record.json", []byte("{}\n"), 0o640)
	}
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(dir, "plain"), []byte("x"), 0o600)
	}
	if err == nil {
		err = atomicfile.RenameRoot(root, "plain", "sub/moved")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestWriteCreatesAndReplaces(t *testing.T) {
	old := syscall.Umask(0o077) // the mode must not depend on it
	defer syscall.Umask(old)
	dir := t.TempDir()
	root := openRoot(t, dir)
	for _, data := range []string{"first", "a longer second one", ""} {
		if err := atomicfile.WriteFile(filepath.Join(dir, "a"), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := atomicfile.WriteRoot(root, "b", []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(got) != data {
				t.Fatalf("%s holds %q, %v, want %q", name, got, err, data)
			}
			st, err := os.Stat(filepath.Join(dir, name))
			if err != nil || st.Mode() != 0o644 {
				t.Fatalf("%s has mode %v, %v, want 0644", name, st.Mode(), err)
			}
		}
	}
	wantNames(t, dir, "a", "b")
}

func TestWriteReplacesALinkAndNotItsTarget(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "target"), "precious")
	if err := os.Symlink("target", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "link"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "target")); string(got) != "precious" {
		t.Fatalf("the link's target holds %q, want it untouched", got)
	}
}

func TestWriteRootStaysInside(t *testing.T) {
	outer := t.TempDir()
	inner := filepath.Join(outer, "in")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(inner, "up")); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, inner)
	for _, name := range []string{"../x", "up/x", "/x"} {
		if err := atomicfile.WriteRoot(root, name, []byte("x"), 0o600); err == nil {
			t.Errorf("WriteRoot(%q) left its root", name)
		}
	}
	wantNames(t, outer, "in")
	wantNames(t, inner, "up")
}

func TestFailureLeavesTheOldFileAndNoTemp(t *testing.T) {
	dir := t.TempDir()
	// The rename fails: a directory that is not empty is in the way.
	if err := os.MkdirAll(filepath.Join(dir, "name", "child"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := atomicfile.WriteFile(filepath.Join(dir, "name"), []byte("x"), 0o600)
	if err == nil || !strings.Contains(err.Error(), "write "+dir) {
		t.Fatalf("WriteFile() over a directory = %v, want an error that names the path", err)
	}
	wantNames(t, dir, "name")

	err = atomicfile.WriteFile(filepath.Join(dir, "absent", "name"), nil, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("WriteFile() into an absent directory = %v, want fs.ErrNotExist", err)
	}
}

// Every reader sees one whole version, whoever writes at the same time.
func TestConcurrentWriters(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				if err := atomicfile.WriteRoot(root, "f", bytes.Repeat([]byte{byte('a' + i)}, 10000), 0o600); err != nil {
					t.Error(err)
				}
				got, err := os.ReadFile(filepath.Join(dir, "f"))
				if err != nil || len(got) != 10000 || bytes.Count(got, got[:1]) != 10000 {
					t.Errorf("read %d bytes, %v: not one whole version", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	wantNames(t, dir, "f")
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	write(t, filepath.Join(dir, "a"), "1")
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "d", "b")); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.RenameRoot(root, "d/b", "c"); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "c", "d")
	if err := atomicfile.RenameRoot(root, "absent", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("RenameRoot() of nothing = %v, want fs.ErrNotExist", err)
	}
	if err := atomicfile.SyncDir(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("SyncDir() of nothing = %v, want fs.ErrNotExist", err)
	}
	if err := atomicfile.SyncRootDir(root, "."); err != nil {
		t.Fatal(err)
	}
}

func TestIsTemp(t *testing.T) {
	for name, want := range map[string]bool{
		".record.json.tmp-abcdef": true, "record.json": false, ".hidden": false, "a.tmp-b": false, ".tmp-": false, ".x.tmp-": false,
	} {
		if got := atomicfile.IsTemp(name); got != want {
			t.Errorf("IsTemp(%q) = %v, want %v", name, got, want)
		}
	}
}

// The order of the system calls is what the promise rests on, and no other test would notice a missing fsync.
func TestOrder(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	logFile := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command(strace, "-f", "-y", "-qq", "-o", logFile, "-e", "trace=write,fsync,rename,renameat,renameat2,fchmod", os.Args[0])
	cmd.Env = append(os.Environ(), driverDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("driver: %v\n%s", err, out)
	}
	trace, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(trace)) {
		if !strings.Contains(line, dir) {
			continue
		}
		call := strings.Fields(line)[1]
		name, _, _ := strings.Cut(call, "(")
		what := "dir"
		switch {
		case strings.Contains(line, atomicfileTempMark):
			what = "temp"
		case name == "renameat" || name == "renameat2":
			what = "name"
		}
		if name == "fsync" && strings.Contains(line, "/sub>") {
			what = "sub"
		}
		got = append(got, name+" "+what)
	}
	want := []string{
		"write temp", "fsync temp", "renameat temp", "fsync sub", // WriteRoot
		"write temp", "fsync temp", "renameat temp", "fsync dir", // WriteFile
		"renameat name", "fsync sub", "fsync dir", // RenameRoot
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("system calls:\n%s\nwant:\n%s\ntrace:\n%s", strings.Join(got, ", "), strings.Join(want, ", "), trace)
	}
}

const atomicfileTempMark = ".tmp-"

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
}
