package volume_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/internal/volume"
)

// served makes a volume whose first generation is complete.
func served(t *testing.T) *volume.Volume {
	t.Helper()
	v := open(t, t.TempDir())
	must(t, firstServed(v))
	return v
}

// retired makes a volume whose first generation was replaced and is in quarantine under the name returned.
func retired(t *testing.T) (*volume.Volume, string) {
	t.Helper()
	v := served(t)
	must(t, replace1(v))
	names, err := v.Retire(t.Context())
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("Retire() = %q, want one name", names)
	}
	return v, names[0]
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// A mysqld is never switched under, whatever of its locks is left, and cannot come back to what is being replaced.
func TestSwitchBesideAServer(t *testing.T) {
	// A server that has handed out a clone has lost its lock on ibdata1.
	for _, locked := range []string{"ibdata1", "ibtmp1", "#ib_16384_1.dblwr", "#innodb_temp/temp_3.ibt", "undo_002"} {
		t.Run(locked, func(t *testing.T) {
			v := served(t)
			old := filepath.Join(v.Path(), "gen", "000001")
			touch(t, old, locked)
			release := lockAsInnoDB(t, filepath.Join(old, locked))
			must(t, replace1(v))
			c := inspect(t, v.Path())
			if c.Kind != volume.Switching || c.Current != 1 || c.Generation != 2 || len(c.Older()) != 1 {
				t.Fatalf("after Complete() the volume is %v, current %d, of %d, older %v; want switching, 1, 2", c.Kind, c.Current, c.Generation, c.Older())
			}
			if _, err := os.Lstat(old + "/#clone/#status_in_progress"); err == nil {
				t.Error("Complete() keeps mysqld from starting again")
			}
			wantError(t, "MarkServed() before the switch", v.MarkServed(t.Context(), 2), volume.ErrState)
			_, err := v.Retire(t.Context())
			wantError(t, "Retire() before the switch", err, volume.ErrState)
			for range 2 {
				wantError(t, "FinishSwitch()", v.FinishSwitch(), volume.ErrInUse)
			}
			if c := inspect(t, v.Path()); c.Kind != volume.Switching || c.Current != 1 {
				t.Fatalf("after FinishSwitch() the volume is %v, current %d; want switching, 1", c.Kind, c.Current)
			}
			if _, err := os.Lstat(old + "/#clone/#status_in_progress"); err != nil {
				t.Errorf("nothing keeps mysqld from starting again: %v", err)
			}
			release()
			must(t, v.FinishSwitch())
			if c := inspect(t, v.Path()); c.Kind != volume.Complete || c.Current != 2 {
				t.Fatalf("after FinishSwitch() the volume is %v, current %d; want complete, 2", c.Kind, c.Current)
			}
		})
	}
}

