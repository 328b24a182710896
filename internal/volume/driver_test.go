package volume_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ordinal/internal/volume"
)

// The crash tests run this test binary as a small program that makes one scenario's changes to a volume and is killed on the way.
const (
	driverScenario = "VOLUME_TEST_SCENARIO"
	driverDir      = "VOLUME_TEST_DIR"
)

func init() {
	if os.Getenv(driverScenario) != "" {
		runtime.LockOSThread() // strace counts calls by thread: all of ours are made by the first
	}
}

func TestMain(m *testing.M) {
	name := os.Getenv(driverScenario)
	if name == "" {
		code := m.Run()
		if seeds.dir != "" {
			os.RemoveAll(seeds.dir)
		}
		os.Exit(code)
	}
	v, err := volume.Open(os.Getenv(driverDir))
	if err == nil {
		err = scenarios[name].drive(v)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

// A scenario is a way through the package's operations.
type scenario struct {
	seed func(dir string) error // makes what is in the volume before
	next func(v *volume.Volume, c *volume.Content) (done bool, err error)
	// drive is the way from the seeded volume; after a crash next leads on from any state to the end.
	drive func(v *volume.Volume) error
	// check finds a broken invariant; it holds at every instant.
	check func(dir string, c *volume.Content) error
	stays bool // it leaves current as it is
}

var scenarios = map[string]scenario{
	"clone":      {seed: none, drive: driveClone, next: nextClone, check: checkCopies},
	"discard":    {seed: none, drive: driveDiscard, next: nextDiscard, check: checkCopies},
	"initialise": {seed: none, drive: driveInitialise, next: nextInitialise, check: checkInitialised},
	"start over": {seed: none, drive: driveStartOver, next: nextStartOver, check: checkInitialised},
	"adopt":      {seed: seedOld, drive: driveAdopt, next: nextAdopt, check: checkAdopted},
	"rebuild":    {seed: seedServed, drive: driveRebuild, next: nextRebuild, check: checkRebuilt},
	"undo":       {seed: seedRetired, drive: driveUndo, next: nextUndo, check: checkUndone},
	"drop":       {seed: seedRetired, drive: driveDrop, next: nextDrop, check: checkDropped, stays: true},
	"talk":       {seed: seedServed, drive: driveTalk, next: nextTalk, check: checkTalk, stays: true},
}

func none(string) error { return nil }

// converge takes a volume from any state to the scenario's end, as an agent does: look, act, look again.
func (s scenario) converge(dir string) error {
	v, err := volume.Open(dir)
	if err != nil {
		return err
	}
	defer v.Close()
	for range 20 {
		c, err := v.Inspect()
		if err != nil {
			return err
		}
		if err := s.check(dir, c); err != nil {
			return err
		}
		if c.Kind == volume.ChangeUnderWay {
			err = v.Resume(context.Background())
		} else {
			var done bool
			if done, err = s.next(v, c); done {
				return err
			}
		}
		if err != nil {
			return fmt.Errorf("at %v: %w", c.Kind, err)
		}
	}
	return errors.New("it does not converge")
}

// build makes a generation as a clone does and leaves it under construction.
func build(v *volume.Volume) (*volume.Generation, error) {
	g, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone, Donor: "mysql-1"})
	if err != nil {
		return nil, err
	}
	return g, fill(g.Path(), g.Number())
}

// dataFiles are the files of a data directory as far as these tests care.
var dataFiles = []string{"ibdata1", "mysql.ibd", "mysql/general_log.CSM", "shop/orders.ibd"}

func fileData(name string, n int) string {
	return strings.Repeat(fmt.Sprintf("%s of generation %d\n", name, n), 20)
}

func fill(dir string, n int) error {
	for _, name := range dataFiles {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(fileData(name, n)), 0o640); err != nil {
			return err
		}
	}
	return nil
}

// whole reports an error unless dir holds each data file with its content.
func whole(dir string, n int) error {
	for _, name := range dataFiles {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if string(got) != fileData(name, n) {
			return fmt.Errorf("%s/%s is not whole: %q", dir, name, got)
		}
	}
	return nil
}

func completeNew(v *volume.Volume) error {
	g, err := build(v)
	if err != nil {
		return err
	}
	defer g.Close()
	return v.Complete(context.Background(), g, volume.Facts{GTIDExecuted: "x:1-5"})
}

// clone: a first copy, a second one beside it, the first into quarantine.
func driveClone(v *volume.Volume) error {
	if err := completeNew(v); err != nil {
		return err
	}
	if err := completeNew(v); err != nil {
		return err
	}
	_, err := v.Quarantine(context.Background(), 1, "superseded")
	return err
}

