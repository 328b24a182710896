package clone

import (
	"errors"
	"io/fs"
	"math"
	"path"
	"sync"
	"time"
)

// A noDisk is a disk that knows the names of files and keeps nothing of what is in them: for a Directory that only keeps the books.
type noDisk struct {
	mu    sync.Mutex
	names map[string]bool // whether it is a directory
}

var _ disk = (*noDisk)(nil)

func newNoDisk() *noDisk { return &noDisk{names: make(map[string]bool)} }

var errNoDisk = errors.New("nothing is kept")

func refuseName(op, name string, why error) error { return &fs.PathError{Op: op, Path: name, Err: why} }

func (n *noDisk) add(op, name string, dir bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.names[name]; taken {
		return refuseName(op, name, fs.ErrExist)
	}
	n.names[name] = dir
	return nil
}

func (n *noDisk) create(name string) (diskFile, error) { return noFile{}, n.add("create", name, false) }
func (n *noDisk) mkdir(name string) error              { return n.add("mkdir", name, true) }

func (n *noDisk) open(name string, direct bool) (diskFile, error) {
	if direct {
		return nil, refuseName("open", name, errNoDisk)
	}
	_, err := n.lstat(name)
	return noFile{}, err
}

func (n *noDisk) rename(from, to string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	dir, there := n.names[from]
	if !there {
		return refuseName("rename", from, fs.ErrNotExist)
	}
	delete(n.names, from)
	n.names[to] = dir
	return nil
}

func (n *noDisk) remove(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, there := n.names[name]; !there {
		return refuseName("remove", name, fs.ErrNotExist)
	}
	delete(n.names, name)
	return nil
}

func (n *noDisk) lstat(name string) (fs.FileInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	dir, there := n.names[name]
	if !there {
		return nil, refuseName("lstat", name, fs.ErrNotExist)
	}
	return noInfo{name: path.Base(name), dir: dir}, nil
}

// Nobody takes up what was not kept.
func (n *noDisk) removeAll(name string) error { return refuseName("remove", name, errNoDisk) }
func (n *noDisk) readDir(name string) ([]fs.DirEntry, error) {
	return nil, refuseName("read", name, errNoDisk)
}
func (n *noDisk) read(name string, _ int64) ([]byte, error) {
	return nil, refuseName("read", name, errNoDisk)
}
func (n *noDisk) replace(string, []byte) error { return nil }
func (n *noDisk) syncDir(string) error         { return nil }

// A noFile takes everything.
type noFile struct{}

func (noFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (noFile) Close() error                           { return nil }
func (noFile) size() (int64, error)                   { return math.MaxInt64, nil }
func (noFile) truncate(int64) error                   { return nil }
func (noFile) sync() error                            { return nil }
func (noFile) allocate(uint64) error                  { return nil }
func (noFile) free(uint64, uint64) error              { return nil }
func (noFile) writeBack(uint64, uint64)               {}

// A noInfo is what is known of a name.
type noInfo struct {
	name string
	dir  bool
}

func (i noInfo) Name() string       { return i.name }
func (i noInfo) Size() int64        { return 0 }
func (i noInfo) ModTime() time.Time { return time.Time{} }
func (i noInfo) IsDir() bool        { return i.dir }
func (i noInfo) Sys() any           { return nil }

func (i noInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir
	}
	return 0
}
