package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/internal/volume"
)

func open(t *testing.T, dir string) *volume.Volume {
	t.Helper()
	v, err := volume.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func inspect(t *testing.T, dir string) *volume.Content {
	t.Helper()
	c, err := volume.Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// touch makes the files, and the directories for names that end with a slash.
func touch(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o750))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o750))
		must(t, os.WriteFile(path, nil, 0o640))
	}
}

func TestInspect(t *testing.T) {
	old := []string{"mysql/", "ibdata1", "shop/t.ibd", "binlog.index"}
	tests := map[string]struct {
		make func(t *testing.T, v *volume.Volume, dir string)
		want volume.Kind
		gen  int
	}{
		"nothing": {func(*testing.T, *volume.Volume, string) {}, volume.Empty, 0},
		"what is never counted": {func(t *testing.T, _ *volume.Volume, dir string) {
			touch(t, dir, "lost+found/x", ".snapshot/", "gen/", "quarantine/")
		}, volume.Empty, 0},
		"a data directory":             {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, old...) }, volume.Foreign, 0},
		"a socket of the image":        {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "mysql.sock", "mysqlx.sock.lock") }, volume.Empty, 0},
		"a file":                       {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "notes.txt") }, volume.Foreign, 0},
		"a strange name in gen":        {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "gen/1/") }, volume.Foreign, 0},
		"a clone begun":                {func(t *testing.T, v *volume.Volume, _ string) { begin(t, v) }, volume.UnderWay, 1},
		"a clone and a file":           {func(t *testing.T, v *volume.Volume, dir string) { begin(t, v); touch(t, dir, "core") }, volume.UnderWay, 1},
		"a clone and a data directory": {func(t *testing.T, v *volume.Volume, dir string) { begin(t, v); touch(t, dir, old...) }, volume.Foreign, 0},
		"a clone without directory":    {func(t *testing.T, v *volume.Volume, dir string) { begin(t, v); must(t, os.RemoveAll(dir+"/gen")) }, volume.UnderWay, 1},
		"complete":                     {func(t *testing.T, v *volume.Volume, _ string) { must(t, completeNew(v)) }, volume.Complete, 1},
		"complete and a file":          {func(t *testing.T, v *volume.Volume, dir string) { must(t, completeNew(v)); touch(t, dir, "core") }, volume.Complete, 1},
		"complete and a clone":         {func(t *testing.T, v *volume.Volume, _ string) { must(t, completeNew(v)); begin(t, v) }, volume.Complete, 1},
		"no link yet": {func(t *testing.T, v *volume.Volume, _ string) {
			must(t, completeNew(v))
			must(t, os.Remove(v.DataDir()))
		}, volume.Switching, 1},
		"the old link": {func(t *testing.T, v *volume.Volume, _ string) {
			must(t, completeNew(v))
			must(t, completeNew(v))
			link(t, v, "gen/000001")
		}, volume.Switching, 2},
		"prepared":              {func(t *testing.T, v *volume.Volume, _ string) { prepare(t, v) }, volume.Prepared, 1},
		"prepared, no link yet": {func(t *testing.T, v *volume.Volume, _ string) { prepare(t, v); must(t, os.Remove(v.DataDir())) }, volume.Prepared, 1},
		"initialisation begun":  {func(t *testing.T, v *volume.Volume, _ string) { prepare(t, v); touch(t, v.DataDir(), "auto.cnf") }, volume.NeverCompleted, 1},
		"initialised": {func(t *testing.T, v *volume.Volume, _ string) {
			prepare(t, v)
			must(t, fill(v.DataDir(), 1))
			must(t, v.MarkInitialised(t.Context(), 1, volume.Facts{}))
		}, volume.Complete, 1},
		"quarantined": {func(t *testing.T, v *volume.Volume, _ string) {
			must(t, completeNew(v))
			_, err := v.Quarantine(t.Context(), 1, "test")
			must(t, err)
		}, volume.Empty, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v := open(t, dir)
			test.make(t, v, dir)
			c := inspect(t, dir)
			if c.Kind != test.want || c.Generation != test.gen {
				t.Errorf("Inspect() = %v of generation %d, want %v of %d", c.Kind, c.Generation, test.want, test.gen)
			}
			if (c.Record != nil) != (test.gen > 0) {
				t.Errorf("Inspect() has record %v", c.Record)
			}
			before := c
			must(t, v.Close())
			if c := inspect(t, dir); fmt.Sprintf("%+v", *c) != fmt.Sprintf("%+v", *before) && c.Record == nil {
				t.Errorf("without the lock it is %+v", *c)
			}
		})
	}
}

