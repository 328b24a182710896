package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"ordinal/backup/store"
	"ordinal/internal/atomicfile"
)

const (
	fileMode = 0o640
	dirMode  = 0o750
)

// A Store keeps objects in a directory. It holds nothing open between calls.
type Store struct{ dir string }

var _ store.Store = (*Store)(nil)

// New returns the store in the directory dir, an absolute path. It touches nothing: [store.ErrNoPlace] comes from the first use.
func New(dir string) (*Store, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open store: %q is not an absolute path", dir)
	}
	return &Store{filepath.Clean(dir)}, nil
}

// place is the directory during one call.
type place struct {
	*os.Root
	op, name string // what the call does, for its errors
	dir      string
}

func (s *Store) enter(ctx context.Context, op, name string) (*place, error) {
	p := &place{op: op, name: name, dir: s.dir}
	if ctx.Err() != nil {
		return nil, p.error(context.Cause(ctx))
	}
	root, err := os.OpenRoot(s.dir)
	if err == nil {
		p.Root = root
		return p, nil
	}
	// os.OpenRoot has no errno for what is not a directory.
	if st, statErr := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) || errors.Is(statErr, syscall.ENOTDIR) || statErr == nil && !st.IsDir() {
		return nil, &store.Error{Op: op, Name: s.dir, Kind: store.ErrNoPlace, Remedy: "mount the volume, or make the directory " + s.dir}
	}
	return nil, p.error(err)
}

// error makes the error of a call from that of a system call.
func (p *place) error(err error) error {
	var known *store.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	name := p.name
	if name == "" {
		name = p.dir
	}
	e := &store.Error{Op: p.op, Name: name, Err: err}
	var errno syscall.Errno
	errors.As(err, &errno)
	switch errno {
	case syscall.ENOENT:
		e.Kind = store.ErrNotFound
	case syscall.EACCES, syscall.EPERM:
		e.Kind = store.ErrPermission
		e.Remedy = fmt.Sprintf("let uid %d read and write %s: securityContext.fsGroup in Kubernetes, or the export's squash options", os.Getuid(), p.dir)
	case syscall.EROFS:
		e.Kind = store.ErrPermission
		e.Remedy = "mount " + p.dir + " so that it can be written to"
	case syscall.ENOSPC, syscall.EDQUOT:
		e.Kind = store.ErrNoSpace
	case syscall.ESTALE, syscall.ETIMEDOUT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENOTCONN, syscall.ECONNRESET, syscall.ECONNREFUSED,
		syscall.EMFILE, syscall.ENFILE:
		e.Kind = store.ErrUnavailable
	}
	return e
}

// errNotRegular is the cause where a name belongs to something that is no object.
var errNotRegular = errors.New("it is not a regular file")

// lstat returns what a name is. fs.ErrNotExist if it is nothing; an error if it, or a directory on the way to it, is a symbolic link or no file.
func (p *place) lstat(name string) (fs.FileInfo, error) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if st, err := p.Lstat(dir); errors.Is(err, syscall.ENOTDIR) {
			return nil, syscall.ENOENT
		} else if err != nil {
			return nil, err
		} else if !st.IsDir() {
			if st.Mode().IsRegular() { // an object: nothing is below it
				return nil, syscall.ENOENT
			}
			return nil, fmt.Errorf("%s is not a directory", path.Join(p.dir, dir))
		}
	}
	st, err := p.Lstat(name)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, syscall.ENOENT
	}
	if !st.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return st, nil
}

// Stat implements [store.Reader].
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	if err := store.CheckName(name); err != nil {
		return store.Info{}, err
	}
	p, err := s.enter(ctx, "stat", name)
	if err != nil {
		return store.Info{}, err
	}
	defer p.Close()
	st, err := p.lstat(name)
	if err != nil {
		return store.Info{}, p.error(err)
	}
	return store.Info{Name: name, Size: st.Size(), Modified: st.ModTime()}, nil
}

// Open implements [store.Reader].
func (s *Store) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	p, err := s.enter(ctx, "open", name)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if _, err := p.lstat(name); err != nil {
		return nil, p.error(err)
	}
	f, err := p.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) // should it be a FIFO by now
	if err != nil {
		return nil, p.error(err)
	}
	opened, err := f.Stat()
	if err == nil && !opened.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, p.error(err)
	}
	offset = min(max(offset, 0), opened.Size())
	left := opened.Size() - offset
	if length >= 0 {
		left = min(left, length)
	}
	return &reader{ctx: ctx, f: f, at: offset, left: left, version: versionOf(opened), place: *p}, nil
}

type reader struct {
	ctx   context.Context // of the Open: the reader ends with it
	f     *os.File
	at    int64
	left  int64
	place place // for its words

	version string
}

// versionOf tells files apart that had the same name. The inode alone may come again.
func versionOf(st fs.FileInfo) string {
	inode := uint64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%d-%d-%d", inode, st.Size(), st.ModTime().UnixNano())
}

// Version implements [store.Versioned].
func (r *reader) Version() string { return r.version }

func (r *reader) Read(b []byte) (int, error) {
	switch {
	case r.ctx.Err() != nil:
		return 0, r.place.error(context.Cause(r.ctx))
	case r.left == 0:
		return 0, io.EOF
	}
	n, err := r.f.ReadAt(b[:min(int64(len(b)), r.left)], r.at)
	r.at += int64(n)
	r.left -= int64(n)
	if err == io.EOF {
		err = nil
		if r.left > 0 && n == 0 {
			err = io.ErrUnexpectedEOF // somebody cut it
		}
	}
	return n, r.place.error(err)
}

func (r *reader) Close() error { return r.f.Close() }

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	p, err := s.enter(ctx, "delete", name)
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return p.error(err)
	}
	if err := p.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p.error(err)
	}
	dir := path.Dir(name)
	if err := p.syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p.error(err)
	}
	// Directories that are empty now were made for what they held. One that just got something new stays: rmdir(2) refuses.
	for ; dir != "."; dir = path.Dir(dir) {
		if err := p.Remove(dir); err != nil {
			break
		}
	}
	return nil
}

func (p *place) syncDir(dir string) error { return atomicfile.SyncRootDir(p.Root, dir) }

// hidden says whether an entry of the top directory is none of a store's objects.
func hidden(name string) bool { return name == "lost+found" || strings.HasPrefix(name, ".") }
