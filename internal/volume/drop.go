package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"ordinal/internal/atomicfile"
)

// droppingPrefix begins the name in quarantine/ of an entry whose removal has begun.
const droppingPrefix = ".dropping-"

// Drop removes the entry quarantine/<name> for good. Whether that may be is the caller's decision, and nothing undoes it: once begun, the entry
// has another name, under which only Drop finds it. It may be called again after any error or when ctx ended; [Content]'s Dropping and
// [ListQuarantine] tell that it must. [fs.ErrNotExist] if there is no such entry, [ErrInUse] if a mysqld works on its data, [ErrState] while a
// change is under way. Other methods may be called while the files are being removed.
func (v *Volume) Drop(ctx context.Context, name string) error {
	if err := v.drop(ctx, name); err != nil {
		return fmt.Errorf("drop quarantine %s: %w", name, v.writable(err))
	}
	return nil
}

func (v *Volume) drop(ctx context.Context, name string) error {
	dir, err := v.beginDrop(name)
	if err != nil {
		return err
	}
	// The data first: as long as something is left the reason says what it was. A link in its place is removed, not followed.
	data := path.Join(dir, dataDir)
	if checkLayoutDir(v.root, data) == nil {
		if err := removeEntries(ctx, v.root, data, ""); err != nil {
			return err
		}
	}
	if err := removeEntries(ctx, v.root, dir, reasonFile); err != nil {
		return err
	}
	if err := v.root.RemoveAll(dir); err != nil {
		return v.pathErr(err, ".")
	}
	return atomicfile.SyncRootDir(v.root, quarantineDir)
}

// beginDrop gives the entry its last name, durably.
func (v *Volume) beginDrop(name string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, err := inspect(v.root)
	if err != nil {
		return "", err
	}
	if c.Kind == ChangeUnderWay {
		return "", state("the volume is %v: %s", c.Kind, c.Change)
	}
	from, err := quarantinePath(name)
	if err != nil {
		return "", err
	}
	to := path.Join(quarantineDir, droppingPrefix+name)
	switch err := checkLayoutDir(v.root, to); {
	case err == nil:
		return to, atomicfile.SyncRootDir(v.root, quarantineDir) // seen is not synced
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := checkLayoutDir(v.root, from); err != nil {
		return "", err
	}
	data := path.Join(from, dataDir)
	if used, err := inUse(v.root, data, &v.lockouts); err != nil {
		return "", err
	} else if used {
		return "", &refusal{ErrInUse, filepath.Join(v.path, data), "stop that mysqld first"}
	}
	v.lockouts.releaseIn(v.root, data)
	if err := atomicfile.RenameRoot(v.root, from, to); err != nil {
		return "", v.pathErr(err, ".")
	}
	return to, nil
}

// quarantinePath returns the path of the entry with a name from ListQuarantine.
func quarantinePath(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, ".") || strings.Contains(name, "/") {
		return "", state("%q is not the name of an entry of the quarantine", name)
	}
	return path.Join(quarantineDir, name), nil
}
