package livefiles

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// ask returns what a server says of where its files are.
func ask(t testing.TB, s *mysqltest.Server) Server {
	t.Helper()
	row := s.Query(t, `SELECT @@datadir, @@innodb_undo_directory, IFNULL(@@innodb_data_home_dir, ''), @@innodb_data_file_path,
		@@innodb_flush_method, @@server_uuid`)[0]
	server := Server{DataDir: row[0], UndoDir: row[1], DataHomeDir: row[2], DataFilePath: row[3], FlushMethod: row[4], UUID: row[5]}
	_, err := fmt.Sscan(s.QueryString(t, "SELECT @@innodb_page_size"), &server.PageSize)
	must(t, err)
	return server
}

// The directory in which a server works is told apart from everything that looks like it.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	server := ask(t, s)
	var err error
	if server.PID, err = PIDBehind(t.Context(), s.Socket); err != nil || server.PID != s.PID() {
		t.Errorf("PIDBehind() = %d, %v, want %d", server.PID, err, s.PID())
	}
	live := func(what, dir string, server Server) {
		t.Helper()
		if err := Check(dir, server); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused := func(what, dir string, server Server, why string) {
		t.Helper()
		err := Check(dir, server)
		if !errors.Is(err, ErrNotLive) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want ErrNotLive with %q", what, err, why)
		}
		if _, err := Open(t.Context(), dir, server, nil); !errors.Is(err, ErrNotLive) {
			t.Errorf("%s: Open = %v, want ErrNotLive", what, err)
		}
	}
	live("live directory", s.DataDir, server)
	link := filepath.Join(t.TempDir(), "current")
	must(t, os.Symlink(s.DataDir, link))
	live("symbolic link to it", link, server)
	unknown := server
	unknown.PID = 0
	live("process unknown", s.DataDir, unknown)

	// The server's own clones take its locks off the files they read.
	c, err := protocol.Open(t.Context(), func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, s.Root()) }, protocol.Options{})
	must(t, err)
	must(t, c.Run(t.Context(), &recorder{t: t, end: func([]protocol.FileMeta) { live("in a clone", s.DataDir, server) }}))
	live("after a clone", s.DataDir, server)

	other := server
	other.UUID = "00000000-0000-0000-0000-000000000000"
	refused("another server's", s.DataDir, other, "belongs to server")
	other.UUID = ""
	refused("no UUID", s.DataDir, other, "belongs to server")
	other = server
	other.PID = os.Getpid()
	refused("another process's", s.DataDir, other, "in use by process")
	refused("no data directory", t.TempDir(), server, "no auto.cnf")
	refused("a file system without files", "/proc", server, "file system")
	if err := Check(filepath.Join(s.DataDir, "absent"), server); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}

	s.Stop(t)
	refused("stopped", s.DataDir, server, "no server has")
	copied := filepath.Join(t.TempDir(), "data")
	must(t, mysqltest.CopyDataDir(copied, s.DataDir))
	s.Restart(t)
	server.PID = s.PID()
	live("restarted", s.DataDir, server)
	refused("copy", copied, server, "no server has")
	twin := mysqltest.Start(t, mysqltest.Options{DataDir: copied})
	if uuid := twin.QueryString(t, "SELECT @@server_uuid"); uuid != server.UUID {
		t.Fatalf("the twin is %s", uuid)
	}
	refused("copy with a server of its own", copied, server, "in use by process")
	twin.Stop(t)
}

// A recorder keeps a digest of every block of FILE_COPY.
type recorder struct {
	t     testing.TB
	files []protocol.FileMeta
	end   func([]protocol.FileMeta) // runs before FILE_COPY is acknowledged

	mu     sync.Mutex
	blocks map[block]string
}

// A block by what is said of it.
type block struct {
	protocol.Data // without the task
	length        int
}

func (*recorder) StageStart(context.Context, protocol.Stage) error { return nil }

