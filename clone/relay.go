package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"ordinal/clone/livefiles"
	"ordinal/clone/protocol"
	"ordinal/stream"
)

// A lane is one stream of an attempt.
type lane struct {
	w *stream.Writer
}

func newLane(w io.Writer) *lane { return &lane{w: stream.NewWriter(w)} }

// beat keeps a stream that has nothing to say from being taken for dead.
func (l *lane) beat(ctx context.Context, every time.Duration, over <-chan struct{}) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil // whoever ended it has the reason
		case <-tick.C:
			if err := l.w.Heartbeat(); err != nil {
				return keep(err)
			}
		}
	}
}

// relaySink writes what the server sends as frames. An error of a stream is no reason for the server to drop the snapshot.
type relaySink struct {
	donor   *Donor
	session *session

	mu      sync.Mutex
	attempt *attempt          // whose lanes it writes to; nil: it waits for one
	changed chan struct{}     // closed and replaced when attempt changes
	holding bool              // the server has next to nothing to send: see hold
	between bool              // PAGE_COPY is over, and the server has not gone on to REDO_COPY
	chunks  uint32            // of FILE_COPY
	sent    map[uint32]uint32 // of those the server has sent: the last block, by chunk
	outlets map[uint32]*outlet

	pagesAcked  chan struct{} // closed when the server has been told that PAGE_COPY has arrived
	redoEntered chan struct{} // closed when it has gone on to REDO_COPY
}

var _ protocol.Sink = (*relaySink)(nil)

func newRelaySink(d *Donor, s *session) *relaySink {
	return &relaySink{
		donor: d, session: s, changed: make(chan struct{}), sent: make(map[uint32]uint32),
		pagesAcked: make(chan struct{}), redoEntered: make(chan struct{}),
	}
}

// attach makes the sink work for a.
func (r *relaySink) attach(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.outlets == nil
	r.set(a)
	r.holding = r.between || a.reads()
	if !first {
		return
	}
	switch p := a.progress; {
	case p.State == protocol.StateRedoCopy:
		close(r.redoEntered)
	case p.State == protocol.StatePageCopy && p.Ended:
		close(r.pagesAcked)
	case p.State == protocol.StateFileCopy:
		r.chunks = p.ChunkCount
	}
}

// detach lets go of a; false if the server is in the middle of something that only a can take.
func (r *relaySink) detach(a *attempt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holding && r.attempt == a {
		r.set(nil)
	}
	return r.attempt != a
}

// set changes the attempt. r.mu is held.
func (r *relaySink) set(a *attempt) {
	r.attempt, r.outlets = a, make(map[uint32]*outlet)
	close(r.changed)
	r.changed = make(chan struct{})
}

// waits reports whether the sink is between two attempts.
func (r *relaySink) waits() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holding && r.attempt == nil
}

// suits reports whether the sink, which waits, can go on with a recipient that holds p: it must not lack what only the server sends.
// files are those that the agent reads itself; nil: none.
func (r *relaySink) suits(p protocol.Progress, files *livefiles.Set) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.holding || r.attempt != nil:
		return false
	case r.between:
		return p.State == protocol.StatePageCopy && p.Ended
	case files == nil || p.State != protocol.StateFileCopy || !p.AllFiles || p.ChunkCount != r.chunks:
		return false
	}
	own := files.Chunks()
	if p.Ended {
		return true
	}
	inPart := make(map[uint32]uint32, len(p.Partial))
	for _, part := range p.Partial {
		inPart[part.Chunk] = part.Blocks
	}
	for chunk, block := range r.sent {
		if part, some := inPart[chunk]; !own.Has(chunk) && (!p.Chunks.Has(chunk) || some && part < block) {
			return false // it was lost on the way, and the server will not send it again
		}
	}
	return true
}

