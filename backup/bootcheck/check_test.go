package bootcheck_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/backup/bootcheck"
	"ordinal/internal/mysqld"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// copied is a copy that a server has made of itself while it was written to, and what is known of it.
type copied struct {
	dir      string
	recorded bootcheck.Recorded
	version  string
	script   string
	atLeast  string
	atMost   string
}

// makeCopy clones a server under load, as a backup does.
func makeCopy(t *testing.T) copied {
	t.Helper()
	s := mysqltest.Start(t, mysqltest.Options{})
	for _, query := range []string{
		"CREATE DATABASE shop",
		"CREATE TABLE shop.orders (i INT PRIMARY KEY AUTO_INCREMENT, v CHAR(200), w CHAR(20), INDEX (w))",
		"INSERT INTO shop.orders (v, w) VALUES ('a', 'b'), ('c', 'd')",
		"CREATE TABLE shop.parts (i INT PRIMARY KEY AUTO_INCREMENT, v CHAR(200)) PARTITION BY HASH (i) PARTITIONS 3",
		"CREATE TABLE shop.words (i INT PRIMARY KEY, t TEXT, FULLTEXT INDEX (t))",
		"INSERT INTO shop.words VALUES (1, 'an ordinal'), (2, 'number')",
		"CREATE TABLE shop.gone (i INT PRIMARY KEY)",
		"CREATE TABLE shop.counter (i INT PRIMARY KEY AUTO_INCREMENT)",
		"CREATE TABLE shop.notes (i INT) ENGINE=MyISAM",
	} {
		s.Exec(t, query)
	}
	for range 10 {
		s.Exec(t, "INSERT INTO shop.orders (v, w) SELECT v, w FROM shop.orders")
		s.Exec(t, "INSERT INTO shop.parts (v) SELECT v FROM shop.orders LIMIT 200")
	}
	started := s.QueryString(t, "SELECT UNIX_TIMESTAMP()")
	mysqltest.Eventually(t, "next second", func() bool { return s.QueryString(t, "SELECT UNIX_TIMESTAMP() > ?", started) == "1" })

	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		for ctx.Err() == nil {
			if err := s.DB().Exec(ctx, "INSERT INTO shop.counter VALUES (NULL)"); err != nil && ctx.Err() == nil {
				t.Errorf("load: %v", err)
				return
			}
		}
	})
	defer load.Wait()
	defer cancel()
	mysqltest.Eventually(t, "load", func() bool { return s.QueryString(t, "SELECT COUNT(*) > 10 FROM shop.counter") == "1" })

	c := copied{version: s.QueryString(t, "SELECT @@version"), script: s.Distribution.Script(t), atLeast: s.QueryString(t, "SELECT @@GLOBAL.gtid_executed")}
	read := func(o mysqlx.ChecksumOptions) mysqlx.TableChecksums {
		sums, err := s.DB().ChecksumTables(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return sums
	}
	before := read(mysqlx.ChecksumOptions{Budget: time.Minute})
	dir, err := os.MkdirTemp("", "bootcheck")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.dir = filepath.Join(dir, "data")
	s.Exec(t, "CLONE LOCAL DATA DIRECTORY = '"+c.dir+"'")
	after := read(mysqlx.ChecksumOptions{Budget: time.Minute, Before: &before})
	c.atMost = s.QueryString(t, "SELECT @@GLOBAL.gtid_executed")
	if c.recorded, err = bootcheck.Match(before, after, time.Minute); err != nil {
		t.Fatal(err)
	}
	cancel()
	load.Wait()
	s.Kill9(t)
	return c
}

// another returns a copy of the copy, to be spoilt.
func (c copied) another(t *testing.T) copied {
	t.Helper()
	dir, err := os.MkdirTemp("", "bootcheck")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	from := c.dir
	c.dir = filepath.Join(dir, "data")
	if err := mysqltest.CopyDataDir(c.dir, from); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c copied) options() bootcheck.Options {
	return bootcheck.Options{
		Mysqld: c.script, DataDir: c.dir, ServerVersion: c.version, PageSize: 16 << 10, BufferPool: 32 << 20,
		GTIDAtLeast: c.atLeast, GTIDAtMost: c.atMost, Recorded: &c.recorded,
	}
}

