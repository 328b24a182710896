package volume_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ordinal/internal/volume"
)

// Scenarios around a generation that is replaced while it is served: a rebuild, its undo, the end of what was kept.

// bg is for drivers, which have no test to end them.
var bg = context.Background()

const errantText = "what only this pod has\n"

// undone says whose files a generation holds when the third one is the first one, brought back.
func undone(generation int) int {
	if generation == 3 {
		return 1
	}
	return generation
}

// serve pretends that a mysqld works on a generation.
func serve(v *volume.Volume, n int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(v.Path(), "gen", fmt.Sprintf("%06d", n), "ibdata1"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return f, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
}

func seedServed(dir string) error {
	v, err := volume.Open(dir)
	if err != nil {
		return err
	}
	defer v.Close()
	return firstServed(v)
}

func firstServed(v *volume.Volume) error {
	if err := completeNew(v); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(v.DataDir(), "auto.cnf"), []byte("[auto]\n"), 0o640)
}

// seedRetired makes a volume whose second generation is served and whose first one is in quarantine.
func seedRetired(dir string) error {
	v, err := volume.Open(dir)
	if err != nil {
		return err
	}
	defer v.Close()
	if err := firstServed(v); err != nil {
		return err
	}
	if err := exportErrant(v, 1); err != nil {
		return err
	}
	if err := replace1(v); err != nil {
		return err
	}
	names, err := v.Retire(bg)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "quarantine", names[0], ".reason.json.tmp-crash"), nil, 0o640) // what a crash leaves
}

func exportErrant(v *volume.Volume, n int) error {
	x, err := v.NewExport(n)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(x.Root().Name(), "errant.binlog"), []byte(errantText), 0o640); err != nil {
		return errors.Join(err, x.Close())
	}
	_, err = x.Keep(bg)
	return errors.Join(err, x.Close())
}

// replace1 makes the second generation and completes it.
func replace1(v *volume.Volume) error {
	g, err := v.NewGeneration(volume.Record{
		Origin: volume.OriginClone, Donor: "mysql-0",
		Replaces: &volume.Replacement{Generation: 1, Reason: "errant_transactions", Message: "three of them", OnlyHere: "u:7-9"},
	})
	if err != nil {
		return err
	}
	defer g.Close()
	if err := fill(g.Path(), g.Number()); err != nil {
		return err
	}
	return v.Complete(bg, g, volume.Facts{GTIDExecuted: "x:1-9"})
}

func driveRebuild(v *volume.Volume) error {
	if err := exportErrant(v, 1); err != nil {
		return err
	}
	mysqld, err := serve(v, 1)
	if err != nil {
		return err
	}
	if err := replace1(v); err != nil {
		return err
	}
	return finishRebuild(v, mysqld, 2)
}

// finishRebuild leads from a complete generation beside a mysqld to one that is served alone.
func finishRebuild(v *volume.Volume, mysqld *os.File, n int) error {
	err := v.FinishSwitch()
	if err == nil {
		return errors.New("switched under a mysqld")
	}
	if !errors.Is(err, volume.ErrInUse) {
		return err
	}
	if err := mysqld.Close(); err != nil {
		return err
	}
	if err := v.FinishSwitch(); err != nil {
		return err
	}
	if err := v.MarkServed(bg, n); err != nil {
		return err
	}
	_, err = v.Retire(bg)
	return err
}

func nextRebuild(v *volume.Volume, c *volume.Content) (bool, error) {
	if b, ok := c.Building(); ok {
		return false, v.Discard(bg, b.Number)
	}
	kept, err := v.Exports(1)
	if err != nil {
		return false, err
	}
	switch {
	case c.Kind == volume.Switching:
		return false, v.FinishSwitch()
	case len(c.Older()) > 0:
		_, err := v.Retire(bg)
		return false, err
	case c.Generation == 1 && len(kept) == 0:
		return false, exportErrant(v, 1)
	case c.Generation == 1:
		return false, replace1(v)
	case c.Record.ServedAt == nil:
		return false, v.MarkServed(bg, 2)
	}
	return true, wantEntry(v.Path(), 1, "errant_transactions", 1)
}

