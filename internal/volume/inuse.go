package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"syscall"

	"golang.org/x/sys/unix"
)

// InUse reports whether a mysqld on this node has generation n open: InnoDB holds locks of fcntl(2) on its system files for as
// long as it runs. A server on another node, or one that has not come so far, is not seen.
func (v *Volume) InUse(n int) (bool, error) {
	return inUse(v.root, genPath(n), &v.lockouts)
}

func (v *Volume) refuseInUse(n int) error {
	used, err := v.InUse(n)
	if err == nil && used {
		err = &refusal{ErrInUse, filepath.Join(v.path, genPath(n)), "stop that mysqld first"}
	}
	return err
}

// lockedFile matches the files that InnoDB keeps locked. One of them is not enough to go by: closing any descriptor of a file
// releases all locks that the process has on it, and that is what a server does with its tablespaces, ibdata1
// among them, when it hands out a clone. See refman/8.4 innodb-clone and fcntl(2).
var lockedFile = regexp.MustCompile(`^(ibdata1|ibtmp1|mysql\.ibd|undo_[0-9]{3}|#ib_[0-9]+_[0-9]+\.dblwr|temp_[0-9]+\.ibt)$`)

// inUse does InUse for the data directory dir. Locks of ours do not count.
func inUse(root *os.Root, dir string, ours *lockouts) (bool, error) {
	for _, dir := range []string{dir, path.Join(dir, "#innodb_temp")} {
		names, err := readNames(root, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		for _, name := range names {
			if !lockedFile.MatchString(name) {
				continue
			}
			used, err := locked(root, path.Join(dir, name), ours)
			if err != nil {
				return false, fmt.Errorf("look whether a mysqld uses %s: %w", filepath.Join(root.Name(), dir), err)
			}
			if used {
				return true, nil
			}
		}
	}
	return false, nil
}

func locked(root *os.Root, name string, ours *lockouts) (bool, error) {
	switch st, err := root.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !st.Mode().IsRegular():
		return false, damagedFile(root, name, errors.New("it is not a regular file"))
	case ours.has(st):
		return false, nil
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a server that shuts down removes some
	}
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
