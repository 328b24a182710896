package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"ordinal/internal/atomicfile"
)

// Op says what a step does.
type Op string

// The operations. Their spelling is part of the file's format.
const (
	OpMkdir     Op = "mkdir"
	OpWriteFile Op = "write_file"
	OpMove      Op = "move"
	OpRename    Op = "rename"
	OpSymlink   Op = "symlink"
	OpRemove    Op = "remove"
	OpRemoveAll Op = "remove_all"
)

// A Step is one change. Which fields count depends on Op; see the methods of [Plan] that add steps.
type Step struct {
	Op   Op          `json:"op"`
	Name string      `json:"name"`
	To   string      `json:"to,omitempty"`
	List []string    `json:"list,omitempty"`
	Data []byte      `json:"data,omitempty"`
	Perm fs.FileMode `json:"perm,omitempty"`
}

// Mkdir makes the directory name; it may exist already.
func (p *Plan) Mkdir(name string, perm fs.FileMode) {
	p.Steps = append(p.Steps, Step{Op: OpMkdir, Name: name, Perm: perm})
}

// WriteFile creates or replaces the file name.
func (p *Plan) WriteFile(name string, data []byte, perm fs.FileMode) {
	p.Steps = append(p.Steps, Step{Op: OpWriteFile, Name: name, Data: data, Perm: perm})
}

// Rename gives from the name to, which must not exist.
func (p *Plan) Rename(from, to string) {
	p.Steps = append(p.Steps, Step{Op: OpRename, Name: from, To: to})
}

// Move moves the entries named list, in this order, from the directory from into the directory to, where none may exist when the
// plan is saved. So one that is there later has been moved, and if another has appeared in its old place, that one is left alone.
func (p *Plan) Move(from, to string, list ...string) {
	p.Steps = append(p.Steps, Step{Op: OpMove, Name: from, To: to, List: list})
}

// Symlink makes name a symbolic link to target, as [Symlink] does.
func (p *Plan) Symlink(target, name string) {
	p.Steps = append(p.Steps, Step{Op: OpSymlink, Name: name, To: target})
}

// Remove removes the file, link or empty directory name; it may be gone already.
func (p *Plan) Remove(name string) { p.Steps = append(p.Steps, Step{Op: OpRemove, Name: name}) }

// RemoveAll removes name and what is in it.
func (p *Plan) RemoveAll(name string) { p.Steps = append(p.Steps, Step{Op: OpRemoveAll, Name: name}) }

// String names the operation and its paths, without data.
func (s Step) String() string {
	switch s.Op {
	case OpRename:
		return fmt.Sprintf("rename %s to %s", s.Name, s.To)
	case OpMove:
		return fmt.Sprintf("move %d entries from %s to %s", len(s.List), s.Name, s.To)
	case OpSymlink:
		return fmt.Sprintf("point %s to %s", s.Name, s.To)
	}
	return fmt.Sprintf("%s %s", s.Op, s.Name)
}

func (s Step) validate() error {
	names, dirs := []string{s.Name}, []string(nil)
	switch s.Op {
	case OpMkdir, OpWriteFile, OpRemove, OpRemoveAll:
	case OpSymlink:
		if s.To == "" {
			return errors.New("symlink without a target")
		}
	case OpRename:
		names = append(names, s.To)
	case OpMove:
		names, dirs = s.List, []string{s.Name, s.To}
		for _, name := range s.List {
			if path.Base(name) != name {
				return fmt.Errorf("%q is not the name of an entry", name)
			}
		}
	default:
		return fmt.Errorf("unknown operation %q", s.Op)
	}
	for _, name := range names {
		if name == "." || !filepath.IsLocal(name) || path.Clean(name) != name {
			return fmt.Errorf("%s: %q is not a clean relative name", s.Op, name)
		}
	}
	for _, dir := range dirs {
		if !filepath.IsLocal(dir) || path.Clean(dir) != dir {
			return fmt.Errorf("%s: %q is not a clean relative directory", s.Op, dir)
		}
	}
	return nil
}

