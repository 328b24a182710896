package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/mysqlx"
	"ordinal/stream"
)

// Progress hears how a copy comes along. Methods may be called concurrently.
type Progress interface {
	// Stage begins: total is the donor's estimate in bytes, 0 when it has none.
	Stage(name string, total uint64)
	// Add counts bytes received in the stage.
	Add(n uint64)
}

// Receive fetches the offered copy into root, which is empty but for the marker that keeps servers away, and makes it
// durable. When it returns nil the copy is complete in every respect but the marker. After an error root holds a useless part
// of a copy, and the donor holds nothing for us. ctx's end stops it within a second.
func (o *Offer) Receive(ctx context.Context, root *os.Root, progress Progress) (Summary, error) {
	sum, err := o.receive(ctx, root, progress)
	if err == nil {
		o.client.HTTPClient.CloseIdleConnections()
		return sum, nil
	}
	o.Abandon(ctx)
	var bad *BadPagesError
	switch {
	case errors.As(err, &bad):
		bad.Donor = o.donor.Pod
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		err = &diskFullError{err}
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return Summary{}, fmt.Errorf("clone from %s: %w", o.donor.Pod, err)
}

func (o *Offer) receive(ctx context.Context, root *os.Root, progress Progress) (sum Summary, err error) {
	server, err := mysqlx.ParseVersion(o.Hello.ServerVersion)
	if err != nil {
		return Summary{}, err
	}
	begun := time.Now()
	body, err := o.fetch(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer body.Close() // nothing to learn from it: the end frame says whether the stream was whole

	r := &receiver{
		offer:    o,
		body:     body,
		frames:   stream.NewReader(&stallReader{body: body, limit: o.stall, donor: o.donor.Pod}),
		dir:      NewDirectory(root, server),
		root:     root,
		progress: progress,
		buffers:  make(chan []byte, buffers),
	}
	defer func() { err = errors.Join(err, r.dir.Close()) }()
	if err := r.run(ctx); err != nil {
		return Summary{}, err
	}
	return r.dir.Finish(o.donor.Pod, begun)
}

// buffers bounds the frames in memory, read and not yet written; writers is how many are written at a time.
const (
	buffers = 8
	writers = 3
)

// A receiver applies one stream to a Directory: one goroutine reads and checks frames, a few write.
type receiver struct {
	offer    *Offer
	body     io.Closer
	frames   *stream.Reader
	dir      *Directory
	root     *os.Root
	progress Progress

	buffers  chan []byte // free ones; allocated as needed up to its capacity
	made     int
	inFlight sync.WaitGroup // data handed to the writers and not yet written
}

type piece struct {
	data stream.Data
	buf  []byte
}

// run applies the stream up to its end frame.
func (r *receiver) run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer context.AfterFunc(ctx, func() { _ = r.body.Close() })() // wakes the reader, who then finds ctx ended

	var g sync.WaitGroup
	pieces := make(chan piece)
	for range writers {
		g.Go(func() { r.write(ctx, pieces, fail) })
	}
	err := r.read(ctx, pieces)
	close(pieces)
	g.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// write writes pieces until there are no more. After a failure it goes on to count them off, so that nobody waits for a
// piece that is not going to be written.
func (r *receiver) write(ctx context.Context, pieces <-chan piece, fail context.CancelCauseFunc) {
	for p := range pieces {
		if ctx.Err() == nil {
			if err := r.dir.Data(p.data.DataHeader, p.data.Bytes); err != nil {
				fail(err)
			}
			r.progress.Add(uint64(len(p.data.Bytes)))
		}
		r.buffers <- p.buf
		r.inFlight.Done()
	}
}

// read takes frame after frame. Everything but data is applied here, when no data is being written.
func (r *receiver) read(ctx context.Context, pieces chan<- piece) error {
	for {
		buf := r.buffer()
		frame, err := r.frames.Next(buf)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if frame.Kind == stream.KindData {
			r.inFlight.Add(1)
			select {
			case pieces <- piece{frame.Data, buf}:
			case <-ctx.Done():
				r.inFlight.Done()
				return context.Cause(ctx)
			}
			continue
		}
		r.buffers <- buf
		if frame.Kind == stream.KindEnd {
			return nil // every stage has ended before, and with it all writing
		}
		if err := r.apply(ctx, frame); err != nil {
			return err
		}
	}
}

// apply handles a frame that is not data.
func (r *receiver) apply(ctx context.Context, f stream.Frame) error {
	switch f.Kind {
	case stream.KindStageStart:
		if err := r.room(f.StageStart); err != nil {
			return err
		}
		r.progress.Stage(f.StageStart.Stage.String(), f.StageStart.Bytes)
		return r.dir.StageStart(f.StageStart)
	case stream.KindFile:
		if f.File.Flags&stream.FlagDeleted == 0 {
			r.inFlight.Wait()
		}
		return r.dir.File(f.File)
	case stream.KindStageEnd:
		r.inFlight.Wait()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.dir.StageEnd(f.StageEnd.Stage); err != nil {
			return err
		}
		return r.offer.confirm(ctx, f.StageEnd.Stage)
	}
	return nil // the greeting, which the session's answer brought already; heartbeats
}

// room refuses a copy that will not fit, before its first byte is written.
func (r *receiver) room(s stream.StageStart) error {
	if s.Stage != stream.StageFileCopy {
		return nil
	}
	have, err := freeBytes(r.root)
	if err != nil {
		return err
	}
	if s.DiskBytes > have {
		return &NoSpaceError{Need: s.DiskBytes, Have: have}
	}
	return nil
}

// freeBytes is what an unprivileged process may still write on root's file system.
func freeBytes(root *os.Root) (uint64, error) {
	dir, err := root.Open(".")
	if err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	defer dir.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}

// buffer returns a free buffer, waiting for the writers when all are in use. Only the reader calls it.
func (r *receiver) buffer() []byte {
	select {
	case b := <-r.buffers:
		return b
	default:
	}
	if r.made == cap(r.buffers) {
		return <-r.buffers
	}
	r.made++
	return directBuffer(r.frameSize(), stream.DataOverhead)
}

// frameSize is what a frame of this donor needs: the server sends 64 pages at a time, and never less than 1 MiB.
func (r *receiver) frameSize() int {
	return min(stream.MaxFrame, max(1<<20, 64*int(r.offer.Hello.PageSize))+stream.DataOverhead)
}

// diskFullError is a volume that filled up in mid-copy, in spite of the check before.
type diskFullError struct{ err error }

func (e *diskFullError) Error() string { return fmt.Sprintf("the volume is full: %v", e.err) }
func (e *diskFullError) Unwrap() error { return e.err }
func (e *diskFullError) ExitCode() int { return 75 }
func (e *diskFullError) Hint() string {
	return "enlarge the volume or free space on it; what was copied is removed, and the clone is tried again by itself"
}

// A stallReader closes a body that brings nothing for too long: a silent peer whose kernel still answers would otherwise be
// waited for for ever.
type stallReader struct {
	body  io.ReadCloser
	limit time.Duration
	donor string
}

// Read waits at most the limit for at least one byte.
func (s *stallReader) Read(p []byte) (int, error) {
	watch := time.AfterFunc(s.limit, func() {
		_ = s.body.Close() // makes the read below return; that it was us is told by the timer
	})
	n, err := s.body.Read(p)
	if !watch.Stop() {
		return n, &StalledError{Donor: s.donor, After: s.limit}
	}
	return n, err
}
