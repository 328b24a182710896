package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"ordinal/internal/atomicfile"
	"ordinal/internal/plan"
)

// A Generation is an open generation. Close it when done; that changes nothing on disk.
type Generation struct {
	record Record
	root   *os.Root
}

// Number returns the generation's number.
func (g *Generation) Number() int { return g.record.Number }

// Record returns its record as it was when the generation was opened or completed.
func (g *Generation) Record() Record { return g.record }

// Root returns the data directory. Who writes into it makes directories 0750 and files 0640, makes no links, leaves
// `#clone/#status_in_progress` alone and may use the directory `#clone` otherwise. The caller does not close it.
func (g *Generation) Root() *os.Root { return g.root }

// Path returns the absolute path of the data directory.
func (g *Generation) Path() string { return g.root.Name() }

// Close releases the directory.
func (g *Generation) Close() error { return g.root.Close() }

// NewGeneration begins a generation, in an empty volume or beside the one that is served. Of r, Origin ([OriginClone] or
// [OriginRestored]), Donor, Facts and Replaces count; the last one, if not nil, names the newest complete generation. The
// directory holds only the file that keeps mysqld from starting on it. A generation that is under construction already gives
// [ErrState]: open it with [Volume.Generation] or discard it.
func (v *Volume) NewGeneration(r Record) (*Generation, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g, err := v.newGeneration(r)
	if err != nil {
		return nil, fmt.Errorf("new generation: %w", v.writable(err))
	}
	return g, nil
}

func (v *Volume) newGeneration(r Record) (*Generation, error) {
	if r.Origin != OriginClone && r.Origin != OriginRestored {
		return nil, state("origin %q does not begin empty", r.Origin)
	}
	c, err := inspect(v.root)
	if err != nil {
		return nil, err
	}
	if c.Kind != Empty && c.Kind != Complete {
		return nil, state("the volume is %v", c.Kind)
	}
	if b, ok := c.Building(); ok {
		return nil, state("generation %d is under construction", b.Number)
	}
	if r.Replaces != nil && (c.Kind != Complete || r.Replaces.Generation != c.Generation) {
		return nil, state("it is to replace generation %d; the volume is %v, with generation %d", r.Replaces.Generation, c.Kind, c.Generation)
	}
	r, err = v.begin(c, r)
	if err != nil {
		return nil, err
	}
	dir := genPath(r.Number)
	// The marker's own content is nothing, but its inode and each name on the way must be on disk before the first data.
	if err := v.root.Mkdir(path.Join(dir, cloneDir), dirMode); err != nil {
		return nil, v.pathErr(err, dir)
	}
	if err := atomicfile.WriteRoot(v.root, path.Join(dir, markerFile), nil, fileMode); err != nil {
		return nil, err
	}
	if err := atomicfile.SyncRootDir(v.root, dir); err != nil {
		return nil, err
	}
	return v.open(r)
}

// begin makes record and directory of the next generation.
func (v *Volume) begin(c *Content, r Record) (Record, error) {
	n, err := c.next()
	if err != nil {
		return r, err
	}
	r.Format, r.Number, r.State, r.CreatedAt, r.CompletedAt, r.ServedAt = recordFormat, n, StateBuilding, now(), nil, nil
	if err := r.validate(n); err != nil {
		return r, state("%v", err)
	}
	if err := writeRecord(v.root, r); err != nil {
		return r, err
	}
	if err := v.mkdir(genDir); err != nil {
		return r, err
	}
	return r, v.mkdir(genPath(n))
}

// mkdir durably makes the directory name unless it exists.
func (v *Volume) mkdir(name string) error {
	if err := v.root.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return v.pathErr(err, ".")
	}
	if err := checkLayoutDir(v.root, name); err != nil {
		return err
	}
	return atomicfile.SyncRootDir(v.root, path.Dir(name))
}

// pathErr adds where in the file system the relative paths in an os.Root's error begin.
func (v *Volume) pathErr(err error, dir string) error {
	return fmt.Errorf("in %s: %w", filepath.Join(v.path, dir), err)
}

