package mysqlx

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A TableName names a table as the server spells it.
type TableName struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
}

// String returns the name for people, such as shop.orders.
func (n TableName) String() string { return n.Schema + "." + n.Table }

// Compare orders names by schema and then by table, as bytes.
func (n TableName) Compare(o TableName) int {
	return cmp.Or(strings.Compare(n.Schema, o.Schema), strings.Compare(n.Table, o.Table))
}

func (n TableName) quoted() string { return quoteName(n.Schema) + "." + quoteName(n.Table) }

// quoteName returns s as an identifier. See refman/8.4 identifiers.
func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// A TableChecksum is what a table held at one moment. Times are those of the server's clock, in seconds since 1970.
type TableChecksum struct {
	TableName
	Checksum uint32 `json:"checksum"` // CHECKSUM TABLE
	Rows     uint64 `json:"rows"`     // at the same moment
	Bytes    uint64 `json:"bytes"`    // of rows without secondary indexes, as the server estimates it
	At       int64  `json:"at"`       // the moment
	Created  int64  `json:"created"`  // when the table was made, or made anew by ALTER TABLE
	// Updated is when the last transaction that changed the table was committed, as it was known before the first table was read. 0: not since the server
	// knows the table, which may be less than since it started.
	Updated int64 `json:"updated"`
}

// A SkippedTable is one without a checksum.
type SkippedTable struct {
	TableName
	Bytes  uint64 `json:"bytes"` // as in TableChecksum
	Reason string `json:"reason"`
}

// Why tables are skipped.
const (
	SkippedBudget     = "budget"     // no time was left for a table of that size
	SkippedChanged    = "changed"    // changed, dropped or made since the checksums that they are compared with, or while it was read
	SkippedUnreadable = "unreadable" // the server has an error for it
)

// TableChecksums are the contents of tables, each at a moment of its own. Every table that is looked at is in one of the two lists, by size.
type TableChecksums struct {
	ServerUUID    string          `json:"server_uuid"`
	ServerVersion string          `json:"server_version"`
	Seconds       float64         `json:"seconds"` // that it took
	Tables        []TableChecksum `json:"tables"`
	Skipped       []SkippedTable  `json:"skipped,omitempty"`
}

// ChecksumOptions say which tables are read and for how long.
type ChecksumOptions struct {
	// Budget is how long the server may be busy with it. Tables are read one after the other, the smallest first; those for which no time is left
	// are skipped. 0 means no bound but ctx.
	Budget time.Duration
	// Before, if not nil, limits the work to the tables that have a checksum there and whose times are still the same. The others are skipped as
	// changed. Tables that are skipped there are left out here.
	Before *TableChecksums
}

// checksumTables are the tables that users have made, and those in which the server keeps its accounts. The rest of the schema mysql is the server's own
// book-keeping, which changes all the time.
const checksumTables = `FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE = 'InnoDB'
	AND (TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')
	OR TABLE_SCHEMA = 'mysql' AND TABLE_NAME IN ('user', 'db', 'tables_priv', 'columns_priv', 'procs_priv', 'proxies_priv',
		'global_grants', 'role_edges', 'default_roles', 'password_history'))`

// errBudget ends what takes longer than ChecksumOptions.Budget.
var errBudget = errors.New("the time for checksums is over")

// knownRate is how many bytes have to be read before the rate says how long a table will take.
const knownRate = 4 << 20

// ChecksumTables reads the checksums and numbers of rows of InnoDB tables. It takes no lock that a transaction would wait for: each table is read in a
// snapshot of its own. Only DDL on the very table that is being read waits until that table is done. When ctx ends, or the budget is used up, the server
// is told to stop, within a second or so.
//
// It needs SELECT on all tables, as root has it; the agent's account does not. Without that right it is an error that IsMissingPrivilege knows. See
// refman/8.4 checksum-table.
func (db *DB) ChecksumTables(ctx context.Context, o ChecksumOptions) (TableChecksums, error) {
	began := time.Now()
	limited := ctx
	if o.Budget > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, o.Budget, errBudget)
		defer cancel()
	}
	result, err := db.checksumTables(limited, ctx, o)
	if err != nil {
		return TableChecksums{}, fmt.Errorf("read checksums of tables: %w", err)
	}
	result.Seconds = time.Since(began).Seconds()
	return result, nil
}

// checksumTables skips what limited leaves no time for, and fails when ctx ends.
func (db *DB) checksumTables(limited, ctx context.Context, o ChecksumOptions) (TableChecksums, error) {
	s, err := db.openChecksums(limited)
	if err != nil {
		return TableChecksums{}, err
	}
	defer s.close()
	var result TableChecksums
	tables, err := s.list(limited, &result)
	if err != nil {
		return TableChecksums{}, err
	}
	if o.Before != nil {
		tables, result.Skipped = unchangedSince(*o.Before, tables)
	}
	var read uint64
	var took time.Duration
	for i, t := range tables {
		if read > knownRate && outOfTime(limited, time.Duration(float64(took)*float64(t.Bytes)/float64(read))) {
			result.skip(SkippedBudget, tables[i:]...) // those that follow are not smaller
			break
		}
		start := time.Now()
		err := s.read(limited, &t)
		took += time.Since(start)
		read += t.Bytes
		switch {
		case ctx.Err() != nil:
			return TableChecksums{}, context.Cause(ctx)
		case limited.Err() != nil:
			result.skip(SkippedBudget, tables[i:]...)
			return result, nil
		case err == nil:
			result.Tables = append(result.Tables, t)
		case errors.Is(err, errTableChanged):
			result.skip(SkippedChanged, t)
		case ErrorNumber(err) == 0, IsUnreachable(err), IsMissingPrivilege(err):
			return TableChecksums{}, fmt.Errorf("%v: %w", t.TableName, err)
		default:
			result.skip(SkippedUnreadable, t)
		}
	}
	return result, nil
}

