package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"ordinal/internal/atomicfile"
)

// A QuarantineEntry is what one directory in quarantine/ holds.
type QuarantineEntry struct {
	Name string
	// Quarantined is the content of its reason.json; nothing but zeros if Problem says that there is none that can be read.
	Quarantined
	// Bytes is what the entry takes on disk.
	Bytes int64
	// Files are the names of the regular files beside the data, like errant-20261121T134700Z/errant.binlog, sorted.
	Files []string
	// Dropping says that its removal was begun and not finished: call Drop again. Nothing can bring it back.
	Dropping bool
	// Problem says what is wrong with the entry, "" if nothing is.
	Problem string
}

// GTIDExecuted is the GTID set that the data is known to hold; "" if that is not known. It may hold more: this is from the
// time at which it was complete.
func (e *QuarantineEntry) GTIDExecuted() string {
	if e.Record == nil {
		return ""
	}
	return e.Record.GTIDExecuted
}

// ListQuarantine tells what is in quarantine/ of the volume at path, oldest first. It changes nothing and takes no lock, so an
// entry that is just being made, undone or dropped shows a Problem.
func ListQuarantine(path string) ([]QuarantineEntry, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	root, err := openRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	list, err := listQuarantine(root)
	if err != nil {
		return nil, fmt.Errorf("list quarantine of %s: %w", path, err)
	}
	return list, nil
}

func listQuarantine(root *os.Root) ([]QuarantineEntry, error) {
	switch err := checkLayoutDir(root, quarantineDir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	names, err := readNames(root, quarantineDir)
	if err != nil {
		return nil, err
	}
	var list []QuarantineEntry
	for _, name := range names {
		e := QuarantineEntry{Name: name}
		if e.Name, e.Dropping = strings.CutPrefix(name, droppingPrefix); !e.Dropping && ignored(name) {
			continue
		}
		e.look(root, path.Join(quarantineDir, name))
		list = append(list, e)
	}
	return list, nil
}

// look fills in what is in the directory.
func (e *QuarantineEntry) look(root *os.Root, dir string) {
	err := checkLayoutDir(root, dir)
	if err == nil {
		e.Bytes, err = allocated(root, dir)
	}
	if err == nil {
		e.Files, err = filesBeside(root, dir)
	}
	if err == nil {
		e.Quarantined, err = readReason(root, dir)
	}
	if err == nil && !e.Dropping {
		err = checkLayoutDir(root, path.Join(dir, dataDir))
	}
	if err != nil {
		e.Problem = err.Error()
	}
}

// readReason reads the reason.json of an entry of the quarantine.
func readReason(root *os.Root, dir string) (Quarantined, error) {
	name := path.Join(dir, reasonFile)
	var q Quarantined
	if err := readJSON(root, name, &q); err != nil {
		return Quarantined{}, err
	}
	var err error
	switch {
	case q.Format < 1 || q.Format > recordFormat:
		err = fmt.Errorf("format %d, this version knows %d", q.Format, recordFormat)
	case !reasonPattern.MatchString(q.Reason):
		err = fmt.Errorf("%q is not a reason code", q.Reason)
	case q.Record != nil:
		err = q.Record.validate(q.Generation)
	}
	if err != nil {
		return Quarantined{}, damagedFile(root, name, err)
	}
	return q, nil
}

// allocated is what dir and all below it takes on disk, in bytes. No link is followed; what vanishes meanwhile is not counted.
func allocated(root *os.Root, dir string) (sum int64, err error) {
	err = fs.WalkDir(root.FS(), dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += stat.Blocks * 512 // see stat(2)
		}
		return nil
	})
	if err != nil {
		return sum, fmt.Errorf("in %s: %w", root.Name(), err)
	}
	return sum, nil
}

// filesBeside returns the names of the regular files in the entry dir that are neither data nor the reason.
func filesBeside(root *os.Root, dir string) ([]string, error) {
	var list []string
	err := fs.WalkDir(root.FS(), dir, func(name string, entry fs.DirEntry, err error) error {
		name = strings.TrimPrefix(name, dir+"/")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case name == dataDir && entry.IsDir():
			return fs.SkipDir
		case entry.Type().IsRegular() && name != reasonFile && !atomicfile.IsTemp(name):
			list = append(list, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", root.Name(), err)
	}
	return list, nil
}
