// Package atomicfile makes changes to files and directories durable: after a call returned nil the change survives
// a crash of the process and of the machine, and at no moment does a reader see half of it.
//
// One file is replaced by the sequence temporary name, write, fsync, rename, fsync of the directory. The last step is
// the one that is easily forgotten: without it a crash can bring the old name back although the data is safe.
//
// The package handles one file at a time. Several changes that belong together need a plan that is saved first.
//
// A crash between the first and the last step leaves a file for which [IsTemp] is true. Nothing reads it, it starts with
// a dot and it may be removed by whoever owns the directory.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const tempMark = ".tmp-"

// IsTemp reports whether name (a base name) is that of a temporary file of this package.
func IsTemp(name string) bool {
	i := strings.LastIndex(name, tempMark)
	return strings.HasPrefix(name, ".") && i > 0 && i+len(tempMark) < len(name)
}

// tempName returns a new name beside name. It never ends like name does: mysqld's !includedir reads every *.cnf.
func tempName(name string) string {
	dir, base := filepath.Split(name)
	return dir + "." + base + tempMark + strings.ToLower(rand.Text()[:12])
}

// WriteFile durably creates or replaces the file path with exactly data. The file gets mode perm whatever the umask is.
// If path is a symbolic link, the link is replaced. On error the former file is untouched, except when only the sync of
// the directory failed: then the new file is in place, but it is unknown which one survives a crash.
// Concurrent calls are safe; the last rename wins.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer root.Close()
	if err := writeFile(root, base, data, perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// WriteRoot is [WriteFile] for name inside root; no part of name may lead out of it. The directory of name must exist.
func WriteRoot(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	if err := writeFile(root, name, data, perm); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(root.Name(), name), err)
	}
	return nil
}

func writeFile(root *os.Root, name string, data []byte, perm fs.FileMode) (err error) {
	temp := tempName(name)
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, perm.Perm())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()         // a second Close is harmless
			root.Remove(temp) // best effort: err is what the caller needs
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if st, err := f.Stat(); err != nil {
		return err
	} else if st.Mode().Perm() != perm.Perm() { // the umask took bits away
		if err := f.Chmod(perm.Perm()); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil { // NFS reports a full disk here
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	return syncRootDir(root, filepath.Dir(name))
}

// Rename renames oldpath to newpath and makes it durable. It replaces what is at newpath as rename(2) does.
func Rename(oldpath, newpath string) error {
	if err := os.Rename(oldpath, newpath); err != nil {
		return err // *os.LinkError names both
	}
	// The new name first: a crash in between leaves two names, never none.
	if err := SyncDir(filepath.Dir(newpath)); err != nil {
		return err
	}
	if from := filepath.Dir(oldpath); from != filepath.Dir(newpath) {
		return SyncDir(from)
	}
	return nil
}

// RenameRoot is [Rename] inside root.
func RenameRoot(root *os.Root, oldname, newname string) error {
	if err := root.Rename(oldname, newname); err != nil {
		return err
	}
	if err := SyncRootDir(root, filepath.Dir(newname)); err != nil {
		return err
	}
	if from := filepath.Dir(oldname); from != filepath.Dir(newname) {
		return SyncRootDir(root, from)
	}
	return nil
}

// SyncDir makes the names in the directory dir durable: files created in it, renamed within or into it, or removed.
// It does not sync the files.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := syncAndClose(d); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// SyncRootDir is [SyncDir] for the directory name inside root; "." is the root itself.
func SyncRootDir(root *os.Root, name string) error {
	if err := syncRootDir(root, name); err != nil {
		return fmt.Errorf("sync directory %s: %w", filepath.Join(root.Name(), name), err)
	}
	return nil
}

func syncRootDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return syncAndClose(d)
}

func syncAndClose(d *os.File) error {
	err := d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // this file system cannot sync a directory (fsync(2)); nothing more can be done on it
	}
	return errors.Join(err, d.Close())
}
