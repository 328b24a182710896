package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

const (
	ledgerPause = 10 * time.Millisecond
	ledgerCall  = 3 * time.Second
)

// ledger inserts numbered rows and remembers what it was told about each: where the bank's counters are right in sum, these are right one
// by one. It is impatient, so that it also shows for how long nobody can write.
type ledger struct {
	set *localset.Set

	mu     sync.Mutex
	told   []told // by number
	nAcked int64
}

type told byte

const (
	nothing   told = iota // the answer got lost
	committed             // acknowledged
)

func (l *ledger) prepare(ctx context.Context) error {
	for _, statement := range []string{
		"DROP DATABASE IF EXISTS ledger", "CREATE DATABASE ledger",
		"CREATE TABLE ledger.rows_written (id INT PRIMARY KEY, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))",
	} {
		if err := l.set.Exec(ctx, 0, statement); err != nil {
			return fmt.Errorf("prepare ledger: %w", err)
		}
	}
	return nil
}

// run writes until ctx ends.
func (l *ledger) run(ctx context.Context) error {
	db, err := mysqlx.Open(l.set.RootEndpoint(0))
	if err != nil {
		return err
	}
	defer db.Close()
	for ctx.Err() == nil {
		number := l.next()
		// Not ended by ctx: a statement that is cut off leaves the answer unknown.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerCall)
		err := db.Exec(call, "INSERT INTO ledger.rows_written (id) VALUES (?)", number)
		cancel()
		if err == nil {
			l.ack(number)
		}
		rest(ctx, ledgerPause)
	}
	return nil
}

func (l *ledger) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, nothing)
	return len(l.told) - 1
}

func (l *ledger) ack(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[number] = committed
	l.nAcked++
}

func (l *ledger) acked() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nAcked
}

// check returns which acknowledged rows a server lacks, and which it has that nobody wrote. Call it when run has returned.
func (l *ledger) check(ctx context.Context, db *mysqlx.DB) error {
	rows, err := db.Query(ctx, "SELECT id FROM ledger.rows_written")
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	there := make([]bool, len(l.told))
	for _, row := range rows {
		number, err := strconv.Atoi(row[0])
		if err != nil || number < 0 || number >= len(there) {
			return fmt.Errorf("ledger: nobody wrote row %s", row[0])
		}
		there[number] = true
	}
	var lost []string
	for number, answer := range l.told {
		if answer == committed && !there[number] {
			lost = append(lost, strconv.Itoa(number))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return errors.New("ledger: lost " + strconv.Itoa(len(lost)) + " acknowledged rows: " + strings.Join(lost[:min(len(lost), 20)], " "))
}
