package volume_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ordinal/internal/volume"
)

func TestNote(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir)
	note := v.Note(volume.CloneSession)
	path := filepath.Join(dir, "agent", volume.CloneSession)

	if _, err := note.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load() before Save: %v", err)
	}
	must(t, note.Remove())
	for _, content := range [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), 1<<20)} {
		must(t, note.Save(content))
		if got, err := v.Note(volume.CloneSession).Load(); err != nil || !bytes.Equal(got, content) {
			t.Errorf("Load() = %d bytes, %v, want %d", len(got), err, len(content))
		}
	}
	if note.Save(make([]byte, 1<<20+1)) == nil {
		t.Error("Save() of more than a mebibyte: no error")
	}
	if got, err := note.Load(); err != nil || len(got) != 1<<20 {
		t.Errorf("Load() after a refused Save = %d bytes, %v", len(got), err)
	}
	if c := inspect(t, dir); c.Kind != volume.Empty {
		t.Errorf("a volume with a note is %v", c.Kind)
	}
	must(t, note.Remove())
	if _, err := note.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load() after Remove: %v", err)
	}

	t.Run("hostile", func(t *testing.T) {
		must(t, os.WriteFile(path, make([]byte, 1<<20+1), 0o600))
		if _, err := note.Load(); !errors.Is(err, volume.ErrDamaged) {
			t.Errorf("Load() of a file that is too long: %v", err)
		}
		elsewhere := filepath.Join(t.TempDir(), "secret")
		must(t, os.WriteFile(elsewhere, []byte("not ours"), 0o600))
		must(t, os.Remove(path))
		must(t, os.Symlink(elsewhere, path))
		if got, err := note.Load(); !errors.Is(err, volume.ErrDamaged) {
			t.Errorf("Load() of a link = %q, %v", got, err)
		}
		must(t, note.Save([]byte("ours")))
		if got, err := os.ReadFile(elsewhere); err != nil || string(got) != "not ours" {
			t.Errorf("Save() wrote through a link: %q, %v", got, err)
		}
	})
}
