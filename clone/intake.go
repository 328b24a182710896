package clone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/clone/protocol"
	"ordinal/internal/background"
	"ordinal/internal/pack"
	"ordinal/stream"
)

// An intake is the recipient's side of one attempt: a reader for each lane, which checks frames, and a few writers for all of them.
type intake struct {
	offer *Offer
	destination
	progress Progress
	number   int

	buffers *buffers
	pieces  chan piece
	flight  flight
	unpack  *pack.Unpacker

	filesKnown chan struct{}  // closed when FILE_COPY is open and each of its files is there to be written
	sides      sync.WaitGroup // lanes beside the main one that have not ended
	written    atomic.Uint64  // bytes
	failed     atomic.Pointer[error]
	begun      bool                     // the donor has granted the attempt
	away       [maxStreams]atomic.Int64 // by lane: since when this side keeps it waiting, in Unix nanoseconds; 0: it does not
}

// writers is how many pieces are written at a time.
const writers = 3

type piece struct {
	data stream.Data
	buf  []byte
}

func newIntake(o *Offer, to destination, progress Progress) *intake {
	return &intake{offer: o, destination: to, progress: progress, pieces: make(chan piece), filesKnown: make(chan struct{})}
}

// run transfers what is not held yet. Errors of this side are *localError; after all others the next attempt may succeed.
func (t *intake) run(ctx context.Context, held protocol.Progress) error {
	granted, err := t.offer.begin(ctx, held)
	if err != nil {
		return err
	}
	t.begun, t.number = true, granted.Attempt
	t.known()
	if t.buffers, err = newBuffers(t.offer.Hello.PageSize, granted.Lanes); err != nil {
		return local(err)
	}
	defer t.buffers.close() // every reader and writer has returned
	t.unpack = pack.NewUnpacker(stream.MaxData, writers)
	defer t.unpack.Close()

	var write, hold sync.WaitGroup
	process := ctx
	g, ctx := errgroup.WithContext(ctx)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	for range writers {
		write.Go(func() {
			background.Goroutine()
			t.write(ctx, func(err error) {
				t.failed.CompareAndSwap(nil, &err)
				fail(err)
			})
		})
	}
	over := make(chan struct{})
	t.sides.Add(granted.Lanes - 1)
	for n := range granted.Lanes {
		g.Go(func() error {
			background.Goroutine()
			if n > 0 {
				return t.side(ctx, n)
			}
			defer close(over)
			return t.main(ctx)
		})
	}
	done := make(chan struct{})
	if t.root != nil {
		g.Go(func() error { return t.save(ctx, over) })
	} else {
		g.Go(func() error { return t.watch(ctx, over) })
		hold.Go(func() { t.hold(process, ctx.Done(), done) })
	}
	err = g.Wait()
	close(t.pieces)
	write.Wait()
	close(done)
	hold.Wait()
	if failed := t.failed.Load(); failed != nil {
		return *failed // it made the readers fail
	}
	return err
}

// lane opens a stream and returns its reader.
func (t *intake) lane(ctx context.Context, n int) (*stream.Reader, io.Closer, error) {
	body, err := t.offer.fetch(ctx, t.number, n)
	if err != nil {
		return nil, nil, err
	}
	return stream.NewReader(&stallReader{body: body, limit: t.offer.stall, donor: t.offer.donor.Pod}), body, nil
}

// main reads lane 0: everything but data is applied here, when no data is being written.
func (t *intake) main(ctx context.Context) error {
	frames, body, err := t.lane(ctx, 0)
	if err != nil {
		return err
	}
	defer body.Close()                                          // nothing to learn from it: the end frame says whether the stream was whole
	defer context.AfterFunc(ctx, func() { _ = body.Close() })() // wakes the reader, who then finds ctx ended
	for {
		frame, err := t.next(ctx, 0, frames)
		switch {
		case err != nil:
			return err
		case frame.Kind == stream.KindData:
		case frame.Kind == stream.KindEnd:
			return nil // every stage has ended before, and with it all writing
		default:
			if err := t.apply(ctx, frame); err != nil {
				return err
			}
		}
	}
}

// side reads another lane: data of FILE_COPY and nothing else.
func (t *intake) side(ctx context.Context, n int) error {
	frames, body, err := t.lane(ctx, n)
	if err != nil {
		return err
	}
	defer body.Close()
	defer context.AfterFunc(ctx, func() { _ = body.Close() })()
	for {
		frame, err := t.next(ctx, n, frames)
		switch {
		case err != nil:
			return err
		case frame.Kind == stream.KindHello && (frame.Hello.Lane != n || frame.Hello.Attempt != t.number):
			return fmt.Errorf("%s sent lane %d of attempt %d instead of %d of %d", t.offer.donor.Pod, frame.Hello.Lane, frame.Hello.Attempt, n, t.number)
		case frame.Kind == stream.KindEnd:
			t.sides.Done()
			return nil
		}
	}
}

