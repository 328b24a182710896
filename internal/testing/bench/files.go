package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ordinal/internal/testing/localset"
)

// files are the donor's data files: what every clone copies, and what all rates refer to. Logs are not among them.
type files struct {
	dir   string   // the data directory, absolute
	names []string // relative to dir
	bytes int64    // sum of their sizes
}

// dataFiles lists a Pod's tablespaces of all kinds.
func dataFiles(pod localset.Pod) (files, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(pod.Volume, "current"))
	if err != nil {
		return files{}, err
	}
	return listFiles(dir)
}

func listFiles(dir string) (files, error) {
	list := files{dir: dir}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // dropped just now
		}
		if err != nil || !entry.Type().IsRegular() || !isData(dir, path) {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		list.names = append(list.names, name)
		list.bytes += info.Size()
		return nil
	})
	return list, err
}

// isData tells tablespaces from the rest by name. See refman/8.4 innodb-tablespace. Temporary ones are not copied.
func isData(dir, path string) bool {
	name := filepath.Base(path)
	switch {
	case strings.HasSuffix(name, ".ibd"), strings.HasSuffix(name, ".ibu"):
		return true
	case filepath.Dir(path) != dir:
		return false // #innodb_temp, #innodb_redo
	}
	return strings.HasPrefix(name, "ibdata") || strings.HasPrefix(name, "undo_") || name == "ib_buffer_pool"
}

// evict drops the files from the page cache, so that who reads them reads the disk. On a memory file system it does nothing.
func (f files) evict() error {
	for _, name := range f.names {
		file, err := os.Open(filepath.Join(f.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return err
		}
		err = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
		_ = file.Close() // only read
		if err != nil {
			return &fs.PathError{Op: "fadvise", Path: name, Err: err}
		}
	}
	return nil
}