func (r *recorder) File(_ context.Context, m protocol.FileMeta) error {
	if m.State == protocol.StateFileCopy {
		r.files = append(r.files, m)
	}
	return nil
}

func (r *recorder) Data(_ context.Context, d protocol.Data, b []byte) error {
	if d.State != protocol.StateFileCopy {
		return nil
	}
	d.Task = 0
	sum := fmt.Sprintf("%x", sha256.Sum256(b))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blocks == nil {
		r.blocks = map[block]string{}
	}
	r.blocks[block{d, len(b)}] = sum
	return nil
}

func (r *recorder) StageEnd(_ context.Context, s protocol.Stage) error {
	if s.State == protocol.StateFileCopy && r.end != nil {
		r.end(r.files)
	}
	return nil
}

// A quiescent server sends in FILE_COPY what is read beside it: the same blocks with the same numbers and the same bytes, of tables of
// every kind.
func TestSameAsServer(t *testing.T) {
	t.Parallel()
	t.Run("usual layout", func(t *testing.T) {
		t.Parallel()
		checkSame(t, mysqltest.Options{}, []string{
			"CREATE TABLE k.zlib (id INT PRIMARY KEY, a VARCHAR(1000)) COMPRESSION='zlib'",
			"CREATE TABLE k.lz4 (id INT PRIMARY KEY, a VARCHAR(1000)) COMPRESSION='lz4'",
			"CREATE TABLE k.zip1 (id INT PRIMARY KEY, a VARCHAR(1000)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=1",
			"CREATE TABLE k.zip8 (id INT PRIMARY KEY, a VARCHAR(1000)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8",
			"CREATE UNDO TABLESPACE more_undo ADD DATAFILE 'more_undo.ibu'",
		})
	})
	t.Run("4 KiB pages, page cache, files in folders", func(t *testing.T) {
		t.Parallel()
		const systemFiles = "ibdata1:12M;ibdata2:12M:autoextend"
		dir := filepath.Join(t.TempDir(), "data")
		must(t, mysqltest.Get(t).Initialize(t.Context(), dir, "--innodb-page-size=4k", "--innodb-data-file-path="+systemFiles))
		for folder, names := range map[string][]string{"undo": {"undo_001", "undo_002"}, "system": {"ibdata1", "ibdata2"}} {
			must(t, os.Mkdir(filepath.Join(dir, folder), 0o755))
			for _, name := range names {
				must(t, os.Rename(filepath.Join(dir, name), filepath.Join(dir, folder, name)))
			}
		}
		checkSame(t, mysqltest.Options{DataDir: dir, Config: map[string]string{
			"innodb_page_size": "4k", "innodb_flush_method": "fsync", "innodb_undo_directory": filepath.Join(dir, "undo"),
			"innodb_data_home_dir": "system", "innodb_data_file_path": systemFiles,
		}}, []string{"CREATE TABLE k.zip2 (id INT PRIMARY KEY, a VARCHAR(1000)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=2"})
	})
}

// checkSame starts a server with tables of every kind, which sql adds to, and compares.
func checkSame(t *testing.T, o mysqltest.Options, sql []string) {
	config := map[string]string{"innodb_max_dirty_pages_pct": "0", "innodb_max_dirty_pages_pct_lwm": "0", "innodb_stats_auto_recalc": "OFF"}
	maps.Copy(config, o.Config)
	o.Config = config
	s := mysqltest.Start(t, o)
	fill(t, s, sql)
	for attempt := 1; ; attempt++ { // the server has threads that write when they please
		mysqltest.Eventually(t, "clean buffer pool", func() bool {
			return s.Query(t, "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")[0][1] == "0"
		})
		differences, files := compare(t, s)
		if len(differences) == 0 {
			t.Logf("%d files are the same, attempt %d", files, attempt)
			return
		}
		if attempt == 5 {
			t.Fatalf("%d differences: %.2000s", len(differences), strings.Join(differences, "\n"))
		}
		t.Logf("attempt %d: %d differences: %.300s", attempt, len(differences), differences[0])
	}
}

