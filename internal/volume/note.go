package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"ordinal/internal/atomicfile"
	"ordinal/internal/plan"
)

// CloneSession is the name of the note in which a donor's agent keeps the snapshot that it holds for another pod, see [Volume.Note].
const CloneSession = "clone-session.json"

// maxNote bounds a note, in bytes.
const maxNote = 1 << 20

// A Note is a small file in the volume's agent/ that says nothing about the data and may be lost: whoever wrote it knows what is in it. Its methods
// must not be called concurrently.
type Note struct {
	volume *Volume
	name   string
}

// Note returns the note with a name like [CloneSession]. It touches nothing.
func (v *Volume) Note(name string) *Note { return &Note{volume: v, name: path.Join(agentDir, name)} }

// Save durably replaces the note, which is at most 1 MiB. After an error the former one is still there.
func (n *Note) Save(content []byte) error {
	if len(content) > maxNote {
		return fmt.Errorf("write %s: %d bytes, at most %d are allowed", filepath.Join(n.volume.path, n.name), len(content), maxNote)
	}
	if err := plan.CheckDir(n.volume.root, agentDir); err != nil {
		return err
	}
	return n.volume.writable(atomicfile.WriteRoot(n.volume.root, n.name, content, fileMode))
}

// Load returns the note. [fs.ErrNotExist] if there is none.
func (n *Note) Load() ([]byte, error) { return readRegular(n.volume.root, n.name, maxNote) }

// Remove durably removes the note, if there is one.
func (n *Note) Remove() error {
	root := n.volume.root
	if err := plan.CheckDir(root, agentDir); err != nil {
		return err
	}
	err := root.Remove(n.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return n.volume.writable(n.volume.pathErr(err, "."))
	}
	return atomicfile.SyncRootDir(root, agentDir)
}
