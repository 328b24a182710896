package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"ordinal/internal/atomicfile"
	"ordinal/internal/plan"
)

// FinishSwitch makes the newest complete generation the current one: for [Switching], and harmless for [Complete].
//
// A mysqld that works on an older generation is never switched under: not all of what it does stays in the directory it was
// started in. What it names by its datadir goes through current, so into another generation's files after a switch: a
// MyISAM table that is created overwrites one of the same name there, a log that is opened lands there, and so do all paths
// below current that somebody has configured. So FinishSwitch gives [ErrInUse] while there is one. From that call on the old
// generation holds the file that keeps mysqld from starting on it: the one that runs goes on, and
// once it ends, by SHUTDOWN or a crash, no restart gets it back before a later call has switched. Call it
// again and again, then; a mysqld that is refused meanwhile is started once more by whoever supervises it.
func (v *Volume) FinishSwitch() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, err := inspect(v.root)
	if err == nil && c.Kind != Switching && c.Kind != Complete {
		err = state("the volume is %v", c.Kind)
	}
	if err == nil {
		err = v.finish(c, c.Generation)
	}
	if err != nil {
		return fmt.Errorf("finish switch: %w", v.writable(err))
	}
	return nil
}

// finishIfFree is finish, unless a mysqld works on an older generation. c may be from before n was complete.
func (v *Volume) finishIfFree(c *Content, n int) error {
	if c.Current != n {
		for _, old := range c.before(n) {
			if used, err := v.InUse(old); used || err != nil {
				return err
			}
		}
	}
	err := v.finish(c, n)
	if errors.Is(err, ErrInUse) { // it has just been started
		err = nil
	}
	return err
}

// finish makes generation n, which is recorded as complete, the current one.
func (v *Volume) finish(c *Content, n int) error {
	// The record may be from a call that was interrupted before this: it can be seen, but a power loss would take it back.
	if err := atomicfile.SyncRootDir(v.root, agentDir); err != nil {
		return err
	}
	dir := path.Join(genPath(n), cloneDir)
	switch err := plan.CheckDir(v.root, dir); {
	case err == nil:
		if err := v.root.Remove(path.Join(genPath(n), markerFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return v.pathErr(err, ".")
		}
		// Before the switch: else a power loss could bring the marker back in a directory that is current.
		if err := atomicfile.SyncRootDir(v.root, dir); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if c.Current != n {
		if err := v.vacate(c, n); err != nil {
			return err
		}
	}
	v.lockouts.releaseIn(v.root, genPath(n)) // it may have been replaced once, and brought back
	return plan.Symlink(v.root, genPath(n), currentLink)
}

// vacate makes sure that no mysqld works, or comes to work, on a generation that n takes the place of.
func (v *Volume) vacate(c *Content, n int) error {
	if c.Current > 0 {
		if err := v.bar(c.Current); err != nil {
			return err
		}
	}
	for _, old := range c.before(n) {
		if err := v.lockOut(old); err != nil {
			return err
		}
	}
	return nil
}

// before returns the numbers of the generations that a mysqld may work on when n is to become the current one.
func (c *Content) before(n int) []int {
	var list []int
	for _, r := range c.Records {
		if r.Number != n && (r.State == StateComplete && r.Number < n || r.Number == c.Current) {
			list = append(list, r.Number)
		}
	}
	return list
}

// Older returns the records of the complete generations that a newer one has taken the place of, by number. They wait
// for [Volume.Retire]; a mysqld may still work on one of them, see [Volume.InUse].
func (c *Content) Older() []Record {
	if c.Kind != Complete && c.Kind != Switching {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Records), func(r Record) bool { return r.State != StateComplete || r.Number >= c.Generation })
}

// barText is what the file says that keeps mysqld from starting on a generation that was complete. mysqld does not read it.
const barText = "A newer generation takes the place of this one, which is whole.\n"

// bar durably keeps mysqld from starting on generation n, which is complete. One that runs on it does not care.
func (v *Volume) bar(n int) error {
	switch err := checkLayoutDir(v.root, genPath(n)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil // nothing to be started on
	case err != nil:
		return err
	}
	dir := path.Join(genPath(n), cloneDir)
	if err := v.mkdir(dir); err != nil {
		return err
	}
	marked, err := hasMarker(v.root, n)
	if err != nil {
		return err
	}
	if marked {
		return atomicfile.SyncRootDir(v.root, dir) // seen is not synced
	}
	return atomicfile.WriteRoot(v.root, path.Join(genPath(n), markerFile), []byte(barText), fileMode)
}

// barred reports whether the data directory dir holds the file that bar makes; an interrupted clone leaves another one.
func (v *Volume) barred(dir string) (bool, error) {
	text, err := readRegular(v.root, path.Join(dir, markerFile), int64(len(barText)))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		return false, nil
	}
	return string(text) == barText, err
}
