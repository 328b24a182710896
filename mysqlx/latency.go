package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotTimed says that a server does not measure what its commits wait for.
var ErrNotTimed = errors.New("performance_schema does not time the writing of logs: turn its default instruments on, or set no limit on the latency")

// commitQuery reads what commits have waited for since the server started: how often and for how long the binary log and the redo log were forced to
// disk, and whether commits wait for it. That is MISC of the summary: reads and writes are counted apart, and what else there is (opening and closing) is rare.
// The times are picoseconds. See refman/8.4 performance-schema-file-summary-tables.
//
// Statements tell less: a COMMIT's time holds waiting for replicas, and most commits are part of some other statement, of a procedure or of replication.
const commitQuery = `SELECT b.COUNT_MISC, b.SUM_TIMER_MISC, r.COUNT_MISC, r.SUM_TIMER_MISC, s.COUNT_STAR, s.SUM_TIMER_WAIT,
	@@GLOBAL.log_bin * @@GLOBAL.sync_binlog, @@GLOBAL.innodb_flush_log_at_trx_commit = 1,
	(SELECT COUNT(*) FROM performance_schema.setup_instruments WHERE ENABLED = 'YES' AND TIMED = 'YES'
		AND NAME IN (b.EVENT_NAME, r.EVENT_NAME, s.EVENT_NAME)) = 3
	AND (SELECT ENABLED = 'YES' FROM performance_schema.setup_consumers WHERE NAME = 'global_instrumentation')
	FROM performance_schema.file_summary_by_event_name AS b
	JOIN performance_schema.file_summary_by_event_name AS r
	JOIN performance_schema.events_statements_summary_global_by_event_name AS s
	WHERE b.EVENT_NAME = 'wait/io/file/sql/binlog' AND r.EVENT_NAME = 'wait/io/file/innodb/innodb_log_file'
	AND s.EVENT_NAME = 'statement/sql/commit'`

// A CommitTimer measures how long commits take on a server, whoever makes them: clients or, on a replica, replication. It only reads; it causes
// no transaction. It is for one goroutine.
//
// What it measures is the part of a commit that a busy disk makes long: forcing redo log and binary log to disk, once each. Of many commits at a time a single one
// takes up to twice as long, because it waits for the group before its own. Where commits do not wait for the disk
// (sync_binlog = 0, innodb_flush_log_at_trx_commit = 0 or 2) it is the mean time of COMMIT statements.
type CommitTimer struct {
	db   *DB
	last commitCounts // zero: there was no sample yet
}

// CommitTimer returns a new CommitTimer of this server.
func (db *DB) CommitTimer() *CommitTimer { return &CommitTimer{db: db} }

// A total is how often something was done, and for how long.
type total struct{ count, picoseconds uint64 }

// since returns the mean of what happened between two samples; ok is false if nothing did, or if the server began to count anew.
func (t total) since(last total) (mean time.Duration, ok bool) {
	if t.count <= last.count || t.picoseconds < last.picoseconds {
		return 0, false
	}
	return time.Duration((t.picoseconds - last.picoseconds) / (t.count - last.count) / 1000), true
}

type commitCounts struct {
	binlog, redo, statements total
	syncBinlog               uint64 // the binary log is forced to disk every so many groups of commits; 0: never, or there is none
	syncRedo                 bool
}

// CommitLatency returns the mean latency of the commits since the last call; ok is false if there were none, and in the first call. It needs no more than
// SELECT on performance_schema. Errors: ErrNotTimed; why the server could not be asked.
func (c *CommitTimer) CommitLatency(ctx context.Context) (mean time.Duration, ok bool, err error) {
	now, err := c.db.commitCounts(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("measure commit latency: %w", err)
	}
	last := c.last
	c.last = now
	if last == (commitCounts{}) {
		return 0, false, nil
	}
	mean, ok = now.since(last)
	return mean, ok, nil
}

func (c commitCounts) since(last commitCounts) (time.Duration, bool) {
	binlog, commits := c.binlog.since(last.binlog)
	redo, synced := c.redo.since(last.redo)
	if !c.syncRedo {
		redo = 0 // in the background, once a second
	}
	switch {
	case c.syncBinlog > 0:
		return binlog/time.Duration(c.syncBinlog) + redo, commits
	case c.syncRedo:
		return redo, synced
	}
	return c.statements.since(last.statements)
}

func (db *DB) commitCounts(ctx context.Context) (commitCounts, error) {
	rows, err := db.db.QueryContext(ctx, commitQuery)
	if err != nil {
		return commitCounts{}, err
	}
	defer rows.Close()
	var c commitCounts
	var timed bool
	if rows.Next() {
		err = rows.Scan(&c.binlog.count, &c.binlog.picoseconds, &c.redo.count, &c.redo.picoseconds,
			&c.statements.count, &c.statements.picoseconds, &c.syncBinlog, &c.syncRedo, &timed)
	}
	if err = errors.Join(err, rows.Err()); err == nil && !timed {
		err = ErrNotTimed // also where performance_schema is off: then its tables are empty
	}
	return c, err
}
