package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/clone/protocol"
	"ordinal/stream"
)

// relay passes the server's snapshot on as a stream, until the end frame or the first error.
func (d *Donor) relay(ctx context.Context, s *session, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()

	out := newRelaySink(s, w)
	if err := out.w.Hello(s.hello); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		return s.clone.Run(gctx, out)
	})
	g.Go(func() error { return out.beat(gctx, over) })
	g.Go(func() error {
		releaseWhenStuck(gctx, over, out, d.cfg.Server.ReleaseCommitOrder)
		return nil
	})
	if err := g.Wait(); err != nil {
		reason := ReasonDonorFailed
		if errors.Is(err, protocol.ErrEncrypted) {
			reason = ReasonUnsupported
		}
		// The recipient may be gone, or the stream broken: then there is nobody to tell.
		_ = out.w.Abort(reason, err.Error())
		return err
	}
	return out.w.End()
}

// relaySink writes what the server sends as frames.
type relaySink struct {
	session *session
	w       *stream.Writer

	pagesAcked  chan struct{} // closed when the server has been told that PAGE_COPY has arrived
	redoEntered chan struct{} // closed when it has gone on to REDO_COPY
}

var _ protocol.Sink = (*relaySink)(nil)

func newRelaySink(s *session, w io.Writer) *relaySink {
	return &relaySink{session: s, w: stream.NewWriter(w), pagesAcked: make(chan struct{}), redoEntered: make(chan struct{})}
}

func (r *relaySink) StageStart(_ context.Context, s protocol.Stage) error {
	if s.State == protocol.StateRedoCopy {
		close(r.redoEntered)
	}
	return r.w.StageStart(stream.StageStart{
		Stage: stream.Stage(s.State), Chunks: s.Chunks, Files: s.Files, Bytes: s.Bytes, DiskBytes: s.DiskBytes,
	})
}

func (r *relaySink) File(_ context.Context, f protocol.FileMeta) error {
	return r.w.File(stream.File{
		Stage: stream.Stage(f.State), Index: f.Index, SpaceID: f.SpaceID, Flags: uint16(f.Flags), FSPFlags: f.FSPFlags,
		BlockSize: f.BlockSize, Size: f.Size, Alloc: f.AllocSize, FirstChunk: f.FirstChunk, LastChunk: f.LastChunk, Name: f.Name,
	})
}

func (r *relaySink) Data(_ context.Context, d protocol.Data, payload []byte) error {
	err := r.w.Data(stream.DataHeader{
		Stage: stream.Stage(d.State), File: d.File, Chunk: d.Chunk, Block: d.Block, Offset: d.Offset, FileSize: d.FileSize,
	}, payload)
	if err == nil {
		r.session.count(len(payload))
	}
	return err
}

// StageEnd waits until the recipient has made the stage durable. Only then does the server hear that it may forget it.
func (r *relaySink) StageEnd(ctx context.Context, s protocol.Stage) error {
	stage := stream.Stage(s.State)
	confirmed := r.session.await(stage)
	if _, err := r.w.StageEnd(stage); err != nil {
		return err
	}
	select {
	case <-confirmed:
		if stage == stream.StagePageCopy {
			close(r.pagesAcked)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the recipient's confirmation of %v: %w", stage, context.Cause(ctx))
	}
}

// beat keeps a stream that has nothing to say from being taken for dead.
func (r *relaySink) beat(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil // whoever ended it has the reason
		case <-tick.C:
			if err := r.w.Heartbeat(); err != nil {
				return err
			}
		}
	}
}

func (s *session) count(n int) {
	s.mu.Lock()
	s.sent += uint64(n)
	s.mu.Unlock()
}

// await prepares for the confirmation of stage, before the recipient can know that it is asked for.
func (s *session) await(stage stream.Stage) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage, s.waiting = stage, make(chan struct{})
	return s.waiting
}

// confirm notes that the recipient holds stage durably. Saying so again is no error: the answer may have been lost.
func (s *session) confirm(stage stream.Stage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case stage == s.stage && s.waiting != nil:
		close(s.waiting)
		s.waiting = nil
		return nil
	case stage != 0 && stage <= s.stage:
		return nil
	}
	return fmt.Errorf("%v is confirmed before it has ended", stage)
}
