package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/innodb"
)

// A directory is the simplest sink that a server starts on. It trusts its donor.
type directory struct {
	dir     string
	version uint32        // of the server, 90704 for 9.7.4
	delay   time.Duration // per Data, for things to happen meanwhile

	at      protocol.State
	mu      sync.RWMutex
	files   map[uint32]*file
	redo    map[uint32]*file
	settled []*file // renamed or created in the batch under way

	created, renamed, deleted, vanished int
	bytes                               [6]atomic.Int64
	tasks                               [128]atomic.Int64
	onEnd                               func(protocol.Stage)
}

type file struct {
	protocol.FileMeta
	*os.File
	path string // where it is now
	name string // where it has to go
	gone atomic.Bool
	size atomic.Uint64
}

func newDirectory(dir string, version uint32) (*directory, error) {
	d := &directory{dir: dir, version: version, files: map[uint32]*file{}, redo: map[uint32]*file{}}
	for _, sub := range []string{"mysql", "#clone", "#innodb_redo"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o750); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *directory) create(m protocol.FileMeta, name, suffix string) (*file, error) {
	f := &file{FileMeta: m, name: filepath.Join(d.dir, name)}
	f.path = f.name + suffix
	f.grow(m.Size)
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return nil, err
	}
	var err error
	f.File, err = os.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	return f, err
}

func (f *file) grow(size uint64) {
	for {
		old := f.size.Load()
		if size <= old || f.size.CompareAndSwap(old, size) {
			return
		}
	}
}

func (d *directory) StageStart(_ context.Context, s protocol.Stage) error {
	for _, f := range d.settled {
		if f.gone.Load() { // a batch that is said again knows what happened since
			continue
		}
		if err := os.Rename(f.path, f.name); err != nil {
			return err
		}
		f.path = f.name
	}
	d.settled, d.at = nil, s.State
	return nil
}

func (d *directory) File(_ context.Context, m protocol.FileMeta) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.Redo() {
		if f := d.redo[m.Index]; f != nil {
			f.grow(m.Size)
			return nil
		}
		d.redo[m.Index], err = d.create(m, fmt.Sprintf("#innodb_redo/#ib_redo%d", m.Index), "")
		return err
	}
	f := d.files[m.Index]
	switch {
	case m.State == d.at && m.Deleted():
		d.vanished++
		f.gone.Store(true)
	case m.State == d.at:
		d.files[m.Index], err = d.create(m, m.Name, "")
	case f == nil && m.Deleted():
		f = &file{FileMeta: m}
		f.gone.Store(true)
		d.files[m.Index] = f
	case f == nil:
		d.created++
		return d.createEmpty(m)
	case m.Deleted():
		d.deleted++
		f.gone.Store(true)
		if f.File != nil {
			err = errors.Join(f.Close(), os.Remove(f.path))
			f.File = nil
		}
	default:
		f.grow(m.Size)
		if !m.Renamed() {
			return nil
		}
		d.renamed++
		f.name = filepath.Join(d.dir, m.Name)
		if err := os.MkdirAll(filepath.Dir(f.name), 0o750); err != nil {
			return err
		}
		err = os.Rename(f.path, f.name+".#clone_ddl")
		f.path = f.name + ".#clone_ddl"
		d.settled = append(d.settled, f)
	}
	return err
}

func (d *directory) createEmpty(m protocol.FileMeta) error {
	f, err := d.create(m, m.Name, ".#clone_ddl")
	if err != nil {
		return err
	}
	d.files[m.Index] = f
	d.settled = append(d.settled, f)
	flags := innodb.Flags(m.FSPFlags)
	f.grow(uint64(7 * flags.PhysicalSize()))
	_, err = f.WriteAt(innodb.InitialPage0(d.version, m.SpaceID, flags), 0)
	return err
}

func (d *directory) Data(_ context.Context, p protocol.Data, b []byte) error {
	d.bytes[p.State].Add(int64(len(b)))
	d.tasks[p.Task].Add(int64(len(b)))
	if d.delay > 0 {
		time.Sleep(d.delay) // simulates a slow disk
	}
	if p.State != d.at {
		return fmt.Errorf("data of %v in %v", p.State, d.at)
	}
	d.mu.RLock()
	f := d.files[p.File]
	if p.State == protocol.StateRedoCopy {
		f = d.redo[p.File]
	}
	d.mu.RUnlock()
	if f.gone.Load() {
		return nil
	}
	if p.State != protocol.StateRedoCopy {
		// Of a file that has just grown, pages may come from beyond its size: page 0, which says so, was not written yet.
		if beyond := p.Offset+uint64(len(b)) > p.FileSize; beyond && p.State == protocol.StateFileCopy {
			return fmt.Errorf("%+v with %d bytes is beyond the end of its file", p, len(b))
		}
		f.grow(p.Offset + uint64(len(b)))
		f.grow(p.FileSize)
	}
	_, err := f.WriteAt(b, int64(p.Offset))
	return err
}

func (d *directory) StageEnd(_ context.Context, s protocol.Stage) error {
	if d.onEnd != nil {
		d.onEnd(s)
	}
	return nil
}

// finish makes the directory one that a server starts on.
func (d *directory) finish() error {
	for _, f := range d.files {
		if f.gone.Load() {
			if f.File != nil {
				return fmt.Errorf("%s vanished and was not deleted in a batch", f.path)
			}
			continue
		}
		size := f.size.Load()
		if f.FSPFlags != protocol.NoFSPFlags {
			if extent := uint64(innodb.ExtentBytes(innodb.Flags(f.FSPFlags).LogicalSize())); size > extent {
				size = (size + extent - 1) / extent * extent
			}
		}
		if err := errors.Join(f.Truncate(int64(size)), f.Close()); err != nil {
			return err
		}
	}
	for _, f := range d.redo {
		if err := errors.Join(f.Truncate(int64(f.size.Load())), f.Close()); err != nil {
			return err
		}
	}
	for _, name := range []string{"#status_fix", "#replace_files"} {
		if err := os.WriteFile(filepath.Join(d.dir, "#clone", name), nil, 0o640); err != nil {
			return err
		}
	}
	return nil
}

// checkPages verifies every page of every tablespace below dir. The server must have been shut down.
func checkPages(dir string) (files int, err error) {
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		name := filepath.Base(path)
		tablespace := strings.HasSuffix(name, ".ibd") || strings.HasPrefix(name, "undo_") || strings.HasPrefix(name, "ibdata")
		if err != nil || e.IsDir() || !tablespace {
			return err
		}
		files++
		r, err := os.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		st, err := r.Stat()
		if err != nil {
			return err
		}
		f, err := innodb.ReadFile(path, r)
		if err != nil {
			return err
		}
		_, err = innodb.CheckFile(r, st.Size(), f, nil)
		return err
	})
	return files, err
}
