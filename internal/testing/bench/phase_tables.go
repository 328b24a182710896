package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// tableSessions is how many sessions make tables: more do not make it faster, the dictionary is one.
const tableSessions = 4

// measureTables replaces the rows by many small tables and lets them be cloned in turns.
func (s *site) measureTables(ctx context.Context, f *found) error {
	if err := s.donorExec(ctx, whileFilling...); err != nil {
		return err
	}
	if err := s.donorExec(ctx, "DROP DATABASE IF EXISTS shop", "DROP DATABASE IF EXISTS bank", "CREATE DATABASE tiny"); err != nil {
		return err
	}
	s.say("making %d tables", s.tables)
	begun := time.Now()
	if err := s.createTables(ctx); err != nil {
		return err
	}
	f.Tables = &tables{Count: s.tables, Created: time.Since(begun).Seconds()}
	if err := s.purge(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	var list []contender
	for _, w := range s.ways {
		list = append(list, agentContender(w))
	}
	var err error
	f.Tables.Copies, err = s.inTurns(ctx, append(list, serverContender(nameAutotune, 0)))
	return err
}

// createTables makes the tables by as many statements: partitions would be faster to make, but are one table to the server.
func (s *site) createTables(ctx context.Context) error {
	db, err := s.set.DB(donor)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range tableSessions {
		g.Go(func() error {
			for {
				n := next.Add(1)
				if n > int64(s.tables) {
					return nil
				}
				if err := db.Exec(ctx, fmt.Sprintf("CREATE TABLE tiny.t%05d (id INT PRIMARY KEY, body VARCHAR(100))", n)); err != nil {
					return fmt.Errorf("make small tables: %w", err)
				}
			}
		})
	}
	return g.Wait()
}
