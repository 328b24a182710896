package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ordinal/mysqlx"
)

const (
	startBalance = 1000 // of each account
	retryPause   = 100 * time.Millisecond
	callTimeout  = 30 * time.Second // of one transfer
)

// What the server says when the tables are not there. See refman/8.4 error-reference (mysql-errors).
const (
	erBadDB              = 1049 // ER_BAD_DB_ERROR
	erNoSuchTable        = 1146 // ER_NO_SUCH_TABLE
	erNoSuchStoredObject = 1305 // ER_SP_DOES_NOT_EXIST
)

// Options describe a load. Endpoint is needed; the rest has defaults.
type Options struct {
	// Endpoint is the server that takes the writes, with an account that may do everything.
	Endpoint mysqlx.Endpoint
	// Connections is the number of sessions that transfer at the same time. Default: 4. Negative: none.
	Connections int
	// Accounts is the number of accounts. Default: 1000.
	Accounts int
	// Pause is how long each session rests after a transfer. Default: not at all.
	Pause time.Duration
	// DDL adds one more session that changes definitions. It needs the privileges of root.
	DDL bool
	// Seed makes the choices repeatable, as far as parallel sessions can be. 0: any.
	Seed uint64
}

// A Load writes to one server. Its methods may be called concurrently.
type Load struct {
	o       Options
	workers []worker

	definitions, failedDefinitions atomic.Int64

	mu  sync.Mutex
	err error // the latest that a statement met
}

// worker counts what one session was told.
type worker struct {
	acked   atomic.Int64 // transfers that the server has acknowledged
	unknown atomic.Int64 // transfers that it may have committed, or not: the answer got lost
}

// New makes a load that writes nothing yet.
func New(o Options) *Load {
	if o.Connections == 0 {
		o.Connections = 4
	}
	if o.Accounts == 0 {
		o.Accounts = 1000
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	return &Load{o: o, workers: make([]worker, max(o.Connections, 0))}
}

// Stats is what a load has done so far.
type Stats struct {
	Acked             int64 // transfers that the server has acknowledged
	Unknown           int64 // transfers whose answer got lost
	Definitions       int64 // statements that changed definitions
	FailedDefinitions int64
	LastError         error // nil if there was none
}

// Stats returns what has been done so far.
func (l *Load) Stats() Stats {
	s := Stats{Definitions: l.definitions.Load(), FailedDefinitions: l.failedDefinitions.Load()}
	for i := range l.workers {
		s.Acked += l.workers[i].acked.Load()
		s.Unknown += l.workers[i].unknown.Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.LastError = l.err
	return s
}

func (l *Load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Prepare makes the tables with all accounts. It drops what an earlier load has left.
func (l *Load) Prepare(ctx context.Context) error {
	db, err := mysqlx.Open(l.o.Endpoint)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range bankTables {
		if err := db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("prepare load: %w", err)
		}
	}
	for first := 0; first < l.o.Accounts; first += 1000 {
		err := db.Exec(ctx, "INSERT INTO bank.accounts (id, balance) SELECT ? + n, ? FROM "+thousand+" WHERE ? + n < ?",
			first, startBalance, first, l.o.Accounts)
		if err != nil {
			return fmt.Errorf("prepare accounts: %w", err)
		}
	}
	for i := range l.workers {
		if err := db.Exec(ctx, "INSERT INTO bank.counters (worker, committed) VALUES (?, 0)", i); err != nil {
			return fmt.Errorf("prepare counters: %w", err)
		}
	}
	if !l.o.DDL {
		return nil
	}
	for _, statement := range churnSchemas {
		if err := db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("prepare definitions: %w", err)
		}
	}
	return nil
}

var bankTables = []string{
	"DROP DATABASE IF EXISTS bank",
	"CREATE DATABASE bank",
	"CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL)",
	"CREATE TABLE bank.counters (worker INT PRIMARY KEY, committed BIGINT NOT NULL)",
	`CREATE TABLE bank.journal (id BIGINT AUTO_INCREMENT PRIMARY KEY, worker INT NOT NULL, giver INT NOT NULL, taker INT NOT NULL,
		amount INT NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (worker, id))`,
	// A procedure, so that a transfer is one statement: a driver that reconnects between two of them would tear it.
	`CREATE PROCEDURE bank.transfer (w INT, giver INT, taker INT, amount INT)
	BEGIN
		DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
		START TRANSACTION;
		UPDATE bank.accounts SET balance = balance - amount WHERE id = giver;
		UPDATE bank.accounts SET balance = balance + amount WHERE id = taker;
		UPDATE bank.counters SET committed = committed + 1 WHERE worker = w;
		INSERT INTO bank.journal (worker, giver, taker, amount) VALUES (w, giver, taker, amount);
		COMMIT;
	END`,
}

// Run writes until ctx ends, and returns nil then. Servers that are away, read-only or starting are waited for. It returns an error only
// when going on is useless: the tables of Prepare are gone.
func (l *Load) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sessions sync.WaitGroup
	var failed atomic.Pointer[error]
	start := func(session func(context.Context, *mysqlx.DB) error) {
		sessions.Go(func() {
			db, err := mysqlx.Open(l.o.Endpoint)
			if err == nil {
				defer db.Close()
				err = session(ctx, db)
			}
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				cancel(err)
			}
		})
	}
	for i := range l.workers {
		start(func(ctx context.Context, db *mysqlx.DB) error { return l.transfer(ctx, db, i) })
	}
	if l.o.DDL {
		start(l.define)
	}
	sessions.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (l *Load) transfer(ctx context.Context, db *mysqlx.DB, number int) error {
	random := rand.New(rand.NewPCG(l.o.Seed, uint64(number)))
	w := &l.workers[number]
	for ctx.Err() == nil {
		giver, taker, amount := random.IntN(l.o.Accounts), random.IntN(l.o.Accounts), random.IntN(10)
		if giver > taker { // rows are locked in one order, so that there is no deadlock
			giver, taker, amount = taker, giver, -amount
		}
		// Not ended by ctx: a statement that is cut off leaves the server's answer unknown.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		err := db.Exec(call, "CALL bank.transfer(?, ?, ?, ?)", number, giver, taker, amount)
		cancel()
		switch {
		case err == nil:
			w.acked.Add(1)
			if l.o.Pause > 0 {
				rest(ctx, l.o.Pause)
			}
			continue
		case isGone(err):
			return fmt.Errorf("transfer: %w", err)
		case !neverBegan(err):
			w.unknown.Add(1)
		}
		l.note(err)
		rest(ctx, retryPause)
	}
	return nil
}

