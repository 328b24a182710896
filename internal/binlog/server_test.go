package binlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ordinal/internal/binlog"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

var writeTestdata = flag.Bool("write-testdata", false, "write binlogs of the server in use to testdata")

// script executes statements in one session of root.
func script(t *testing.T, s *mysqltest.Server, sql io.Reader) {
	t.Helper()
	c := s.Distribution.Tool("mysql", "--no-defaults", "--socket="+s.Socket, "--user=root", "--binary-mode", "--max-allowed-packet=1G")
	c.Stdin = sql
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("mysql: %v\n%s", err, out)
	}
}

// replay executes an exported file as its user would.
func replay(t *testing.T, s *mysqltest.Server, file []byte) {
	t.Helper()
	script(t, s, bytes.NewReader(mysqlbinlog(t, s, file)))
}

// mysqlbinlog returns what the server's own tool makes of a file.
func mysqlbinlog(t *testing.T, s *mysqltest.Server, file []byte, args ...string) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	c := s.Distribution.Tool("mysqlbinlog", append([]string{"--no-defaults", "--verify-binlog-checksum", name}, args...)...)
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil || problems.Len() > 0 {
		t.Fatalf("mysqlbinlog: %v\n%s", err, &problems)
	}
	return out.Bytes()
}

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func gtids(t testing.TB, text string) mysqlx.GTIDSet {
	t.Helper()
	g, err := mysqlx.ParseGTIDSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func executed(t *testing.T, s *mysqltest.Server) mysqlx.GTIDSet {
	t.Helper()
	return gtids(t, s.QueryString(t, "SELECT @@gtid_executed"))
}

// export fails the test if there is an error.
func export(t *testing.T, s *mysqltest.Server, want mysqlx.GTIDSet) ([]byte, binlog.Result) {
	t.Helper()
	var out bytes.Buffer
	result, err := binlog.Export(t.Context(), openRoot(t, s.DataDir), "binlog", want, &out)
	if err != nil {
		t.Fatalf("Export(%v): %v", want, err)
	}
	if result.Bytes != int64(out.Len()) {
		t.Errorf("Export(): %d bytes, wrote %d", result.Bytes, out.Len())
	}
	return out.Bytes(), result
}

// content returns the checksums of all users' tables.
func content(t *testing.T, s *mysqltest.Server) string {
	t.Helper()
	tables := s.QueryString(t, "SELECT COALESCE(GROUP_CONCAT(CONCAT('`', table_schema, '`.`', table_name, '`') ORDER BY 1), '') "+
		"FROM information_schema.tables WHERE table_schema IN ('shop', 'other')")
	if tables == "" {
		return ""
	}
	var b strings.Builder
	for _, row := range s.Query(t, "CHECKSUM TABLE "+tables) {
		b.WriteString(strings.Join(row, " ") + "\n")
	}
	return b.String()
}

// workload leaves five binlogs with everything that a server logs in a way of its own. Rows of bigRows are added by the test.
const workload = `
CREATE DATABASE shop;
USE shop;
CREATE TABLE orders (id INT PRIMARY KEY, note LONGBLOB);
INSERT INTO orders VALUES (1, 'one'), (2, 'two');
UPDATE orders SET note = 'zwei' WHERE id = 2;
SET SESSION binlog_transaction_compression = ON;
INSERT INTO orders VALUES (3, REPEAT('x', 1000));
SET SESSION binlog_transaction_compression = OFF;
FLUSH BINARY LOGS;
BEGIN;
INSERT INTO orders VALUES (6, 'a'); SAVEPOINT s; INSERT INTO orders VALUES (7, 'b'); ROLLBACK TO s; DELETE FROM orders WHERE id = 1;
COMMIT;
XA START 'x1'; INSERT INTO orders VALUES (8, 'xa'); XA END 'x1'; XA PREPARE 'x1'; XA COMMIT 'x1';
XA START 'x2'; INSERT INTO orders VALUES (9, 'xa'); XA END 'x2'; XA COMMIT 'x2' ONE PHASE;
SET gtid_next = 'AUTOMATIC:heal';
INSERT INTO orders VALUES (10, 'tagged');
CREATE TABLE copies SELECT id FROM orders;
SET gtid_next = 'AUTOMATIC';
SET GLOBAL binlog_checksum = NONE;
INSERT INTO orders VALUES (11, 'without checksum');
CREATE TABLE docs (id INT PRIMARY KEY, j JSON);
INSERT INTO docs VALUES (1, '{"a": 1, "b": "text"}');
SET SESSION binlog_row_value_options = PARTIAL_JSON;
UPDATE docs SET j = JSON_SET(j, '$.a', 2);
SET GLOBAL binlog_checksum = CRC32;
CREATE USER 'clerk'@'%' IDENTIFIED BY 'Very-Secret-1';
ALTER USER 'clerk'@'%' IDENTIFIED BY 'Very-Secret-2';
GRANT SELECT ON shop.* TO 'clerk'@'%';
SET SESSION binlog_format = STATEMENT;
SET @v = 'variable';
INSERT INTO orders VALUES (12, @v);
CREATE TABLE myisam (i INT AUTO_INCREMENT PRIMARY KEY) ENGINE = MyISAM;
INSERT INTO myisam VALUES (NULL), (NULL);
CREATE TABLE people (name TEXT, password TEXT);
INSERT INTO people (name, password) VALUES ('me', 'Very-Secret-3');
SET SESSION binlog_format = ROW;
FLUSH BINARY LOGS;
SET gtid_next = 'AUTOMATIC:heal';
DROP TABLE copies;
SET gtid_next = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:77';
BEGIN; COMMIT;
SET gtid_next = 'AUTOMATIC';
CREATE TABLE ` + "`odd \t\"name`" + ` (i INT PRIMARY KEY); 
INSERT INTO ` + "`odd \t\"name`" + ` VALUES (1);
`

// bigRows are events longer than what a reader holds in memory, compressed and not, and a statement.
const bigRows = `
USE shop;
INSERT INTO orders VALUES (20, REPEAT(RANDOM_BYTES(1000), 3000)), (21, REPEAT('x', 2000000));
SET SESSION binlog_transaction_compression = ON;
INSERT INTO orders VALUES (22, RANDOM_BYTES(1000)), (23, REPEAT(RANDOM_BYTES(1000), 1000));
INSERT INTO orders SELECT 100 + id, CONCAT(RANDOM_BYTES(1024), RANDOM_BYTES(1024), note) FROM orders;
SET SESSION binlog_transaction_compression = OFF;
SET SESSION binlog_format = STATEMENT;
INSERT INTO orders VALUES (24, CONCAT(@@global.server_id - @@global.server_id, '`

func runWorkload(t *testing.T, s *mysqltest.Server) {
	t.Helper()
	script(t, s, strings.NewReader(workload))
	script(t, s, strings.NewReader(bigRows+strings.Repeat("long", 50_000)+"'));\n"))
}

func TestExportEverythingAndReplay(t *testing.T) {
	t.Parallel()
	source := mysqltest.Start(t, mysqltest.Options{})
	runWorkload(t, source)
	want := executed(t, source)
	file, result := export(t, source, want)
	if !result.Exported.Equal(want) || !result.Missing.IsEmpty() || uint64(result.Count) != want.Count() {
		t.Errorf("exported %v, missing %v, %d transactions; want %v", result.Exported, result.Missing, result.Count, want)
	}
	if text := mysqlbinlog(t, source, file); bytes.Contains(text, []byte("at startup")) || bytes.Contains(text, []byte("ROLLBACK/*!*/")) {
		t.Error("who executes the file takes the beginning of a binlog for a restart of its server")
	}
	t.Run("mysqlbinlog", func(t *testing.T) {
		t.Parallel()
		s := mysqltest.Start(t, mysqltest.Options{})
		for range 2 { // what is there already is skipped
			replay(t, s, file)
			if got := executed(t, s); !got.Equal(want) {
				t.Errorf("replayed %v, want %v", got, want)
			}
			if got, want := content(t, s), content(t, source); got != want {
				t.Errorf("tables after the replay:\n%swant:\n%s", got, want)
			}
		}
		if got := s.QueryString(t, "SELECT authentication_string <> '' FROM mysql.user WHERE user = 'clerk'"); got != "1" {
			t.Errorf("the account came without its password")
		}
	})
	t.Run("relay log", func(t *testing.T) {
		t.Parallel()
		s := mysqltest.Start(t, mysqltest.Options{})
		replayAsRelayLog(t, s, file, want)
		if got, want := content(t, s), content(t, source); got != want {
			t.Errorf("tables after the replay:\n%swant:\n%s", got, want)
		}
	})
	t.Run("binlog", func(t *testing.T) {
		t.Parallel()
		s := mysqltest.Start(t, mysqltest.Options{})
		s.Stop(t)
		place(t, s, "exported", file)
		s.Restart(t, "--log-bin=exported")
		if got := executed(t, s); !got.Equal(want) {
			t.Errorf("a server that finds the file as its binlog has executed %v, want %v", got, want)
		}
	})
}

// place puts a file and an index for it into a data directory.
func place(t *testing.T, s *mysqltest.Server, base string, file []byte) {
	t.Helper()
	for name, text := range map[string][]byte{base + ".000001": file, base + ".index": []byte("./" + base + ".000001\n")} {
		if err := os.WriteFile(filepath.Join(s.DataDir, name), text, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExportErrant is what the package is for: a replica has transactions that its source has not. They are executed on the source.
func TestExportErrant(t *testing.T) {
	t.Parallel()
	replica := mysqltest.Start(t, mysqltest.Options{})
	source := mysqltest.Start(t, mysqltest.Options{})
	runWorkload(t, replica)
	uuid := replica.QueryString(t, "SELECT @@server_uuid")
	all, _ := export(t, replica, executed(t, replica))
	replay(t, source, all)
	script(t, replica, strings.NewReader(`
		CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY, b LONGBLOB); INSERT INTO other.t VALUES (1, 'one');
		FLUSH BINARY LOGS;
		SET gtid_next = 'AUTOMATIC:hotfix'; UPDATE shop.orders SET note = 'errant' WHERE id = 2; SET gtid_next = 'AUTOMATIC';
		INSERT INTO other.t VALUES (2, REPEAT('b', 1000000));`))
	errant := executed(t, replica).Subtract(executed(t, source))
	if errant.Count() != 5 {
		t.Fatalf("errant transactions: %v", errant)
	}
	purged := gtids(t, "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb:1-3,"+uuid+":never:1")
	file, result := export(t, replica, errant.Union(purged))
	if !result.Exported.Equal(errant) || !result.Missing.Equal(purged) || result.Count != 5 {
		t.Errorf("exported %v, missing %v, %d transactions", result.Exported, result.Missing, result.Count)
	}
	var listed []string
	for _, tx := range result.Transactions {
		listed = append(listed, strings.TrimPrefix(tx.GTID, uuid)+" "+tx.Binlog+" "+strings.Join(append(tx.Kinds, tx.Tables...), " "))
	}
	if len(listed) != 5 || !strings.HasSuffix(listed[3], "update shop.orders") || !strings.HasPrefix(listed[3], ":hotfix:1 binlog.000006") {
		t.Errorf("listed: %q", listed)
	}
	replay(t, source, file)
	if got, want := executed(t, source), executed(t, replica); !got.Equal(want) {
		t.Errorf("the source has %v, want %v", got, want)
	}
	if got, want := content(t, source), content(t, replica); got != want {
		t.Errorf("tables of the source:\n%swant:\n%s", got, want)
	}

	replica.Exec(t, "PURGE BINARY LOGS TO 'binlog.000006'")
	_, result = export(t, replica, errant)
	if result.Count != 2 || !result.Exported.Union(result.Missing).Equal(errant) {
		t.Errorf("after a purge: exported %v, missing %v", result.Exported, result.Missing)
	}
}

// TestExportIsByteForByte compares with the binlogs themselves.
func TestExportIsByteForByte(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	runWorkload(t, s)
	s.Stop(t)
	if *writeTestdata {
		keep(t, s)
	}
	dir := openRoot(t, s.DataDir)
	names, err := binlog.Files(dir, "binlog")
	if err != nil {
		t.Fatal(err)
	}
	in := make(map[string][]byte)
	var order []string
	for _, name := range names {
		for gtid, b := range transactions(t, read(t, dir, name)) {
			in[gtid] = b
			order = append(order, gtid)
		}
	}
	if len(order) < 25 {
		t.Fatalf("%d transactions", len(order))
	}
	for step := range 3 {
		var wanted []string
		want := mysqlx.GTIDSet{}
		for i := step; i < len(order); i += step + 1 {
			wanted, want = append(wanted, order[i]), want.Union(gtids(t, order[i]))
		}
		var out bytes.Buffer
		if _, err := binlog.Export(t.Context(), dir, "binlog", want, &out); err != nil {
			t.Fatal(err)
		}
		var got []string
		for gtid, b := range transactions(t, out.Bytes()) {
			got = append(got, gtid)
			if !bytes.Equal(b, in[gtid]) {
				t.Errorf("transaction %s differs", gtid)
			}
		}
		if !slices.Equal(got, wanted) {
			t.Errorf("exported %q\nwant %q", got, wanted)
		}
	}
}

// TestLiveServer: what the server calls executed is found at once, and a transaction that is just being written disturbs nobody.
func TestLiveServer(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"max_binlog_size": "262144"}})
	s.Exec(t, "CREATE DATABASE shop")
	s.Exec(t, "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB)")
	ctx, stop := context.WithCancel(t.Context())
	var writers []chan error
	for range 3 {
		done := make(chan error, 1)
		writers = append(writers, done)
		go func() {
			for ctx.Err() == nil {
				if err := s.DB().Exec(ctx, "INSERT INTO shop.t (b) VALUES (REPEAT('live', RAND() * 40000))"); err != nil && ctx.Err() == nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	uuid := s.QueryString(t, "SELECT @@server_uuid")
	dir := openRoot(t, s.DataDir)
	for seen := uint64(0); seen < 600; {
		want := executed(t, s).Union(gtids(t, uuid+":1000000"))
		result, err := binlog.Export(t.Context(), dir, "binlog", want, io.Discard)
		if err != nil {
			t.Errorf("while the server writes: %v", err)
			break
		}
		if missing := result.Missing.String(); missing != uuid+":1000000" {
			t.Errorf("while the server writes: committed but missing: %s", missing)
			break
		}
		seen = result.Exported.Count()
	}
	stop()
	for _, done := range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestKilledServer reads what a crash leaves, before and after the server has looked at it.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	runWorkload(t, s)
	want := executed(t, s)
	s.Kill9(t)
	before, result := export(t, s, want)
	if !result.Missing.IsEmpty() {
		t.Errorf("after the kill: missing %v", result.Missing)
	}
	s.Restart(t)
	after, result := export(t, s, want)
	if !result.Missing.IsEmpty() || !bytes.Equal(before, after) {
		t.Errorf("after the restart: missing %v, %d bytes, before it %d", result.Missing, len(after), len(before))
	}
}

func TestEncryptedBinlog(t *testing.T) {
	t.Parallel()
	d := mysqltest.WithKeyring(t)
	s := mysqltest.Start(t, mysqltest.Options{Distribution: d, Config: map[string]string{"binlog_encryption": "ON"}})
	s.Exec(t, "CREATE DATABASE shop")
	_, err := binlog.Export(t.Context(), openRoot(t, s.DataDir), "binlog", executed(t, s), io.Discard)
	if !errors.Is(err, binlog.ErrEncrypted) || !strings.Contains(err.Error(), "binlog.000001") {
		t.Errorf("Export() of encrypted binlogs: %v, want ErrEncrypted and the file's name", err)
	}
}

// keep writes the binlogs of the small workload to testdata, with what Export says of them.
func keep(t *testing.T, s *mysqltest.Server) {
	t.Helper()
	small := mysqltest.Start(t, mysqltest.Options{})
	small.Stop(t)
	identity := []byte("[auto]\nserver-uuid=00112233-4455-6677-8899-aabbccddeeff\n")
	if err := os.WriteFile(filepath.Join(small.DataDir, "auto.cnf"), identity, 0o600); err != nil {
		t.Fatal(err)
	}
	small.Restart(t, "--server-id=101")
	small.Exec(t, "RESET BINARY LOGS AND GTIDS")
	script(t, small, strings.NewReader(workload))
	want := executed(t, small)
	small.Stop(t)
	_, result := export(t, small, want)
	listing, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join("testdata", s.Distribution.Version.String())
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "listing.json"), append(listing, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := openRoot(t, small.DataDir)
	names, err := binlog.Files(dir, "binlog")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "binlog.index") {
		if err := os.WriteFile(filepath.Join(to, name), read(t, dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t testing.TB, dir *os.Root, name string) []byte {
	t.Helper()
	b, err := dir.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
