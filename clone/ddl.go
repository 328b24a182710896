package clone

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"ordinal/internal/innodb"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// Lengths of a file that DDL created during the clone, before its pages arrive.
const (
	newTablespacePages = 7
	newUndoBytes       = 16 << 20
)

// change takes one entry of the batch with which the donor tells, between two stages, what DDL has done meanwhile.
//
// The batch is in order of file index, not of the statements, so names collide: two tables that were swapped, one that was
// dropped and made again. Every file with a new name therefore waits under a name of ours until the batch is over. (A suffix
// to the new name would be too long for names that only just fit.)
func (d *Directory) change(meta stream.File) error {
	if int(meta.Index) > len(d.files) {
		return fmt.Errorf("file %q has index %d, want at most %d", meta.Name, meta.Index, len(d.files))
	}
	if int(meta.Index) == len(d.files) {
		return d.created(meta)
	}
	f := d.files[meta.Index]
	if err := d.open.forget(f.id); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	if meta.Flags&stream.FlagDeleted != 0 {
		return d.dropped(f)
	}
	next, err := d.newFile(meta)
	if err != nil {
		return err
	}
	if err := f.update(meta); err != nil {
		return err
	}
	if f.deleted.Load() {
		return fmt.Errorf("file %q changes after it was dropped", meta.Name)
	}
	if f.path == "" || next.path == f.final() {
		return nil
	}
	if next.path == "" {
		return fmt.Errorf("file %q was a tablespace and is none any more", meta.Name)
	}
	return d.rename(f, next.path)
}

// dropped removes the file of a table that DDL dropped or replaced.
func (d *Directory) dropped(f *dataFile) error {
	f.deleted.Store(true)
	clear(f.bad)
	if id, ours := d.byPath[f.path]; f.path == "" || !ours || id != f.id {
		return nil // it never was made, or its place is another file's by now
	}
	if err := d.root.Remove(f.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the dropped %s: %w", f.path, err)
	}
	delete(d.byPath, f.path)
	return nil
}

// rename gives f the path to, when the batch is over. The name that it has until then is ours.
func (d *Directory) rename(f *dataFile, to string) error {
	if f.next == "" {
		if err := d.move(f, waitingPath(f.id)); err != nil {
			return err
		}
		d.renamed = append(d.renamed, f)
	}
	f.next = to
	return nil
}

// waitingPath is where a file waits for its final name.
func waitingPath(id fileID) string { return cloneDir + "/ddl_" + strconv.Itoa(int(id.index)) }

// move renames f at once.
func (d *Directory) move(f *dataFile, to string) error {
	if err := d.makeParent(to); err != nil {
		return err
	}
	if err := d.root.Rename(f.path, to); err != nil {
		return fmt.Errorf("rename %s to %s: %w", f.path, to, err)
	}
	delete(d.byPath, f.path)
	f.path = to
	d.byPath[to] = f.id
	return nil
}

// created makes a file that DDL created since the last stage began. Crash recovery knows it by its first page, which the
// redo log does not hold; the rest of it arrives as changed pages and as redo.
func (d *Directory) created(meta stream.File) error {
	f, err := d.newFile(meta)
	if err != nil {
		return err
	}
	if meta.Flags&stream.FlagDeleted != 0 || !f.pages {
		f.deleted.Store(true)
		d.add(f)
		return nil
	}
	f.path, f.next = waitingPath(f.id), f.path
	if err := d.makeFile(f); err != nil {
		return err
	}
	if err := d.writeFirstPage(f); err != nil {
		return fmt.Errorf("begin %s: %w", f.path, err)
	}
	d.add(f)
	d.renamed = append(d.renamed, f)
	return nil
}

func (d *Directory) writeFirstPage(f *dataFile) error {
	out, err := d.root.OpenFile(f.path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	length := int64(newTablespacePages * f.fsp.PhysicalSize())
	if f.undo() {
		length = newUndoBytes
	}
	_, err = out.WriteAt(innodb.InitialPage0(versionNumber(d.server), f.space, f.fsp), 0)
	return errors.Join(err, out.Truncate(length), out.Close())
}

// versionNumber is a version as the first page of a tablespace has it: 90704 for 9.7.4.
func versionNumber(v mysqlx.Version) uint32 {
	return uint32(v.Major)*10_000 + uint32(v.Minor)*100 + uint32(v.Patch)
}

// settleNames ends a batch: what vanished is removed, new names become final.
func (d *Directory) settleNames() error {
	for _, f := range d.files {
		if f.deleted.Load() {
			if err := d.dropped(f); err != nil {
				return err
			}
		}
	}
	for _, f := range d.renamed {
		to := f.next
		f.next = ""
		if f.deleted.Load() {
			continue
		}
		if _, taken := d.byPath[to]; taken {
			return fmt.Errorf("two files of the clone are named %q", to)
		}
		if err := d.move(f, to); err != nil {
			return err
		}
	}
	d.renamed = d.renamed[:0]
	return nil
}