func nextClone(v *volume.Volume, c *volume.Content) (bool, error) {
	if b, ok := c.Building(); ok {
		return false, v.Discard(context.Background(), b.Number)
	}
	switch {
	case c.Kind == volume.Switching:
		return false, v.FinishSwitch()
	case len(c.Records) == 2:
		_, err := v.Quarantine(context.Background(), 1, "superseded")
		return false, err
	case len(c.Records) == 1 && len(c.Quarantined) == 1:
		return true, whole(filepath.Join(v.Path(), "quarantine", c.Quarantined[0], "data"), 1)
	}
	return false, completeNew(v)
}

// checkCopies: what is recorded as complete is whole, what is current is complete, what is not whole is marked.
func checkCopies(dir string, c *volume.Content) error {
	if err := checkCurrent(dir, c); err != nil {
		return err
	}
	for _, r := range c.Records {
		path := filepath.Join(dir, "gen", fmt.Sprintf("%06d", r.Number))
		if r.State == volume.StateComplete {
			if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && c.Kind == volume.ChangeUnderWay {
				continue // it is in quarantine already, see below
			}
			if err := whole(path, r.Number); err != nil {
				return err
			}
			continue
		}
		names, _ := os.ReadDir(path)
		_, err := os.Lstat(filepath.Join(path, "#clone", "#status_in_progress"))
		if r.Origin == volume.OriginClone && err != nil && slices.ContainsFunc(names, func(e fs.DirEntry) bool { return e.Name() != "#clone" }) {
			return fmt.Errorf("%s is not complete and not marked: %v", path, err)
		}
	}
	if len(c.Records) > 0 && c.Records[0].Number == 2 { // the first copy was complete before
		if len(c.Quarantined) == 0 {
			return errors.New("the record of the first copy is gone before its quarantine has ended")
		}
		return whole(filepath.Join(dir, "quarantine", c.Quarantined[0], "data"), 1)
	}
	return nil
}

// checkCurrent: current is absent or points to a complete, whole generation without the marker, or one being initialised here.
func checkCurrent(dir string, c *volume.Content) error {
	return checkCurrentHolds(dir, c, func(n int) int { return n })
}

