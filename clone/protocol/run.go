package protocol

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Run receives the snapshot and hands it to sink. It returns after its
// goroutines have ended and all connections are closed: nil if the snapshot is complete;
// else the first error: the sink's as it is, a DonorError, ErrEncrypted, ErrProtocol,
// ErrStalled, or a connection's. When ctx ends it closes everything at once and returns the
// cause of ctx's end.
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
	c := &clone{Session: s, sink: sink, gate: newGate()}
	pending, cancelPending := context.WithCancel(ctx)
	defer cancelPending()

	var all, workers sync.WaitGroup
	for task := uint32(1); task <= uint32(s.opts.Workers); task++ {
		workers.Go(func() {
			if err := c.work(ctx, pending, task); err != nil {
				cancel(err)
			}
		})
	}
	watch, endWatch := context.WithCancel(ctx)
	all.Go(func() {
		if err := s.watchStall(watch); err != nil {
			cancel(err)
		}
	})
	if err := c.lead(ctx); err != nil {
		cancel(err)
	}
	c.gate.finish()
	cancelPending() // those that have not attached are not needed any more
	workers.Wait()
	endWatch()
	all.Wait()

	if !stop() {
		<-stopped
		return context.Cause(ctx)
	}
	s.exit(c.everyone()...)
	s.closeAll()
	return nil
}

// giveUp closes all connections. Unless it was a connection that broke, the
// donor is told first: it would keep the snapshot for a client that comes back.
func (s *Session) giveUp(cause error) {
	if !isConnectionError(cause) {
		s.aux.nc.SetWriteDeadline(time.Now().Add(giveUpTimeout))
		// The answer is not awaited, and a donor that does not listen is not waited for.
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
	if err := s.aux.send(cmdAck, block); err != nil {
		return fmt.Errorf("ack: send to donor: %w", err)
	}
	return nil
}

// giveUpTimeout bounds the writing of a few bytes to a local donor.
const giveUpTimeout = 100 * time.Millisecond

// isConnectionError reports whether err is a broken connection rather than
// something that one side decided.
func isConnectionError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

// watchStall returns ErrStalled when the donor has been silent for too long. Time that the sink takes does
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
	gate   *gate
	files  files
	chunks atomic.Uint32 // of the stage that main is in

	workerMu sync.Mutex
	attached []*conn
}

// everyone returns the connections that take leave at the end.
func (c *clone) everyone() []*conn {
	return append(append([]*conn{c.main}, c.attached...), c.aux)
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
	c.enterSink()
	defer c.leaveSink()
	return c.sink.Data(ctx, d.Data, payload)
}

// lead drives the main connection from EXECUTE to its completion.
func (c *clone) lead(ctx context.Context) error {
	if err := c.main.send(cmdExecute, nil); err != nil {
		return fmt.Errorf("execute: send to donor: %w", err)
	}
	var (
		stage    = Stage{State: StateInit}
		ended    bool   // the stage is acknowledged
		expected uint32 // files to be announced before workers may begin
		waiting  bool   // for them
	)
	begin := func() {
		if waiting {
			waiting = false
			c.gate.enter(stage.State)
		}
	}
	for {
		m, err := c.main.next("execute")
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case taskMeta:
		case stateMeta:
			switch {
			case m.keepAlive():
			case m.start():
				if !ended || m.state != stage.State+1 {
					return protocolError("start of %v in %v", m.state, stage.State)
				}
				stage, ended = m.stage(), false
				if m.state == StateDone {
					continue
				}
				if err := c.startStage(ctx, stage); err != nil {
					return err
				}
				// Workers must know all files before they ask for data.
				waiting, expected = true, stage.Files
				if m.state != StateFileCopy || expected == 0 {
					begin()
				}
			default:
				if ended || m.state != stage.State {
					return protocolError("end of %v in %v", m.state, stage.State)
				}
				begin()
				if err := c.endStage(ctx, stage, m); err != nil {
					return err
				}
				ended = true
			}
		case FileMeta:
			switch {
			case ended && m.State == stage.State+1 && !m.Redo(): // what DDL did
			case !ended && m.State == stage.State:
			default:
				return protocolError("file of %v in %v", m.State, stage.State)
			}
			if err := c.file(ctx, m, ended); err != nil {
				return err
			}
			if waiting {
				if expected--; expected == 0 {
					begin()
				}
			}
		case dataMeta:
			if ended || m.State != stage.State {
				return protocolError("data of %v in %v", m.State, stage.State)
			}
			begin()
			if err := c.data(ctx, c.main, m); err != nil {
				return err
			}
		case complete:
			if stage.State != StateDone {
				return protocolError("completion in %v", stage.State)
			}
			return nil
		default:
			return protocolError("%T in %v", m, stage.State)
		}
	}
}

