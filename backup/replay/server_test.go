package replay_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ordinal/backup/replay"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// serverConfig is what the agent writes for a pod's mysqld, as far as it matters here. One server_id for all: so is a restored server's, and that of most of
// what its archive has.
var serverConfig = map[string]string{
	"server_id": "100", "skip_replica_start": "ON", "relay_log": "relay", "max_binlog_size": "4194304",
}

// script executes statements in one session of root.
func script(t testing.TB, s *mysqltest.Server, sql string) {
	t.Helper()
	c := s.Distribution.Tool("mysql", "--no-defaults", "--socket="+s.Socket, "--user=root", "--binary-mode", "--max-allowed-packet=1G")
	c.Stdin = strings.NewReader(sql)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("mysql: %v\n%s", err, out)
	}
}

func executed(t testing.TB, s *mysqltest.Server) mysqlx.GTIDSet {
	t.Helper()
	return gtids(t, s.QueryString(t, "SELECT @@GLOBAL.gtid_executed"))
}

// startRestored starts a server on empty data, as one that was just restored.
func startRestored(t testing.TB, config map[string]string) *mysqltest.Server {
	t.Helper()
	all := map[string]string{"super_read_only": "ON"}
	for _, c := range []map[string]string{serverConfig, config} {
		for name, value := range c {
			all[name] = value
		}
	}
	return mysqltest.Start(t, mysqltest.Options{Config: all})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// firstOf returns the first n transactions of the only server in a set.
func firstOf(set mysqlx.GTIDSet, n int) mysqlx.GTIDSet {
	return parse(fmt.Sprintf("%s:1-%d", set.String()[:36], n))
}

func replayer(t testing.TB, s *mysqltest.Server) *replay.Replayer {
	t.Helper()
	return &replay.Replayer{DB: s.DB(), DataDir: s.DataDir, Journal: filepath.Join(t.TempDir(), "replay.json")}
}

// content returns the checksums of all users' tables.
func content(t testing.TB, s *mysqltest.Server) string {
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

// everything is what a server logs in a way of its own.
const everything = `
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
SET GLOBAL binlog_checksum = CRC32;
CREATE USER 'clerk'@'%' IDENTIFIED BY 'Very-Secret-1';
SET SESSION binlog_format = STATEMENT;
SET @v = 'variable';
INSERT INTO orders VALUES (12, @v);
SET SESSION binlog_format = ROW;
INSERT INTO orders VALUES (20, REPEAT(RANDOM_BYTES(1000), 3000)), (21, REPEAT('x', 2000000));
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM orders WHERE id < 0;
XA START 'x3'; INSERT INTO copies VALUES (99); XA END 'x3'; XA PREPARE 'x3';
`

// TestReplayEverything: all that a server logs, in batches smaller than some of its transactions, onto a server with the same server_id.
func TestReplayEverything(t *testing.T) {
	t.Parallel()
	source := mysqltest.Start(t, mysqltest.Options{Config: serverConfig})
	script(t, source, everything)
	want := executed(t, source)
	sums := content(t, source)
	archive := archiveOf(t, source.DataDir, 3)
	source.Stop(t)

	s := startRestored(t, nil)
	before, err := s.DB().ApplierSettings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := replayer(t, s)
	r.BatchBytes = 1000
	result, err := r.Run(t.Context(), archive, replay.Target{})
	if err != nil {
		t.Fatalf("Run(): %v\n%s", err, s.Log())
	}
	t.Logf("%+v", result)
	if got := executed(t, s); !got.Equal(want) || !result.Executed.Equal(want) {
		t.Errorf("executed %v, result %v, want %v", got, result.Executed, want)
	}
	if got := content(t, s); got != sums {
		t.Errorf("tables:\n%swant:\n%s", got, sums)
	}
	after, err := s.DB().ApplierSettings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range before {
		if after[name] != value {
			t.Errorf("%s is %s after the replay, and was %s", name, after[name], value)
		}
	}
}
