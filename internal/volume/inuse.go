package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// InUse reports whether a mysqld on this node has generation n open: InnoDB holds a lock of fcntl(2) on ibdata1 for as long as it
// runs. A server on another node, or one that has not come so far, is not seen.
func (v *Volume) InUse(n int) (bool, error) {
	return inUse(v.root, genPath(n))
}

func (v *Volume) refuseInUse(n int) error {
	used, err := v.InUse(n)
	if err == nil && used {
		err = &refusal{ErrInUse, filepath.Join(v.path, genPath(n)), "stop that mysqld first"}
	}
	return err
}

// inUse does InUse for the data directory dir.
func inUse(root *os.Root, dir string) (bool, error) {
	used, err := locked(root, dir)
	if err != nil {
		return false, fmt.Errorf("look whether a mysqld uses %s: %w", filepath.Join(root.Name(), dir), err)
	}
	return used, nil
}

func locked(root *os.Root, dir string) (bool, error) {
	name := path.Join(dir, "ibdata1")
	switch st, err := root.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !st.Mode().IsRegular():
		return false, damagedFile(root, name, errors.New("it is not a regular file"))
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	// An open-file-description lock conflicts with every lock but its own, so this is right also if this process holds one.
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, &fs.PathError{Op: "fcntl", Path: f.Name(), Err: err}
	}
	return lock.Type != unix.F_UNLCK, nil
}
