package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"ordinal/internal/arena"
	"ordinal/stream"
)

// An application hands events to an Applier: data to a few of its calls at a time, everything else when none of them is under way.
type application struct {
	m       *Manifest
	to      Applier
	applied Position // what the Applier stood at in the beginning: what comes before is passed over
	begun   bool
	at      Position // after the last event that was read

	memory *arena.Arena
	free   chan []byte // for frames
	lanes  int
}

// A piece is data that is about to be applied.
type piece struct {
	header stream.DataHeader
	data   []byte
	buf    []byte
}

// newApplication returns an application. The caller closes it.
func newApplication(m *Manifest, to Applier, r Reading) (*application, error) {
	n := 2*r.Appliers + 2
	size := frameBytes(m)
	memory, err := arena.New(n * (arena.Align + size))
	if err != nil {
		return nil, err
	}
	a := &application{m: m, to: to, applied: r.Applied, memory: memory, lanes: r.Appliers, free: make(chan []byte, n)}
	for range n {
		// The data begins where a page does, for those who write it past the page cache.
		a.free <- memory.Take(arena.Align + size)[arena.Align-stream.DataOverhead:]
	}
	return a, nil
}

// frameBytes is room for the data of a frame: a server sends 64 pages at a time. Larger frames get memory of their own.
func frameBytes(m *Manifest) int { return max(1<<20, 64*int(m.PageSize)) }

// close gives the memory back. Nothing is being applied any more.
func (a *application) close() { a.memory.Free() }

// apply applies a segment. When it returns, none of its data is being applied any more.
func (a *application) apply(ctx context.Context, index int, raw []byte) error {
	w := newWriters(a)
	err := a.events(ctx, index, raw, w)
	if failed := w.close(); failed != nil {
		err = failed // it made the reader stop
	}
	if err == nil {
		return nil
	}
	if damage := (*DamageError)(nil); errors.As(err, &damage) {
		return err
	}
	return fmt.Errorf("apply segment %d: %w", index, err)
}

// frames is what is wrong with a segment's events.
func (a *application) frames(index int, err error) error {
	return a.m.object(index).damage(ErrFrames, err)
}

// events reads the events of a segment and hands them out.
func (a *application) events(ctx context.Context, index int, raw []byte, w *writers) error {
	buf := <-a.free
	e, err := readSegment(a.m, index, raw, buf)
	a.free <- buf
	if err != nil {
		return a.frames(index, err)
	}
	switch {
	case a.begun && e.at != a.at:
		return a.frames(index, fmt.Errorf("it goes on from %v, the one before has ended in %v", e.at, a.at))
	case !a.begun && e.at.after(a.applied):
		return fmt.Errorf("it goes on from %v, applied was everything up to %v", e.at, a.applied)
	}
	a.begun = true
	for {
		buf := <-a.free
		f, ok, err := e.next(buf)
		a.at = e.at
		if err != nil || !ok {
			a.free <- buf
		}
		switch {
		case err != nil:
			return a.frames(index, err)
		case !ok:
			return nil
		}
		if err := w.hand(ctx, f, buf, e.at); err != nil {
			return err
		}
	}
}

// end makes sure that the backup ends where it should.
func (a *application) end() error {
	if a.at != whole {
		return &DamageError{Backup: a.m.ID, Kind: ErrFrames, Err: fmt.Errorf("it ends in %v", a.at)}
	}
	return nil
}

// writers apply the data of one segment.
type writers struct {
	a     *application
	lanes []chan piece
	group sync.WaitGroup

	mu     sync.Mutex
	idle   sync.Cond // nothing is in flight
	flight int
	err    error // the first
}

func newWriters(a *application) *writers {
	w := &writers{a: a, lanes: make([]chan piece, a.lanes)}
	w.idle.L = &w.mu
	for i := range w.lanes {
		w.lanes[i] = make(chan piece, 1)
		w.group.Go(func() { w.work(w.lanes[i]) })
	}
	return w
}

// work applies pieces until there are no more. After a failure it counts them off.
func (w *writers) work(pieces <-chan piece) {
	for p := range pieces {
		var err error
		if w.failed() == nil {
			err = w.a.to.Data(p.header, p.data)
		}
		w.a.free <- p.buf
		w.mu.Lock()
		if w.err == nil {
			w.err = err
		}
		if w.flight--; w.flight == 0 {
			w.idle.Broadcast()
		}
		w.mu.Unlock()
	}
}

func (w *writers) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// hand hands an event to the Applier, unless that has it already. buf is given back when it has been applied. after is where the events stand after it.
func (w *writers) hand(ctx context.Context, f stream.Frame, buf []byte, after Position) error {
	if err := cmp.Or(context.Cause(ctx), w.failed()); err != nil {
		w.a.free <- buf
		return err
	}
	if w.a.passedOver(f, after) {
		w.a.free <- buf
		return nil
	}
	if f.Kind == stream.KindData {
		w.mu.Lock()
		w.flight++
		w.mu.Unlock()
		// Two versions of a block, of attempts one after the other, are applied in their order.
		lane := (uint(f.Data.File)*31 + uint(f.Data.Chunk)) % uint(len(w.lanes))
		w.lanes[lane] <- piece{header: f.Data.DataHeader, data: f.Data.Bytes, buf: buf}
		return nil
	}
	w.a.free <- buf
	w.mu.Lock()
	for w.flight > 0 {
		w.idle.Wait()
	}
	err := w.err
	w.mu.Unlock()
	if err != nil {
		return err
	}
	switch f.Kind {
	case stream.KindStageStart:
		return w.a.to.StageStart(f.StageStart)
	case stream.KindFile:
		return w.a.to.File(f.File)
	default:
		return w.a.to.StageEnd(f.StageEnd.Stage)
	}
}

// passedOver reports whether the Applier has an event already: it stood beyond it when it was taken up. What it has of a stage that is open
// may come again.
func (a *application) passedOver(f stream.Frame, after Position) bool {
	switch f.Kind {
	case stream.KindStageStart, stream.KindStageEnd:
		return !after.after(a.applied)
	default:
		return after.before(a.applied)
	}
}

// close ends the writers when they are done, and returns the first error.
func (w *writers) close() error {
	for _, lane := range w.lanes {
		close(lane)
	}
	w.group.Wait()
	return w.err
}