// next reads a frame of a lane; data is handed to the writers.
func (t *intake) next(ctx context.Context, lane int, frames *stream.Reader) (stream.Frame, error) {
	buf, err := t.buffers.get(ctx)
	if err != nil {
		return stream.Frame{}, err
	}
	t.reads(lane)
	frame, err := frames.Next(buf)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil || frame.Kind != stream.KindData {
		t.buffers.put(buf)
		return frame, err
	}
	if frame.Data.Stage == stream.StageFileCopy {
		select {
		case <-t.filesKnown:
		case <-ctx.Done():
			return frame, context.Cause(ctx)
		}
	}
	t.leaves(lane)
	t.dir.Expect(frame.Data.DataHeader)
	t.flight.begin()
	select {
	case t.pieces <- piece{frame.Data, buf}:
		return frame, nil
	case <-ctx.Done():
		t.flight.end()
		return frame, context.Cause(ctx)
	}
}

// write writes pieces until there are no more. After a failure it goes on to count them off, so that nobody waits for a
// piece that is not going to be written.
func (t *intake) write(ctx context.Context, fail func(error)) {
	var scratch []byte
	for p := range t.pieces {
		if ctx.Err() == nil {
			if err := t.writePiece(p, &scratch); err != nil {
				fail(err)
			}
		}
		t.buffers.put(p.buf)
		t.flight.end()
	}
}

func (t *intake) writePiece(p piece, scratch *[]byte) error {
	data := p.data.Bytes
	if p.data.Encoding != stream.Plain {
		if *scratch == nil {
			*scratch = t.buffers.scratch()
		}
		var err error
		if data, err = t.unpack.Unpack(*scratch, data, int(p.data.RawLen)); err != nil {
			return err
		}
	}
	if err := t.to.Data(p.data.DataHeader, data); err != nil {
		return local(err)
	}
	t.written.Add(uint64(len(data)))
	t.progress.Add(uint64(len(data)))
	return nil
}

// apply handles a frame that is not data.
func (t *intake) apply(ctx context.Context, f stream.Frame) error {
	if f.Kind != stream.KindStageEnd { // after one the donor waits for the confirmation
		t.leaves(0)
	}
	switch f.Kind {
	case stream.KindStageStart:
		if t.root != nil {
			if err := room(t.root, f.StageStart); err != nil {
				return local(err)
			}
		}
		t.progress.Stage(f.StageStart.Stage.String(), f.StageStart.Bytes)
		if err := t.to.StageStart(f.StageStart); err != nil {
			return local(err)
		}
		t.known()
	case stream.KindFile:
		if f.File.Flags&stream.FlagDeleted == 0 {
			t.flight.wait()
		}
		if err := t.to.File(f.File); err != nil {
			return local(err)
		}
		t.known()
	case stream.KindStageEnd:
		return t.endStage(ctx, f.StageEnd.Stage)
	}
	return nil // the greeting, which the session's answer brought already; heartbeats
}

// known opens FILE_COPY to the lanes once every file has been announced.
func (t *intake) known() {
	if !t.dir.KnowsAllFiles() {
		return
	}
	select {
	case <-t.filesKnown:
	default:
		close(t.filesKnown)
	}
}

// endStage makes a stage durable when all of it has been written, and the fact that it has ended, too; only then it confirms it.
func (t *intake) endStage(ctx context.Context, stage stream.Stage) error {
	if stage == stream.StageFileCopy {
		if err := t.waitForSides(ctx); err != nil {
			return err
		}
	}
	t.flight.wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := t.to.StageEnd(stage); err != nil {
		return local(err)
	}
	return t.offer.confirm(ctx, t.number, stage)
}

// waitForSides waits until every other lane has ended.
func (t *intake) waitForSides(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.sides.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// DefaultSaveEvery is the shortest time between two saves of a copy's progress: what a killed recipient fetches again.
const DefaultSaveEvery = 2 * time.Second

// saveShare bounds what saving may cost: a save that took long is followed by a pause of so many times as long.
const saveShare = 20

// save keeps the progress of the copy on disk, so that a recipient that is killed need not start over.
func (t *intake) save(ctx context.Context, over <-chan struct{}) error {
	timer := time.NewTimer(t.offer.saveEvery)
	defer timer.Stop()
	saved := uint64(0)
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil // whoever ended it has the reason
		case <-timer.C:
		}
		begun := time.Now()
		if now := t.written.Load(); now != saved {
			if err := t.offer.save(ctx, t.dir); err != nil && ctx.Err() == nil {
				return local(err)
			}
			saved = now
		}
		timer.Reset(max(t.offer.saveEvery, saveShare*time.Since(begun)))
	}
}

// isUntrusted reports whether the donor could not prove that it is who it is called: nothing that time would heal.
func isUntrusted(err error) bool {
	var untrusted *tls.CertificateVerificationError
	return errors.As(err, &untrusted)
}
