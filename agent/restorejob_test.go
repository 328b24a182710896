package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"ordinal/backup"
	"ordinal/backup/replay"
	"ordinal/mysqlx"
)

// TestRestoreIntoGoesOn: whenever a restore into a directory was killed, the next call takes up what it has left, and nothing that is somebody else's.
func TestRestoreIntoGoesOn(t *testing.T) {
	write := func(t *testing.T, path string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, nil, 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		refused bool
	}{
		{"not there", func(*testing.T, string) {}, false},
		{"killed before the marker", func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, markerDir), 0o750); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"killed in the middle", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, markerPath))
			write(t, filepath.Join(dir, "ibdata1"))
		}, false},
		{"somebody's data", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "ibdata1")) }, true},
		{"somebody's copy", func(t *testing.T, dir string) { write(t, filepath.Join(dir, markerDir, "#view_status")) }, true},
		{"a file of the marker's directory's name", func(t *testing.T, dir string) { write(t, filepath.Join(dir, markerDir)) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &RestoreJob{Into: filepath.Join(t.TempDir(), "data"), Log: zap.NewNop()}
			c.prepare(t, j.Into)
			root, err := j.openInto()
			var refused *RefusedError
			if errors.As(err, &refused) != c.refused || !c.refused && err != nil {
				t.Fatalf("openInto() = %v", err)
			}
			if err != nil {
				return
			}
			defer root.Close()
			if _, err := root.Lstat(markerPath); err != nil {
				t.Errorf("no marker: %v", err)
			}
		})
	}
}

func TestReplayIntoGoesOn(t *testing.T) {
	const id, other = "20261121T120000Z-0f1e2d3c", "20261121T130000Z-0f1e2d3c"
	j := &RestoreJob{Into: t.TempDir(), Until: &replay.Target{}, Manifest: &backup.Manifest{ID: id}}
	if waits, err := j.waitsForReplay(); waits || err != nil {
		t.Fatalf("without a journal: %v, %v", waits, err)
	}
	if err := replay.WriteIntent(j.journal(), *j.Until, "file:///backups", id); err != nil {
		t.Fatal(err)
	}
	if waits, err := j.waitsForReplay(); !waits || err != nil {
		t.Errorf("with its journal: %v, %v", waits, err)
	}
	j.Manifest.ID = other
	var refused *RefusedError
	if _, err := j.waitsForReplay(); !errors.As(err, &refused) {
		t.Errorf("with another backup's journal: %v", err)
	}
	j.Manifest.ID = id
	if err := errors.Join(os.Mkdir(filepath.Join(j.Into, markerDir), 0o750), os.WriteFile(filepath.Join(j.Into, markerPath), nil, 0o640)); err != nil {
		t.Fatal(err)
	}
	if waits, err := j.waitsForReplay(); waits || err != nil {
		t.Errorf("while the data is not complete: %v, %v", waits, err)
	}
}

// TestFinishedWithoutAWord: a restore that was killed after its data was finished, and before anybody was told, is begun again, not added to.
func TestFinishedWithoutAWord(t *testing.T) {
	dir := t.TempDir()
	j := &RestoreJob{Into: dir}
	root, err := j.openInto()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r := &restoration{Manifest: &backup.Manifest{ID: "20261121T120000Z-0f1e2d3c", ServerVersion: "9.7.4"}, Log: zap.NewNop()}
	fresh, _, err := r.pickUp(root, mysqlx.Version{})
	if err != nil {
		t.Fatalf("with nothing but the marker: %v", err)
	}
	if err := errors.Join(fresh.Close(), root.WriteFile("ibdata1", nil, 0o640)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.pickUp(root, mysqlx.Version{}); !errors.Is(err, errOtherRestore) {
		t.Errorf("with data and no state: %v", err)
	}
}
