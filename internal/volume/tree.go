package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"ordinal/internal/atomicfile"
)

// removeTree removes the directory of generation n, the file that keeps mysqld from starting on it last.
func (v *Volume) removeTree(ctx context.Context, n int) error {
	dir, err := openDir(v.root, genPath(n))
	if errors.Is(err, fs.ErrNotExist) {
		if err := checkLayoutDir(v.root, genDir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return atomicfile.SyncRootDir(v.root, genDir) // seen is not synced
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := removeEntries(ctx, dir, ".", cloneDir); err != nil {
		return err
	}
	if err := atomicfile.SyncRootDir(dir, "."); err != nil {
		return err
	}
	if err := removeEntries(ctx, dir, cloneDir, path.Base(markerFile)); err != nil {
		return err
	}
	if err := v.root.RemoveAll(genPath(n)); err != nil {
		return v.pathErr(err, ".")
	}
	return atomicfile.SyncRootDir(v.root, genDir)
}

// removeEntries removes what is in the directory name of root, except one entry.
func removeEntries(ctx context.Context, root *os.Root, name, except string) error {
	names, err := readNames(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range names {
		if entry == except {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := root.RemoveAll(path.Join(name, entry)); err != nil {
			return fmt.Errorf("in %s: %w", root.Name(), err)
		}
	}
	return nil
}

// syncTree syncs each regular file below root and each directory, root included. If live, a server is working on it: what
// vanishes meanwhile and what is neither file nor directory is skipped; else the latter is ErrState.
func syncTree(ctx context.Context, root *os.Root, live bool) error {
	return syncSubtree(ctx, root, ".", live)
}

func syncSubtree(ctx context.Context, root *os.Root, dir string, live bool) error {
	entries, err := readDir(root, dir)
	if live && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = syncSubtree(ctx, root, name, live)
		case e.Type().IsRegular():
			err = syncFile(root, name)
		case !live:
			err = state("%s is %v, neither a regular file nor a directory", filepath.Join(root.Name(), name), e.Type())
		}
		if err != nil && !(live && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return atomicfile.SyncRootDir(root, dir)
}

func syncFile(root *os.Root, name string) error {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("sync %s: %w", filepath.Join(root.Name(), name), err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", filepath.Join(root.Name(), name), err)
	}
	return nil
}