// checkCurrentHolds is checkCurrent where a generation has the files that content says.
func checkCurrentHolds(dir string, c *volume.Content, content func(generation int) int) error {
	target, err := os.Readlink(filepath.Join(dir, "current"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if target != fmt.Sprintf("gen/%06d", c.Current) {
		return fmt.Errorf("current points to %s, Inspect says %d", target, c.Current)
	}
	for _, r := range c.Records {
		if r.Number != c.Current {
			continue
		}
		if r.Origin == volume.OriginInitialised && r.State == volume.StateBuilding {
			return nil
		}
		if r.State != volume.StateComplete {
			return fmt.Errorf("current points to %+v", r)
		}
		current := filepath.Join(dir, "current")
		if _, err := os.Lstat(filepath.Join(current, "#clone", "#status_in_progress")); err == nil && c.Kind != volume.Switching {
			return errors.New("current is marked as incomplete")
		}
		return whole(current, content(r.Number))
	}
	return errors.New("current points to a generation without a record")
}

// discard: an empty directory is prepared and given up, then a copy is begun and given up, then one is completed.
func driveDiscard(v *volume.Volume) error {
	n, err := v.PrepareEmpty()
	if err == nil {
		err = v.Discard(context.Background(), n)
	}
	if err != nil {
		return err
	}
	g, err := build(v)
	if err != nil {
		return err
	}
	defer g.Close()
	if err := v.Discard(context.Background(), g.Number()); err != nil {
		return err
	}
	return completeNew(v)
}

func nextDiscard(v *volume.Volume, c *volume.Content) (bool, error) {
	switch c.Kind {
	case volume.Complete:
		return true, nil
	case volume.Switching:
		return false, v.FinishSwitch()
	case volume.Empty:
		return false, completeNew(v)
	}
	return false, v.Discard(context.Background(), c.Generation)
}

// initialise: a first initialisation; its result goes into quarantine; another one.
func driveInitialise(v *volume.Volume) error {
	for i := range 2 {
		n, err := v.PrepareEmpty()
		if err != nil {
			return err
		}
		if err := fill(v.DataDir(), n); err != nil { // what the image does
			return err
		}
		if err := v.MarkInitialised(context.Background(), n, volume.Facts{ClusterID: "c"}); err != nil {
			return err
		}
		if i == 0 {
			if _, err := v.Quarantine(context.Background(), n, "test"); err != nil {
				return err
			}
		}
	}
	return nil
}

func nextInitialise(v *volume.Volume, c *volume.Content) (bool, error) {
	switch c.Kind {
	case volume.Complete:
		if len(c.Quarantined) > 0 {
			return true, nil
		}
		_, err := v.Quarantine(context.Background(), c.Generation, "test")
		return false, err
	case volume.NeverCompleted:
		_, err := v.Quarantine(context.Background(), c.Generation, "never_completed")
		return false, err
	}
	n, err := v.PrepareEmpty()
	if err != nil {
		return false, err
	}
	if err := fill(v.DataDir(), n); err != nil {
		return false, err
	}
	return false, v.MarkInitialised(context.Background(), n, volume.Facts{ClusterID: "c"})
}

func checkInitialised(dir string, c *volume.Content) error {
	if err := checkCurrent(dir, c); err != nil {
		return err
	}
	for _, name := range c.Quarantined {
		path := filepath.Join(dir, "quarantine", name)
		if _, err := os.Lstat(filepath.Join(path, "data")); err != nil {
			if c.Kind == volume.ChangeUnderWay {
				continue
			}
			return err
		}
		if strings.HasSuffix(name, "-test") { // this one was complete
			if err := whole(filepath.Join(path, "data"), 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// start over: a first initialisation is interrupted and put aside while its link stays, the second one ends.
func driveStartOver(v *volume.Volume) error {
	n, err := v.PrepareEmpty()
	if err != nil {
		return err
	}
	if err := fill(v.DataDir(), n); err != nil {
		return err
	}
	if _, err := v.StartOver(context.Background(), n, "interrupted"); err != nil {
		return err
	}
	if err := fill(v.DataDir(), n+1); err != nil {
		return err
	}
	return v.MarkInitialised(context.Background(), n+1, volume.Facts{ClusterID: "c"})
}

func nextStartOver(v *volume.Volume, c *volume.Content) (bool, error) {
	switch c.Kind {
	case volume.Complete:
		if _, err := os.Readlink(v.DataDir()); err != nil {
			return true, err
		}
		return true, nil
	case volume.NeverCompleted:
		_, err := v.StartOver(context.Background(), c.Generation, "interrupted")
		return false, err
	}
	n, err := v.PrepareEmpty()
	if err != nil {
		return false, err
	}
	if err := fill(v.DataDir(), n); err != nil {
		return false, err
	}
	return false, v.MarkInitialised(context.Background(), n, volume.Facts{ClusterID: "c"})
}

var adoptFiles = []string{"#innodb_redo/#ib_redo9", "auto.cnf", "binlog.index"}

// seedOld makes a data directory as a server without an agent leaves it.
func seedOld(dir string) error {
	if err := fill(dir, 1); err != nil {
		return err
	}
	for _, name := range append([]string{"lost+found/x", ".hidden"}, adoptFiles...) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(name), 0o640); err != nil {
			return err
		}
	}
	return nil
}

func driveAdopt(v *volume.Volume) error { return v.Adopt(context.Background(), volume.Facts{}) }

func nextAdopt(v *volume.Volume, c *volume.Content) (bool, error) {
	if c.Kind == volume.Complete {
		for _, name := range adoptFiles {
			if _, err := os.Stat(filepath.Join(v.DataDir(), name)); err != nil {
				return true, err
			}
		}
		return true, whole(v.DataDir(), 1)
	}
	return false, driveAdopt(v)
}

// checkAdopted: each file exists exactly once, and a mysqld finds a whole data directory or one that it refuses.
func checkAdopted(dir string, c *volume.Content) error {
	if err := checkCurrent(dir, c); err != nil {
		return err
	}
	gen := filepath.Join(dir, "gen", "000001")
	moved, left := 0, 0
	for _, name := range slices.Concat(dataFiles, adoptFiles) {
		_, inRoot := os.Lstat(filepath.Join(dir, name))
		_, inGen := os.Lstat(filepath.Join(gen, name))
		switch {
		case inRoot == nil && inGen == nil:
			return fmt.Errorf("%s exists twice", name)
		case inRoot == nil:
			left++
		case inGen == nil:
			moved++
		default:
			return fmt.Errorf("%s is lost", name)
		}
	}
	_, rootMark := os.Lstat(filepath.Join(dir, "#clone", "#status_in_progress"))
	if moved > 0 && left > 0 && rootMark != nil {
		return errors.New("half moved, and the root is not marked")
	}
	if _, err := os.Lstat(filepath.Join(dir, "mysql")); moved > 0 && err == nil {
		return errors.New("something was moved before mysql/")
	}
	for _, name := range []string{"lost+found/x", ".hidden"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("not ours to move: %w", err)
		}
	}
	return nil
}