// run makes the step, or finds it made, and in both cases makes it durable: that it can be seen does not mean that it was synced.
func (s Step) run(ctx context.Context, root *os.Root) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	dir := path.Dir(s.Name)
	if s.Op != OpMove {
		if err := CheckDir(root, dir); err != nil {
			return err
		}
	}
	switch s.Op {
	case OpMkdir:
		if err := root.Mkdir(s.Name, s.Perm.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := CheckDir(root, s.Name); err != nil {
			return err
		}
		return atomicfile.SyncRootDir(root, dir)
	case OpWriteFile:
		return atomicfile.WriteRoot(root, s.Name, s.Data, s.Perm)
	case OpRename:
		if err := CheckDir(root, path.Dir(s.To)); err != nil {
			return err
		}
		if err := renameNew(root, s.Name, s.To); err != nil {
			return err
		}
		return syncDirs(root, path.Dir(s.To), dir)
	case OpMove:
		return s.move(ctx, root)
	case OpSymlink:
		return Symlink(root, s.To, s.Name)
	case OpRemove:
		return remove(root, s.Name)
	case OpRemoveAll:
		if err := root.RemoveAll(s.Name); err != nil {
			return err
		}
		return atomicfile.SyncRootDir(root, dir)
	}
	return fmt.Errorf("unknown operation %q", s.Op)
}

// expect checks what can be checked before the plan is saved, and could not be told from a step's own result later.
func (s Step) expect(root *os.Root) error {
	if s.Op != OpMove {
		return nil
	}
	for _, name := range s.List {
		switch _, err := root.Lstat(path.Join(s.To, name)); {
		case err == nil:
			return fmt.Errorf("%w: %s exists", ErrConflict, path.Join(s.To, name))
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

func (s Step) move(ctx context.Context, root *os.Root) error {
	for _, dir := range []string{s.Name, s.To} {
		if err := CheckDir(root, dir); err != nil {
			return err
		}
	}
	for _, name := range s.List {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		from, to := path.Join(s.Name, name), path.Join(s.To, name)
		if _, err := root.Lstat(to); err == nil {
			continue // moved by the run that was interrupted; what is at from now is none of ours
		}
		if err := renameNew(root, from, to); err != nil {
			return err
		}
	}
	return syncDirs(root, s.To, s.Name)
}

// renameNew renames from to to unless that has been done before.
func renameNew(root *os.Root, from, to string) error {
	_, fromErr := root.Lstat(from)
	_, toErr := root.Lstat(to)
	for _, err := range []error{fromErr, toErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	switch {
	case fromErr == nil && toErr == nil:
		return fmt.Errorf("%w: both %s and %s exist", ErrConflict, from, to)
	case fromErr != nil && toErr != nil:
		return fmt.Errorf("%w: neither %s nor %s exists", ErrConflict, from, to)
	case toErr == nil:
		return nil // done by the run that was interrupted
	}
	return root.Rename(from, to)
}

// syncDirs syncs the directory that got a name before the one that lost it: a crash in between leaves two names, never none.
func syncDirs(root *os.Root, got, lost string) error {
	if err := atomicfile.SyncRootDir(root, got); err != nil {
		return err
	}
	if lost == got {
		return nil
	}
	return atomicfile.SyncRootDir(root, lost)
}

func remove(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncRootDir(root, path.Dir(name))
}

// Symlink durably makes name a symbolic link to target, by one atomic rename: whoever opens name meanwhile gets the old
// target or the new one. Something at name that is not a symbolic link is left alone: [ErrConflict].
func Symlink(root *os.Root, target, name string) error {
	dir := path.Dir(name)
	if st, err := root.Lstat(name); err == nil {
		if st.Mode().Type() != fs.ModeSymlink {
			return fmt.Errorf("point %s to %s: %w: it is not a symbolic link", filepath.Join(root.Name(), name), target, ErrConflict)
		}
		if old, err := root.Readlink(name); err == nil && old == target {
			return atomicfile.SyncRootDir(root, dir) // seen is not synced
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("point %s to %s: %w", filepath.Join(root.Name(), name), target, err)
	}
	temp := path.Join(dir, "."+path.Base(name)+".tmp-link") // atomicfile.IsTemp; always the same, so a crash leaves at most one
	err := root.Remove(temp)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = root.Symlink(target, temp)
	}
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return fmt.Errorf("point %s to %s: %w", filepath.Join(root.Name(), name), target, err)
	}
	return atomicfile.SyncRootDir(root, dir)
}

// CheckDir reports an error unless dir and every directory on the way to it is a directory and not a symbolic link: an
// [os.Root] follows links that stay inside it. A directory that is missing gives [fs.ErrNotExist], anything else in its
// place [ErrConflict].
func CheckDir(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if err := CheckDir(root, path.Dir(dir)); err != nil {
		return err
	}
	full := filepath.Join(root.Name(), dir)
	st, err := root.Lstat(dir)
	if err != nil {
		return fmt.Errorf("check directory %s: %w", full, err)
	}
	if st.Mode().Type() == fs.ModeSymlink {
		return fmt.Errorf("%w: %s is a symbolic link, not a directory; it is not followed", ErrConflict, full)
	}
	if !st.IsDir() {
		return fmt.Errorf("%w: %s is not a directory", ErrConflict, full)
	}
	return nil
}
