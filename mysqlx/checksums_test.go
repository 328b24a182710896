package mysqlx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// TestTableContents holds the tests of checksums and checks, which share one server.
func TestTableContents(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"sql_mode": "ANSI_QUOTES"}})
	if err := s.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"CREATE DATABASE shop",
		"CREATE DATABASE `d-``x`",
		"CREATE TABLE shop.a (i INT PRIMARY KEY, v VARCHAR(20))",
		"INSERT INTO shop.a VALUES (1, 'one'), (2, 'two'), (3, NULL)",
		"CREATE TABLE `d-``x`.`t é``'\"` (i INT PRIMARY KEY) PARTITION BY HASH (i) PARTITIONS 3",
		"INSERT INTO `d-``x`.`t é``'\"` VALUES (1), (2), (3), (4)",
		"CREATE TABLE shop.empty (i INT PRIMARY KEY)",
		"CREATE TABLE shop.words (i INT PRIMARY KEY, t TEXT, `u``` TEXT, FULLTEXT INDEX both_ (t, `u```), FULLTEXT INDEX one (t))",
		"INSERT INTO shop.words VALUES (1, 'an ordinal', 'number'), (2, 'is', 'enough')",
		"CREATE TABLE shop.notes (i INT) ENGINE=MyISAM",
		"CREATE VIEW shop.v AS SELECT * FROM shop.a",
	} {
		s.Exec(t, query)
	}
	t.Run("Checksums", func(t *testing.T) { testChecksums(t, s) })
	t.Run("Snapshot", func(t *testing.T) { testChecksumSnapshot(t, s) })
	t.Run("Before", func(t *testing.T) { testChecksumsBefore(t, s) })
	t.Run("Budget", func(t *testing.T) { testChecksumBudget(t, s) })
	t.Run("Privileges", func(t *testing.T) { testChecksumPrivileges(t, s) })
	t.Run("Checks", func(t *testing.T) { testTableChecks(t, s) })
}

