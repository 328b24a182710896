package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/internal/testing/load"
)

// measureWrites counts what a load gets done on the source: alone, and while it is cloned in each way, in turns.
func (s *site) measureWrites(ctx context.Context, f *found) (err error) {
	if err := s.clear(ctx); err != nil {
		return err
	}
	if err := s.donorExec(ctx, whileWriting...); err != nil {
		return err
	}
	writer := load.New(load.Options{Endpoint: s.set.RootEndpoint(donor), Connections: s.connections})
	if err := writer.Prepare(ctx); err != nil {
		return err
	}
	err = underLoad(ctx, writer, func(ctx context.Context) error {
		f.Writes, err = s.writesInTurns(ctx, writer)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.clear(ctx); err != nil {
		return err
	}
	return s.settle(ctx)
}

// underLoad runs do while writer writes. Both have ended when it returns.
func underLoad(ctx context.Context, writer *load.Load, do func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	g.Go(func() error { return writer.Run(ctx) })
	g.Go(func() error {
		defer done()
		return do(ctx)
	})
	return g.Wait()
}

// writesInTurns lets every disturbance come once per round, each time another one first.
func (s *site) writesInTurns(ctx context.Context, writer *load.Load) ([]written, error) {
	latency, err := s.warmUp(ctx, writer)
	if err != nil {
		return nil, err
	}
	list := s.disturbances(latency)
	for round := range s.rounds {
		for turn := range list {
			d := &list[(turn+round)%len(list)]
			run, err := s.disturb(ctx, writer, d)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d.Name, err)
			}
			d.Runs = append(d.Runs, run)
			s.say("round %d of %d, %s: %.0f transactions/s of %.0f for %.1f s", round+1, s.rounds, d.Name, run.During, run.Alone, run.Seconds)
		}
	}
	result := make([]written, len(list))
	for i, d := range list {
		result[i] = d.written
	}
	return result, nil
}

// warmUp lets the load run alone for a while and returns how long commits take then, as the agent measures it.
func (s *site) warmUp(ctx context.Context, writer *load.Load) (latency time.Duration, err error) {
	if _, err := s.count(ctx, writer, nil); err != nil {
		return 0, err
	}
	db, err := s.set.DB(donor)
	if err != nil {
		return 0, err
	}
	timer := db.CommitTimer()
	if _, _, err := timer.CommitLatency(ctx); err != nil {
		return 0, err
	}
	if _, err := s.count(ctx, writer, nil); err != nil {
		return 0, err
	}
	latency, _, err = timer.CommitLatency(ctx)
	return latency, err
}

// disturb counts before, during and after one clone.
func (s *site) disturb(ctx context.Context, writer *load.Load, d *disturbance) (w window, err error) {
	if err := s.clear(ctx); err != nil {
		return w, err
	}
	if err := d.prepare(ctx); err != nil {
		return w, err
	}
	before, err := s.count(ctx, writer, nil)
	if err != nil {
		return w, err
	}
	if w, err = s.count(ctx, writer, d.clone); err != nil {
		return w, err
	}
	if !w.Complete {
		if err := s.displace(ctx); err != nil {
			return w, err
		}
	}
	if err := s.clear(ctx); err != nil {
		return w, err
	}
	after, err := s.count(ctx, writer, nil)
	w.Alone = (before.During + after.During) / 2
	return w, err
}

// displace ends the snapshot that a donor keeps for a recipient that has gone away: a whole other clone takes its place. Who comes next
// shall not have to wait for that. The sidecar is started anew: while it waits for the recipient it may keep the server waiting, too.
func (s *site) displace(ctx context.Context) error {
	if err := s.clear(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	same := s.way
	s.mu.Unlock()
	if err := s.use(ctx, same); err != nil {
		return err
	}
	if err := s.setThreads(ctx, 0); err != nil {
		return err
	}
	return s.until(ctx, "the donor's server to end the interrupted clone", func() (bool, error) {
		err := s.cloneInstance(ctx)
		if isBusyDonor(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// isBusyDonor says that CLONE INSTANCE failed as the donor has another clone: ER_CLONE_DONOR with ER_CLONE_TOO_MANY_CONCURRENT_CLONES inside.
// https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html
func isBusyDonor(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Clone Donor Error: 3634 ")
}

// count counts transactions: during a clone, at most for the longest window, or alone for a while.
func (s *site) count(ctx context.Context, writer *load.Load, clone func(context.Context, func(), <-chan struct{}) error) (w window, err error) {
	began, over := make(chan struct{}), make(chan error, 1)
	full := make(chan struct{})
	length := s.rest
	if clone == nil {
		close(began)
	} else {
		length = s.window
		go func() { over <- clone(ctx, func() { close(began) }, full) }()
	}
	select {
	case <-began:
	case err := <-over:
		return w, errors.Join(errors.New("it did not begin"), err)
	case <-ctx.Done():
		return w, context.Cause(ctx)
	}
	first, start := writer.Stats().Acked, time.Now()
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case err = <-over:
		w.Complete = true
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	w.Seconds = time.Since(start).Seconds()
	w.During = float64(writer.Stats().Acked-first) / w.Seconds
	if clone != nil && !w.Complete {
		close(full)
		err = errors.Join(err, <-over)
	}
	return w, err
}