// neverBegan says that the server did not get or did not take the statement.
func neverBegan(err error) bool {
	return mysqlx.IsConnRefused(err) || mysqlx.IsAccessDenied(err) || mysqlx.IsReadOnly(err) || mysqlx.IsOfflineMode(err)
}

// isGone says that a database, table or procedure does not exist.
func isGone(err error) bool {
	switch mysqlx.ErrorNumber(err) {
	case erBadDB, erNoSuchTable, erNoSuchStoredObject:
		return true
	}
	return false
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// A Snapshot is what the tables say at one point in time.
type Snapshot struct {
	Accounts, Sum, Committed, Journal int64
}

// Check reads one snapshot from a server, the source or a copy of any age, and returns an error that names what does not agree.
func (l *Load) Check(ctx context.Context, db *mysqlx.DB) (Snapshot, error) {
	// One statement is one read view. See refman/8.4 innodb-consistent-read.
	rows, err := db.Query(ctx, `SELECT (SELECT COUNT(*) FROM bank.accounts), (SELECT SUM(balance) FROM bank.accounts),
		(SELECT COALESCE(SUM(committed), 0) FROM bank.counters), (SELECT COUNT(*) FROM bank.journal)`)
	if err != nil {
		return Snapshot{}, err
	}
	var s Snapshot
	for i, target := range []*int64{&s.Accounts, &s.Sum, &s.Committed, &s.Journal} {
		if *target, err = strconv.ParseInt(rows[0][i], 10, 64); err != nil {
			return s, fmt.Errorf("bank: %q is not a number: accounts are missing", rows[0][i])
		}
	}
	var broken []error
	if want := int64(l.o.Accounts); s.Accounts != want {
		broken = append(broken, fmt.Errorf("bank: %d accounts, want %d", s.Accounts, want))
	}
	if want := int64(l.o.Accounts) * startBalance; s.Sum != want {
		broken = append(broken, fmt.Errorf("bank: sum of all balances %d, want %d", s.Sum, want))
	}
	if s.Committed != s.Journal {
		broken = append(broken, fmt.Errorf("bank: %d transfers counted, %d in the journal", s.Committed, s.Journal))
	}
	return s, errors.Join(broken...)
}

// CheckNothingLost compares the counters of a server that has everything with what this load was told: each transfer that was
// acknowledged is there, and none that was not asked for. Call it when Run has returned.
func (l *Load) CheckNothingLost(ctx context.Context, db *mysqlx.DB) error {
	rows, err := db.Query(ctx, "SELECT committed FROM bank.counters ORDER BY worker")
	if err != nil {
		return err
	}
	if len(rows) != len(l.workers) {
		return fmt.Errorf("bank: %d counters, want %d", len(rows), len(l.workers))
	}
	for i, row := range rows {
		committed, err := strconv.ParseInt(row[0], 10, 64)
		if err != nil {
			return err
		}
		low := l.workers[i].acked.Load()
		high := low + l.workers[i].unknown.Load()
		if committed < low || committed > high {
			return fmt.Errorf("bank: session %d has %d transfers, want %d to %d", i, committed, low, high)
		}
	}
	return nil
}
