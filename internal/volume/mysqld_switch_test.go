package volume_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/internal/volume"
)

// A server under load whose data is replaced: nothing that it does reaches what replaces it, it cannot be restarted in between, it comes up
// on the new data, and on the old data again when that is brought back.
//
// What the load does is what was seen to go through current when it was switched under a running 9.7: MyISAM tables (the file of one with
// the same name was overwritten, ALTER TABLE failed) and the general log. See refman/8.4 server-system-variables (datadir).
func TestMysqldAndTheSwitch(t *testing.T) {
	t.Parallel()
	template := mysqltest.Template(t)
	v := open(t, t.TempDir())
	g, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone})
	must(t, err)
	defer g.Close()
	copyInto(t, g.Path(), template)
	must(t, v.Complete(t.Context(), g, volume.Facts{}))
	s := mysqltest.Start(t, mysqltest.Options{DataDir: v.DataDir()})
	s.Exec(t, "CREATE DATABASE shop")
	s.Exec(t, "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200))")
	s.Exec(t, "CREATE TABLE shop.m (id INT) ENGINE=MyISAM")
	uuid := s.QueryString(t, "SELECT @@server_uuid")

	// The new copy has a schema and a table of the same names.
	next, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone, Replaces: &volume.Replacement{Generation: 1, Reason: "test"}})
	must(t, err)
	defer next.Close()
	copyInto(t, next.Path(), template)
	must(t, os.Mkdir(filepath.Join(next.Path(), "shop"), 0o750))
	must(t, os.WriteFile(filepath.Join(next.Path(), "shop", "m.MYI"), []byte("not the old server's"), 0o640))

	stopLoad := load(t, s)
	must(t, v.Complete(t.Context(), next, volume.Facts{}))
	before := sums(t, next.Path())
	for range 3 {
		wantError(t, "FinishSwitch() under a mysqld", v.FinishSwitch(), volume.ErrInUse)
		// After it the server has no lock on ibdata1 any more.
		s.Exec(t, fmt.Sprintf("CLONE LOCAL DATA DIRECTORY = '%s'", filepath.Join(t.TempDir(), "clone")))
	}
	if used, err := v.InUse(1); !used || err != nil {
		t.Errorf("InUse() of a server that has handed out a clone = %v, %v, want true", used, err)
	}
	stopLoad()
	s.Kill9(t)
	wantRefusal(t, v.DataDir())
	delete(before, "#clone/#status_in_progress")
	must(t, v.FinishSwitch())
	after := sums(t, next.Path())
	for name, sum := range after {
		if before[name] != sum {
			t.Errorf("%s of the new generation was changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("the new generation had %d files and has %d", len(before), len(after))
	}

	must(t, os.RemoveAll(filepath.Join(next.Path(), "shop")))
	s.Restart(t)
	if tables := s.QueryString(t, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'shop'"); tables != "0" {
		t.Errorf("the server came up on the old data: %s tables", tables)
	}
	names, err := v.Retire(t.Context())
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("Retire() = %q, want one", names)
	}

	// And back, with a new identity.
	must(t, v.Undo(t.Context(), names[0], volume.Replacement{Reason: "undone"}))
	must(t, v.ForgetServerUUID(t.Context(), 3))
	wantError(t, "FinishSwitch() after Undo() under a mysqld", v.FinishSwitch(), volume.ErrInUse)
	_ = s.DB().Exec(t.Context(), "SHUTDOWN") // the answer may be lost
	<-s.Done()
	must(t, v.FinishSwitch())
	s.Restart(t)
	if rows := s.QueryString(t, "SELECT COUNT(*) > 0 FROM shop.t"); rows != "1" {
		t.Error("what the old server had committed is gone")
	}
	if check := s.Query(t, "CHECK TABLE shop.t"); !strings.Contains(fmt.Sprint(check), "OK") {
		t.Errorf("CHECK TABLE = %v", check)
	}
	if now := s.QueryString(t, "SELECT @@server_uuid"); now == uuid {
		t.Errorf("the server still is %s", uuid)
	}
	names, err = v.Retire(t.Context())
	if err != nil || len(names) != 1 {
		t.Errorf("Retire() = %q, %v, want one", names, err)
	}
}

// load keeps a server busy with everything that makes files, until the function returned is called. That waits until all of it has been
// done at least once.
func load(t *testing.T, s *mysqltest.Server) (stop func()) {
	t.Helper()
	statements := []string{
		"INSERT INTO shop.t (v) VALUES (REPEAT('x', 200)), (REPEAT('y', 200))",
		"SET GLOBAL general_log = 1",
		"DROP TABLE IF EXISTS shop.m",
		"CREATE TABLE shop.m (id INT) ENGINE=MyISAM",
		"ALTER TABLE shop.m ADD v INT",
		"FLUSH BINARY LOGS",
		"CREATE TABLE shop.n (id INT PRIMARY KEY, v INT)",
		"ALTER TABLE shop.n ADD INDEX (v), ALGORITHM=INPLACE",
		"ALTER TABLE shop.n ADD w INT, ALGORITHM=COPY",
		"TRUNCATE TABLE shop.n",
		"DROP TABLE shop.n",
		"SET GLOBAL innodb_buffer_pool_dump_now = ON",
		"SET PERSIST max_connections = 200",
		"SET GLOBAL general_log = 0",
	}
	ctx, cancel := context.WithCancel(t.Context())
	var rounds atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, q := range statements {
				if err := s.DB().Exec(ctx, q); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", q, err)
					return
				}
			}
			rounds.Add(1)
		}
	}()
	return func() {
		t.Helper()
		mysqltest.Eventually(t, "two rounds of load", func() bool { return rounds.Load() >= 2 || t.Failed() })
		cancel()
		<-done
	}
}

// sums returns a checksum for each file below dir.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		sums[strings.TrimPrefix(path, dir+"/")] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	}))
	return sums
}