func (r *TableChecksums) skip(reason string, tables ...TableChecksum) {
	for _, t := range tables {
		r.Skipped = append(r.Skipped, SkippedTable{t.TableName, t.Bytes, reason})
	}
}

// outOfTime says whether what takes so long would not be done before ctx ends.
func outOfTime(ctx context.Context, need time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < need
}

// unchangedSince returns the tables that have a checksum in before and the same times, and the others that have one as skipped.
func unchangedSince(before TableChecksums, tables []TableChecksum) (same []TableChecksum, skipped []SkippedTable) {
	now := make(map[TableName]TableChecksum, len(tables))
	for _, t := range tables {
		now[t.TableName] = t
	}
	for _, b := range before.Tables {
		t, found := now[b.TableName]
		if found && t.Created == b.Created && t.Updated == b.Updated {
			same = append(same, t)
			continue
		}
		skipped = append(skipped, SkippedTable{b.TableName, b.Bytes, SkippedChanged})
	}
	slices.SortStableFunc(same, func(a, b TableChecksum) int { return cmp.Compare(a.Bytes, b.Bytes) })
	return same, skipped
}

// What a server says of a table that DDL has changed or taken away.
const (
	erBadDB           = 1049 // ER_BAD_DB_ERROR
	erNoSuchTable     = 1146 // ER_NO_SUCH_TABLE
	erTableDefChanged = 1412 // ER_TABLE_DEF_CHANGED
)

// errTableChanged: the table was dropped, or made anew, while we came to read it.
var errTableChanged = errors.New("the table was changed")

// A checksumSession is one connection that reads checksums.
type checksumSession struct {
	db   *DB
	conn *sql.Conn
	id   string // of the connection on the server
}

// killTimeout is how long the server is given to end a statement of ours before the connection is closed anyway.
const killTimeout = 5 * time.Second

func (db *DB) openChecksums(ctx context.Context) (*checksumSession, error) {
	conn, err := db.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &checksumSession{db: db, conn: conn}
	for _, statement := range []string{
		"SET SESSION information_schema_stats_expiry = 0", // else UPDATE_TIME may be a day old
		"SET SESSION time_zone = '+00:00'",                // its times are converted twice
		"SET SESSION innodb_parallel_read_threads = 1",    // COUNT(*) would take four
		"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
	} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			s.close()
			return nil, err
		}
	}
	if err := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&s.id); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends the connection: its session differs from what the pool's others are.
func (s *checksumSession) close() {
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = s.conn.Close()
}

// list fills in what is known of the server and returns all tables, the smallest first, without checksums.
func (s *checksumSession) list(ctx context.Context, r *TableChecksums) (tables []TableChecksum, err error) {
	err = s.interruptible(ctx, func(ctx context.Context) error {
		if err := s.conn.QueryRowContext(ctx, "SELECT @@GLOBAL.server_uuid, @@GLOBAL.version").Scan(&r.ServerUUID, &r.ServerVersion); err != nil {
			return err
		}
		rows, err := s.conn.QueryContext(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME, COALESCE(DATA_LENGTH, 0),
			COALESCE(UNIX_TIMESTAMP(CREATE_TIME), 0), COALESCE(UNIX_TIMESTAMP(UPDATE_TIME), 0) `+checksumTables)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t TableChecksum
			if err := rows.Scan(&t.Schema, &t.Table, &t.Bytes, &t.Created, &t.Updated); err != nil {
				return err
			}
			tables = append(tables, t)
		}
		slices.SortFunc(tables, func(a, b TableChecksum) int {
			return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), a.Compare(b.TableName))
		})
		return rows.Err()
	})
	return tables, err
}

// read fills in the checksum, the number of rows and the moment of t.
func (s *checksumSession) read(ctx context.Context, t *TableChecksum) error {
	return s.interruptible(ctx, func(ctx context.Context) error {
		// The time comes first: what changes later in this second is not known to be in the snapshot.
		if err := s.conn.QueryRowContext(ctx, "SELECT UNIX_TIMESTAMP()").Scan(&t.At); err != nil {
			return err
		}
		if _, err := s.conn.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"); err != nil {
			return err
		}
		err := s.readSnapshot(ctx, t)
		if _, end := s.conn.ExecContext(ctx, "COMMIT"); err == nil {
			err = end
		}
		if hasNumber(err, erNoSuchTable, erTableDefChanged, erBadDB) {
			return fmt.Errorf("%w: %w", errTableChanged, err)
		}
		return err
	})
}

func (s *checksumSession) readSnapshot(ctx context.Context, t *TableChecksum) error {
	var checksum sql.Null[uint32]
	var name string
	if err := s.conn.QueryRowContext(ctx, "CHECKSUM TABLE "+t.quoted()).Scan(&name, &checksum); err != nil {
		return err
	}
	if !checksum.Valid { // no such table, which is a warning only
		return errTableChanged
	}
	t.Checksum = checksum.V
	return s.conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+t.quoted()).Scan(&t.Rows)
}

// interruptible calls f with a context that outlives ctx for as long as it takes to end the statement on the server. If only the connection were closed,
// the server would go on with it, and notice at the end.
func (s *checksumSession) interruptible(ctx context.Context, f func(ctx context.Context) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		defer cancel()
		killing, done := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer done()
		_, _ = s.db.kill(killing, "CONNECTION", []string{s.id}) // at worst the connection is closed alone
	})
	err := f(inner)
	if !stop() {
		<-ended
		return context.Cause(ctx)
	}
	return err
}
