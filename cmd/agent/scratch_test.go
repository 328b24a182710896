package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ordinal/agent"
)

// Below the scratch directory there is one place for checks: what a killed one has left there is removed, and of two at a time one has to wait.
func TestScratch(t *testing.T) {
	parent := t.TempDir()
	left := filepath.Join(parent, scratchName, "data", "shop")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, leave, err := scratchIn(parent)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 || filepath.Dir(dir) != parent {
		t.Errorf("%s has %v, %v", dir, entries, err)
	}
	if _, _, err := scratchIn(parent); exitCode(err) != agent.ExitTemporary || hintOf(err) == "" {
		t.Errorf("a second one: %v", err)
	}
	if err := leave(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if _, leave, err := scratchIn(parent); err != nil || leave() != nil {
		t.Errorf("the next one: %v", err)
	}
}

// What is there under our name and is not ours is left alone.
func TestScratchOfOthers(t *testing.T) {
	parent, precious := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(precious, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, filepath.Join(parent, scratchName)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := scratchIn(parent); err == nil || hintOf(err) == "" {
		t.Errorf("scratchIn() through a link: %v", err)
	}
	if _, err := os.Stat(filepath.Join(precious, "file")); err != nil {
		t.Error(err)
	}
	if _, _, err := scratchIn(filepath.Join(parent, "nowhere")); exitCode(err) != agent.ExitConfig {
		t.Errorf("scratchIn() where nothing is: %v", err)
	}
	file := filepath.Join(t.TempDir(), scratchName)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := scratchIn(filepath.Dir(file)); exitCode(err) != agent.ExitCannotCreate {
		t.Errorf("scratchIn() where a file is: %v", err)
	}
}
