package clone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"
)

// savedFile is where the state of an unfinished copy is saved. See docs/formats/unfinished-copy.md.
const savedFile = cloneDir + "/ordinal_unfinished"

const (
	maxSaved = 512 << 20 // bytes; a copy with 20 000 files has 2 MiB
	maxNote  = 1 << 20   // bytes
)

// syncers is how many files are synced at a time: enough to keep a disk's queue filled, few enough to leave it usable.
const syncers = 8

// ErrSaved marks a copy that cannot be gone on with: what is saved of it is damaged, of another version, or does not fit the files
// beside it. It is to be discarded and begun again.
var ErrSaved = errors.New("the unfinished copy cannot be continued")

// Save makes a checkpoint: what has been written by now is synced, then the state that names it is saved, together with note, which
// is the caller's, at most 1 MiB. A process that starts after this one was killed gets both from LoadDirectory. It may run beside every
// other method; those that write data are held up for milliseconds, not for the syncs. When ctx ends before the state is written,
// nothing has changed and Save returns the cause. After Finish it does nothing.
func (d *Directory) Save(ctx context.Context, note []byte) error {
	d.turn.Lock()
	defer d.turn.Unlock()
	if d.finished {
		return nil
	}
	if len(note) > maxNote {
		return fmt.Errorf("save the copy: a note of %d bytes, at most %d", len(note), maxNote)
	}
	d.note = bytes.Clone(note)
	return d.checkpoint(ctx)
}

// checkpoint saves the state as it is now. The order is what makes it true: first the state is taken, then everything is synced that
// was written until then, then the state is written. The caller holds turn.
func (d *Directory) checkpoint(ctx context.Context) error {
	d.mu.Lock()
	if d.broken != nil {
		defer d.mu.Unlock()
		return d.broken
	}
	err := d.makeParent(savedFile)
	state := d.encode()
	d.mu.Unlock()
	if err != nil {
		return d.fail(err)
	}
	if len(state) > maxSaved {
		return fmt.Errorf("save the copy: its state has %d bytes, at most %d", len(state), maxSaved)
	}
	if err := d.syncAll(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := d.disk.replace(savedFile, state); err != nil {
		return d.fail(fmt.Errorf("save the copy: %w", err))
	}
	return nil
}

// syncAll makes durable what has been written until now: content, then names. The caller holds turn, so that no file moves. After an
// error it is not known what is durable, and asking again would not tell: see fsync(2).
func (d *Directory) syncAll(ctx context.Context) error {
	d.mu.Lock()
	files, dirs := d.unsynced, slices.Sorted(maps.Keys(d.renamed))
	d.unsynced = nil
	d.renamed = make(map[string]bool)
	for _, f := range files {
		f.unsynced = false
	}
	d.mu.Unlock()

	var g errgroup.Group
	g.SetLimit(syncers)
	done := 0
	for ; done < len(files) && ctx.Err() == nil; done++ {
		f := files[done]
		if f.path != "" {
			g.Go(func() error { return d.syncFile(f) })
		}
	}
	err := g.Wait()
	for i := 0; i < len(dirs) && err == nil && ctx.Err() == nil; i++ {
		err = d.disk.syncDir(dirs[i])
	}
	if err != nil {
		return d.fail(err)
	}
	if ctx.Err() == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range files[done:] {
		d.touch(f)
	}
	for _, dir := range dirs {
		d.renamed[dir] = true
	}
	return context.Cause(ctx)
}

func (d *Directory) syncFile(f *dataFile) error {
	out, err := d.open.acquire(f.id, f.path)
	if err != nil {
		return err
	}
	if err := out.sync(); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", f.path, err), d.open.release(out))
	}
	return d.open.release(out)
}

