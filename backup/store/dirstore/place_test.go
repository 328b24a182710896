package dirstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ordinal/backup/store"
	"ordinal/backup/store/dirstore"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoDirectory(t *testing.T) {
	dir := scratch(t)
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for _, missing := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "file")} {
		s := open(t, missing)
		_, statErr := s.Stat(t.Context(), "x")
		_, openErr := s.Open(t.Context(), "x", 0, -1)
		_, anyErr := s.Anything(t.Context())
		_, sweepErr := s.Sweep(t.Context(), 0)
		var listErr error
		for _, listErr = range s.List(t.Context(), "", "") {
		}
		for op, err := range map[string]error{"Stat": statErr, "Open": openErr, "Anything": anyErr, "List": listErr, "Sweep": sweepErr, "Delete": s.Delete(t.Context(), "x"),
			"Put": s.Put(t.Context(), "x", 1, strings.NewReader("x")), "PutIfAbsent": s.PutIfAbsent(t.Context(), "x", nil), "Claim": store.Claim(t.Context(), s, "c", "s", time.Now())} {
			if !errors.Is(err, store.ErrNoPlace) || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s() without a directory = %v, want %v", op, err, store.ErrNoPlace)
			}
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "none")); err == nil {
		t.Error("the directory was made")
	}
	if _, err := dirstore.New("relative"); err == nil {
		t.Error("New() takes a relative path")
	}
}

// Symbolic links, FIFOs and the like are never followed, opened, listed or replaced by what they point to.
func TestStrangeThings(t *testing.T) {
	dir, outside := scratch(t), scratch(t)
	s := open(t, dir)
	must(t, s.Put(t.Context(), "real/x", -1, strings.NewReader("real")))
	must(t, os.WriteFile(filepath.Join(outside, "x"), []byte("secret"), 0o600))
	must(t, os.Symlink(outside, filepath.Join(dir, "out")))
	must(t, os.Symlink("real", filepath.Join(dir, "in")))
	must(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, "link")))
	must(t, os.Symlink("real/x", filepath.Join(dir, "inlink")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, name := range []string{"out/x", "in/x", "link", "inlink", "fifo"} {
		if r, err := s.Open(t.Context(), name, 0, -1); err == nil {
			r.Close()
			t.Errorf("Open(%s) succeeds", name)
		}
		if _, err := s.Stat(t.Context(), name); err == nil {
			t.Errorf("Stat(%s) succeeds", name)
		}
		if err := s.Put(t.Context(), name, -1, strings.NewReader("new")); err == nil {
			t.Errorf("Put(%s) succeeds", name)
		}
		if err := s.PutIfAbsent(t.Context(), name, []byte("new")); err == nil {
			t.Errorf("PutIfAbsent(%s) succeeds", name)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("Delete(%s) succeeds", name)
		}
	}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil || info.Name != "real/x" {
			t.Errorf("List() yields %+v, %v", info, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(outside, "x")); string(data) != "secret" {
		t.Errorf("what is outside became %q, %v", data, err)
	}

	// The same for what is the store's own.
	must(t, os.RemoveAll(filepath.Join(dir, ".ordinal-unfinished")))
	must(t, os.Symlink(outside, filepath.Join(dir, ".ordinal-unfinished")))
	if err := s.Put(t.Context(), "y", -1, strings.NewReader("new")); err == nil {
		t.Error("Put() works in a directory elsewhere")
	}
	if n, err := s.Sweep(t.Context(), 0); n != 0 || err == nil {
		t.Errorf("Sweep() of a directory elsewhere = %d, %v", n, err)
	}
}

// A sweep removes only what a store left there, and only if nobody is at work on it.
func TestSweepRemovesOnlyOurs(t *testing.T) {
	dir := scratch(t)
	s := open(t, dir)
	must(t, s.Put(t.Context(), "x", -1, strings.NewReader("x")))
	unfinished := filepath.Join(dir, ".ordinal-unfinished")
	for _, name := range []string{"put-OLD", "put-YOUNG", "put-LOCKED", "other"} {
		must(t, os.WriteFile(filepath.Join(unfinished, name), nil, 0o600))
		if name != "put-YOUNG" {
			must(t, os.Chtimes(filepath.Join(unfinished, name), time.Time{}, time.Now().Add(-2*time.Hour)))
		}
	}
	f, err := os.Open(filepath.Join(unfinished, "put-LOCKED"))
	must(t, err)
	defer f.Close()
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	if n, err := s.Sweep(t.Context(), time.Hour); n != 1 || err != nil {
		t.Errorf("Sweep() = %d, %v, want 1", n, err)
	}
	if _, err := os.Lstat(filepath.Join(unfinished, "put-OLD")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is old: %v", err)
	}
	if left, _ := os.ReadDir(unfinished); len(left) != 3 {
		t.Errorf("%v are left", left)
	}
}

// What is no object makes a place foreign too, whatever its name; what every file system has does not.
func TestAnything(t *testing.T) {
	for name, want := range map[string]string{"my file.txt": "my file.txt", "ä": "ä", "d/e/f": "d/e/f", "lost+found/x": "", ".snapshot/x": "", "empty/": "", ".ordinal-unfinished/put-x": ""} {
		dir := scratch(t)
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700))
		if !strings.HasSuffix(name, "/") {
			must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		}
		if got, err := open(t, dir).Anything(t.Context()); got != want || err != nil {
			t.Errorf("Anything() beside %s = %q, %v, want %q", name, got, err, want)
		}
		err := store.Claim(t.Context(), open(t, dir), "c", "s", time.Now())
		if (err == nil) != (want == "") || err != nil && !errors.Is(err, store.ErrForeign) {
			t.Errorf("Claim() beside %s = %v", name, err)
		}
	}
}