// Generation opens generation n, complete or not. [fs.ErrNotExist] if there is no record of it, [ErrDamaged] if the
// directory is missing, or if it is under construction without the file that keeps mysqld from starting on it:
// then it was interrupted at its very beginning, and can be discarded.
func (v *Volume) Generation(n int) (*Generation, error) {
	r, err := readRecord(v.root, n)
	if err != nil {
		return nil, fmt.Errorf("open generation %d: %w", n, err)
	}
	if r.State == StateBuilding && r.Origin != OriginInitialised {
		marked, err := hasMarker(v.root, n)
		if err != nil {
			return nil, fmt.Errorf("open generation %d: %w", n, err)
		}
		if !marked {
			return nil, fmt.Errorf("open generation %d: %w", n, damaged("discard it", "%s has no %s", genPath(n), markerFile))
		}
	}
	g, err := v.open(r)
	if err != nil {
		return nil, fmt.Errorf("open generation %d: %w", n, err)
	}
	return g, nil
}

func (v *Volume) open(r Record) (*Generation, error) {
	root, err := openDir(v.root, genPath(r.Number))
	if err != nil {
		return nil, err
	}
	return &Generation{record: r, root: root}, nil
}

// openDir opens the directory name. os.Root.OpenRoot alone would follow a symbolic link.
func openDir(root *os.Root, name string) (*os.Root, error) {
	if err := checkLayoutDir(root, name); err != nil {
		return nil, err
	}
	want, err := root.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", root.Name(), err)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", root.Name(), err)
	}
	got, err := dir.Stat(".")
	if err == nil && !os.SameFile(got, want) {
		err = damaged("find out what else changes the volume", "%s was replaced meanwhile", dir.Name())
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// Complete makes everything in g durable, records it as complete, lets mysqld start on it and points current to it. All
// must have been written and checked. Files that were synced before cost little; anything that is neither a directory nor a
// regular file is refused with [ErrState]. While a mysqld works on an older generation it stops at the record, without an
// error: the volume is [Switching], and [Volume.FinishSwitch] does the rest.
//
// After an error let [Inspect] decide: it says Switching once the record is written. If
// g is still under construction discard it, unless only ctx has ended: the kernel reports a write that it lost to one
// fsync only, so a second call could find nothing wrong.
func (v *Volume) Complete(ctx context.Context, g *Generation, facts Facts) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, err := v.complete(ctx, g, facts)
	if err != nil {
		return fmt.Errorf("complete generation %d: %w", g.Number(), v.writable(err))
	}
	g.record = r
	return nil
}

func (v *Volume) complete(ctx context.Context, g *Generation, facts Facts) (Record, error) {
	c, err := inspect(v.root)
	if err != nil {
		return Record{}, err
	}
	if c.Kind != UnderWay && c.Kind != Switching && c.Kind != Complete {
		return Record{}, state("the volume is %v", c.Kind)
	}
	if c.Generation > g.Number() {
		return Record{}, state("generation %d is newer", c.Generation)
	}
	r, err := readRecord(v.root, g.Number())
	if err != nil {
		return r, err
	}
	// g may have been discarded and its number taken by another one since it was opened.
	dir, err := openDir(v.root, genPath(r.Number))
	if err != nil {
		return r, err
	}
	defer dir.Close()
	ours, err := g.root.Stat(".")
	if err != nil {
		return r, err
	}
	if there, err := dir.Stat("."); err != nil {
		return r, err
	} else if !os.SameFile(ours, there) {
		return r, state("%s is another directory than the one that was opened", dir.Name())
	}
	if r.State == StateComplete {
		return r, v.finishIfFree(c, r.Number)
	}
	if r.Origin == OriginInitialised {
		return r, state("it was initialised, not copied")
	}
	if marked, err := hasMarker(v.root, r.Number); err != nil {
		return r, err
	} else if !marked {
		return r, damaged("discard the generation", "%s has no %s", genPath(r.Number), markerFile)
	}
	if err := syncTree(ctx, dir, false); err != nil {
		return r, err
	}
	done := now()
	r.State, r.CompletedAt, r.Facts = StateComplete, &done, facts.or(r.Facts)
	if err := writeRecord(v.root, r); err != nil {
		return r, err
	}
	return r, v.finishIfFree(c, r.Number)
}

// PrepareEmpty makes an empty directory and points current to it, for the image's own first initialisation. The volume must
// be [Empty], or [Prepared], where it finishes or does nothing. It returns the number for [Volume.MarkInitialised].
func (v *Volume) PrepareEmpty() (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, err := v.prepareEmpty()
	if err != nil {
		return 0, fmt.Errorf("prepare an empty data directory: %w", v.writable(err))
	}
	return n, nil
}

