package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/internal/progress"
	"ordinal/internal/testing/load"
)

const (
	fillStep    = 1_000_000_000 // bytes after which binary logs are purged
	fillLeast   = 10_000_000
	bytesPerRow = 1.3 // of data files, for each byte of rows: index, fill factor
)

// Options of the donor. What is still to be written would be written, and sent again, while something is measured.
var (
	whileFilling = []string{ // durable at the end is enough
		"SET GLOBAL innodb_flush_log_at_trx_commit = 0", "SET GLOBAL sync_binlog = 0", "SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT",
	}
	whileQuiet = []string{
		"SET GLOBAL innodb_flush_log_at_trx_commit = 1", "SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_max_dirty_pages_pct = 0",
	}
	whileWriting = []string{"SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT"}
)

func (s *site) donorExec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if err := s.set.Exec(ctx, donor, statement); err != nil {
			return err
		}
	}
	return nil
}

// fill adds rows to the donor until its data files have size bytes, and waits until its disk is quiet.
func (s *site) fill(ctx context.Context, size int64) error {
	if err := s.donorExec(ctx, whileFilling...); err != nil {
		return err
	}
	for {
		var err error
		if s.files, err = dataFiles(s.set.Pod(donor)); err != nil {
			return err
		}
		missing := size - s.files.bytes
		if missing <= 0 {
			break
		}
		s.say("%s of data files, %s to come", progress.Bytes(s.files.bytes), progress.Bytes(missing))
		rows := max(fillLeast, min(fillStep, int64(float64(missing)/bytesPerRow)))
		if err := load.Fill(ctx, s.set.RootEndpoint(donor), rows, nil); err != nil {
			return err
		}
		if err := s.purge(ctx); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

// purge removes all binary logs but the one in use: they are as large as the rows, and no recipient needs them after a clone.
func (s *site) purge(ctx context.Context) error {
	return s.donorExec(ctx, "FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
}

// settle gives the donor some time to write its dirty pages. A few it may keep for long.
func (s *site) settle(ctx context.Context) error {
	const most, few = 30 * time.Second, "100"
	if err := s.donorExec(ctx, whileQuiet...); err != nil {
		return err
	}
	deadline := time.Now().Add(most)
	err := s.until(ctx, "the donor to write its pages", func() (bool, error) {
		rows, err := s.set.Query(ctx, donor, `SELECT VARIABLE_VALUE + 0 < `+few+` FROM performance_schema.global_status
			WHERE VARIABLE_NAME = 'Innodb_buffer_pool_pages_dirty'`)
		if err != nil {
			return false, err
		}
		if len(rows) != 1 {
			return false, fmt.Errorf("no Innodb_buffer_pool_pages_dirty in performance_schema.global_status")
		}
		return rows[0][0] == "1" || time.Now().After(deadline), nil
	})
	if err != nil {
		return err
	}
	unix.Sync()
	s.files, err = dataFiles(s.set.Pod(donor))
	return err
}
