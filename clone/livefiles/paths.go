package livefiles

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ordinal/clone/protocol"
)

// Undo tablespaces take the 127 × 400 000 ids below the redo log's.
const (
	maxUndoSpace = protocol.SpaceRedo
	minUndoSpace = maxUndoSpace - 127*400_000
)

func isUndo(space uint32) bool { return space >= minUndoSpace && space < maxUndoSpace }

// maxPathBytes is more than a schema, a table and its partitions have.
const maxPathBytes = 1024

// locate returns the place of a file below the data directory. Names come from the donor and are not to be trusted; what
// is not where the server's defaults would put it is an error.
func (s Server) locate(m protocol.FileMeta) (string, error) {
	var p string
	var err error
	switch {
	case m.SpaceID == protocol.SpaceSystem:
		p, err = s.locateSystem(m.Name)
	case isUndo(m.SpaceID):
		p, err = s.locateIn(s.UndoDir, m.Name)
	case path.Ext(m.Name) != ".ibd":
		err = errors.New("is no tablespace by its name")
	default:
		p = strings.TrimPrefix(m.Name, "./")
	}
	if err != nil {
		return "", err
	}
	return p, checkPath(p)
}

// checkPath refuses what would leave the data directory, or is written in a way that no server writes.
func checkPath(p string) error {
	switch {
	case len(p) > maxPathBytes:
		return errors.New("has too long a name")
	case !filepath.IsLocal(p) || path.Clean(p) != p || p == ".":
		return errors.New("is outside the data directory")
	case strings.HasPrefix(p, ".") || strings.Contains(p, "/.") || strings.ContainsAny(p, "\x00\\"):
		return errors.New("has a name that no server gives")
	}
	return nil
}

// locateIn returns the place of a file that is announced by its base name and lies in one of the server's directories, which
// may be relative to the data directory.
func (s Server) locateIn(dir, base string) (string, error) {
	if base == "" || strings.Contains(base, "/") {
		return "", errors.New("is not named by its base name")
	}
	if filepath.IsAbs(dir) {
		rel, err := filepath.Rel(filepath.Clean(s.DataDir), filepath.Clean(dir))
		if err != nil || !filepath.IsLocal(rel) {
			return "", errors.New("is outside the data directory")
		}
		dir = rel
	}
	return path.Join(dir, base), nil
}

// locateSystem finds a file of the system tablespace among those that innodb_data_file_path lists, like
// "ibdata1:12M;more/ibdata2:50M:autoextend". See refman/8.4 sysvar_innodb_data_file_path.
func (s Server) locateSystem(base string) (place string, err error) {
	err = errors.New("is not in innodb_data_file_path")
	for entry := range strings.SplitSeq(s.DataFilePath, ";") {
		name, _, _ := strings.Cut(entry, ":")
		if path.Base(name) != base {
			continue
		}
		if place != "" {
			return "", errors.New("is in innodb_data_file_path twice")
		}
		dir := path.Dir(name)
		if !filepath.IsAbs(dir) {
			dir = path.Join(s.DataHomeDir, dir)
		}
		place, err = s.locateIn(dir, base)
	}
	return place, err
}

// openDir opens a directory below root, "." being root itself. It follows no symbolic link. The caller closes it.
func openDir(root *os.Root, dir string) (*os.Root, error) {
	at, err := root.OpenRoot(".")
	if err != nil || dir == "." {
		return at, err
	}
	for name := range strings.SplitSeq(dir, "/") {
		next, err := enterDir(at, name)
		at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func enterDir(at *os.Root, name string) (*os.Root, error) {
	next, err := at.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err1 := next.Stat(".")
	named, err2 := at.Lstat(name)
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, next.Close())
	}
	if !os.SameFile(opened, named) {
		return nil, errors.Join(fmt.Errorf("%s is a symbolic link", name), next.Close())
	}
	return next, nil
}

// openPlain opens a regular file for reading; flags are more flags of open(2). It refuses a symbolic link at the end of the
// path, and does not wait for whatever else may be there.
func openPlain(dir *os.Root, name string, flags int) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	opened, err1 := f.Stat()
	named, err2 := dir.Lstat(name)
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !named.Mode().IsRegular() || !os.SameFile(opened, named) {
		return nil, errors.Join(fmt.Errorf("%s is not a regular file, or another one by now", name), f.Close())
	}
	return f, nil
}
