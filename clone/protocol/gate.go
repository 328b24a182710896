package protocol

import (
	"context"
	"sync"
)

// A gate keeps the connections of a clone in step. The main connection leads: workers
// wait until it has entered a stage, and it waits until every worker has ended one.
type gate struct {
	mu       sync.Mutex
	at       State            // the stage that main has entered
	ended    map[uint32]State // per attached worker, the last stage it ended
	finished bool             // main is complete: nobody attaches any more
	changed  chan struct{}    // closed and replaced at every change
}

func newGate() *gate {
	return &gate{at: StateInit, ended: map[uint32]State{}, changed: make(chan struct{})}
}

// update changes the gate and wakes those who wait.
func (g *gate) update(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait returns when ready, called with the gate locked, says so.
func (g *gate) wait(ctx context.Context, ready func() bool) error {
	for {
		g.mu.Lock()
		ok, changed := ready(), g.changed
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// attach adds a worker; false if it came too late.
func (g *gate) attach(worker uint32) (attached bool) {
	g.update(func() {
		if !g.finished {
			g.ended[worker], attached = StateInit, true
		}
	})
	return attached
}

// leave removes a worker.
func (g *gate) leave(worker uint32) { g.update(func() { delete(g.ended, worker) }) }

// finish ends the time to attach.
func (g *gate) finish() { g.update(func() { g.finished = true }) }

// isFinished reports whether main is complete.
func (g *gate) isFinished() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.finished
}

// enter opens a stage to the workers.
func (g *gate) enter(s State) { g.update(func() { g.at = s }) }

// await waits until main has entered stage s and returns the stage it is in: s or later.
func (g *gate) await(ctx context.Context, s State) (at State, err error) {
	err = g.wait(ctx, func() bool { at = g.at; return at >= s })
	return at, err
}

// end notes that a worker has handed over all its data of stage s.
func (g *gate) end(worker uint32, s State) { g.update(func() { g.ended[worker] = s }) }

// drain waits until every attached worker has ended stage s.
func (g *gate) drain(ctx context.Context, s State) error {
	return g.wait(ctx, func() bool {
		for _, e := range g.ended {
			if e < s {
				return false
			}
		}
		return true
	})
}
