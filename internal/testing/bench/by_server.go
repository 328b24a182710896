package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"ordinal/internal/testing/localset"
)

// cloneByServer lets the other server clone into an empty directory, with a number of threads, or with as many as it finds best for 0.
// See refman/8.4 clone-plugin-remote.
func (s *site) cloneByServer(ctx context.Context, threads int) (c copied, err error) {
	if err := s.setThreads(ctx, threads); err != nil {
		return c, err
	}
	server, err := mysqldOf(s.set.Pod(donor))
	if err != nil {
		return c, err
	}
	other, err := mysqldOf(s.other.Pod(0))
	if err != nil {
		return c, err
	}
	before, err := usages(server, other)
	if err != nil {
		return c, err
	}
	begun := time.Now()
	if err := s.cloneInstance(ctx); err != nil {
		return c, err
	}
	c.Whole = time.Since(begun).Seconds()
	after, err := usages(server, other)
	if err != nil {
		return c, err
	}
	c.CPU = cpu{Donor: (after[0].cpu - before[0].cpu).Seconds(), Recipient: (after[1].cpu - before[1].cpu).Seconds()}
	c.Copy, c.Received, err = s.cloneProgress(ctx)
	return c, err
}

func (s *site) setThreads(ctx context.Context, threads int) error {
	statements := []string{"SET GLOBAL clone_autotune_concurrency = ON", "SET GLOBAL clone_max_concurrency = DEFAULT"}
	if threads > 0 {
		statements = []string{"SET GLOBAL clone_autotune_concurrency = OFF", fmt.Sprintf("SET GLOBAL clone_max_concurrency = %d", threads)}
	}
	for _, statement := range statements {
		if err := s.other.Exec(ctx, 0, statement); err != nil {
			return err
		}
	}
	return nil
}

// cloneInstance runs the statement. Names and paths are of our own making: nothing to quote.
func (s *site) cloneInstance(ctx context.Context) error {
	return s.other.Exec(ctx, 0, fmt.Sprintf("CLONE INSTANCE FROM 'cloner'@'%s':%d IDENTIFIED BY '%s' DATA DIRECTORY = '%s'",
		s.set.Pod(donor).Host, localset.MySQLPort, clonerPassword, s.byServer()))
}

// cloneProgress returns the seconds from the beginning of FILE COPY to the end of FILE SYNC of the last clone, and bytes received.
func (s *site) cloneProgress(ctx context.Context) (seconds float64, received int64, err error) {
	rows, err := s.other.Query(ctx, 0, `SELECT TIMESTAMPDIFF(MICROSECOND, MIN(BEGIN_TIME), MAX(END_TIME)), CAST(SUM(DATA) AS SIGNED)
		FROM performance_schema.clone_progress WHERE STATE = 'Completed' AND STAGE IN ('FILE COPY', 'PAGE COPY', 'REDO COPY', 'FILE SYNC')`)
	if err != nil {
		return 0, 0, err
	}
	micros, err := strconv.ParseInt(rows[0][0], 10, 64)
	if err == nil {
		received, err = strconv.ParseInt(rows[0][1], 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read performance_schema.clone_progress: %w", err)
	}
	return float64(micros) / 1e6, received, nil
}