func begin(t *testing.T, v *volume.Volume) {
	t.Helper()
	g, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone})
	must(t, err)
	must(t, g.Close())
}

func prepare(t *testing.T, v *volume.Volume) {
	t.Helper()
	_, err := v.PrepareEmpty()
	must(t, err)
}

func link(t *testing.T, v *volume.Volume, target string) {
	t.Helper()
	if err := os.Remove(v.DataDir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	must(t, os.Symlink(target, v.DataDir()))
}

// Whatever somebody has put in the place of ours: it is refused with its name, nothing is followed and nothing changed.
func TestHostileLayout(t *testing.T) {
	outside := t.TempDir()
	touch(t, outside, "precious", "#clone/#status_in_progress")
	tests := map[string]struct {
		make func(t *testing.T, v *volume.Volume, dir string)
		want string
	}{
		"current points out":   {func(t *testing.T, v *volume.Volume, _ string) { link(t, v, outside) }, "current points to"},
		"current points up":    {func(t *testing.T, v *volume.Volume, _ string) { link(t, v, "../..") }, "current points to"},
		"current points round": {func(t *testing.T, v *volume.Volume, _ string) { link(t, v, "gen/../gen/000001") }, "current points to"},
		"current points absolutely": {func(t *testing.T, v *volume.Volume, dir string) {
			must(t, completeNew(v))
			link(t, v, dir+"/gen/000001")
		}, "current points to"},
		"current is a directory": {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "current/db.opt") }, "current is not a symbolic link"},
		"current without record": {func(t *testing.T, v *volume.Volume, dir string) {
			touch(t, dir, "gen/000003/")
			link(t, v, "gen/000003")
		}, "no record"},
		"current to a clone begun": {func(t *testing.T, v *volume.Volume, _ string) { begin(t, v); link(t, v, "gen/000001") }, "not complete"},
		"gen is a link":            {func(t *testing.T, _ *volume.Volume, dir string) { must(t, os.Symlink(outside, dir+"/gen")) }, "gen is a symbolic link"},
		"gen is a file":            {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "gen") }, "gen is not a directory"},
		"quarantine is a link":     {func(t *testing.T, _ *volume.Volume, dir string) { must(t, os.Symlink(outside, dir+"/quarantine")) }, "quarantine is a symbolic link"},
		"a generation is a link":   {func(t *testing.T, v *volume.Volume, dir string) { replace(t, v, dir, outside) }, "gen/000001 is a symbolic link"},
		"a link within the volume": {func(t *testing.T, v *volume.Volume, dir string) { replace(t, v, dir, "../quarantine") }, "gen/000001 is a symbolic link"},
		"no record of a directory": {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "gen/000001/ibdata1") }, "no record"},
		"a record is damaged":      {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "agent/generation-000001.json") }, "generation-000001.json"},
		"a record is a link": {func(t *testing.T, _ *volume.Volume, dir string) {
			must(t, os.Symlink(outside+"/precious", dir+"/agent/generation-000001.json"))
		}, "not a regular file"},
		"a record of the future": {func(t *testing.T, _ *volume.Volume, dir string) {
			must(t, os.WriteFile(dir+"/agent/generation-000001.json", []byte(`{"format":2,"number":1,"origin":"clone","state":"complete"}`), 0o600))
		}, "format 2"},
		"a plan is damaged": {func(t *testing.T, _ *volume.Volume, dir string) { touch(t, dir, "agent/plan.json") }, "plan.json"},
		"a plan leads out": {func(t *testing.T, _ *volume.Volume, dir string) {
			must(t, os.WriteFile(dir+"/agent/plan.json", []byte(`{"format":1,"steps":[{"op":"remove_all","name":"../x"}]}`), 0o600))
		}, "../x"},
		"complete and gone": {func(t *testing.T, v *volume.Volume, dir string) {
			must(t, completeNew(v))
			must(t, os.RemoveAll(dir+"/gen/000001"))
		}, "missing"},
		"complete and marked": {func(t *testing.T, v *volume.Volume, dir string) {
			must(t, completeNew(v))
			touch(t, dir, "gen/000001/#clone/#status_in_progress")
		}, "no mysqld starts"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v := open(t, dir)
			test.make(t, v, dir)
			before := tree(t, dir)
			_, err := v.Inspect()
			if !errors.Is(err, volume.ErrDamaged) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("Inspect() = %v, want ErrDamaged, %s and the volume's name", err, test.want)
			}
			var hint interface{ Hint() string }
			if !errors.As(err, &hint) || hint.Hint() == "" {
				t.Errorf("Inspect() = %v has no hint", err)
			}
			for op, call := range operations(t, v) {
				if call() == nil && op != "resume" && op != "discard 9" {
					t.Errorf("%s works", op)
				}
			}
			if after := tree(t, dir); after != before {
				t.Errorf("the volume was\n%s and is\n%s", before, after)
			}
		})
	}
	if got := tree(t, outside); got != "#clone\n#clone/#status_in_progress\nprecious\n" {
		t.Errorf("outside is %s", got)
	}
}