func (c *clone) startStage(ctx context.Context, stage Stage) error {
	if stage.State == StateFileCopy && stage.Files > maxFiles {
		return protocolError("%d files, at most %d", stage.Files, maxFiles)
	}
	c.chunks.Store(stage.Chunks)
	c.enterSink()
	defer c.leaveSink()
	return c.sink.StageStart(ctx, stage)
}

// endStage waits for the workers and for the sink, then acknowledges.
func (c *clone) endStage(ctx context.Context, stage Stage, end stateMeta) error {
	if stage.State != StateInit {
		if err := c.gate.drain(ctx, stage.State); err != nil {
			return err
		}
		c.enterSink()
		err := c.sink.StageEnd(ctx, stage)
		c.leaveSink()
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	end.flags |= stateFlagAck
	// Not on the main connection: the donor may be sending there and would not listen.
	if err := c.acknowledge(ackBlock(0, c.locator, end.encode())); err != nil {
		return err
	}
	return c.aux.completion("ack", nil)
}

// work drives a worker. It returns nil when the clone ended without needing it.
// pending ends when it is too late to attach.
func (c *clone) work(ctx, pending context.Context, task uint32) error {
	w, err := c.connect(pending)
	if err != nil {
		if c.gate.isFinished() {
			return nil
		}
		return err
	}
	stop := context.AfterFunc(pending, func() { c.disconnect(w.nc) })
	// Answered only once the donor copies files.
	err = w.call("attach", cmdAttach, initBlock(c.params.Negotiated, c.opts.DDLTimeout, c.locator), func(m any) error {
		if _, ok := m.(locators); !ok {
			return protocolError("%T instead of locators", m)
		}
		return nil
	})
	if err != nil {
		c.disconnect(w.nc)
		if c.gate.isFinished() {
			return nil
		}
		return err
	}
	// Before EXECUTE: from then on the donor gives it data that main must wait for.
	if !c.gate.attach(task) {
		c.disconnect(w.nc)
		return nil
	}
	if !stop() {
		c.gate.leave(task)
		return nil
	}
	c.workerMu.Lock()
	c.attached = append(c.attached, w)
	c.workerMu.Unlock()
	if _, err := c.gate.await(ctx, StateFileCopy); err != nil {
		return err
	}
	if err := w.send(cmdExecute, nil); err != nil {
		return fmt.Errorf("execute worker: send to donor: %w", err)
	}
	return c.follow(ctx, w, task)
}

// follow receives what the donor sends to a worker, always behind main.
func (c *clone) follow(ctx context.Context, w *conn, task uint32) error {
	var at State // the stage whose data may be handed over; 0 between stages
	enter := func(s State) error {
		if at == s {
			return nil
		}
		main, err := c.gate.await(ctx, s)
		if err != nil {
			return err
		}
		if main != s {
			return protocolError("worker %d is in %v, main in %v", task, s, main)
		}
		at = s
		return nil
	}
	for {
		m, err := w.next("execute worker")
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case taskMeta:
		case stateMeta:
			switch {
			case m.keepAlive():
			case m.start() && m.state == StateDone:
			case m.start():
				if err := enter(m.state); err != nil {
					return err
				}
			default:
				// May be a stage that main has left already: a worker that attached late got none of its data.
				if _, err := c.gate.await(ctx, m.state); err != nil {
					return err
				}
				at = 0
				c.gate.end(task, m.state)
			}
		case FileMeta:
			if err := enter(m.State); err != nil {
				return err
			}
			if !m.Redo() && !m.Deleted() {
				return protocolError("worker %d announces file %q", task, m.Name)
			}
			if err := c.file(ctx, m, false); err != nil {
				return err
			}
		case dataMeta:
			if err := enter(m.State); err != nil {
				return err
			}
			if err := c.data(ctx, w, m); err != nil {
				return err
			}
		case complete:
			c.gate.end(task, StateDone)
			return nil
		default:
			return protocolError("worker %d: %T", task, m)
		}
	}
}