func (c copied) check(t *testing.T) bootcheck.Result {
	t.Helper()
	r, err := bootcheck.Run(t.Context(), c.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// run changes a copy by a server of ours.
func (c copied) run(t *testing.T, queries ...string) (last [][]string) {
	t.Helper()
	err := mysqld.Run(t.Context(), mysqld.Options{Program: c.script, DataDir: c.dir, NoAccounts: true, BinaryLog: true, BufferPool: 32 << 20},
		func(ctx context.Context, s *mysqld.Server) (err error) {
			for _, query := range queries {
				if last, err = s.DB().Query(ctx, query); err != nil {
					return fmt.Errorf("%s: %w", query, err)
				}
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return last
}

type progress struct {
	mu          sync.Mutex
	stages      []string
	total, done int64
}

func (p *progress) Start(total int64) { p.mu.Lock(); defer p.mu.Unlock(); p.total, p.done = total, 0 }
func (p *progress) SetStage(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stages = append(p.stages, s)
}
func (p *progress) Add(n int64) { p.mu.Lock(); defer p.mu.Unlock(); p.done += n }

func TestRun(t *testing.T) {
	whole := makeCopy(t)
	if tables := whole.recorded.Tables; !slices.ContainsFunc(tables, func(r bootcheck.RecordedTable) bool { return r.Table == "orders" && r.Rows == 2048 }) {
		t.Fatalf("recorded: %+v, want shop.orders among what did not change", whole.recorded)
	}
	t.Run("whole", func(t *testing.T) { testWhole(t, whole.another(t)) })
	t.Run("other content", func(t *testing.T) { testOtherContent(t, whole.another(t)) })
	t.Run("files missing", func(t *testing.T) { testFilesMissing(t, whole.another(t)) })
	t.Run("bad page", func(t *testing.T) { testBadPage(t, whole.another(t), "shop/orders.ibd", "shop.orders") })
	t.Run("bad page of a partition", func(t *testing.T) { testBadPage(t, whole.another(t), "shop/parts#p#p1.ibd", "shop.parts") })
	t.Run("does not start", func(t *testing.T) { testDoesNotStart(t, whole.another(t)) })
	t.Run("machine", func(t *testing.T) { testMachine(t, whole.another(t)) })
}

func testWhole(t *testing.T, c copied) {
	o, p := c.options(), &progress{}
	o.Progress = p
	r, err := bootcheck.Run(t.Context(), o)
	if err != nil || !r.OK || r.Err() != nil {
		t.Fatalf("Run() = %+v, %v, want that all is well", r, err)
	}
	if r.Compared != len(c.recorded.Tables) || r.Compared < 4 || r.Checked != r.Tables || r.Tables < 30 || r.FullText != 1 {
		t.Errorf("Run() = %+v, want every table checked, and %d compared", r, len(c.recorded.Tables))
	}
	counter := mysqlx.TableName{Schema: "shop", Table: "counter"}
	if !slices.Contains(c.recorded.Changed, counter) || r.ChangedDuringBackup != len(c.recorded.Changed) {
		t.Errorf("changed during the backup: %v, of which the result has %d", c.recorded.Changed, r.ChangedDuringBackup)
	}
	if !slices.Contains(r.OtherEngines, mysqlx.TableName{Schema: "shop", Table: "notes"}) {
		t.Errorf("tables of other engines: %v, want shop.notes", r.OtherEngines)
	}
	if want := []string{"start mysqld", "check tables"}; !slices.Equal(p.stages, want) || p.done != p.total || p.total == 0 {
		t.Errorf("progress: %q, %d of %d", p.stages, p.done, p.total)
	}
	if r.Began.After(r.Finished) || r.StartSeconds <= 0 || !strings.HasPrefix(c.version, r.ServerVersion[:3]) {
		t.Errorf("Run() = %+v", r)
	}

	// Each row of the counter is a transaction of its own, so the GTID set can be counted: it is exact, and the same with a binary log and without.
	executed, err := mysqlx.ParseGTIDSet(r.GTIDExecuted)
	if err != nil {
		t.Fatal(err)
	}
	got := c.run(t, "SELECT (SELECT COUNT(*) FROM shop.counter), @@GLOBAL.gtid_executed")[0]
	const others = 9 + 20 // statements that made the tables and filled them
	if fmt.Sprint(executed.Count()-others) != got[0] {
		t.Errorf("the copy has %s rows, and %d transactions: %s", got[0], executed.Count(), executed)
	}
	if logged, err := mysqlx.ParseGTIDSet(got[1]); err != nil || !logged.Equal(executed) {
		t.Errorf("gtid_executed with a binary log = %s, %v, without %s", got[1], err, executed)
	}
}

func failures(r bootcheck.Result) map[string]bootcheck.Failure {
	all := map[string]bootcheck.Failure{}
	for _, f := range r.Failures {
		all[string(f.Kind)+" "+f.TableName.String()] = f
	}
	return all
}

func testOtherContent(t *testing.T, c copied) {
	c.run(t, "UPDATE shop.orders SET w = 'x' WHERE i = 1", "DROP TABLE shop.gone", "DELETE FROM shop.parts LIMIT 1")
	r := c.check(t)
	all := failures(r)
	for kind, text := range map[string]string{
		"checksum shop.orders": "of 2048 rows, on the donor ", "checksum shop.parts": "of 1051 rows, on the donor ", "missing shop.gone": "before and after",
		"gtid .": ":1-3",
	} {
		if f, ok := all[kind]; !ok || !strings.Contains(f.Detail, text) {
			t.Errorf("no failure %q with %q: %+v", kind, text, r.Failures)
		}
	}
	if r.OK || len(all) != 4 || r.Failed != 4 {
		t.Errorf("Run() = %+v, want 4 failures", r)
	}
	err := r.Err()
	failed, ok := errors.AsType[*bootcheck.FailedError](err)
	if !ok || !errors.Is(err, bootcheck.ErrFailed) || failed.ExitCode() != 81 || failed.Hint() == "" || !strings.Contains(err.Error(), "and 1 more") {
		t.Errorf("Err() = %v", err)
	}

	// Transactions that the backup says it has.
	c.atMost, c.atLeast = "", c.atMost+",11111111-1111-1111-1111-111111111111:1-7"
	c.recorded = bootcheck.Recorded{}
	r = c.check(t)
	if f := failures(r)["gtid ."]; !strings.Contains(f.Detail, "11111111-1111-1111-1111-111111111111:1-7") || r.Compared != 0 {
		t.Errorf("Run() = %+v, want that transactions are missing", r)
	}
}

// A server that has nothing to recover starts without many of its files.
func testFilesMissing(t *testing.T, c copied) {
	c.run(t, "SELECT 1")
	words, err := filepath.Glob(filepath.Join(c.dir, "shop", "fts_*_index_*.ibd"))
	if err != nil || len(words) == 0 {
		t.Fatalf("no files of a full-text index: %v", err)
	}
	for _, file := range append(words, filepath.Join(c.dir, "shop", "orders.ibd")) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	r := c.check(t)
	all := failures(r)
	if _, ok := all["check shop.orders"]; !ok || r.OK {
		t.Errorf("Run() = %+v, want that shop.orders cannot be read", r)
	}
	// 9.7.4 crashes when it searches for what is not there.
	if crash, ok := all["crash ."]; all["fulltext shop.words"].Kind == "" && (!ok || !strings.Contains(crash.Detail, "while it read shop.words")) {
		t.Errorf("Run() = %+v, want that shop.words cannot be searched", r)
	}
}

// One flipped bit in a page. The server may say so, or crash.
func testBadPage(t *testing.T, c copied, file, table string) {
	c.run(t, "SELECT 1") // else recovery may write a good page over the bad one
	path := filepath.Join(c.dir, file)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const size, index = 16 << 10, 0x45bf
	last := len(b) / size
	for last--; last > 0 && binary.BigEndian.Uint16(b[last*size+24:]) != index; last-- {
	}
	b[last*size+5000] ^= 1
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
	r := c.check(t)
	named := slices.ContainsFunc(r.Failures, func(f bootcheck.Failure) bool { return strings.Contains(f.String(), table) })
	if r.OK || !named {
		t.Errorf("Run() = %+v, want a failure that names %s", r, table)
	}
	t.Logf("%+v", r.Failures)
}

func testDoesNotStart(t *testing.T, c copied) {
	if err := os.Truncate(filepath.Join(c.dir, "mysql.ibd"), 1<<20); err != nil {
		t.Fatal(err)
	}
	r := c.check(t)
	if f, ok := failures(r)["start ."]; r.OK || !ok || f.Detail == "" || r.GTIDExecuted != "" {
		t.Errorf("Run() = %+v, want that mysqld does not start", r)
	}
	t.Logf("%+v", r.Failures)
}

// What is the machine's fault says nothing of the backup.
func testMachine(t *testing.T, c copied) {
	for _, test := range []struct {
		name   string
		change func(o *bootcheck.Options)
		is     func(err error) bool
	}{
		{"no mysqld", func(o *bootcheck.Options) { o.Mysqld = "/none/mysqld" }, is[*mysqld.NotFoundError]},
		{"version", func(o *bootcheck.Options) { o.ServerVersion = "5.7.1" }, is[*bootcheck.VersionError]},
		{"gtids", func(o *bootcheck.Options) { o.GTIDExecuted = "x" }, func(err error) bool { return strings.Contains(err.Error(), "gtid_executed") }},
		{"no directory", func(o *bootcheck.Options) { o.DataDir += "x" }, func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
	} {
		o := c.options()
		test.change(&o)
		if r, err := bootcheck.Run(t.Context(), o); err == nil || !test.is(err) {
			t.Errorf("%s: Run() = %+v, %v", test.name, r, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	o := c.options()
	o.Progress = stopAt{func() { cancel(over) }}
	if r, err := bootcheck.Run(ctx, o); !errors.Is(err, over) {
		t.Errorf("Run() with a context that ends = %+v, %v, want %v", r, err, over)
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

type stopAt struct{ f func() }

func (s stopAt) Start(int64)     { s.f() }
func (s stopAt) SetStage(string) {}
func (s stopAt) Add(int64)       {}