func checksums(t *testing.T, s *mysqltest.Server, o mysqlx.ChecksumOptions) mysqlx.TableChecksums {
	t.Helper()
	c, err := s.DB().ChecksumTables(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// of returns the checksum of a table, and whether there is one.
func of(c mysqlx.TableChecksums, schema, table string) (mysqlx.TableChecksum, bool) {
	i := slices.IndexFunc(c.Tables, func(t mysqlx.TableChecksum) bool {
		return t.TableName == mysqlx.TableName{Schema: schema, Table: table}
	})
	if i < 0 {
		return mysqlx.TableChecksum{}, false
	}
	return c.Tables[i], true
}

func why(c mysqlx.TableChecksums, schema, table string) string {
	for _, s := range c.Skipped {
		if (s.TableName == mysqlx.TableName{Schema: schema, Table: table}) {
			return s.Reason
		}
	}
	return ""
}

func session(t *testing.T, s *mysqltest.Server) *sql.Conn {
	t.Helper()
	db := open(t, s.Root())
	conn, err := mysqlx.Session(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func do(t *testing.T, conn *sql.Conn, queries ...string) {
	t.Helper()
	for _, query := range queries {
		if _, err := conn.ExecContext(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

func testChecksums(t *testing.T, s *mysqltest.Server) {
	c := checksums(t, s, mysqlx.ChecksumOptions{})
	if c.ServerUUID != s.QueryString(t, "SELECT @@server_uuid") || c.ServerVersion != s.QueryString(t, "SELECT @@version") {
		t.Errorf("ChecksumTables() is of server %s %s", c.ServerUUID, c.ServerVersion)
	}
	for name, rows := range map[mysqlx.TableName]uint64{
		{Schema: "shop", Table: "a"}: 3, {Schema: "d-`x", Table: "t é`'\""}: 4, {Schema: "shop", Table: "empty"}: 0, {Schema: "shop", Table: "words"}: 2,
	} {
		got, ok := of(c, name.Schema, name.Table)
		want := s.Query(t, "CHECKSUM TABLE `"+strings.ReplaceAll(name.Schema, "`", "``")+"`.`"+strings.ReplaceAll(name.Table, "`", "``")+"`")[0][1]
		if !ok || fmt.Sprint(got.Checksum) != want || got.Rows != rows || got.Created == 0 || got.At == 0 {
			t.Errorf("%v: %+v, want checksum %s of %d rows", name, got, want, rows)
		}
	}
	if _, ok := of(c, "mysql", "user"); !ok {
		t.Error("mysql.user has no checksum: the accounts are part of what is kept")
	}
	for _, name := range []string{"notes", "v"} {
		if got, ok := of(c, "shop", name); ok {
			t.Errorf("%+v: want tables of InnoDB only", got)
		}
	}
	if _, ok := of(c, "mysql", "gtid_executed"); ok {
		t.Error("mysql.gtid_executed has a checksum, and changes with every transaction")
	}
	if !slices.IsSortedFunc(c.Tables, func(a, b mysqlx.TableChecksum) int { return int(a.Bytes) - int(b.Bytes) }) {
		t.Errorf("ChecksumTables() did not read the smallest tables first: %+v", c.Tables)
	}
}

// No reader waits for a writer, or a writer for us; and rows and checksum are of one moment.
func testChecksumSnapshot(t *testing.T, s *mysqltest.Server) {
	before, _ := of(checksums(t, s, mysqlx.ChecksumOptions{}), "shop", "a")
	writer := session(t, s)
	do(t, writer, "BEGIN", "UPDATE shop.a SET v = 'changed'", "INSERT INTO shop.a VALUES (4, 'four')")
	during, ok := of(checksums(t, s, mysqlx.ChecksumOptions{Budget: 20 * time.Second}), "shop", "a")
	if !ok || during.Checksum != before.Checksum || during.Rows != before.Rows {
		t.Errorf("with a transaction open: %+v, want %+v: what was not committed is not there, and nobody waits", during, before)
	}
	do(t, writer, "ROLLBACK")

	// CHECKSUM TABLE and COUNT(*) read the snapshot that we begin: what is committed after that is not in it.
	reader := session(t, s)
	do(t, reader, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
	s.Exec(t, "INSERT INTO shop.a VALUES (5, 'five')")
	var name, checksum string
	if err := reader.QueryRowContext(t.Context(), "CHECKSUM TABLE shop.a").Scan(&name, &checksum); err != nil || checksum != fmt.Sprint(before.Checksum) {
		t.Errorf("CHECKSUM TABLE in an older snapshot = %s, %v, want %d", checksum, err, before.Checksum)
	}
	var rows uint64
	if err := reader.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM shop.a").Scan(&rows); err != nil || rows != before.Rows {
		t.Errorf("COUNT(*) in an older snapshot = %d, %v, want %d", rows, err, before.Rows)
	}
	do(t, reader, "COMMIT")
	s.Exec(t, "DELETE FROM shop.a WHERE i = 5")
}

func testChecksumsBefore(t *testing.T, s *mysqltest.Server) {
	s.Exec(t, "CREATE TABLE shop.dropped (i INT PRIMARY KEY)")
	s.Exec(t, "CREATE TABLE shop.back (i INT PRIMARY KEY)")
	s.Exec(t, "CREATE TABLE shop.anew (i INT PRIMARY KEY)")
	before := checksums(t, s, mysqlx.ChecksumOptions{})
	s.Exec(t, "DROP TABLE shop.dropped")
	s.Exec(t, "CREATE TABLE shop.made (i INT PRIMARY KEY)")
	second := before.Tables[len(before.Tables)-1].At
	mysqltest.Eventually(t, "next second", func() bool {
		return s.QueryString(t, "SELECT UNIX_TIMESTAMP() > ?", second) == "1"
	})
	s.Exec(t, "INSERT INTO shop.back VALUES (1)") // its content is soon as it was, and yet it was another one meanwhile
	s.Exec(t, "DELETE FROM shop.back")
	s.Exec(t, "ALTER TABLE shop.anew ENGINE = InnoDB")
	after := checksums(t, s, mysqlx.ChecksumOptions{Before: &before})
	for _, name := range []string{"dropped", "back", "anew"} {
		if got := why(after, "shop", name); got != mysqlx.SkippedChanged {
			t.Errorf("shop.%s is skipped as %q, want %q", name, got, mysqlx.SkippedChanged)
		}
	}
	was, _ := of(before, "shop", "words")
	if is, ok := of(after, "shop", "words"); !ok || is.Checksum != was.Checksum || is.Updated != was.Updated || is.Created != was.Created {
		t.Errorf("shop.words: %+v, want what it was before, %+v", is, was)
	}
	if _, ok := of(after, "shop", "made"); ok || why(after, "shop", "made") != "" {
		t.Error("shop.made was made since and should be left out")
	}
	for _, name := range []string{"back", "anew", "made"} {
		s.Exec(t, "DROP TABLE shop."+name)
	}
}

// A table that cannot be read in time is skipped, with all that are not smaller, and the server does not go on with it.
func testChecksumBudget(t *testing.T, s *mysqltest.Server) {
	holder := session(t, s)
	do(t, holder, "LOCK TABLES shop.words WRITE") // CHECKSUM TABLE waits for that
	c := checksums(t, s, mysqlx.ChecksumOptions{Budget: 2 * time.Second})
	if got := why(c, "shop", "words"); got != mysqlx.SkippedBudget {
		t.Errorf("shop.words is skipped as %q, want %q", got, mysqlx.SkippedBudget)
	}
	if len(c.Tables)+len(c.Skipped) < 10 {
		t.Errorf("%d tables with a checksum and %d without one: some were lost", len(c.Tables), len(c.Skipped))
	}
	none := func() bool {
		return s.QueryString(t, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'CHECKSUM%'") == "0"
	}
	mysqltest.Eventually(t, "end of CHECKSUM TABLE on the server", none)

	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		mysqltest.Eventually(t, "CHECKSUM TABLE", func() bool { return !none() })
		cancel(gone)
	}()
	if _, err := s.DB().ChecksumTables(ctx, mysqlx.ChecksumOptions{}); !errors.Is(err, gone) {
		t.Errorf("ChecksumTables() with a context that ends = %v, want its cause", err)
	}
	mysqltest.Eventually(t, "end of CHECKSUM TABLE on the server", none)
	do(t, holder, "UNLOCK TABLES")
	if err := s.DB().Ping(t.Context()); err != nil {
		t.Errorf("Ping() afterwards = %v", err)
	}
	// The sessions that are left are as they should be.
	if got := s.QueryString(t, "SELECT @@SESSION.information_schema_stats_expiry = @@GLOBAL.information_schema_stats_expiry"); got != "1" {
		t.Error("a changed session went back to the pool")
	}
}

func testChecksumPrivileges(t *testing.T, s *mysqltest.Server) {
	_, err := open(t, agentAt(s.Socket)).ChecksumTables(t.Context(), mysqlx.ChecksumOptions{})
	if !mysqlx.IsMissingPrivilege(err) {
		t.Errorf("ChecksumTables() as the agent = %v, want a missing privilege", err)
	}
}

func testTableChecks(t *testing.T, s *mysqltest.Server) {
	db := s.DB()
	tables, err := db.BaseTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	engines := map[string]string{}
	for _, table := range tables {
		engines[table.String()] = table.Engine
		if table.Engine != "InnoDB" {
			continue
		}
		if problems, err := db.CheckTable(t.Context(), table.TableName); err != nil || len(problems) > 0 {
			t.Errorf("CheckTable(%v) = %q, %v, want nothing", table, problems, err)
		}
	}
	for name, engine := range map[string]string{
		"shop.a": "InnoDB", "shop.notes": "MyISAM", "mysql.user": "InnoDB", "mysql.general_log": "CSV", "sys.sys_config": "InnoDB", "shop.v": "",
	} {
		if engines[name] != engine {
			t.Errorf("BaseTables() has %s with engine %q, want %q", name, engines[name], engine)
		}
	}
	none := mysqlx.TableName{Schema: "shop", Table: "none"}
	if problems, err := db.CheckTable(t.Context(), none); err != nil || len(problems) == 0 {
		t.Errorf("CheckTable(%v) = %q, %v, want a problem", none, problems, err)
	}
	for _, name := range []mysqlx.TableName{none, {Schema: "none", Table: "none"}} {
		if sum, err := db.ChecksumTable(t.Context(), name); !errors.Is(err, mysqlx.ErrNoTable) {
			t.Errorf("ChecksumTable(%v) = %d, %v, want ErrNoTable", name, sum, err)
		}
	}
	indexes, err := db.FullTextIndexes(t.Context())
	if err != nil || len(indexes) != 2 {
		t.Fatalf("FullTextIndexes() = %+v, %v, want two", indexes, err)
	}
	if want := []string{"t", "u`"}; indexes[0].Index != "both_" || !slices.Equal(indexes[0].Columns, want) {
		t.Errorf("FullTextIndexes()[0] = %+v, want columns %q", indexes[0], want)
	}
	for _, index := range indexes {
		if err := db.ReadFullTextIndex(t.Context(), index); err != nil {
			t.Error(err)
		}
	}
}