// fill makes tables of every kind with some rows, and more by the statements given.
func fill(t testing.TB, s *mysqltest.Server, more []string) {
	t.Helper()
	long := strings.Repeat("日", 50)
	for _, q := range append([]string{
		"CREATE DATABASE k",
		"CREATE TABLE k.plain (id INT PRIMARY KEY, a VARCHAR(1000), KEY (a(20)))",
		"CREATE TABLE k.parts (id INT PRIMARY KEY, a VARCHAR(1000)) PARTITION BY HASH (id) PARTITIONS 4",
		"CREATE TABLESPACE gts ADD DATAFILE 'general space.ibd'",
		"CREATE TABLE k.general (id INT PRIMARY KEY, a VARCHAR(1000)) TABLESPACE gts",
		"CREATE TABLE k.insystem (id INT PRIMARY KEY, a VARCHAR(1000)) TABLESPACE innodb_system",
		"CREATE DATABASE `odd-näme 1.x`",
		"CREATE TABLE `odd-näme 1.x`.`t a-b.c/ü日本` (id INT PRIMARY KEY, a VARCHAR(1000))",
		"CREATE TABLE `odd-näme 1.x`.`" + long + "` (id INT PRIMARY KEY, a VARCHAR(1000))",
	}, more...) {
		s.Exec(t, q)
	}
	for _, row := range s.Query(t, "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('k', 'odd-näme 1.x')") {
		s.Exec(t, fmt.Sprintf("INSERT INTO `%s`.`%s` WITH RECURSIVE s AS (SELECT 0 n UNION ALL SELECT n+1 FROM s WHERE n < 999) SELECT n, REPEAT(HEX(n * 7919), 60) FROM s", row[0], row[1]))
	}
	s.Exec(t, "CREATE TABLE k.big (id INT PRIMARY KEY AUTO_INCREMENT, a VARBINARY(1000))")
	for range 20 { // more than one chunk of 4k pages
		s.Exec(t, "INSERT INTO k.big (a) SELECT RANDOM_BYTES(1000) FROM k.plain")
	}
}

// compare takes a clone, and reads the files beside the server before FILE_COPY is acknowledged.
func compare(t testing.TB, s *mysqltest.Server) (differences []string, files int) {
	t.Helper()
	c, err := protocol.Open(t.Context(), func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, s.Root()) }, protocol.Options{Workers: 1})
	must(t, err)
	ours := &recorder{t: t}
	theirs := &recorder{t: t, end: func(metas []protocol.FileMeta) {
		set, err := Open(t.Context(), s.DataDir, ask(t, s), metas)
		if err != nil {
			t.Error(err)
			return
		}
		defer set.Close()
		files = set.Files()
		// All but the file that is no tablespace.
		if left := set.Left(); len(left) > 1 || len(left) == 1 && left[0].Name != "ib_buffer_pool" {
			t.Errorf("left to the server: %v", left)
		}
		w := set.Lacking(protocol.Progress{})
		var g errgroup.Group
		for task := range uint32(2) {
			g.Go(func() error { return new(Producer).Run(t.Context(), w, task, ours.Data) })
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}}
	must(t, c.Run(t.Context(), theirs))
	names := map[uint32]string{}
	for _, m := range theirs.files {
		names[m.Index] = m.Name
	}
	for b, sum := range theirs.blocks {
		if got, ok := ours.blocks[b]; got != sum && names[b.File] != "ib_buffer_pool" {
			differences = append(differences, fmt.Sprintf("%s: %+v: read beside the server: %v", names[b.File], b, ok))
		}
	}
	for b := range ours.blocks {
		if _, ok := theirs.blocks[b]; !ok {
			differences = append(differences, fmt.Sprintf("%s: %+v: the server has no such block", names[b.File], b))
		}
	}
	return differences, files
}
