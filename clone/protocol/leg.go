package protocol

import (
	"context"
	"sync"
)

// A leg is the part of a run over one set of connections.
type leg struct {
	*clone
	gate *gate
	ask  func(Stage) *hold // has the sink end a stage
	wg   sync.WaitGroup

	workerMu sync.Mutex
	attached []*conn

	// Of the goroutine that leads.
	hire     func() // lets the workers begin; once
	started  bool   // a stage has started
	waiting  bool   // for files to be announced, before workers may begin
	expected uint32 // how many
	metas    []FileMeta
	closing  *closing // the end of the stage; nil: it has not come, or is over
}

func newLeg(c *clone) *leg {
	l := &leg{clone: c, gate: newGate()}
	switch {
	case c.at.State == StateFileCopy && !c.ended && !c.next.AllFiles:
		// They are announced again, without a second START.
		l.waiting, l.expected = true, c.at.Files
	case c.at.State >= StateFileCopy:
		l.gate.enter(c.at.State)
	}
	return l
}

// run returns when the leg's goroutines have ended: with nil if the clone is complete, with errReconnect if it goes on over new
// connections.
func (l *leg) run(parent context.Context) error {
	ctx, end := context.WithCancelCause(parent)
	defer end(nil)
	pending, cancelPending := context.WithCancel(ctx)
	defer cancelPending()
	l.hire = sync.OnceFunc(func() { l.wg.Go(func() { l.employ(ctx, pending) }) })
	if l.asked || l.at.State > StateFileCopy || l.ended && l.at.State == StateFileCopy {
		l.hire()
	}
	err := l.lead(ctx, end)
	switch err {
	case nil:
	case errReconnect:
		end(err)
		l.hangUp()
	default:
		l.fail(err) // closes all connections
	}
	l.gate.finish()
	cancelPending() // those that have not attached are not needed any more
	l.wg.Wait()
	return err
}

// everyone returns the connections that take leave at the end.
func (l *leg) everyone() []*conn {
	return append(append([]*conn{l.main}, l.attached...), l.aux)
}
