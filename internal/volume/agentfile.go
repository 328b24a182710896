package volume

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"ordinal/internal/atomicfile"
)

// Files in agent/ by which a person, or a command that a person runs, talks to the agent that holds the lock.

// atAgent does something in a volume that has an agent/ directory, without its lock.
func atAgent(path, operation string, do func(root *os.Root) error) error {
	err := withAgentRoot(path, do)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

func withAgentRoot(path string, do func(root *os.Root) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	root, err := openRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := checkLayoutDir(root, agentDir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = state("no agent has worked on %s yet", path)
		}
		return err
	}
	return notWritable(path, do(root))
}

// createNew durably makes the file name, which must not exist: fs.ErrExist. Nobody sees half of it.
func createNew(root *os.Root, name string, data []byte) error {
	dir, base := path.Split(name)
	temp := dir + "." + base + ".tmp-" + strings.ToLower(rand.Text()[:12]) // atomicfile.IsTemp
	if err := atomicfile.WriteRoot(root, temp, data, fileMode); err != nil {
		return err
	}
	err := root.Link(temp, name) // unlike a rename it replaces nothing
	if gone := root.Remove(temp); err == nil && !errors.Is(gone, fs.ErrNotExist) {
		err = gone
	}
	if err != nil {
		return fmt.Errorf("in %s: %w", root.Name(), err)
	}
	return atomicfile.SyncRootDir(root, path.Dir(name))
}

// removeDurably removes the file name, if it is there.
func removeDurably(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("in %s: %w", root.Name(), err)
	}
	return atomicfile.SyncRootDir(root, path.Dir(name)) // also if it was gone: seen is not synced
}

// readBounded reads a file of JSON of at most limit bytes.
func readBounded(root *os.Root, name string, limit int64, into any) error {
	data, err := readRegular(root, name, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return damagedFile(root, name, err)
	}
	return nil
}

// uselessFile is a file that says nothing about the data and can be removed.
func uselessFile(root *os.Root, name string, err error) error {
	full := filepath.Join(root.Name(), name)
	return damaged(fmt.Sprintf("remove %s, and ask the agent anew", full), "%s: %v", full, err)
}