// operations are those that must change nothing on a damaged volume. Quarantine is not among them: it is one way out.
func operations(t *testing.T, v *volume.Volume) map[string]func() error {
	ctx := t.Context()
	return map[string]func() error{
		"new":     func() error { _, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone}); return err },
		"prepare": func() error { _, err := v.PrepareEmpty(); return err },
		"finish":  v.FinishSwitch,
		"discard": func() error { return v.Discard(ctx, 1) },
		"mark":    func() error { return v.MarkInitialised(ctx, 1, volume.Facts{}) },
		"adopt":   func() error { return v.Adopt(ctx, volume.Facts{}) },
	}
}

func replace(t *testing.T, v *volume.Volume, dir, target string) {
	t.Helper()
	touch(t, dir, "quarantine/")
	begin(t, v)
	must(t, os.RemoveAll(dir+"/gen/000001"))
	must(t, os.Symlink(target, dir+"/gen/000001"))
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir {
			fmt.Fprintln(&b, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	return b.String()
}

func TestHostileAgentDirectory(t *testing.T) {
	outside := t.TempDir()
	for name, test := range map[string]struct {
		make func(t *testing.T, dir string)
		want error
	}{
		"a link out":    {func(t *testing.T, dir string) { must(t, os.Symlink(outside, dir+"/agent")) }, volume.ErrDamaged},
		"a link within": {func(t *testing.T, dir string) { touch(t, dir, "x/"); must(t, os.Symlink("x", dir+"/agent")) }, volume.ErrDamaged},
		"a file":        {func(t *testing.T, dir string) { touch(t, dir, "agent") }, volume.ErrDamaged},
		"a database":    {func(t *testing.T, dir string) { touch(t, dir, "agent/t.ibd") }, volume.ErrForeign},
		"a linked lock": {func(t *testing.T, dir string) {
			touch(t, dir, "agent/")
			must(t, os.Symlink(outside+"/x", dir+"/agent/lock"))
		}, volume.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.make(t, dir)
			if _, err := volume.Open(dir); !errors.Is(err, test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("Open() = %v, want %v", err, test.want)
			}
		})
	}
	if got := tree(t, outside); got != "" {
		t.Errorf("outside is %s", got)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	touch(t, dir, "agent/.generation-000001.json.tmp-abcdef")
	if _, err := volume.Open(dir); !errors.Is(err, volume.ErrLocked) {
		t.Errorf("second Open() = %v, want ErrLocked", err)
	}
	must(t, v.Close())
	v, err := volume.Open(dir)
	must(t, err)
	defer v.Close()
	if got := tree(t, dir); got != "agent\nagent/lock\n" {
		t.Errorf("the volume is %s", got)
	}
	if _, err := volume.Open(dir + "/absent"); !errors.Is(err, volume.ErrNoVolume) {
		t.Errorf("Open() of nothing = %v, want ErrNoVolume", err)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := volume.Open(dir + "/file"); !errors.Is(err, volume.ErrNoVolume) {
		t.Errorf("Open() of a file = %v, want ErrNoVolume", err)
	}
}

// An ordinary user on a volume that belongs to somebody else.
func TestNotWritable(t *testing.T) {
	parent, err := os.MkdirTemp("", "volume-")
	must(t, err)
	defer os.RemoveAll(parent)
	must(t, os.Chmod(parent, 0o755))
	dir := filepath.Join(parent, "v")
	must(t, os.Mkdir(dir, 0o555))
	if os.Getuid() != 0 {
		if _, err := volume.Open(dir); !errors.Is(err, volume.ErrNotWritable) {
			t.Fatalf("Open() = %v, want ErrNotWritable", err)
		}
		return
	}
	// The test binary's folder is private to root, so it is run through an open copy.
	program := filepath.Join(parent, "driver")
	data, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(program, data, 0o755))
	run := func() string {
		cmd := exec.Command(program)
		cmd.Dir = "/"
		cmd.Env = []string{driverScenario + "=clone", driverDir + "=" + dir}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var out bytes.Buffer
		cmd.Stderr = &out
		_ = cmd.Run()
		return out.String()
	}
	out := run()
	for _, want := range []string{volume.ErrNotWritable.Error(), dir, "uid 65534", "belongs to uid 0"} {
		if !strings.Contains(out, want) {
			t.Errorf("the error %q does not contain %q", out, want)
		}
	}
	if got := tree(t, dir); got != "" {
		t.Errorf("the volume is %s", got)
	}
	// Somebody else's, but open to all: nothing is wrong with it.
	must(t, os.Chmod(dir, 0o777|os.ModeSticky))
	if out := run(); out != "" {
		t.Errorf("on a volume open to all: %s", out)
	}
}

func TestGenerationsAreReadableByMysqld(t *testing.T) {
	dir := t.TempDir()
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	v := open(t, dir)
	g, err := build(v)
	must(t, err)
	defer g.Close()
	must(t, filepath.WalkDir(g.Path(), func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		st, err := d.Info()
		must(t, err)
		want := fs.FileMode(0o640)
		if d.IsDir() {
			want = 0o750
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, st.Mode().Perm(), want)
		}
		return nil
	}))
	if target, _ := os.Readlink(v.DataDir()); target != "" {
		t.Errorf("current points to %s already", target)
	}
	must(t, v.Complete(t.Context(), g, volume.Facts{GTIDExecuted: "u:1-7", ClusterID: "c"}))
	must(t, v.Complete(t.Context(), g, volume.Facts{})) // once more is harmless
	r := inspect(t, dir).Record
	if r.GTIDExecuted != "u:1-7" || r.ClusterID != "c" || r.CompletedAt == nil || g.Record().State != volume.StateComplete {
		t.Errorf("the record is %+v", r)
	}
	if target, _ := os.Readlink(v.DataDir()); target != "gen/000001" {
		t.Errorf("current points to %q, want gen/000001", target)
	}
}

