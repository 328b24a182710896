package volume

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockouts are files of data directories that are locked as InnoDB locks them, so that no mysqld comes up there. The zero
// value holds none. Its methods may be called concurrently.
type lockouts struct {
	mu    sync.Mutex
	files []*os.File
}

// lockOut makes sure that no mysqld works on generation n and that none comes up on it until the volume is closed: one that
// was started a moment ago, and has found its data directory already, waits for the lock, and gives up after some time. [ErrInUse].
func (v *Volume) lockOut(n int) error {
	name := path.Join(genPath(n), "ibdata1")
	switch st, err := v.root.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
		return v.refuseInUse(n)
	case err != nil:
		return v.pathErr(err, ".")
	case !st.Mode().IsRegular():
		return damagedFile(v.root, name, errors.New("it is not a regular file"))
	case v.lockouts.has(st):
		return v.refuseInUse(n)
	}
	f, err := v.root.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return v.pathErr(err, ".")
	}
	// As in locked, and it is not lost when another descriptor of this process is closed.
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		err = &refusal{ErrInUse, filepath.Join(v.path, genPath(n)), "stop that mysqld first"}
	case err != nil:
		err = &fs.PathError{Op: "fcntl", Path: f.Name(), Err: err}
	default:
		v.lockouts.add(f)
		if err = v.refuseInUse(n); err == nil {
			return nil
		}
		v.lockouts.release(f)
		return err
	}
	return errors.Join(err, f.Close())
}

func (l *lockouts) add(f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, f)
}

// has reports whether the file is one of them.
func (l *lockouts) has(file fs.FileInfo) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.files, func(f *os.File) bool { return sameFile(f, file) })
}

// releaseIn lets go of the data directory dir: it is given back to a mysqld, or removed.
func (l *lockouts) releaseIn(root *os.Root, dir string) {
	file, err := root.Lstat(path.Join(dir, "ibdata1"))
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = slices.DeleteFunc(l.files, func(f *os.File) bool {
		if !sameFile(f, file) {
			return false
		}
		f.Close() // nothing was written
		return true
	})
}

func (l *lockouts) release(f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = slices.DeleteFunc(l.files, func(other *os.File) bool { return other == f })
	f.Close()
}

func (l *lockouts) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		f.Close()
	}
	l.files = nil
}

func sameFile(f *os.File, file fs.FileInfo) bool {
	st, err := f.Stat()
	return err == nil && os.SameFile(st, file)
}
