package clone

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A fault is what a faultyDisk does at one call.
type fault uint8

const (
	ioError   fault = iota // the call does nothing and fails
	fullDisk               // the same with ENOSPC, after half of what was to be written has been
	crash                  // the process dies before the call
	halfCrash              // the process dies in the call, when half of what was to be written has been
	powerLoss              // the machine dies before the call: what was not synced is not there afterwards
	faults
)

func (f fault) String() string {
	return [...]string{"EIO", "ENOSPC after a short write", "crash", "crash in a write", "power loss"}[f]
}

// hits reports whether the fault can happen to a call of that kind.
func (f fault) hits(what string) bool {
	switch f {
	case fullDisk:
		return slices.Contains([]string{"allocate", "create", "mkdir", "rename", "replace", "truncate", "write"}, what)
	case halfCrash:
		return what == "replace" || what == "write"
	}
	return true
}

var errCrash = errors.New("the process is dead")

// A faultyDisk is the disk below a directory, on which one call fails, counted from the first. It knows what is durable: the content of a
// file since its last sync, and a name since the last sync of its directory.
type faultyDisk struct {
	t    testing.TB
	real rootDisk

	mu    sync.Mutex
	calls int
	at    int // the call that fails, from 1; 0: none
	fault fault
	only  string // the kind of calls that are counted; "" for all
	dead  bool
	hit   string // the call that failed

	nodes map[string]*node // by name
	names []*nameChange    // not durable, in the order in which they were made
}

// A node is the content of a file.
type node struct {
	durable []byte
	dirty   bool
}

type nameChange struct {
	dirs []string // not synced since
	undo func()
}

var _ disk = (*faultyDisk)(nil)

func newFaultyDisk(t testing.TB, root *os.Root) *faultyDisk {
	return &faultyDisk{t: t, real: rootDisk{root}, nodes: make(map[string]*node)}
}

// arm lets the call number at, from now on, fail.
func (d *faultyDisk) arm(at int, f fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.at, d.fault, d.hit = 0, at, f, ""
}

// restart begins the life of another process.
func (d *faultyDisk) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead && d.fault == powerLoss {
		d.losePower()
	}
	d.dead, d.at = false, 0
}

// call counts a call, if the fault is one that can happen to it. If it is the one, part does what is still done of it, and the error is
// to be returned.
func (d *faultyDisk) call(what, name string, part func()) error {
	if !d.dead && (!d.fault.hits(what) || d.only != "" && d.only != what) {
		return nil
	}
	d.calls++
	switch {
	case d.dead:
		return errCrash
	case d.calls != d.at:
		return nil
	}
	d.hit = what + " " + name
	if part != nil && (d.fault == fullDisk || d.fault == halfCrash) {
		part()
	}
	switch d.fault {
	case ioError:
		return &fs.PathError{Op: what, Path: name, Err: unix.EIO}
	case fullDisk:
		return &fs.PathError{Op: what, Path: name, Err: unix.ENOSPC}
	}
	d.dead = true
	return errCrash
}

func (d *faultyDisk) path(name string) string { return filepath.Join(d.real.root.Name(), name) }

// losePower takes back what is not durable.
func (d *faultyDisk) losePower() {
	for _, c := range slices.Backward(d.names) {
		c.undo()
	}
	d.names = nil
	for name, n := range d.nodes {
		if !n.dirty {
			continue
		}
		n.dirty = false
		if info, err := os.Lstat(d.path(name)); err == nil && info.Mode().IsRegular() {
			must(d.t, os.WriteFile(d.path(name), n.durable, 0o640))
		}
	}
}

// changed notes that names have changed in dirs.
func (d *faultyDisk) changed(undo func(), dirs ...string) {
	d.names = append(d.names, &nameChange{dirs, undo})
}

func (d *faultyDisk) create(name string) (diskFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("create", name, nil); err != nil {
		return nil, err
	}
	f, err := d.real.create(name)
	if err != nil {
		return nil, err
	}
	d.nodes[name] = new(node)
	d.changed(func() { d.undoCreate(name) }, path.Dir(name))
	return &faultyFile{f, d, d.nodes[name], name}, nil
}

func (d *faultyDisk) undoCreate(name string) {
	_ = os.Remove(d.path(name))
	delete(d.nodes, name)
}

func (d *faultyDisk) open(name string, direct bool) (diskFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("open", name, nil); err != nil {
		return nil, err
	}
	f, err := d.real.open(name, direct)
	if err != nil {
		return nil, err
	}
	if d.nodes[name] == nil {
		return nil, fmt.Errorf("%s is opened, and nobody made it", name)
	}
	return &faultyFile{f, d, d.nodes[name], name}, nil
}