func TestCompleteRefuses(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, v *volume.Volume, g *volume.Generation) context.Context{
		"a link in the data": func(t *testing.T, _ *volume.Volume, g *volume.Generation) context.Context {
			must(t, os.Symlink("/etc", filepath.Join(g.Path(), "shop", "x")))
			return t.Context()
		},
		"no marker": func(t *testing.T, _ *volume.Volume, g *volume.Generation) context.Context {
			must(t, os.Remove(filepath.Join(g.Path(), "#clone", "#status_in_progress")))
			return t.Context()
		},
		"another directory of the number": func(t *testing.T, v *volume.Volume, g *volume.Generation) context.Context {
			must(t, v.Discard(t.Context(), 1))
			begin(t, v)
			return t.Context()
		},
		"the end of ctx": func(t *testing.T, _ *volume.Volume, _ *volume.Generation) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := open(t, t.TempDir())
			g, err := build(v)
			must(t, err)
			defer g.Close()
			ctx := spoil(t, v, g)
			if err := v.Complete(ctx, g, volume.Facts{}); err == nil {
				t.Error("Complete() = nil, want an error")
			}
			if c := inspect(t, v.Path()); c.Kind != volume.UnderWay || c.Current != 0 {
				t.Errorf("Inspect() = %v, current %d, want it under way and not current", c.Kind, c.Current)
			}
			must(t, v.Discard(t.Context(), 1))
			if c := inspect(t, v.Path()); c.Kind != volume.Empty {
				t.Errorf("Inspect() after Discard = %v, want empty", c.Kind)
			}
		})
	}
}

