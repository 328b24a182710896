package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"ordinal/internal/atomicfile"
	"ordinal/internal/plan"
)

// A Volume is a locked volume. Its methods may be called concurrently; those that change it run one after the other.
type Volume struct {
	path string
	root *os.Root
	lock *os.File // flock(2): goes with the process, whatever way that ends
	mu   sync.Mutex

	lockouts lockouts
}

// Open locks the volume at path, an existing directory, until [Volume.Close] or the end of the process, and makes its
// agent/ directory if need be. It changes nothing else; [Inspect] needs neither lock nor write access.
// Errors: [ErrNoVolume], [ErrLocked], [ErrNotWritable], [ErrForeign] if there is an agent/ directory that is not ours, [ErrDamaged].
func Open(path string) (*Volume, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	root, err := openRoot(path)
	if err != nil {
		return nil, err
	}
	v := &Volume{path: path, root: root}
	if err := v.takeLock(); err != nil {
		if v.lock != nil {
			v.lock.Close()
		}
		root.Close()
		return nil, fmt.Errorf("open volume %s: %w", path, v.writable(err))
	}
	return v, nil
}

func openRoot(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if err == nil {
		return root, nil
	}
	info, statErr := os.Stat(path) // os.OpenRoot says in words only that it is no directory
	switch {
	case errors.Is(statErr, fs.ErrNotExist):
		return nil, &refusal{ErrNoVolume, path + " does not exist", "mount it, or create the directory for the uid that the agent runs as"}
	case statErr == nil && !info.IsDir():
		return nil, &refusal{ErrNoVolume, path + " is not a directory", "mount the volume there, or name another path with --volume"}
	}
	return nil, fmt.Errorf("open volume: %w", notWritable(path, err))
}

func (v *Volume) takeLock() error {
	dir, err := v.root.Open(".")
	if err != nil {
		return err
	}
	// A writable agent/ is not enough: current and gen/ are made in the root.
	err = unix.Faccessat(int(dir.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	dir.Close()
	if err != nil {
		return &fs.PathError{Op: "access", Path: v.path, Err: err}
	}
	switch err := v.root.Mkdir(agentDir, dirMode); {
	case err == nil:
		if err := atomicfile.SyncRootDir(v.root, "."); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if err := checkLayoutDir(v.root, agentDir); err != nil {
		return err
	}
	switch st, err := v.root.Lstat(lockFile); {
	case errors.Is(err, fs.ErrNotExist):
		if err := v.refuseSchema(agentDir); err != nil {
			return err
		}
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		return damagedFile(v.root, lockFile, errors.New("it is not a regular file"))
	}
	lock, err := v.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return &refusal{ErrLocked, filepath.Join(v.path, lockFile) + " is locked",
				"one agent per volume: end the other process, or wait until its pod is gone"}
		}
		return &fs.PathError{Op: "flock", Path: filepath.Join(v.path, lockFile), Err: err}
	}
	v.lock = lock
	return v.sweep()
}

// sweep removes what a crash left of unfinished writes in agent/.
func (v *Volume) sweep() error {
	for _, dir := range []string{agentDir, errantDir} {
		switch err := checkLayoutDir(v.root, dir); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		names, err := readNames(v.root, dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !atomicfile.IsTemp(name) {
				continue
			}
			if err := v.root.RemoveAll(path.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close releases the lock. Generations opened before stay usable but must not be completed any more.
func (v *Volume) Close() error {
	v.lockouts.close()
	return errors.Join(v.lock.Close(), v.root.Close())
}

// Path returns the absolute path of the volume's root.
func (v *Volume) Path() string { return v.path }

// DataDir returns the absolute path to be configured as mysqld's datadir: the link current.
func (v *Volume) DataDir() string { return filepath.Join(v.path, currentLink) }

// writable is notWritable for this volume.
func (v *Volume) writable(err error) error { return notWritable(v.path, err) }

// checkLayoutDir reports ErrDamaged if name exists and is not a real directory, and fs.ErrNotExist if it does not exist.
func checkLayoutDir(root *os.Root, name string) error {
	err := plan.CheckDir(root, name)
	if errors.Is(err, plan.ErrConflict) {
		return damaged("the agent makes no such thing: find out what did, and move it away", "%v", err)
	}
	return err
}

// refuseSchema reports ErrForeign if the directory name, which we would use as ours, looks like a database of that name.
func (v *Volume) refuseSchema(name string) error {
	names, err := readNames(v.root, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, file := range names {
		switch strings.ToLower(filepath.Ext(file)) {
		case ".ibd", ".frm", ".sdi", ".myd", ".myi", ".opt", ".csv", ".csm":
			return &refusal{ErrForeign, fmt.Sprintf("%s holds %s: it seems to be a database named `%s`", filepath.Join(v.path, name), file, name),
				"the agent needs this name in the volume's root: start the old server once more and rename the database, or copy its data with a dump"}
		}
	}
	return nil
}

// readNames returns the names in the directory name, sorted.
func readNames(root *os.Root, name string) ([]string, error) {
	entries, err := readDir(root, name)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	full := filepath.Join(root.Name(), name)
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", full, err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", full, err)
	}
	sortEntries(entries)
	return entries, nil
}