// A mysqld that was being started when the switch was made does not get the lock that it waits for, also after the quarantine.
func TestNoServerComesUpOnWhatWasReplaced(t *testing.T) {
	v := served(t)
	must(t, replace1(v))
	waiting, err := os.OpenFile(filepath.Join(v.Path(), "gen", "000001", "ibdata1"), os.O_RDWR, 0)
	must(t, err)
	defer waiting.Close()
	lock := func() error {
		return unix.FcntlFlock(waiting.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	wantError(t, "a server's lock after the switch", lock(), unix.EAGAIN)
	if used, err := v.InUse(1); used || err != nil {
		t.Errorf("InUse() = %v, %v: the volume's own lock counts", used, err)
	}
	names, err := v.Retire(t.Context())
	must(t, err)
	wantError(t, "a server's lock in quarantine", lock(), unix.EAGAIN)
	must(t, v.Undo(t.Context(), names[0], volume.Replacement{Reason: "undone"}))
	if c := inspect(t, v.Path()); c.Kind != volume.Complete || c.Current != 3 {
		t.Fatalf("after Undo() the volume is %v, current %d; want complete, 3", c.Kind, c.Current)
	}
	must(t, lock())
}

func TestRetire(t *testing.T) {
	ctx := t.Context()
	v := served(t)
	if names, err := v.Retire(ctx); len(names) != 0 || err != nil {
		t.Errorf("Retire() of nothing = %q, %v", names, err)
	}
	must(t, replace1(v))
	must(t, completeNew(v)) // nobody says why
	must(t, v.Close())
	v = open(t, v.Path())
	release := lockAsInnoDB(t, filepath.Join(v.Path(), "gen", "000002", "ibdata1"))
	names, err := v.Retire(ctx)
	wantError(t, "Retire() under a mysqld", err, volume.ErrInUse)
	if len(names) != 1 {
		t.Fatalf("Retire() = %q, want the first generation", names)
	}
	must(t, wantEntry(v.Path(), 1, "errant_transactions", 0))
	release()
	names, err = v.Retire(ctx)
	if len(names) != 1 || err != nil {
		t.Fatalf("Retire() = %q, %v, want the second generation", names, err)
	}
	list, err := volume.ListQuarantine(v.Path())
	must(t, err)
	if len(list) != 2 || list[0].OnlyHere == nil || *list[0].OnlyHere != "u:7-9" || list[0].Message != "three of them" ||
		list[1].Reason != "superseded" || list[1].OnlyHere != nil || list[1].GTIDExecuted() != "x:1-9" || list[1].Bytes == 0 {
		t.Errorf("quarantine holds %+v", list)
	}
	if c := inspect(t, v.Path()); c.Kind != volume.Complete || len(c.Records) != 1 || c.Record.Replaces != nil {
		t.Errorf("the volume is %+v", c)
	}
}

// As long as a mysqld keeps an older generation, why it was replaced is known.
func TestRetireKeepsTheReason(t *testing.T) {
	v := served(t)
	must(t, replace1(v))
	must(t, completeNew(v))
	must(t, v.Close())
	v = open(t, v.Path())
	defer lockAsInnoDB(t, filepath.Join(v.Path(), "gen", "000001", "ibdata1"))()
	names, err := v.Retire(t.Context())
	if !errors.Is(err, volume.ErrInUse) || len(names) != 0 {
		t.Errorf("Retire() = %q, %v, want ErrInUse and nothing retired", names, err)
	}
}

func TestRetireOfWhatIsGone(t *testing.T) {
	v := served(t)
	must(t, replace1(v))
	must(t, os.RemoveAll(filepath.Join(v.Path(), "gen", "000001")))
	_, err := v.Retire(t.Context())
	wantError(t, "Retire() of a missing directory", err, volume.ErrDamaged)
	if c := inspect(t, v.Path()); c.Kind != volume.Complete {
		t.Errorf("the volume is %v, want complete", c.Kind)
	}
}

func TestReplacementIsChecked(t *testing.T) {
	begin := func(v *volume.Volume, r volume.Replacement) error {
		_, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone, Replaces: &r})
		return err
	}
	wantError(t, "NewGeneration() in place of nothing", begin(open(t, t.TempDir()), volume.Replacement{Generation: 1, Reason: "x"}), volume.ErrState)
	v := served(t)
	before := tree(t, v.Path())
	for _, r := range []volume.Replacement{{}, {Generation: 2, Reason: "x"}, {Generation: 1}, {Generation: 1, Reason: "Not a code"}, {Generation: -1, Reason: "x"}} {
		wantError(t, "NewGeneration()", begin(v, r), volume.ErrState)
	}
	if after := tree(t, v.Path()); after != before {
		t.Errorf("the volume was\n%s and is\n%s", before, after)
	}
}

func TestMarkServed(t *testing.T) {
	v := served(t)
	wantError(t, "MarkServed() of nothing", v.MarkServed(t.Context(), 2), volume.ErrState)
	must(t, v.MarkServed(t.Context(), 1))
	first := inspect(t, v.Path()).Record.ServedAt
	must(t, v.MarkServed(t.Context(), 1))
	if again := inspect(t, v.Path()).Record.ServedAt; first == nil || !again.Equal(*first) {
		t.Errorf("served at %v, then at %v", first, again)
	}
}