func TestStates(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir())
	wantState := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, volume.ErrState) {
			t.Errorf("%s = %v, want ErrState", what, err)
		}
	}
	wantState("FinishSwitch() of nothing", v.FinishSwitch())
	wantState("MarkInitialised() of nothing", v.MarkInitialised(ctx, 1, volume.Facts{}))
	wantState("Adopt() of nothing", v.Adopt(ctx, volume.Facts{}))
	must(t, v.Discard(ctx, 1)) // gone already
	prepare(t, v)
	prepare(t, v) // idempotent
	wantState("NewGeneration() on a prepared volume", func() error {
		_, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone})
		return err
	}())
	wantState("MarkInitialised() of an empty directory", v.MarkInitialised(ctx, 1, volume.Facts{}))
	touch(t, v.DataDir(), "auto.cnf")
	wantState("MarkInitialised() of no data directory", v.MarkInitialised(ctx, 1, volume.Facts{}))
	wantState("Discard() of an initialisation begun", v.Discard(ctx, 1))
	wantState("PrepareEmpty() over an initialisation begun", func() error { _, err := v.PrepareEmpty(); return err }())
	_, err := v.Quarantine(ctx, 1, "../x")
	wantState("Quarantine() for a path", err)
	name, err := v.Quarantine(ctx, 1, "never_completed")
	must(t, err)
	again, err := v.Quarantine(ctx, 1, "never_completed")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Quarantine() once more = %q, %v, want fs.ErrNotExist", again, err)
	}
	if _, err := os.Stat(filepath.Join(v.Path(), "quarantine", name, "data", "auto.cnf")); err != nil {
		t.Error(err)
	}
	must(t, completeNew(v))
	wantState("Discard() of a complete one", v.Discard(ctx, 1))
	wantState("PrepareEmpty() beside a complete one", func() error { _, err := v.PrepareEmpty(); return err }())
	begin(t, v)
	wantState("NewGeneration() beside one under construction", func() error {
		_, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone})
		return err
	}())
}