// LoadDirectory takes up the unfinished copy in root where the last Save or StageEnd, of another process, has left it, and returns the
// note of that Save. A batch of changes that was interrupted is finished, and what is not part of the saved state is removed: the donor
// brings it again. Progress then says what the copy holds.
//
// Errors: fs.ErrNotExist if nothing is saved, ErrSaved if it is of no use: begin again in both cases; else the disk's. The caller keeps
// root open until after Close.
func LoadDirectory(root *os.Root) (d *Directory, note []byte, err error) {
	return loadDirectory(rootDisk{root})
}

func loadDirectory(on disk) (*Directory, []byte, error) {
	state, err := readSaved(on)
	if err != nil {
		return nil, nil, fmt.Errorf("load the unfinished copy: %w", err)
	}
	d, err := decode(state)
	if err != nil {
		return nil, nil, fmt.Errorf("load the unfinished copy: %w: %w", ErrSaved, err)
	}
	d.disk, d.open = on, newOpenFiles(on)
	if err := d.takeUp(); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %v", ErrSaved, err) // not what is saved is missing, but what it names
		}
		return nil, nil, fmt.Errorf("load the unfinished copy: %w", errors.Join(err, d.Close()))
	}
	return d, d.note, nil
}

// savedNote returns the note of the last Save in root and touches nothing. Errors are those of LoadDirectory.
func savedNote(root *os.Root) ([]byte, error) {
	state, err := readSaved(rootDisk{root})
	if err != nil {
		return nil, fmt.Errorf("look for an unfinished copy: %w", err)
	}
	d, err := decode(state)
	if err != nil {
		return nil, fmt.Errorf("look for an unfinished copy: %w: %w", ErrSaved, err)
	}
	return d.note, nil
}

func readSaved(on disk) ([]byte, error) {
	dir, err := on.lstat(cloneDir)
	if err != nil {
		return nil, err
	}
	if !dir.IsDir() {
		return nil, fmt.Errorf("%w: %s is %v", ErrSaved, cloneDir, dir.Mode())
	}
	file, err := on.lstat(savedFile)
	if err != nil {
		return nil, err
	}
	if !file.Mode().IsRegular() || file.Size() > maxSaved {
		return nil, fmt.Errorf("%w: %s is %v and has %d bytes", ErrSaved, savedFile, file.Mode(), file.Size())
	}
	return on.read(savedFile, maxSaved)
}

// takeUp brings the disk into line with the state.
func (d *Directory) takeUp() error {
	if d.pending.phase != settled {
		if err := d.goOnWithChanges(true); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.interrupt()
	d.renamed["."] = true // an earlier process may have made directories, and died before they were synced
	seen, err := d.tidy()
	if err != nil {
		return err
	}
	for f := range d.kept() {
		size, there := seen[f.path]
		if !there || uint64(size) < f.reaches {
			return fmt.Errorf("%w: %s has %d bytes, want at least %d", ErrSaved, f.path, size, f.reaches)
		}
	}
	return nil
}

// tidy removes what is not part of the copy, and returns the sizes of the files that are.
func (d *Directory) tidy() (map[string]int64, error) {
	parents := make(map[string]bool)
	for name := range d.byPath {
		parents[path.Dir(name)] = true
	}
	seen := make(map[string]int64, len(d.byPath))
	look := []string{"."}
	for len(look) > 0 {
		dir := look[0]
		look = look[1:]
		entries, err := d.disk.readDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			_, ours := d.byPath[name]
			switch {
			case name == inProgress || name == savedFile:
			case e.IsDir() && dir == "." && (name == cloneDir || parents[name]):
				d.made[name] = true
				look = append(look, name)
			case ours && e.Type().IsRegular():
				info, err := e.Info()
				if err != nil {
					return nil, err
				}
				seen[name] = info.Size()
			default:
				if err := d.disk.removeAll(name); err != nil {
					return nil, fmt.Errorf("remove %s, which is not part of the copy: %w", name, err)
				}
				d.renamed[dir] = true
			}
		}
	}
	return seen, nil
}

// inProgress keeps a server from starting on what is not complete. It belongs to whoever keeps the generation.
const inProgress = cloneDir + "/#status_in_progress"