func (d *faultyDisk) mkdir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("mkdir", name, nil); err != nil {
		return err
	}
	err := d.real.mkdir(name)
	if err == nil {
		d.changed(func() { _ = os.RemoveAll(d.path(name)) }, path.Dir(name))
	}
	return err
}

func (d *faultyDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("rename", from, nil); err != nil {
		return err
	}
	if err := d.real.rename(from, to); err != nil {
		return err
	}
	d.nodes[to] = d.nodes[from]
	delete(d.nodes, from)
	d.changed(func() {
		if os.Rename(d.path(to), d.path(from)) == nil {
			d.nodes[from] = d.nodes[to]
			delete(d.nodes, to)
		}
	}, path.Dir(from), path.Dir(to))
	return nil
}

func (d *faultyDisk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("remove", name, nil); err != nil {
		return err
	}
	return d.removed(name, d.real.remove)
}

func (d *faultyDisk) removeAll(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("removeAll", name, nil); err != nil {
		return err
	}
	return d.removed(name, d.real.removeAll)
}

func (d *faultyDisk) removed(name string, by func(string) error) error {
	content, readErr := os.ReadFile(d.path(name))
	if err := by(name); err != nil {
		return err
	}
	n := d.nodes[name]
	delete(d.nodes, name)
	if readErr == nil {
		d.changed(func() {
			if os.WriteFile(d.path(name), content, 0o640) == nil && n != nil {
				d.nodes[name] = n
			}
		}, path.Dir(name))
	}
	return nil
}

func (d *faultyDisk) lstat(name string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("lstat", name, nil); err != nil {
		return nil, err
	}
	return d.real.lstat(name)
}

func (d *faultyDisk) readDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("readDir", name, nil); err != nil {
		return nil, err
	}
	return d.real.readDir(name)
}

func (d *faultyDisk) read(name string, limit int64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("read", name, nil); err != nil {
		return nil, err
	}
	return d.real.read(name, limit)
}

func (d *faultyDisk) replace(name string, content []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	half := func() {
		must(d.t, os.WriteFile(d.path(path.Join(path.Dir(name), ".half.tmp-abc")), content[:len(content)/2], 0o600))
	}
	if err := d.call("replace", name, half); err != nil {
		return err
	}
	return d.real.replace(name, content)
}

// forget knows of no file any more.
func (d *faultyDisk) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes, d.names = make(map[string]*node), nil
}

func (d *faultyDisk) syncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("syncDir", name, nil); err != nil {
		return err
	}
	d.names = slices.DeleteFunc(d.names, func(c *nameChange) bool {
		c.dirs = slices.DeleteFunc(c.dirs, func(dir string) bool { return dir == name })
		return len(c.dirs) == 0
	})
	return d.real.syncDir(name)
}

// A faultyFile is an open file of a faultyDisk.
type faultyFile struct {
	diskFile
	d    *faultyDisk
	node *node
	name string
}

// do counts a call and makes it.
func (f *faultyFile) do(what string, part func(), whole func() error) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.call(what, f.name, part); err != nil {
		return err
	}
	return whole()
}

// WriteAt writes.
func (f *faultyFile) WriteAt(p []byte, offset int64) (n int, err error) {
	half := func() {
		f.node.dirty = true
		_, _ = f.diskFile.WriteAt(p[:len(p)/2], offset)
	}
	err = f.do("write", half, func() (err error) {
		f.node.dirty = true
		n, err = f.diskFile.WriteAt(p, offset)
		return err
	})
	return n, err
}

func (f *faultyFile) truncate(size int64) error {
	return f.do("truncate", nil, func() error {
		f.node.dirty = true
		return f.diskFile.truncate(size)
	})
}

func (f *faultyFile) allocate(size uint64) error {
	return f.do("allocate", nil, func() error {
		f.node.dirty = true
		return f.diskFile.allocate(size)
	})
}

func (f *faultyFile) free(offset, n uint64) error {
	return f.do("free", nil, func() error {
		f.node.dirty = true
		return f.diskFile.free(offset, n)
	})
}

func (f *faultyFile) sync() error {
	return f.do("sync", nil, func() (err error) {
		if err = f.diskFile.sync(); err != nil {
			return err
		}
		f.node.dirty = false
		// The file may have another name by now; its content is read through the descriptor's own.
		f.node.durable, err = os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.diskFile.(rootFile).Fd()))
		return err
	})
}

func (f *faultyFile) size() (n int64, err error) {
	err = f.do("size", nil, func() (err error) {
		n, err = f.diskFile.size()
		return err
	})
	return n, err
}

// Close closes the file in any case.
func (f *faultyFile) Close() error {
	err := f.diskFile.Close()
	return errors.Join(err, f.do("close", nil, func() error { return nil }))
}
