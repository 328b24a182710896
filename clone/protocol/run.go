package protocol

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Run receives the snapshot and hands it to sink. It returns after its
// goroutines have ended and all connections are closed: nil if the snapshot is complete;
// else the first error: the sink's as it is, a DonorError, ErrEncrypted, ErrProtocol,
// ErrStalled, ErrSnapshotGone, or a connection's. When ctx ends it closes everything at once and returns the
// cause of ctx's end.
//
// After a broken connection to the donor, or ErrKeep, the snapshot is there to be resumed, in the donor's window; after
// any other error the donor has been told to release it.
func (s *Session) Run(parent context.Context, sink Sink) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s.mu.Lock()
	if s.closed || s.cancel != nil {
		s.mu.Unlock()
		return ErrClosed
	}
	s.cancel = cancel
	s.mu.Unlock()

	// Whatever ends the context first is the error of the session; closing the
	// connections is what makes everybody else return.
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.giveUp(context.Cause(ctx))
	})
	c := newClone(s, sink, cancel)
	var watching sync.WaitGroup
	watch, endWatch := context.WithCancel(ctx)
	watching.Go(func() {
		if err := s.watchStall(watch); err != nil {
			cancel(err)
		}
	})
	last, err := c.run(ctx)
	if err != nil {
		cancel(err)
	}
	endWatch()
	watching.Wait()

	if !stop() {
		<-stopped
		return context.Cause(ctx)
	}
	s.exit(last.everyone()...)
	s.closeAll()
	return nil
}

// giveUp closes all connections. Unless the session is to be resumed, the donor is told first: it would keep the snapshot for
// a client that comes back.
func (s *Session) giveUp(cause error) {
	if !keeps(cause) {
		// The answer is not awaited, and a donor that does not listen is not waited for: neither by this acknowledgement nor by
		// one under way.
		s.auxiliary().nc.SetWriteDeadline(time.Now().Add(giveUpTimeout))
		_ = s.acknowledge(ackBlock(erQueryInterrupted, s.locator, nil))
	}
	s.closeAll()
}

// acknowledge sends an acknowledgement, but none after one that gave the clone up: it would
// make the donor go on.
func (s *Session) acknowledge(block []byte) error {
	s.ackMu.Lock()
	defer s.ackMu.Unlock()
	if s.gaveUp {
		return ErrClosed
	}
	s.gaveUp = binary.LittleEndian.Uint32(block) != 0
	if err := s.auxiliary().send(cmdAck, block); err != nil {
		return &brokenError{"ack: send to donor", err}
	}
	return nil
}

// auxiliary returns the auxiliary connection of now.
func (s *Session) auxiliary() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aux
}

// giveUpTimeout bounds the writing of a few bytes to a local donor.
const giveUpTimeout = 100 * time.Millisecond

// watchStall returns ErrStalled when the donor has been silent for too long. Time that the sink or new connections take does
// not count: nobody may be reading then.
func (s *Session) watchStall(ctx context.Context) error {
	s.seen()
	tick := time.NewTicker(max(s.opts.StallTimeout/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		idle := time.Duration(time.Now().UnixNano() - s.lastSeen.Load())
		if s.inSink.Load() == 0 && idle > s.opts.StallTimeout {
			return fmt.Errorf("%w for %v", ErrStalled, s.opts.StallTimeout)
		}
	}
}

// A clone is the work of Run.
type clone struct {
	*Session
	sink   Sink
	fail   context.CancelCauseFunc // ends the run
	files  files
	chunks atomic.Uint32 // of the stage that main is in
	copied atomic.Uint64 // bytes of FILE_COPY

	// Where main is, and what the next leg is told of it. Of the goroutine that leads.
	at    Stage
	ended bool // its end is acknowledged, or may be at once
	next  Progress
	heard State // the coming stage, if the sink knows already that it has started
	asked bool  // Options.Take was called
	hold  *hold // the stage's end at the sink; nil: it has not come
}

func newClone(s *Session, sink Sink, fail context.CancelCauseFunc) *clone {
	c := &clone{Session: s, sink: sink, fail: fail, at: Stage{State: StateInit}, asked: s.opts.Take == nil}
	if s.resumed {
		c.resume()
	}
	c.chunks.Store(c.at.Chunks)
	return c
}

// resume takes up what the receiver holds.
func (c *clone) resume() {
	c.next = c.progress()
	c.at = Stage{State: max(c.next.State, StateInit), Chunks: c.next.ChunkCount}
	if c.stage.State == c.at.State {
		c.at = c.stage
	}
	if c.held.State > c.at.State {
		c.heard = c.held.State
	}
	// The donor may have been acknowledged or not; the receiver needs no more of INIT than of a stage that it holds.
	c.ended = c.next.Ended || c.at.State == StateInit
	c.files.resume(c.held)
}

// errReconnect ends a leg for the next one to begin.
var errReconnect = errors.New("new connections are due")

// run receives the snapshot over as many sets of connections as it takes, and returns the last one.
func (c *clone) run(ctx context.Context) (*leg, error) {
	var holds sync.WaitGroup
	defer holds.Wait()
	for {
		l := newLeg(c)
		l.ask = func(stage Stage) *hold {
			// Under the context of the run, not of the leg: it goes on over new connections.
			return c.askSink(ctx, &holds, stage)
		}
		err := l.run(ctx)
		if err != errReconnect {
			return l, err
		}
		c.inSink.Add(1)
		err = c.reconnect(ctx, c.next)
		c.leaveSink()
		if err != nil {
			return nil, err
		}
	}
}

// enterSink and leaveSink surround calls of the sink.
func (c *clone) enterSink() { c.inSink.Add(1) }
func (c *clone) leaveSink() { c.seen(); c.inSink.Add(-1) }

// file hands a file to the sink, if it is news.
func (c *clone) file(ctx context.Context, f FileMeta, batch bool) error {
	if f.Flags&(FileEncrypted|FileKeyAppended) != 0 {
		return &EncryptedError{Name: f.Name}
	}
	c.files.mu.Lock() // held during the call: files reach the sink one at a time
	defer c.files.mu.Unlock()
	news, err := c.files.note(f, batch)
	if err != nil || !news {
		return err
	}
	c.enterSink()
	defer c.leaveSink()
	return c.sink.File(ctx, f)
}

// data reads the payload that d announces and hands it to the sink.
func (c *clone) data(ctx context.Context, from *conn, d dataMeta) error {
	payload, err := from.data("receive", int(d.length))
	if err != nil {
		return err
	}
	if d.Block == 0 || d.Chunk == 0 || d.Chunk > c.chunks.Load() {
		return protocolError("block %d of chunk %d, of %d chunks", d.Block, d.Chunk, c.chunks.Load())
	}
	if err := c.files.check(d.Data); err != nil {
		return err
	}
	if d.State == StateFileCopy {
		c.copied.Add(uint64(len(payload)))
	}
	c.enterSink()
	defer c.leaveSink()
	return c.sink.Data(ctx, d.Data, payload)
}
