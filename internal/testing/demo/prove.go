package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"ordinal/internal/progress"
	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// wiped is the Pod that loses its volume; its donor is the one before it.
const wiped = replicas - 1

// demo is one run.
type demo struct {
	options options
	out     *console
	set     *localset.Set
	watcher *watcher
	bank    *load.Load
	proofs  []proof
}

// proof is one line of the table at the end.
type proof struct {
	what, figures string
	took          time.Duration
}

func (d *demo) proved(ctx context.Context, took time.Duration, what, figures string, args ...any) {
	d.watcher.look(ctx) // what was waited for is shown first
	d.proofs = append(d.proofs, proof{what, fmt.Sprintf(figures, args...), took})
	d.out.event("proved", "%s", what)
}

// prove runs everything and returns the first thing that is not as it should be.
func (d *demo) prove(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	rows := new(progress.Progress)
	d.watcher = &watcher{set: d.set, out: d.out, rows: rows}
	d.bank = load.New(load.Options{Endpoint: d.set.RootEndpoint(0), Connections: 2, Pause: 5 * time.Millisecond})

	watching, unwatch := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { d.watcher.run(watching) })
	defer func() {
		unwatch()
		watch.Wait()
		d.out.printf("")
	}()
	for _, step := range []func(context.Context, *progress.Progress) error{d.assemble, d.reject, d.rebuild} {
		if err := step(ctx, rows); err != nil {
			return err
		}
	}
	return nil
}

// assemble proves that Pods become one source and its replicas while rows are written, and that all of them hold the same.
func (d *demo) assemble(ctx context.Context, rows *progress.Progress) error {
	began := time.Now()
	if err := d.set.WaitReady(ctx, 0); err != nil {
		return err
	}
	d.proved(ctx, time.Since(began), "mysql-0 initialised itself and takes writes", "")

	size := int64(d.options.rows) << 20
	rows.Start(size)
	written := make(chan error, 1)
	writing := time.Now()
	go func() {
		var mu sync.Mutex
		last := int64(0)
		written <- load.Fill(ctx, d.set.RootEndpoint(0), size, func(done int64) {
			mu.Lock()
			defer mu.Unlock()
			rows.Add(max(done-last, 0))
			last = max(last, done)
		})
	}()
	stopBank, err := d.transfer(ctx, true)
	if err != nil {
		return err
	}
	ready := d.set.WaitReady(ctx)
	if ready == nil {
		d.proved(ctx, time.Since(began), "mysql-1 and mysql-2 cloned themselves and replicate", "")
	}
	if err := errors.Join(ready, <-written, stopBank()); err != nil {
		return err
	}
	d.proved(ctx, time.Since(writing), "rows were written to the source while replicas cloned", "%s, %s during clones", progress.Bytes(size),
		progress.Bytes(d.watcher.writtenMeanwhile()))
	return d.same(ctx, "replicas hold the source's rows, by CHECKSUM TABLE")
}

// transfer moves money until the function that it returns is called, which says whether that went well.
func (d *demo) transfer(ctx context.Context, prepare bool) (stop func() error, err error) {
	if prepare {
		if err := d.bank.Prepare(ctx); err != nil {
			return nil, err
		}
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.bank.Run(running) }()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

// same proves that all Pods hold the same, and that no transfer was lost or torn. Nothing writes meanwhile.
func (d *demo) same(ctx context.Context, what string) error {
	began := time.Now()
	if err := d.set.WaitConverged(ctx); err != nil {
		return err
	}
	tables, err := d.set.CompareTables(ctx)
	if err != nil {
		return err
	}
	transfers := int64(0)
	for ordinal := range replicas {
		db, err := d.set.DB(ordinal)
		if err != nil {
			return err
		}
		s, err := d.bank.Check(ctx, db)
		if err := errors.Join(err, d.bank.CheckNothingLost(ctx, db)); err != nil {
			return fmt.Errorf("%s: %w", d.set.Pod(ordinal).Name, err)
		}
		transfers = s.Committed
	}
	d.proved(ctx, time.Since(began), what, "%d tables, %d transfers", tables, transfers)
	return nil
}

// reject proves that replicas take no writes, not even root's.
func (d *demo) reject(ctx context.Context, _ *progress.Progress) error {
	began := time.Now()
	answer := ""
	for ordinal := 1; ordinal < replicas; ordinal++ {
		err := d.set.Exec(ctx, ordinal, "INSERT INTO shop.orders (customer, cents, note) VALUES (1, 1, 'a write to a replica')")
		if !mysqlx.IsReadOnly(err) {
			return fmt.Errorf("a write to %s was not rejected as one to a read-only server: %v", d.set.Pod(ordinal).Name, err)
		}
		answer = strings.TrimPrefix(err.Error(), d.set.Pod(ordinal).Name+": ")
	}
	d.out.event(d.set.Pod(wiped).Name, "a write as root: %s", answer)
	code, _, _ := strings.Cut(answer, ":")
	d.proved(ctx, time.Since(began), "replicas reject writes, also root's", "%s", code)
	return nil
}

// rebuild proves that a Pod whose volume is lost comes back by itself, from the Pod before it, while the source is in use.
func (d *demo) rebuild(ctx context.Context, _ *progress.Progress) error {
	name, donor := d.set.Pod(wiped).Name, d.set.Pod(wiped-1).Name
	stopBank, err := d.transfer(ctx, false)
	if err != nil {
		return err
	}
	began := time.Now()
	d.out.event(name, "is deleted with its volume")
	err = d.set.DeleteVolume(ctx, wiped)
	if err == nil {
		err = d.set.WaitReady(ctx, wiped)
	}
	back := time.Since(began)
	if err := errors.Join(err, stopBank()); err != nil {
		return err
	}
	content, err := volume.Inspect(d.set.Pod(wiped).Volume)
	if err != nil {
		return err
	}
	if r := content.Record; r == nil || r.Origin != volume.OriginClone || r.Donor != donor {
		return fmt.Errorf("%s came back by itself, but not as a clone of %s: %+v", name, donor, r)
	}
	figures := "a clone of " + donor
	if c, took := d.watcher.lastClone(wiped); c != nil && took > 0 {
		figures += fmt.Sprintf(", %s in %.1f s", progress.Bytes(c.BytesDone), took.Seconds())
	}
	d.proved(ctx, back, name+", deleted with its volume, came back by itself", "%s", figures)
	return d.same(ctx, "all Pods hold the same rows again, by CHECKSUM TABLE")
}
