package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"ordinal/mysqlx"
)

const (
	lookEvery  = 20 * time.Millisecond
	probeEvery = 700 * time.Millisecond
)

// watch looks at the set all the time: for how long nobody can write, and whether a replica takes a write.
type watch struct {
	soak *soak

	mu       sync.Mutex
	active   []fault
	lastAck  time.Time
	acked    int64
	outage   outage // the one under way
	longest  outage
	outages  int // of a second and more
	sum      time.Duration
	rejected int
	held     time.Duration // passing faults were held back
	settling time.Duration
	stopped  bool
}

// outage is a time in which no transaction was acknowledged although somebody wanted to write.
type outage struct {
	At     time.Duration `json:"at"` // since the beginning
	Length time.Duration `json:"length"`
	During []string      `json:"during"` // faults that went on then
}

func newWatch(s *soak) *watch { return &watch{soak: s} }

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() {
		for rest(ctx, probeEvery/time.Duration(max(w.soak.options.pods-1, 1))) {
			w.probe(ctx)
		}
	})
	all.Go(func() {
		for rest(ctx, summaryEvery) {
			w.soak.out.print(w.soak.summary())
		}
	})
	for rest(ctx, lookEvery) {
		w.look()
		if err := w.soak.traffic.failure(); err != nil && !w.isStopped() {
			w.stop()
			w.soak.giveUp(fmt.Errorf("writing ended: %w", err))
		}
	}
	all.Wait()
}

// look sees whether somebody could write since it looked last.
func (w *watch) look() {
	acked, running, now := w.soak.traffic.acked(), w.soak.traffic.running(), time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || !running || acked != w.acked || w.lastAck.IsZero() {
		w.endOutage()
		w.acked, w.lastAck = acked, now
		return
	}
	w.outage.At, w.outage.Length = w.lastAck.Sub(w.soak.began), now.Sub(w.lastAck)
	w.blame()
}

// blame adds what goes wrong at the moment to the outage under way.
func (w *watch) blame() {
	for _, f := range w.active {
		if what := f.String(); !slices.Contains(w.outage.During, what) {
			w.outage.During = append(w.outage.During, what)
		}
	}
}

func (w *watch) endOutage() {
	if w.outage.Length >= time.Second {
		w.outages++
		w.sum += w.outage.Length
	}
	if w.outage.Length > w.longest.Length {
		w.longest = w.outage
	}
	w.outage = outage{}
}

func (w *watch) beginFault(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active = append(w.active, f)
}

func (w *watch) endFault(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blame() // also one that is over before anybody looks
	if i := slices.Index(w.active, f); i >= 0 {
		w.active = slices.Delete(w.active, i, i+1)
	}
}

// stop ends the looking for outages: nobody writes any more.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endOutage()
	w.stopped = true
}

func (w *watch) isStopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped
}

func (w *watch) calmed(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held += d
}

func (w *watch) settled(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settling = d
}

// probe tries to write to each replica as root, in turn, unless a fault lets it succeed.
func (w *watch) probe(ctx context.Context) {
	ordinal := 1 + int(time.Now().UnixNano()/int64(probeEvery))%(w.soak.options.pods-1)
	if !w.soak.closed[ordinal].TryRLock() {
		return
	}
	defer w.soak.closed[ordinal].RUnlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := w.soak.set.Exec(ctx, ordinal, "CREATE DATABASE IF NOT EXISTS a_replica_took_a_write")
	switch {
	case err == nil:
		w.soak.fail("mysql-%d took a write as a replica", ordinal)
	case mysqlx.IsReadOnly(err):
		w.mu.Lock()
		w.rejected++
		w.mu.Unlock()
	}
}

// summary is how far things are.
func (s *soak) summary() string {
	var states []string
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for ordinal := range s.set.Replicas() {
		state := "no answer"
		if st, err := s.set.Status(ctx, ordinal); err == nil {
			state = strings.ReplaceAll(st.State, "_", " ")
			if !st.Ready {
				state += " (not ready)"
			}
		}
		states = append(states, state)
	}
	made := s.countCopies()
	s.mu.Lock()
	faults := len(s.done)
	s.mu.Unlock()
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	longest := max(s.watch.longest.Length, s.watch.outage.Length)
	return fmt.Sprintf("%7.1f s  ------- %d transactions, %d faults, %d copies made (%d reverse, %d beside live data), longest write outage %.1f s\n%s%s\n",
		time.Since(s.began).Seconds(), s.traffic.acked(), faults, made.Init+made.Reverse+made.Beside, made.Reverse, made.Beside, longest.Seconds(),
		"                   ", strings.Join(states, ", "))
}