func TestQuarantineNamesAreUnique(t *testing.T) {
	v := open(t, t.TempDir())
	for range 3 {
		must(t, completeNew(v))
		_, err := v.Quarantine(t.Context(), 1, "test")
		must(t, err)
	}
	c := inspect(t, v.Path())
	if len(c.Quarantined) != 3 {
		t.Errorf("quarantine holds %v, want 3", c.Quarantined)
	}
	for _, name := range c.Quarantined {
		must(t, whole(filepath.Join(v.Path(), "quarantine", name, "data"), 1))
	}
}

func TestInUse(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir())
	g, err := build(v)
	must(t, err)
	defer g.Close()
	if used, err := v.InUse(1); used || err != nil {
		t.Fatalf("InUse() = %v, %v, want false", used, err)
	}
	release := lockAsInnoDB(t, filepath.Join(g.Path(), "ibdata1"))
	if used, err := v.InUse(1); !used || err != nil {
		t.Fatalf("InUse() of a locked one = %v, %v, want true", used, err)
	}
	if err := v.Discard(ctx, 1); !errors.Is(err, volume.ErrInUse) {
		t.Errorf("Discard() = %v, want ErrInUse", err)
	}
	if _, err := v.Quarantine(ctx, 1, "test"); !errors.Is(err, volume.ErrInUse) {
		t.Errorf("Quarantine() = %v, want ErrInUse", err)
	}
	release()
	must(t, v.Discard(ctx, 1))
	if used, err := v.InUse(1); used || err != nil {
		t.Errorf("InUse() of nothing = %v, %v, want false", used, err)
	}
}

// lockAsInnoDB takes the lock in the form that is not lost when another descriptor of this process is closed.
func lockAsInnoDB(t *testing.T, path string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	must(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	return func() { must(t, f.Close()) }
}

func TestAdoptRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T, dir string)
		want error
		text string
	}{
		"no data directory":     {func(t *testing.T, dir string) { touch(t, dir, "notes.txt", "mysql/") }, volume.ErrForeign, "mysql, notes.txt"},
		"a live mysqld":         {func(t *testing.T, dir string) { must(t, seedOld(dir)); t.Cleanup(lockAsInnoDB(t, dir+"/ibdata1")) }, volume.ErrInUse, ""},
		"an interrupted clone":  {func(t *testing.T, dir string) { must(t, seedOld(dir)); touch(t, dir, "#clone/#status_in_progress") }, volume.ErrState, "interrupted"},
		"a database gen":        {func(t *testing.T, dir string) { must(t, seedOld(dir)); touch(t, dir, "gen/t.ibd") }, volume.ErrForeign, "database named `gen`"},
		"a database quarantine": {func(t *testing.T, dir string) { must(t, seedOld(dir)); touch(t, dir, "quarantine/t.ibd") }, volume.ErrForeign, "database named `quarantine`"},
		"a stranger in gen":     {func(t *testing.T, dir string) { must(t, seedOld(dir)); touch(t, dir, "gen/x") }, volume.ErrForeign, "gen/x"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test.make(t, dir)
			v := open(t, dir)
			before := tree(t, dir)
			if err := v.Adopt(t.Context(), volume.Facts{}); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Adopt() = %v, want %v with %q", err, test.want, test.text)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("the volume was\n%s and is\n%s", before, after)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	v := open(t, t.TempDir())
	if _, err := v.Identity(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Identity() of a new volume = %v, want fs.ErrNotExist", err)
	}
	must(t, v.SetIdentity(volume.Identity{ClusterID: "c", Pod: "mysql-1", ServerUUID: "u"}))
	id, err := v.Identity()
	if err != nil || id.ClusterID != "c" || id.Pod != "mysql-1" || id.ServerUUID != "u" || id.UpdatedAt.IsZero() {
		t.Errorf("Identity() = %+v, %v", id, err)
	}
	if c := inspect(t, v.Path()); c.Kind != volume.Empty || !slices.Equal(c.Foreign, nil) {
		t.Errorf("Inspect() = %+v, want empty", c)
	}
}