func TestUndoRefuses(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, v *volume.Volume, name string) string
		want error
		text string
	}{
		"nothing":        {func(*testing.T, *volume.Volume, string) string { return "x" }, fs.ErrNotExist, "x"},
		"a path":         {func(*testing.T, *volume.Volume, string) string { return "../gen/000002" }, volume.ErrState, "not the name"},
		"the quarantine": {func(*testing.T, *volume.Volume, string) string { return "." }, volume.ErrState, "not the name"},
		"a link": {func(t *testing.T, v *volume.Volume, name string) string {
			must(t, os.Symlink(name, filepath.Join(v.Path(), "quarantine", "link")))
			return "link"
		}, volume.ErrDamaged, "symbolic link"},
		"data that is a link": {func(t *testing.T, v *volume.Volume, name string) string {
			data := filepath.Join(v.Path(), "quarantine", name, "data")
			must(t, os.Rename(data, data+"2"))
			must(t, os.Symlink("data2", data))
			return name
		}, volume.ErrDamaged, "symbolic link"},
		"no reason": {func(t *testing.T, v *volume.Volume, name string) string {
			must(t, os.Remove(filepath.Join(v.Path(), "quarantine", name, "reason.json")))
			return name
		}, fs.ErrNotExist, "reason.json"},
		"a strange file": {func(t *testing.T, v *volume.Volume, name string) string {
			touch(t, v.Path(), "quarantine/"+name+"/notes.txt")
			return name
		}, volume.ErrState, "notes.txt"},
		"an interrupted clone": {func(t *testing.T, v *volume.Volume, name string) string {
			touch(t, v.Path(), "quarantine/"+name+"/data/#clone/#status_in_progress")
			return name
		}, volume.ErrState, "interrupted"},
		"no data directory": {func(t *testing.T, v *volume.Volume, name string) string {
			must(t, os.Remove(filepath.Join(v.Path(), "quarantine", name, "data", "ibdata1")))
			return name
		}, volume.ErrState, "not a data directory"},
		"a mysqld on it": {func(t *testing.T, v *volume.Volume, name string) string {
			data := filepath.Join(v.Path(), "quarantine", name, "data")
			touch(t, data, "ibtmp1")
			t.Cleanup(lockAsInnoDB(t, data+"/ibtmp1"))
			return name
		}, volume.ErrInUse, "data"},
		"a copy under construction": {func(t *testing.T, v *volume.Volume, name string) string { begin(t, v); return name }, volume.ErrState, "discard"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v, entry := retired(t)
			entry = test.make(t, v, entry)
			before := tree(t, v.Path())
			err := v.Undo(t.Context(), entry, volume.Replacement{Reason: "undone"})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Undo() = %v, want %v with %q", err, test.want, test.text)
			}
			if after := tree(t, v.Path()); after != before {
				t.Errorf("the volume was\n%s and is\n%s", before, after)
			}
		})
	}
	t.Run("never complete", func(t *testing.T) {
		v := open(t, t.TempDir())
		prepare(t, v)
		must(t, fill(v.DataDir(), 1))
		name, err := v.Quarantine(t.Context(), 1, "never_completed")
		must(t, err)
		err = v.Undo(t.Context(), name, volume.Replacement{Reason: "undone"})
		if !errors.Is(err, volume.ErrState) || !strings.Contains(err.Error(), "never was complete") {
			t.Errorf("Undo() = %v, want ErrState", err)
		}
	})
	t.Run("not a code", func(t *testing.T) {
		v, name := retired(t)
		wantError(t, "Undo()", v.Undo(t.Context(), name, volume.Replacement{Reason: "No Code"}), volume.ErrState)
	})
}

// What was put aside by hand can be brought back to an empty volume.
func TestUndoInAnEmptyVolume(t *testing.T) {
	v := served(t)
	must(t, v.MarkServed(t.Context(), 1))
	name, err := v.Quarantine(t.Context(), 1, "test")
	must(t, err)
	must(t, v.Undo(t.Context(), name, volume.Replacement{Reason: "undone"}))
	c := inspect(t, v.Path())
	if c.Kind != volume.Complete || c.Current != 1 || c.Record.Replaces != nil || c.Record.ServedAt != nil || c.Record.GTIDExecuted != "x:1-5" || len(c.Quarantined) != 0 {
		t.Errorf("the volume is %+v, record %+v", c, c.Record)
	}
	must(t, whole(v.DataDir(), 1))
}

