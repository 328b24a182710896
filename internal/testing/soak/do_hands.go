package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// handsLimit is how long somebody tries by hand what a Pod that is between two lives does not let them do.
const handsLimit = 15 * time.Second

// errant is a transaction that somebody wrote on a replica.
type errant struct {
	pod      int
	database string
}

// exec runs a statement as root, and gives up soon.
func (s *soak) exec(ctx context.Context, ordinal int, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.set.Exec(ctx, ordinal, statement)
}

// disturb stops replication by hand, or points the channel to another Pod.
func (s *soak) disturb(ctx context.Context, f fault) error {
	ctx, cancel := context.WithTimeout(ctx, handsLimit)
	defer cancel()
	stop := []string{"STOP REPLICA", "STOP REPLICA IO_THREAD", "STOP REPLICA SQL_THREAD"}[f.Dice%3]
	err := until(ctx, func() error {
		if f.Kind == stopReplica {
			return s.exec(ctx, f.Pod, stop)
		}
		// Both are needed: the agent may have started it again in between.
		_ = s.exec(ctx, f.Pod, "STOP REPLICA")
		return s.exec(ctx, f.Pod, "CHANGE REPLICATION SOURCE TO SOURCE_HOST='"+s.set.Pod(f.Other).Host+"'")
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errMissed, err)
	}
	return nil
}

// openReplica turns read_only off and sees that it is turned on again by itself.
func (s *soak) openReplica(ctx context.Context, f fault) error {
	s.closed[f.Pod].Lock()
	defer s.closed[f.Pod].Unlock()
	hands, cancel := context.WithTimeout(ctx, handsLimit)
	defer cancel()
	if err := until(hands, func() error { return s.open(hands, f.Pod) }); err != nil {
		return fmt.Errorf("%w: %w", errMissed, err)
	}
	return s.closes(ctx, f.Pod)
}

func (s *soak) open(ctx context.Context, ordinal int) error {
	return errors.Join(s.exec(ctx, ordinal, "SET GLOBAL super_read_only = OFF"), s.exec(ctx, ordinal, "SET GLOBAL read_only = OFF"))
}

// closes waits until a replica is read-only again.
func (s *soak) closes(ctx context.Context, ordinal int) error {
	err := until(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		rows, err := s.set.Query(ctx, ordinal, "SELECT @@GLOBAL.super_read_only")
		if err == nil && rows[0][0] != "1" {
			err = fmt.Errorf("mysql-%d still takes writes", ordinal)
		}
		return err
	})
	if err != nil {
		s.fail("read_only was turned off on mysql-%d and is not on again: %v", ordinal, err)
	}
	return nil
}

// errantWrite writes on a replica as root, who can.
func (s *soak) errantWrite(ctx context.Context, f fault) error {
	s.closed[f.Pod].Lock()
	defer s.closed[f.Pod].Unlock()
	e := errant{pod: f.Pod, database: fmt.Sprintf("errant_%d", f.Dice%1_000_000)}
	err := until(ctx, func() error {
		if err := s.open(ctx, f.Pod); err != nil {
			return err
		}
		err := s.exec(ctx, f.Pod, "CREATE DATABASE "+e.database)
		if mysqlx.ErrorNumber(err) == erDatabaseExists { // the answer to an earlier try was lost
			return nil
		}
		return err
	})
	s.mu.Lock()
	s.errants = append(s.errants, e)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.closes(ctx, f.Pod)
}

const erDatabaseExists = 1007 // ER_DB_CREATE_EXISTS; see refman/8.4 error-reference

// purgeBinlogs lets a replica fall behind, with the agent told to leave it so, and takes the binlogs away that it would need.
func (s *soak) purgeBinlogs(ctx context.Context, f fault) error {
	path := s.set.Pod(f.Pod).Volume
	if err := volume.Hold(path, "soak: purged binlogs"); err != nil {
		return err
	}
	err := until(ctx, func() error { return s.exec(ctx, f.Pod, "STOP REPLICA") })
	if err == nil {
		s.traffic.more(ctx, 50)
		err = s.purge(ctx, f.Pod)
	}
	return errors.Join(err, volume.Release(path))
}

// purge removes all binlogs but the one that is written to: on the source for certain, on the other Pods that answer, but for one.
func (s *soak) purge(ctx context.Context, spared int) error {
	for ordinal := s.set.Replicas() - 1; ordinal > 0; ordinal-- {
		if ordinal != spared {
			_ = s.purgeOne(ctx, ordinal) // it is down: it keeps its own
		}
	}
	return until(ctx, func() error { return s.purgeOne(ctx, 0) })
}

func (s *soak) purgeOne(ctx context.Context, ordinal int) error {
	if err := s.exec(ctx, ordinal, "FLUSH BINARY LOGS"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rows, err := s.set.Query(ctx, ordinal, "SHOW BINARY LOGS")
	if err != nil {
		return err
	}
	return s.set.Exec(ctx, ordinal, "PURGE BINARY LOGS TO '"+rows[len(rows)-1][0]+"'")
}
