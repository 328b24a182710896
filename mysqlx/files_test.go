package mysqlx_test

import (
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ordinal/internal/testing/mysqltest"
)

// TestDataFiles: the agent's account may ask, and what the server says is where the files are.
func TestDataFiles(t *testing.T) {
	t.Parallel()
	undo := t.TempDir()
	for _, tt := range []struct {
		name    string
		options mysqltest.Options
		undo    string // relative to the data directory
	}{
		{name: "defaults", undo: "."},
		{name: "undo elsewhere", options: mysqltest.Options{
			InitArgs: []string{"--innodb-undo-directory=" + undo}, Config: map[string]string{"innodb_undo_directory": undo},
		}, undo: undo},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := mysqltest.Start(t, tt.options)
			if err := s.DB().CreateAccounts(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			s.Exec(t, "CREATE DATABASE shop")
			s.Exec(t, "CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(100))")
			db := open(t, agentAt(s.Socket))
			f, err := db.DataFiles(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			facts, err := db.Facts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if f.DataDir != facts.DataDir || f.HomeDir != "" || !strings.HasPrefix(f.DataFilePath, "ibdata1:") ||
				f.ServerUUID != facts.ServerUUID || int(f.PageSize) != facts.PageSize || f.FlushMethod == "" {
				t.Errorf("DataFiles() = %+v, facts %+v", f, facts)
			}
			if filepath.IsAbs(f.UndoDir) != filepath.IsAbs(tt.undo) || filepath.Clean(f.UndoDir) != filepath.Clean(tt.undo) {
				t.Errorf("DataFiles().UndoDir = %q, want %q", f.UndoDir, tt.undo)
			}
			estimate, err := db.CopySize(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			capacity, err := strconv.ParseUint(s.QueryString(t, "SELECT @@innodb_redo_log_capacity"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if size, allocated := tablespaceBytes(t, filepath.Clean(f.DataDir), below(f.DataDir, tt.undo)); estimate+slack < allocated+capacity || estimate > (size+capacity)*11/10 {
				t.Errorf("CopySize() = %d, the files have %d, of which %d are allocated, and the redo log %d", estimate, size, allocated, capacity)
			}
		})
	}
}

// slack is what files may have grown by since they were asked about, in bytes.
const slack = 1 << 20

func below(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// tablespaceBytes is the size of the files of tablespaces that are cloned in these directories, and what they take on disk: a template's
// files have holes. A directory given twice counts once.
func tablespaceBytes(t *testing.T, dirs ...string) (size, allocated uint64) {
	t.Helper()
	seen := map[string]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			name := filepath.Base(path)
			if err != nil || entry.IsDir() || seen[path] || !(strings.HasSuffix(name, ".ibd") || strings.HasPrefix(name, "undo_") || name == "ibdata1") {
				return err
			}
			seen[path] = true
			info, err := entry.Info()
			if err == nil {
				size += uint64(info.Size())
				allocated += uint64(info.Sys().(*syscall.Stat_t).Blocks) * 512
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return size, allocated
}
