package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// faultLimit ends a fault that cannot be done, because the Pod it is meant for is busy with another one.
const faultLimit = 90 * time.Second

// runLanes lets things go wrong for the minutes asked for. When it returns, all faults are over.
func (s *soak) runLanes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, minutes(s.options.minutes))
	defer cancel()
	var running sync.WaitGroup
	for _, l := range lanes(s.options) {
		running.Go(func() {
			for s.step(ctx, l) {
			}
		})
	}
	running.Wait()
}

// step is a pause and a fault. It returns false when the time is over.
func (s *soak) step(ctx context.Context, l *lane) bool {
	f := l.next()
	if !rest(ctx, f.Rest) {
		return false
	}
	if onSource[f.Kind] {
		s.gentle.Lock() // from before the set is whole until the volume is gone
		defer s.gentle.Unlock()
	}
	if l.name != "grave" {
		s.calm.RLock()
		defer s.calm.RUnlock()
	} else if err := s.waitWhole(ctx); err != nil {
		if ctx.Err() == nil {
			s.giveUp(fmt.Errorf("before %q: %w", f, err))
		}
		return false
	}
	if ctx.Err() != nil {
		return false
	}
	// What has begun is brought to its end, also when the time is over: half a fault is none.
	doing, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.For+faultLimit)
	defer cancel()
	s.befall(doing, f)
	return true
}

// befall does one fault and keeps how it went.
func (s *soak) befall(ctx context.Context, f fault) {
	began := time.Now()
	s.out.line(f.Lane, "%v", f)
	s.watch.beginFault(f)
	err := s.do(ctx, f)
	s.watch.endFault(f)
	h := happened{fault: f, At: began.Sub(s.began), Took: time.Since(began)}
	if err != nil {
		h.Outcome, h.missed = err.Error(), errors.Is(err, errMissed)
		if !h.missed {
			s.out.line(f.Lane, "%s: %v", f.Kind, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, h)
}

// errMissed says that there was nothing to do a fault to: the Pod is between two lives, say. It does not count.
var errMissed = errors.New("nothing to do it to at that moment")

// waitWhole waits until the set has got over the last grave fault, at first with other faults going on, then without.
func (s *soak) waitWhole(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, patience)
	err := s.whole(soon)
	cancel()
	if err == nil || ctx.Err() != nil {
		return err
	}
	s.calm.Lock() // passing faults come to their end, no new one begins
	defer s.calm.Unlock()
	began := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, s.options.converge, fmt.Errorf("not within %v without faults", s.options.converge))
	defer cancel()
	defer time.AfterFunc(autopsyAfter, s.autopsy).Stop()
	if err := s.whole(limited); err != nil {
		return err
	}
	s.out.line("grave", "the set is whole, %.1f s after other faults were held back", time.Since(began).Seconds())
	s.watch.calmed(time.Since(began))
	return nil
}

// patience is how long the set may take to get over a grave fault while others go on.
const patience = 20 * time.Second

// rest returns false if ctx ends before.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}