func (v *Volume) prepareEmpty() (int, error) {
	c, err := inspect(v.root)
	if err != nil {
		return 0, err
	}
	n := c.Generation
	switch c.Kind {
	case Empty:
		r, err := v.begin(c, Record{Origin: OriginInitialised})
		if err != nil {
			return 0, err
		}
		n = r.Number
	case Prepared:
		// As in finish, the record comes first.
		if err := atomicfile.SyncRootDir(v.root, agentDir); err != nil {
			return 0, err
		}
		if err := v.mkdir(genDir); err != nil {
			return 0, err
		}
		if err := v.mkdir(genPath(n)); err != nil {
			return 0, err
		}
	default:
		return 0, state("the volume is %v", c.Kind)
	}
	return n, plan.Symlink(v.root, genPath(n), currentLink)
}

// MarkInitialised records that the first initialisation of generation n has ended: its accounts exist and may be relied on.
// mysqld may be running on it. It does nothing if n is complete already. The caller says when: a data directory shows
// no difference.
func (v *Volume) MarkInitialised(ctx context.Context, n int, facts Facts) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.markInitialised(ctx, n, facts); err != nil {
		return fmt.Errorf("mark generation %d initialised: %w", n, v.writable(err))
	}
	return nil
}

func (v *Volume) markInitialised(ctx context.Context, n int, facts Facts) error {
	c, err := inspect(v.root)
	if err != nil {
		return err
	}
	r := c.record(n)
	switch {
	case r != nil && r.State == StateComplete:
		return atomicfile.SyncRootDir(v.root, agentDir) // seen is not synced
	case r == nil || r.Origin != OriginInitialised || c.Kind != NeverCompleted || c.Current != n:
		return state("the volume is %v and its current generation is %d", c.Kind, c.Current)
	}
	dir, err := openDir(v.root, genPath(n))
	if err != nil {
		return err
	}
	defer dir.Close()
	if !adoptable(dir) {
		return state("%s is not a data directory: no mysql/ or no ibdata1", dir.Name())
	}
	if marked, err := hasMarker(v.root, n); err != nil {
		return err
	} else if marked {
		return state("a clone into %s has not ended", dir.Name())
	}
	// mysqld syncs what InnoDB needs; its keys, auto.cnf and directories are as safe only after this.
	if err := syncTree(ctx, dir, true); err != nil {
		return err
	}
	done := now()
	r.State, r.CompletedAt, r.Facts = StateComplete, &done, facts.or(r.Facts)
	return writeRecord(v.root, *r)
}

// Discard removes generation n, which must be recorded as under construction: a clone or restore, or a directory prepared
// for a first initialisation that is still empty. Everything else is [ErrState], a mysqld working on it [ErrInUse].
// It may be called again after any error or when ctx ended, and does nothing if n is gone already.
func (v *Volume) Discard(ctx context.Context, n int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.discard(ctx, n); err != nil {
		return fmt.Errorf("discard generation %d: %w", n, v.writable(err))
	}
	return nil
}

func (v *Volume) discard(ctx context.Context, n int) error {
	c, err := inspect(v.root)
	if err != nil {
		return err
	}
	r := c.record(n)
	switch {
	case c.Kind == ChangeUnderWay:
		return state("the volume is %v: %s", c.Kind, c.Change)
	case r == nil && !slices.Contains(c.Unrecorded, n):
		return nil
	case r == nil:
		return state("it has no record, so it may be anybody's data")
	case r.State != StateBuilding:
		return state("it is complete; quarantine it")
	case r.Origin == OriginInitialised && c.Kind != Prepared:
		return state("the volume is %v; quarantine it", c.Kind)
	}
	if err := v.refuseInUse(n); err != nil {
		return err
	}
	if c.Current == n {
		if err := v.root.Remove(currentLink); err != nil {
			return v.pathErr(err, ".")
		}
	}
	// Also if the link is gone already: an interrupted call may have removed it and not come to this.
	if err := atomicfile.SyncRootDir(v.root, "."); err != nil {
		return err
	}
	if err := v.removeTree(ctx, n); err != nil {
		return err
	}
	if err := v.root.Remove(recordPath(n)); err != nil {
		return v.pathErr(err, ".")
	}
	return atomicfile.SyncRootDir(v.root, agentDir)
}