// next waits for an attempt other than old. There is one at hand, but while the sink is holding.
func (r *relaySink) next(ctx context.Context, old *attempt) (*attempt, error) {
	for {
		r.mu.Lock()
		a, changed := r.attempt, r.changed
		r.mu.Unlock()
		if a != nil && a != old {
			return a, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// StageStart passes the start of a stage on.
func (r *relaySink) StageStart(ctx context.Context, s protocol.Stage) error {
	a, err := r.next(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.donor.remember(r.session, a.side.session.Snapshot()); err != nil {
		return keep(err)
	}
	switch s.State {
	case protocol.StateFileCopy:
		r.mu.Lock()
		r.chunks = s.Chunks
		r.mu.Unlock()
		if !r.donor.direct(r.session) {
			r.donor.setCopy(r.session, CopyServer)
		}
	case protocol.StateRedoCopy:
		r.cross(false)
		close(r.redoEntered)
	}
	return kept(a.main().StageStart(stream.StageStart{
		Stage: stream.Stage(s.State), Chunks: s.Chunks, Files: s.Files, Bytes: s.Bytes, DiskBytes: s.DiskBytes,
	}))
}

// File passes the description of a file on.
func (r *relaySink) File(ctx context.Context, f protocol.FileMeta) error {
	a, err := r.next(ctx, nil)
	if err != nil {
		return err
	}
	return kept(a.main().File(stream.File{
		Stage: stream.Stage(f.State), Index: f.Index, SpaceID: f.SpaceID, Flags: uint16(f.Flags), FSPFlags: f.FSPFlags,
		BlockSize: f.BlockSize, Size: f.Size, Alloc: f.AllocSize, FirstChunk: f.FirstChunk, LastChunk: f.LastChunk, Name: f.Name,
	}))
}

// Data passes bytes on: those of FILE_COPY on the lane of their task, all others on the main one.
func (r *relaySink) Data(ctx context.Context, d protocol.Data, payload []byte) error {
	a, err := r.next(ctx, nil)
	if err != nil {
		return err
	}
	return r.outlet(a, d).send(ctx, d, payload)
}

// outlet is that of a task of the server. A task's calls do not overlap.
func (r *relaySink) outlet(a *attempt, d protocol.Data) *outlet {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holding {
		r.sent[d.Chunk] = d.Block
	}
	out := r.outlets[d.Task]
	if out == nil {
		out = r.donor.outlet(r.session, nil)
		r.outlets[d.Task] = out
	}
	out.to = a.joined[0]
	if d.State == protocol.StateFileCopy {
		out.to = a.laneOf(d.Task)
	}
	return out
}

// StageEnd waits until the recipient has made the stage durable. Only then does the server hear that it may forget it.
func (r *relaySink) StageEnd(ctx context.Context, s protocol.Stage) error {
	stage := stream.Stage(s.State)
	a, err := r.next(ctx, nil)
	if err != nil {
		return err
	}
	mayHold := stage == stream.StageFileCopy && a.reads()
	defer r.hold(false)
	for {
		err := r.endFor(ctx, a, stage)
		switch {
		case err == nil:
			r.over(stage)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !mayHold:
			return err
		}
		a.cancel(kept(err))
		if a, err = r.next(ctx, a); err != nil {
			return err
		}
	}
}

// cross notes when the server leaves PAGE_COPY and when it has got to REDO_COPY. That takes it milliseconds, or minutes when a replica
// blocks itself (commitorder.go), and it has nothing to send meanwhile.
func (r *relaySink) cross(begins bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.between, r.holding = begins, begins
}

// hold says whether the run may outlast an attempt that breaks now. It may while the server only waits: in FILE_COPY, of files that the
// agent reads itself, and on its way from PAGE_COPY to REDO_COPY.
func (r *relaySink) hold(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = on || r.between
}

// endFor ends a stage with one attempt. ctx is the run's.
func (r *relaySink) endFor(ctx context.Context, a *attempt, stage stream.Stage) error {
	if stage == stream.StageFileCopy && a.progress.Ended {
		return nil // the confirmation of an earlier attempt was lost
	}
	if stage == stream.StageFileCopy {
		if err := a.endFiles(ctx); err != nil {
			return err
		}
	}
	confirmed := a.await(stage)
	if _, err := a.main().StageEnd(stage); err != nil {
		return keep(err)
	}
	select {
	case <-confirmed:
		return nil
	case <-a.ctx.Done():
		return fmt.Errorf("wait for the recipient's confirmation of %v: %w", stage, context.Cause(a.ctx))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// over notes that the recipient holds a stage.
func (r *relaySink) over(stage stream.Stage) {
	switch stage {
	case stream.StageFileCopy:
		r.session.closeFiles() // what is read from now on would never be corrected
	case stream.StagePageCopy:
		r.cross(true)
		close(r.pagesAcked)
	}
}

// kept is keep for what may be nil.
func kept(err error) error {
	if err == nil || errors.Is(err, protocol.ErrKeep) {
		return err
	}
	return keep(err)
}
