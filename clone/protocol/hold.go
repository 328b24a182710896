package protocol

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A hold is the end of a stage at the sink. It outlives the connections: the donor may be told to wait over new ones.
type hold struct {
	done chan struct{} // closed when Sink.StageEnd has returned
	err  error         // what it returned
}

// askSink begins Sink.StageEnd, once per stage.
func (c *clone) askSink(ctx context.Context, calls *sync.WaitGroup, stage Stage) *hold {
	if c.hold != nil {
		return c.hold
	}
	h := &hold{done: make(chan struct{})}
	c.hold = h
	c.enterSink()
	calls.Go(func() {
		defer close(h.done)
		defer c.leaveSink()
		h.err = c.sink.StageEnd(ctx, stage)
	})
	return h
}

// A closing brings a stage to its end while main goes on reading: keep-alives come, and a broken donor is noticed.
type closing struct {
	acking atomic.Bool   // the donor may go on from here
	done   chan struct{} // closed when it is acknowledged, or err says why not
	err    error
}

// endStage takes the donor's END. What follows happens beside lead.
func (l *leg) endStage(ctx context.Context, end context.CancelCauseFunc, m stateMeta) error {
	// Of a stage that the receiver holds the donor may, or may not, say again that it has ended.
	if m.state != l.at.State || l.ended && l.started {
		return l.misplaced("end", m.state)
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	c := &closing{done: make(chan struct{})}
	l.closing = c
	wait := func() error { return nil }
	if !l.ended && l.at.State != StateInit {
		if err := l.gate.drain(ctx, l.at.State); err != nil {
			return err
		}
		h := l.ask(l.at)
		wait = func() error { return l.await(ctx, h) }
		l.next = Progress{State: l.at.State, AllFiles: true, ChunkCount: l.at.Chunks, Chunks: allChunks(l.at.Chunks)}
	}
	l.wg.Go(func() {
		defer close(c.done)
		c.err = wait()
		if c.err == nil {
			c.err = l.confirm(ctx, c, m)
		}
		switch {
		case c.err == nil || ctx.Err() != nil:
		case c.err == errReconnect:
			end(c.err)
			l.hangUp()
		default:
			l.fail(c.err)
		}
	})
	return nil
}

// await returns when the sink has ended the stage, or with errReconnect when the donor must not wait any longer over these connections.
func (l *leg) await(ctx context.Context, h *hold) error {
	renew := time.NewTimer(l.opts.Renew)
	defer renew.Stop()
	select {
	case <-h.done:
		return h.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-renew.C:
		return errReconnect
	}
}

// confirm acknowledges a stage whose END was m.
func (l *leg) confirm(ctx context.Context, c *closing, m stateMeta) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.acking.Store(true)
	m.flags |= stateFlagAck
	// Not on the main connection: the donor may be sending there and would not listen.
	if err := l.acknowledge(ackBlock(0, l.locator, m.encode())); err != nil {
		return err
	}
	return l.aux.completion("ack", nil)
}

// closed waits, before the message m is handled, until the donor has answered the acknowledgement that made it go on.
func (l *leg) closed(ctx context.Context, m any) error {
	if l.closing == nil {
		return nil
	}
	if !l.closing.acking.Load() {
		return protocolError("%T before %v is acknowledged", m, l.at.State)
	}
	select {
	case <-l.closing.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := l.closing.err
	l.closing, l.ended, l.started = nil, true, true
	return err
}
