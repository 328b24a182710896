package clone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"

	"ordinal/internal/innodb"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// Lengths of a file that DDL created during the clone, before its pages arrive.
const (
	newTablespacePages = 7
	newUndoBytes       = 16 << 20
)

// A batch is what a donor tells between two stages about what DDL has done meanwhile, by file index. It is in order of index, not of
// the statements, so names collide: two tables that were swapped, one that was dropped and made again.
type batch struct {
	entries map[uint32]*change
	created int // of the entries, those of files that are new
}

// A change is what a batch says of one file: the last description, and whether it is gone.
type change struct {
	meta    stream.File
	deleted bool
}

// collect takes one entry of the batch.
func (d *Directory) collect(meta stream.File) error {
	known := len(d.files) + d.batch.created
	if int64(meta.Index) > int64(known) || known >= maxFiles {
		return fmt.Errorf("file %q has index %d, want at most %d", meta.Name, meta.Index, known)
	}
	c := d.batch.entries[meta.Index]
	deleted := meta.Flags&stream.FlagDeleted != 0
	if !deleted {
		if c != nil && c.deleted || int(meta.Index) < len(d.files) && d.files[meta.Index].deleted {
			return fmt.Errorf("file %q changes after it was dropped", meta.Name)
		}
		if _, err := d.newFile(meta); err != nil {
			return err
		}
	}
	if c == nil {
		if d.batch.entries == nil {
			d.batch.entries = make(map[uint32]*change)
		}
		c = new(change)
		d.batch.entries[meta.Index] = c
		if int(meta.Index) == known {
			d.batch.created++
		}
	}
	meta.Size = max(meta.Size, c.meta.Size)
	c.meta, c.deleted = meta, deleted
	return nil
}

// changes are what a batch does to the names on disk. It is done in two steps, each of which can be begun again after it was
// interrupted anywhere, because what it makes is never what it starts from; the state is saved before each:
//
//  1. clearing: what is dropped is removed, what gets another name is moved to a waiting name of ours, new files are made under one.
//     No name is in the way of another any more.
//  2. settling: what waits is moved to its final name.
//
// A waiting name is our own, because a suffix to the new one would be too long for names that only just fit.
type changes struct {
	phase   ddlPhase
	removed []string // paths
	moved   []move
}

// A ddlPhase is the step of a batch that is under way.
type ddlPhase uint8

const (
	settled ddlPhase = iota // nothing is under way
	clearing
	settling
)

type move struct {
	index uint32 // of the file
	from  string // "": the file is new
}

// waitingPath is where a file waits for its final name.
func waitingPath(index uint32) string { return cloneDir + "/ddl_" + strconv.Itoa(int(index)) }

// applyBatch enters the batch in the books, which then describe the files as they are going to be, and works out what has to be done
// on the disk for that. A batch that leaves two files with one name is an error.
func (d *Directory) applyBatch() error {
	next := changes{phase: clearing}
	final := make(map[uint32]string) // of the files that move
	for _, index := range slices.Sorted(maps.Keys(d.batch.entries)) {
		c := d.batch.entries[index]
		f, to, err := d.applyChange(c)
		if err != nil {
			return err
		}
		if to != "" {
			next.moved = append(next.moved, move{index: index, from: f.path})
			final[index] = to
			if err := d.vacate(f); err != nil {
				return err
			}
		}
	}
	d.batch = batch{}
	for _, f := range d.files {
		if f.deleted && f.path != "" {
			next.removed = append(next.removed, f.path)
			if err := d.vacate(f); err != nil {
				return err
			}
			f.path, f.bad = "", nil
		}
	}
	for _, m := range next.moved {
		to := final[m.index]
		if _, taken := d.byPath[to]; taken {
			return fmt.Errorf("two files of the clone are named %q", to)
		}
		d.byPath[to] = fileID{index: m.index}
		if m.from == "" {
			d.files[m.index].path = waitingPath(m.index)
		}
	}
	if len(next.removed)+len(next.moved) > 0 {
		d.pending = next
	}
	return nil
}

// vacate gives up f's path.
func (d *Directory) vacate(f *dataFile) error {
	delete(d.byPath, f.path)
	if err := d.open.forget(f.id); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}

// applyChange enters one change in the books, and returns the file and its new path; "" when it stays where it is, or has no place.
func (d *Directory) applyChange(c *change) (f *dataFile, to string, err error) {
	index := c.meta.Index
	if int(index) == len(d.files) {
		return d.applyCreated(c)
	}
	f = d.files[index]
	if c.deleted {
		f.deleted = true
		return f, "", nil
	}
	next, err := d.newFile(c.meta)
	if err != nil {
		return nil, "", err
	}
	if next.pages != f.pages || next.path == "" && f.path != "" {
		return nil, "", fmt.Errorf("file %q was a tablespace and is none any more, or the other way round", c.meta.Name)
	}
	if err := f.update(c.meta); err != nil {
		return nil, "", err
	}
	if f.path == "" || next.path == f.path {
		return f, "", nil
	}
	return f, next.path, nil
}

