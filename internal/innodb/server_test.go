package innodb_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ordinal/internal/innodb"
	"ordinal/internal/testing/mysqltest"
)

// CheckFile and innochecksum agree on every tablespace of a server that was shut down, and on the same files with
// one bit flipped.
func TestCheckFileAgreesWithInnochecksum(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{})
	for _, q := range []string{
		"CREATE DATABASE d",
		"CREATE TABLE d.plain (id INT PRIMARY KEY, a VARCHAR(1000))",
		"INSERT INTO d.plain WITH RECURSIVE s AS (SELECT 1 n UNION ALL SELECT n+1 FROM s WHERE n<1000) SELECT n, HEX(RANDOM_BYTES(200)) FROM s",
		"CREATE TABLE d.z1 (id INT PRIMARY KEY, a VARCHAR(500)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=1",
		"CREATE TABLE d.z2 (id INT PRIMARY KEY, a VARCHAR(500)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=2",
		"CREATE TABLE d.z4 (id INT PRIMARY KEY, a VARCHAR(500)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
		"CREATE TABLE d.z8 (id INT PRIMARY KEY, a LONGTEXT) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8",
		"INSERT INTO d.z1 SELECT id, LEFT(a, 100) FROM d.plain",
		"INSERT INTO d.z2 SELECT id, LEFT(a, 100) FROM d.plain",
		"INSERT INTO d.z4 SELECT id, a FROM d.plain",
		"INSERT INTO d.z8 SELECT id, REPEAT(a, 100) FROM d.plain WHERE id < 100", // on overflow pages
		"CREATE TABLE d.zlib (id INT PRIMARY KEY, a VARCHAR(2000)) COMPRESSION='zlib'",
		"CREATE TABLE d.lz4 (id INT PRIMARY KEY, a VARCHAR(2000)) COMPRESSION='lz4'",
		"INSERT INTO d.zlib SELECT id, REPEAT(LEFT(a, 10), 100) FROM d.plain",
		"INSERT INTO d.lz4 SELECT id, REPEAT(LEFT(a, 10), 100) FROM d.plain",
		"CREATE TABLE d.spatial (id INT PRIMARY KEY, g POINT NOT NULL SRID 0, SPATIAL INDEX (g))",
		"INSERT INTO d.spatial SELECT id, POINT(id, id) FROM d.plain",
		"CREATE TABLE d.text (id INT PRIMARY KEY, a TEXT, FULLTEXT INDEX (a))",
		"INSERT INTO d.text SELECT id, a FROM d.plain",
		"DELETE FROM d.plain WHERE id % 3 = 0",
		"DROP TABLE d.lz4",
		"SET GLOBAL innodb_fast_shutdown = 0",
	} {
		s.Exec(t, q)
	}
	s.Stop(t)

	var files []string
	if err := filepath.WalkDir(s.DataDir, func(path string, e os.DirEntry, err error) error {
		name := filepath.Base(path)
		if err == nil && !e.IsDir() && (strings.HasSuffix(name, ".ibd") || strings.HasPrefix(name, "undo_") || strings.HasPrefix(name, "ibdata")) {
			files = append(files, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) < 12 {
		t.Fatalf("only %d tablespaces: %v", len(files), files)
	}
	for _, path := range files {
		if bad, err := check(path); err != nil || len(bad) > 0 {
			t.Errorf("%s: bad pages %v, %v", path, bad, err)
		}
		if out, err := s.Distribution.Tool("innochecksum", path).CombinedOutput(); err != nil {
			t.Errorf("innochecksum %s: %v: %s", path, err, out)
		}
	}

	for _, name := range []string{"d/plain.ibd", "d/z1.ibd", "d/z8.ibd", "mysql.ibd", "undo_001", "ibdata1"} {
		path := filepath.Join(s.DataDir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := innodb.ReadFile(path, strings.NewReader(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		size := f.Flags.PhysicalSize()
		const page = 3
		b[page*size+size/2] ^= 0x10
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if bad, err := check(path); err != nil || !slices.Equal(bad, []uint32{page}) {
			t.Errorf("%s with a flipped bit in page %d: bad pages %v, %v", name, page, bad, err)
		}
		if out, err := s.Distribution.Tool("innochecksum", path).CombinedOutput(); err == nil {
			t.Errorf("innochecksum finds nothing in %s: %s", name, out)
		}
	}
}

func check(path string) (bad []uint32, err error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return nil, err
	}
	f, err := innodb.ReadFile(path, r)
	if err != nil {
		return nil, err
	}
	pages, err := innodb.CheckFile(r, st.Size(), f, func(e *innodb.PageError) error {
		bad = append(bad, e.Page)
		return nil
	})
	if want := st.Size() / int64(f.Flags.PhysicalSize()); err == nil && pages != want {
		err = errors.New("not every page was read")
	}
	return bad, err
}

// Other page sizes, by a server of its own each.
func TestPageSizes(t *testing.T) {
	if testing.Short() {
		t.Skip("initialises servers")
	}
	d := mysqltest.Get(t)
	for _, size := range []string{"4k", "64k"} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := d.Initialize(t.Context(), dir, "--innodb-page-size="+size); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ibdata1", "mysql.ibd", "undo_001", "sys/sys_config.ibd"} {
			if bad, err := check(filepath.Join(dir, name)); err != nil || len(bad) > 0 {
				t.Errorf("pages of %s, %s: bad pages %v, %v", size, name, bad, err)
			}
		}
	}
}
