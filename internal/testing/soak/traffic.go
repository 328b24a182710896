package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

const (
	transferPause   = 20 * time.Millisecond
	definitionPause = 700 * time.Millisecond // between two cycles
)

// traffic is everything that writes to the source: bank transfers, definitions of tables, and rows of a ledger.
type traffic struct {
	set    *localset.Set
	seed   uint64
	bank   *load.Load
	ledger *ledger

	definitions atomic.Int64 // cycles of definitions that went through

	mu     sync.Mutex
	cancel context.CancelFunc // nil: nothing is written
	ended  sync.WaitGroup
	failed error // why writing cannot go on
}

func newTraffic(set *localset.Set, seed uint64) *traffic {
	return &traffic{
		set: set, seed: seed, ledger: &ledger{set: set},
		bank: load.New(load.Options{Endpoint: set.RootEndpoint(0), Connections: 3, Pause: transferPause, Seed: seed}),
	}
}

// prepare makes the tables.
func (t *traffic) prepare(ctx context.Context) error {
	// The load's own definitions know no pause: a set of many Pods on a small machine would only ever be catching up.
	schemas := load.New(load.Options{Endpoint: t.set.RootEndpoint(0), Connections: -1, DDL: true})
	return errors.Join(schemas.Prepare(ctx), t.bank.Prepare(ctx), t.ledger.prepare(ctx))
}

// start begins to write, if nothing is being written.
func (t *traffic) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background()) // ended by stop
	t.cancel = cancel
	for _, write := range []func(context.Context) error{t.bank.Run, t.define, t.ledger.run} {
		t.ended.Go(func() {
			if err := write(ctx); err != nil {
				t.mu.Lock()
				t.failed = errors.Join(t.failed, err)
				t.mu.Unlock()
			}
		})
	}
}

// stop returns when nothing is being written any more.
func (t *traffic) stop() {
	t.mu.Lock()
	cancel := t.cancel
	t.cancel = nil
	t.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	t.ended.Wait()
}

// running returns whether something is being written, or tried to be.
func (t *traffic) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cancel != nil
}

// failure returns why writing ended by itself: nil as long as it goes on.
func (t *traffic) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// acked is how many transactions have been acknowledged so far.
func (t *traffic) acked() int64 { return t.bank.Stats().Acked + t.ledger.acked() }

// more waits until n more transactions have been acknowledged, for some seconds at most.
func (t *traffic) more(ctx context.Context, n int64) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	goal := t.acked() + n
	for t.acked() < goal && rest(ctx, 50*time.Millisecond) {
	}
}

// define changes definitions until ctx ends.
func (t *traffic) define(ctx context.Context) error {
	db, err := mysqlx.Open(t.set.RootEndpoint(0))
	if err != nil {
		return err
	}
	defer db.Close()
	random := rand.New(rand.NewPCG(t.seed, 1<<33))
	names := load.CycleNames()
	for rest(ctx, definitionPause) {
		if load.RunCycle(ctx, db, names[random.IntN(len(names))]) == nil {
			t.definitions.Add(1)
		}
	}
	return nil
}

// judge compares what one Pod has with what was acknowledged.
func (t *traffic) judge(ctx context.Context, ordinal int) error {
	db, err := t.set.DB(ordinal)
	if err != nil {
		return err
	}
	_, err = t.bank.Check(ctx, db)
	err = errors.Join(err, t.bank.CheckNothingLost(ctx, db), t.ledger.check(ctx, db), load.CheckTables(ctx, db))
	if err != nil {
		return fmt.Errorf("mysql-%d: %w", ordinal, err)
	}
	return nil
}