// applyCreated enters a file that DDL created since the last stage began.
func (d *Directory) applyCreated(c *change) (f *dataFile, to string, err error) {
	id := fileID{index: c.meta.Index}
	if c.deleted || c.meta.FSPFlags == notATablespace { // it only takes its index
		d.files = append(d.files, &dataFile{id: id, name: c.meta.Name, deleted: true, arrived: coverage{unit: defaultUnit}})
		return nil, "", nil
	}
	if f, err = d.newFile(c.meta); err != nil {
		return nil, "", err
	}
	to, f.path = f.path, ""
	f.reaches = f.initialSize()
	d.files = append(d.files, f)
	return f, to, nil
}

// makeChanges makes on disk what a batch has changed in the books. The caller holds turn.
func (d *Directory) makeChanges() error {
	if d.pending.phase == settled {
		return nil
	}
	if err := d.checkpoint(context.Background()); err != nil {
		return err
	}
	return d.goOnWithChanges(false)
}

// goOnWithChanges makes the changes whose first step has been saved; again if it is not known how far an earlier process came.
func (d *Directory) goOnWithChanges(again bool) error {
	if d.pending.phase == clearing {
		if err := d.clearNames(again); err != nil {
			return err
		}
		d.pending.phase, d.pending.removed = settling, nil
		if err := d.checkpoint(context.Background()); err != nil {
			return err
		}
	}
	if err := d.settleNames(again); err != nil {
		return err
	}
	d.pending = changes{}
	return nil
}

// clearNames is the first step of a batch.
func (d *Directory) clearNames(again bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range d.pending.removed {
		if err := d.remove(name); err != nil {
			return err
		}
	}
	for _, m := range d.pending.moved {
		f, to := d.files[m.index], waitingPath(m.index)
		done := false
		var err error
		switch {
		case m.from == "":
			err = d.begin(f, to, again)
		case again:
			done, err = d.exists(to)
		}
		if m.from != "" && err == nil {
			err = d.move(m.from, to, done)
		}
		if err != nil {
			return err
		}
		f.path = to
	}
	return nil
}

// settleNames is the second step.
func (d *Directory) settleNames(again bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.pending.moved {
		f := d.files[m.index]
		to, err := tablespacePath(f.name)
		if err != nil {
			return err
		}
		done := false
		if again {
			waits, lookErr := d.exists(f.path)
			done, err = !waits, lookErr
		}
		if err == nil {
			err = d.settle(f.path, to, done)
		}
		if err != nil {
			return err
		}
		f.path = to
	}
	return nil
}

// settle gives a file its final name, at which nothing is.
func (d *Directory) settle(from, to string, done bool) error {
	if !done {
		if taken, err := d.exists(to); taken || err != nil {
			return fmt.Errorf("rename %s to %s: something else is there: %w", from, to, cmp.Or(err, os.ErrExist))
		}
	}
	return d.move(from, to, done)
}

// remove removes the file of a table that DDL dropped or replaced, if it is still there.
func (d *Directory) remove(name string) error {
	if err := d.disk.remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the dropped %s: %w", name, err)
	}
	d.renamed[path.Dir(name)] = true
	return nil
}

// move renames a file, unless an earlier process has done it. The names have to be synced either way.
func (d *Directory) move(from, to string, done bool) error {
	if !done {
		if err := d.makeParent(to); err != nil {
			return err
		}
		if err := d.disk.rename(from, to); err != nil {
			return fmt.Errorf("rename %s to %s: %w", from, to, err)
		}
	}
	d.renamed[path.Dir(from)], d.renamed[path.Dir(to)] = true, true
	return nil
}

// exists reports whether a name is taken, by whatever.
func (d *Directory) exists(name string) (bool, error) {
	_, err := d.disk.lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// begin makes a file that DDL created. Crash recovery knows it by its first page, which the redo log does not hold; the rest of it
// arrives as changed pages and as redo.
func (d *Directory) begin(f *dataFile, at string, again bool) error {
	if again {
		if err := d.remove(at); err != nil {
			return err
		}
	}
	out, err := d.createAt(at)
	if err != nil {
		return err
	}
	_, err = out.WriteAt(innodb.InitialPage0(versionNumber(d.server), f.space, f.fsp), 0)
	if err == nil {
		err = out.truncate(int64(f.initialSize()))
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("begin %s: %w", at, err)
	}
	d.touch(f)
	return nil
}

// initialSize is the length of a file that DDL has just created, in bytes.
func (f *dataFile) initialSize() uint64 {
	if f.undo() {
		return newUndoBytes
	}
	return uint64(newTablespacePages * f.fsp.PhysicalSize())
}

// versionNumber is a version as the first page of a tablespace has it: 90704 for 9.7.4.
func versionNumber(v mysqlx.Version) uint32 {
	return uint32(v.Major)*10_000 + uint32(v.Minor)*100 + uint32(v.Patch)
}