func TestDrop(t *testing.T) {
	ctx := t.Context()
	v, name := retired(t)
	for _, bad := range []string{"", ".", "..", "../gen", name + "/data", ".dropping-" + name, "/"} {
		wantError(t, "Drop() of "+bad, v.Drop(ctx, bad), volume.ErrState)
	}
	wantError(t, "Drop() of nothing", v.Drop(ctx, "x"), fs.ErrNotExist)
	must(t, os.Symlink(name, filepath.Join(v.Path(), "quarantine", "link")))
	wantError(t, "Drop() of a link", v.Drop(ctx, "link"), volume.ErrDamaged)
	must(t, os.Remove(filepath.Join(v.Path(), "quarantine", "link")))

	data := filepath.Join(v.Path(), "quarantine", name, "data")
	touch(t, data, "ibtmp1")
	release := lockAsInnoDB(t, data+"/ibtmp1")
	wantError(t, "Drop() under a mysqld", v.Drop(ctx, name), volume.ErrInUse)
	release()

	if err := v.Drop(&countdown{Context: ctx, left: 3}, name); !errors.Is(err, errStopped) {
		t.Fatalf("Drop() = %v, want it stopped", err)
	}
	list, err := volume.ListQuarantine(v.Path())
	must(t, err)
	if len(list) != 1 || !list[0].Dropping || list[0].Name != name || list[0].Reason != "errant_transactions" {
		t.Errorf("quarantine holds %+v, want %s being dropped", list, name)
	}
	if c := inspect(t, v.Path()); !slices.Equal(c.Dropping, []string{name}) || len(c.Quarantined) != 0 || c.Kind != volume.Complete {
		t.Errorf("the volume is %+v", c)
	}
	wantError(t, "Undo() of what is being dropped", v.Undo(ctx, name, volume.Replacement{Reason: "undone"}), fs.ErrNotExist)
	must(t, v.Drop(ctx, name))
	if list, err := volume.ListQuarantine(v.Path()); len(list) != 0 || err != nil {
		t.Errorf("quarantine holds %+v, %v", list, err)
	}
	must(t, whole(v.DataDir(), 2))
}

// Whatever a link in quarantine points to, only the link goes.
func TestDropFollowsNoLink(t *testing.T) {
	v, name := retired(t)
	entry := filepath.Join(v.Path(), "quarantine", name)
	must(t, os.RemoveAll(filepath.Join(entry, "data")))
	must(t, os.Symlink("../../gen/000002", filepath.Join(entry, "data")))
	must(t, os.Symlink(v.DataDir(), filepath.Join(entry, "out")))
	must(t, v.Drop(t.Context(), name))
	must(t, whole(v.DataDir(), 2))
}

func TestListQuarantine(t *testing.T) {
	v, name := retired(t)
	dir := filepath.Join(v.Path(), "quarantine")
	touch(t, dir, "file", ".hidden/", "lost+found/", "z-empty/", "z-first/data/x", "z-future/data/")
	must(t, os.CopyFS(filepath.Join(dir, "z-first", "errant-20261121T134700Z"), os.DirFS("testdata")))
	first, err := os.ReadFile("testdata/reason-v1-first.json")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "z-first", "reason.json"), first, 0o640))
	must(t, os.WriteFile(filepath.Join(dir, "z-future", "reason.json"), []byte(`{"format":2,"reason":"x"}`), 0o640))
	must(t, os.Symlink(name, filepath.Join(dir, "z-link")))
	list, err := volume.ListQuarantine(v.Path()) // the lock is ours all the time
	must(t, err)
	want := map[string]string{name: "", "file": "not a directory", "z-empty": "reason.json", "z-first": "", "z-future": "format 2", "z-link": "symbolic link"}
	for _, e := range list {
		problem, ok := want[e.Name]
		if !ok || (problem == "") != (e.Problem == "") || !strings.Contains(e.Problem, problem) {
			t.Errorf("%s has problem %q, want %q", e.Name, e.Problem, problem)
		}
		delete(want, e.Name)
		if e.Name == "z-first" && (e.Reason != "never_completed" || e.Generation != 1 || e.OnlyHere != nil || len(e.Files) != 3) {
			t.Errorf("a reason of the first version is %+v", e)
		}
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	if _, err := volume.ListQuarantine(v.Path() + "/absent"); !errors.Is(err, volume.ErrNoVolume) {
		t.Errorf("ListQuarantine() of nothing = %v", err)
	}
	if list, err := volume.ListQuarantine(t.TempDir()); len(list) != 0 || err != nil {
		t.Errorf("ListQuarantine() of an empty volume = %v, %v", list, err)
	}
}

