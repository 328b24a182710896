package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A BinlogFile is one binlog of a server.
type BinlogFile struct {
	Name string // such as binlog.000042
	Size int64  // bytes
}

// BinlogFiles returns the server's binlogs, oldest first. The last one is being written. See refman/8.4 show-binary-logs.
func (db *DB) BinlogFiles(ctx context.Context) ([]BinlogFile, error) {
	rows, err := db.Query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, fmt.Errorf("list binlogs: %w", err)
	}
	files := make([]BinlogFile, len(rows))
	for i, row := range rows {
		if len(row) < 2 {
			return nil, errors.New("list binlogs: fewer than two columns")
		}
		files[i].Name = row[0]
		if files[i].Size, err = strconv.ParseInt(row[1], 10, 64); err != nil {
			return nil, fmt.Errorf("list binlogs: size of %s: %w", row[0], err)
		}
	}
	return files, nil
}

// GTIDsBefore returns the transactions that come before a binlog, as its beginning says: all that the server had executed when it began to write it.
// It never changes. It needs REPLICATION SLAVE. The error is one of the server if there is no such file.
func (db *DB) GTIDsBefore(ctx context.Context, name string) (GTIDSet, error) {
	// The first event is the format description, the second the previous GTIDs.
	rows, err := db.Query(ctx, "SHOW BINLOG EVENTS IN "+quoteString(name)+" LIMIT 2")
	if err != nil {
		return GTIDSet{}, fmt.Errorf("read the beginning of %s: %w", name, err)
	}
	if len(rows) < 2 || len(rows[1]) < 6 || rows[1][2] != "Previous_gtids" {
		return GTIDSet{}, fmt.Errorf("read the beginning of %s: it does not say which transactions come before", name)
	}
	set, err := ParseGTIDSet(rows[1][5])
	if err != nil {
		return GTIDSet{}, fmt.Errorf("read the beginning of %s: %w", name, err)
	}
	return set, nil
}

// ErrNoAutoPurge says that a server cannot be kept from purging binlogs: it is older than 8.0.29.
var ErrNoAutoPurge = errors.New("the server has no binlog_expire_logs_auto_purge (before 8.0.29)")

// A Purging says how a server purges binlogs by itself.
type Purging struct {
	On    bool
	Held  bool          // SetAutoPurge has turned it off
	After time.Duration // the age at which a binlog goes; 0: never
}

// AutoPurge says whether the server purges binlogs by itself. ErrNoAutoPurge if it cannot be told not to. See refman/8.4
// replication-options-binary-log (binlog_expire_logs_auto_purge).
func (db *DB) AutoPurge(ctx context.Context) (p Purging, err error) {
	var seconds int64
	err = db.db.QueryRowContext(ctx, `SELECT @@GLOBAL.binlog_expire_logs_auto_purge, @@GLOBAL.binlog_expire_logs_seconds,
		(SELECT COUNT(*) FROM performance_schema.persisted_variables WHERE VARIABLE_NAME = 'binlog_expire_logs_auto_purge')`).Scan(&p.On, &seconds, &p.Held)
	if hasNumber(err, erUnknownSystemVariable) {
		err = ErrNoAutoPurge
	}
	if err != nil {
		return p, fmt.Errorf("read whether binlogs are purged: %w", err)
	}
	p.Held = p.Held && !p.On
	p.After = time.Duration(seconds) * time.Second
	return p, nil
}

// SetAutoPurge lets the server purge binlogs by itself, or keeps it from that. Off outlives a restart: the server purges while it starts, before
// anybody could tell it. On leaves it to the option files again after the next one. Errors: ErrNoAutoPurge, and the server's.
func (db *DB) SetAutoPurge(ctx context.Context, on bool) error {
	statements := []string{"SET PERSIST binlog_expire_logs_auto_purge = OFF"}
	if on {
		statements = []string{"SET GLOBAL binlog_expire_logs_auto_purge = ON", "RESET PERSIST IF EXISTS binlog_expire_logs_auto_purge"}
	}
	for _, statement := range statements {
		if err := db.Exec(ctx, statement); err != nil {
			if hasNumber(err, erUnknownSystemVariable) {
				err = ErrNoAutoPurge
			}
			return fmt.Errorf("set whether binlogs are purged to %t: %w", on, err)
		}
	}
	return nil
}

// A BinlogState is what a server has executed at one moment.
type BinlogState struct {
	At         time.Time // by the server's clock, UTC
	Seen       time.Time // the same moment by this process's clock, or earlier
	ServerUUID string
	Version    string
	Executed   GTIDSet
	Purged     GTIDSet // of Executed, what is in no binlog any more
	Writable   bool    // neither read_only nor super_read_only: nobody else's transactions will arrive
}

// BinlogState asks for all of it in one statement. What a client was told to be committed before is in Executed.
func (db *DB) BinlogState(ctx context.Context) (BinlogState, error) {
	s := BinlogState{Seen: time.Now()}
	var micros int64
	var executed, purged string
	err := db.db.QueryRowContext(ctx, `SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED), @@GLOBAL.server_uuid, @@GLOBAL.version, @@GLOBAL.gtid_executed,
		@@GLOBAL.gtid_purged, NOT (@@GLOBAL.read_only OR @@GLOBAL.super_read_only)`).Scan(&micros, &s.ServerUUID, &s.Version, &executed, &purged, &s.Writable)
	if err != nil {
		return s, fmt.Errorf("read gtid_executed: %w", err)
	}
	s.At = time.UnixMicro(micros).UTC()
	if s.Executed, err = ParseGTIDSet(executed); err != nil {
		return s, fmt.Errorf("read gtid_executed: %w", err)
	}
	if s.Purged, err = ParseGTIDSet(purged); err != nil {
		return s, fmt.Errorf("read gtid_purged: %w", err)
	}
	return s, nil
}