// wantEntry wants the content n alone in quarantine, as it was, with what was exported.
func wantEntry(dir string, n int, reason string, exports int) error {
	list, err := volume.ListQuarantine(dir)
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].Problem != "" || list[0].Reason != reason || len(list[0].Files) != exports {
		return fmt.Errorf("quarantine holds %+v", list)
	}
	data := filepath.Join(dir, "quarantine", list[0].Name, "data")
	if _, err := os.Lstat(filepath.Join(data, "#clone", "#status_in_progress")); err == nil {
		return errors.New("what was complete is marked in quarantine")
	}
	return whole(data, n)
}

// checkRebuilt: what was complete is whole, in one place; what was kept is whole.
func checkRebuilt(dir string, c *volume.Content) error {
	if err := checkCurrent(dir, c); err != nil {
		return err
	}
	if err := once(dir, 1); err != nil {
		return err
	}
	for _, r := range c.Records {
		if r.Number == 2 && r.State == volume.StateComplete {
			if err := once(dir, 2); err != nil {
				return err
			}
		}
	}
	return keptWhole(dir)
}

// once wants the content n whole in exactly one place.
func once(dir string, n int) error {
	places, err := filepath.Glob(filepath.Join(dir, "gen", "*"))
	if err != nil {
		return err
	}
	kept, err := filepath.Glob(filepath.Join(dir, "quarantine", "*", "data"))
	if err != nil {
		return err
	}
	var found []string
	for _, place := range slices.Concat(places, kept) {
		if whole(place, n) == nil {
			found = append(found, place)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("the data of generation %d is in %q", n, found)
	}
	return nil
}

// keptWhole wants every export that has its final name whole.
func keptWhole(dir string) error {
	at, _ := filepath.Glob(filepath.Join(dir, "agent", "errant", "0*"))
	beside, _ := filepath.Glob(filepath.Join(dir, "quarantine", "*", "errant-*"))
	for _, export := range slices.Concat(at, beside) {
		text, err := os.ReadFile(filepath.Join(export, "errant.binlog"))
		if err != nil || string(text) != errantText {
			return fmt.Errorf("%s holds %q, %v", export, text, err)
		}
	}
	return nil
}

// undo: what was replaced comes back while a mysqld works on its replacement, which goes in its turn.
func driveUndo(v *volume.Volume) error {
	c, err := v.Inspect()
	if err != nil {
		return err
	}
	mysqld, err := serve(v, 2)
	if err != nil {
		return err
	}
	if err := v.Undo(bg, c.Quarantined[0], volume.Replacement{Reason: "undone", OnlyHere: "u:10"}); err != nil {
		return err
	}
	return finishRebuild(v, mysqld, 3)
}

func nextUndo(v *volume.Volume, c *volume.Content) (bool, error) {
	switch {
	case c.Kind == volume.Switching:
		return false, v.FinishSwitch()
	case len(c.Older()) > 0:
		_, err := v.Retire(bg)
		return false, err
	case c.Generation == 2:
		return false, v.Undo(bg, c.Quarantined[0], volume.Replacement{Reason: "undone", OnlyHere: "u:10"})
	case c.Record.ServedAt == nil:
		return false, v.MarkServed(bg, 3)
	}
	kept, err := v.Exports(3)
	if err != nil || len(kept) != 1 {
		return true, fmt.Errorf("what was exported did not come back: %q, %v", kept, err)
	}
	return true, wantEntry(v.Path(), 2, "undone", 0)
}

// checkUndone: both generations are whole, each in one place.
func checkUndone(dir string, c *volume.Content) error {
	if err := checkCurrentHolds(dir, c, undone); err != nil {
		return err
	}
	for n := 1; n <= 2; n++ {
		if err := once(dir, n); err != nil {
			return err
		}
	}
	return keptWhole(dir)
}

func driveDrop(v *volume.Volume) error {
	c, err := v.Inspect()
	if err != nil {
		return err
	}
	return v.Drop(bg, c.Quarantined[0])
}

func nextDrop(v *volume.Volume, c *volume.Content) (bool, error) {
	for _, name := range slices.Concat(c.Dropping, c.Quarantined) {
		return false, v.Drop(bg, name)
	}
	left, err := os.ReadDir(filepath.Join(v.Path(), "quarantine"))
	if len(left) > 0 {
		err = fmt.Errorf("left in quarantine: %v", left)
	}
	return true, err
}

// checkDropped: what has its name is whole, what is being removed says so, and the rest is untouched.
func checkDropped(dir string, c *volume.Content) error {
	if err := checkCurrent(dir, c); err != nil {
		return err
	}
	list, err := volume.ListQuarantine(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Dropping {
			continue
		}
		if err := wantEntry(dir, 1, "errant_transactions", 1); err != nil {
			return err
		}
	}
	return nil
}

// talk: a person's requests and their ends, a hold, an identity that is forgotten.
func driveTalk(v *volume.Volume) error {
	for _, r := range []volume.Request{{ID: "one", Kind: volume.RequestRebuild}, {ID: "two", Kind: volume.RequestDrop, Name: "x"}} {
		if err := volume.Submit(v.Path(), r); err != nil {
			return err
		}
		if err := closeOne(v); err != nil {
			return err
		}
	}
	if err := volume.Hold(v.Path(), "a look at the relay log"); err != nil {
		return err
	}
	if err := volume.Release(v.Path()); err != nil {
		return err
	}
	return v.ForgetServerUUID(bg, 1)
}

// closeOne does what an agent does with a request.
func closeOne(v *volume.Volume) error {
	r, err := v.Request()
	if err != nil {
		return err
	}
	if r == nil {
		return errors.New("read request: there is none in " + v.Path())
	}
	return v.CloseRequest(r.ID, "done", false)
}

func nextTalk(v *volume.Volume, _ *volume.Content) (bool, error) {
	r, err := v.Request()
	if err != nil {
		return false, err
	}
	if r != nil {
		return false, v.CloseRequest(r.ID, "done", false)
	}
	o, err := volume.ReadOutcome(v.Path())
	switch {
	case err != nil:
		return false, err
	case o == nil:
		return false, volume.Submit(v.Path(), volume.Request{ID: "one", Kind: volume.RequestRebuild})
	case o.ID == "one":
		return false, volume.Submit(v.Path(), volume.Request{ID: "two", Kind: volume.RequestDrop, Name: "x"})
	}
	if err := volume.Release(v.Path()); err != nil {
		return false, err
	}
	if err := v.ForgetServerUUID(bg, 1); err != nil {
		return false, err
	}
	if _, err := os.Lstat(filepath.Join(v.DataDir(), "auto.cnf")); !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("auto.cnf is still there: %v", err)
	}
	return true, nil
}

// checkTalk: what can be seen is whole, and the identity is in one place.
func checkTalk(dir string, c *volume.Content) error {
	if err := checkCurrent(dir, c); err != nil {
		return err
	}
	if o, err := volume.ReadOutcome(dir); err != nil || o != nil && (o.Text != "done" || o.ID != "one" && o.ID != "two") {
		return fmt.Errorf("the outcome is %+v, %v", o, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "agent", "request.json")); err == nil && !strings.HasSuffix(string(text), "}\n") {
		return fmt.Errorf("the request is %q", text)
	}
	if note, err := volume.Held(dir); err != nil || note != nil && note.Reason == "" {
		return fmt.Errorf("the hold is %+v, %v", note, err)
	}
	here, _ := filepath.Glob(filepath.Join(dir, "gen", "*", "auto.cnf"))
	kept, _ := filepath.Glob(filepath.Join(dir, "agent", "auto.cnf-*"))
	if len(here)+len(kept) != 1 {
		return fmt.Errorf("the identity is in %q", slices.Concat(here, kept))
	}
	return nil
}