// Every file of a released version is read, cut anywhere it is refused, and no flipped byte leads to anything but an answer.
func TestReasonIsHostile(t *testing.T) {
	v, name := retired(t)
	file := filepath.Join(v.Path(), "quarantine", name, "reason.json")
	look := func(text []byte) volume.QuarantineEntry {
		must(t, os.WriteFile(file, text, 0o640))
		list, err := volume.ListQuarantine(v.Path())
		must(t, err)
		return list[0]
	}
	text, err := os.ReadFile("testdata/reason-v1.json")
	must(t, err)
	e := look(text)
	if e.Problem != "" || *e.OnlyHere != "5b2a1c3e-e5b2-11f1-927f-02fc00000001:7-9" || e.Record.Replaces.Reason != "binlogs_purged" || e.Record.ServedAt == nil {
		t.Errorf("the reason is %+v", e)
	}
	again, err := json.MarshalIndent(e.Quarantined, "", "\t")
	must(t, err)
	if string(again)+"\n" != string(text) {
		t.Errorf("written again it is\n%s", again)
	}
	for i := range len(text) - 2 {
		if e := look(text[:i]); e.Problem == "" || e.Reason != "" {
			t.Fatalf("cut after %d bytes it is %+v", i, e)
		}
	}
	for i := range text {
		flipped := slices.Clone(text)
		flipped[i] ^= 0x04
		if e := look(flipped); e.Problem != "" && (e.Reason != "" || e.Record != nil) || e.Problem == "" && e.Reason == "" {
			t.Fatalf("with byte %d flipped it is %+v", i, e)
		}
	}
}

func TestExport(t *testing.T) {
	ctx := t.Context()
	v := served(t)
	_, err := v.NewExport(2)
	wantError(t, "NewExport() from nothing", err, volume.ErrState)
	x, err := v.NewExport(1)
	must(t, err)
	touch(t, x.Root().Name(), "errant.binlog")
	must(t, x.Close())
	left, err := v.NewExport(1)
	must(t, err)
	touch(t, left.Root().Name(), "errant.binlog") // and the process is killed
	linked, err := v.NewExport(1)
	must(t, err)
	must(t, os.Symlink("/etc/passwd", filepath.Join(linked.Root().Name(), "errant.binlog")))
	_, err = linked.Keep(ctx)
	wantError(t, "Keep() of a link", err, volume.ErrState)
	must(t, linked.Close())
	for range 3 { // of one second
		must(t, exportErrant(v, 1))
	}
	must(t, v.Close())
	v = open(t, v.Path())
	names, err := os.ReadDir(filepath.Join(v.Path(), "agent", "errant"))
	must(t, err)
	kept, err := v.Exports(1)
	if len(names) != 3 || len(kept) != 3 || err != nil {
		t.Errorf("Exports() = %q, %v, and there is %v, want three", kept, err, names)
	}
	if other, err := v.Exports(11); len(other) != 0 || err != nil {
		t.Errorf("Exports(11) = %q, %v", other, err)
	}
	must(t, keptWhole(v.Path()))
	name, err := v.Quarantine(ctx, 1, "test")
	must(t, err)
	must(t, wantEntry(v.Path(), 1, "test", 3))
	must(t, v.Undo(ctx, name, volume.Replacement{Reason: "undone"}))
	if kept, err := v.Exports(1); len(kept) != 3 || err != nil {
		t.Errorf("Exports() after Undo() = %q, %v, want three", kept, err)
	}
	must(t, keptWhole(v.Path()))
}

func TestForgetServerUUID(t *testing.T) {
	ctx := t.Context()
	v := served(t)
	file := filepath.Join(v.DataDir(), "auto.cnf")
	for i := 1; i <= 3; i++ { // in one second
		must(t, os.WriteFile(file, []byte{byte('0' + i)}, 0o640))
		must(t, v.ForgetServerUUID(ctx, 1))
		must(t, v.ForgetServerUUID(ctx, 1))
		kept, err := filepath.Glob(v.Path() + "/agent/auto.cnf-*")
		if _, gone := os.Lstat(file); len(kept) != i || err != nil || !errors.Is(gone, fs.ErrNotExist) {
			t.Errorf("kept are %q, %v, and the file: %v", kept, err, gone)
		}
	}
	must(t, os.Symlink("ibdata1", file))
	wantError(t, "ForgetServerUUID() of a link", v.ForgetServerUUID(ctx, 1), volume.ErrDamaged)
	wantError(t, "ForgetServerUUID() of nothing", v.ForgetServerUUID(ctx, 2), volume.ErrState)
	begin(t, v)
	wantError(t, "ForgetServerUUID() of a copy under construction", v.ForgetServerUUID(ctx, 2), volume.ErrState)
}
