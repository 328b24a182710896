package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/clone/livefiles"
	"ordinal/clone/protocol"
	"ordinal/stream"
)

// An attempt transfers a session's snapshot over one or more streams, its lanes, until it is whole or something breaks. Lane 0 carries the
// order of events; the others share the data of FILE_COPY.
//
// Where the agent reads the data files itself, each lane has a producer that takes pieces from one common list. Else the server's tasks
// are spread over the lanes.
type attempt struct {
	number   int
	lanes    int
	progress protocol.Progress // what the recipient held at its beginning
	side     *serverSide
	ctx      context.Context // ends with the attempt
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed when nothing of it runs any more
	whole    bool          // everything was sent, up to the end frame

	decided  sync.Once
	ready    chan struct{}   // closed when it is decided whether files are read directly
	work     *livefiles.Work // what is; nil: nothing
	produced chan struct{}   // closed when there is nothing left to hand out
	filesEnd chan struct{}   // closed when all data of FILE_COPY has been written to its lane

	mu        sync.Mutex
	fetched   []bool  // by lane
	joined    []*lane // by lane; nil: not yet
	closing   bool    // no producer may begin any more
	spoilt    error   // the first one of a producer; nil: none has failed
	producers sync.WaitGroup
	waiting   chan struct{} // closed by confirm; nil while nothing waits
	stage     stream.Stage  // whose confirmation is or was waited for last
}

// keep marks an error after which the server is to hold the snapshot: the recipient may come back.
func keep(err error) error { return fmt.Errorf("%w: %w", protocol.ErrKeep, err) }

// startAttempt ends the attempt under way, if any, and begins the next one from what the recipient holds.
func (d *Donor) startAttempt(ctx context.Context, s *session, progress protocol.Progress) (*attempt, error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	if old := s.attempt; old != nil {
		old.cancel(keep(errNewAttempt))
		<-old.done
	}
	if errors.Is(context.Cause(s.ctx), protocol.ErrKeep) {
		return nil, fmt.Errorf("go on with the clone: %w", errShutdown) // the next process of this pod has the session
	}
	s.wake()
	side, err := d.serverSide(ctx, s, progress)
	if err != nil {
		if errors.Is(err, protocol.ErrSnapshotGone) || s.ctx.Err() != nil {
			d.release(s, err)
			return nil, &RefusedError{Donor: d.cfg.Pod, Code: ReasonSnapshotGone, Message: "its server no longer has the snapshot"}
		}
		s.rest(d.lease(), func() { d.expire(s, errLeaseOver) })
		return nil, fmt.Errorf("go on with the clone: %w", err)
	}
	a := &attempt{
		lanes: d.lanesFor(s, progress), progress: progress, side: side, done: make(chan struct{}),
		ready: make(chan struct{}), produced: make(chan struct{}), filesEnd: make(chan struct{}),
	}
	a.fetched, a.joined = make([]bool, a.lanes), make([]*lane, a.lanes)
	a.ctx, a.cancel = context.WithCancelCause(s.ctx)
	s.mu.Lock()
	s.attempts++
	a.number = s.attempts
	s.attempt = a
	if s.gone {
		a.cancel(context.Cause(s.ctx)) // ended by the line below
	}
	files := s.files
	s.mu.Unlock()
	switch {
	case files != nil && progress.AllFiles && !beyondFiles(progress):
		a.decide(files.Lacking(progress))
	case beyondFiles(progress) || !d.direct(s):
		a.decide(nil)
	} // else the server is going to name all files, and take decides
	unfetched := time.AfterFunc(d.cfg.FetchWithin, func() {
		if !a.isFetched() {
			a.cancel(keep(errNotFetched))
		}
	})
	context.AfterFunc(a.ctx, func() {
		unfetched.Stop()
		if !a.fetch(0) {
			return
		}
		cause := context.Cause(a.ctx) // nobody fetched it, and nobody will
		if !side.sink.waits() {
			side.end(cause)
		}
		d.endAttempt(s, a, cause)
	})
	if a.number > 1 {
		d.event(s, "resumed", nil)
	}
	return a, nil
}

// beyondFiles reports whether FILE_COPY is over.
func beyondFiles(p protocol.Progress) bool {
	return p.State > protocol.StateFileCopy || p.State == protocol.StateFileCopy && p.Ended
}

// decide says, once, what is read directly: nil for nothing.
func (a *attempt) decide(work *livefiles.Work) {
	a.decided.Do(func() {
		a.work = work
		close(a.ready)
	})
}

// serverSide returns what an attempt is to work with: the run that waits, if it can go on with this recipient, else a new one.
func (d *Donor) serverSide(ctx context.Context, s *session, held protocol.Progress) (*serverSide, error) {
	s.mu.Lock()
	side, fallback := s.side, s.fallback
	s.mu.Unlock()
	if fallback {
		s.closeFiles() // nobody reads them any more
	}
	s.mu.Lock()
	files := s.files
	s.mu.Unlock()
	if side != nil {
		if !side.over() && side.sink.suits(held, files) {
			return side, nil
		}
		side.end(keep(errNewAttempt))
	}
	server, err := d.resumeServer(ctx, s, held)
	if err != nil {
		if held.State == protocol.StatePageCopy && held.Ended {
			// An earlier process of this pod may have left its server stuck there: see releaseWhenStuck. The recipient asks again.
			_, _ = d.cfg.Server.ReleaseCommitOrder(ctx)
		}
		return nil, err
	}
	side = newServerSide(d, s, server)
	s.mu.Lock()
	s.side = side
	s.mu.Unlock()
	return side, nil
}

// resumeServer returns the server's half of an attempt, ready to run.
func (d *Donor) resumeServer(ctx context.Context, s *session, told protocol.Progress) (*protocol.Session, error) {
	s.mu.Lock()
	fresh, files, snapshot := s.fresh, s.files, s.snapshot
	s.fresh = nil
	s.mu.Unlock()
	if fresh != nil {
		if told.State == 0 {
			return fresh, nil
		}
		fresh.Keep()
	}
	if told.State == protocol.StateFileCopy && !told.Ended {
		switch {
		case files != nil && told.AllFiles:
			told = leaveOut(told, files.Chunks())
		case d.direct(s):
			// This process has not opened the files yet: the server has to name them all again.
			told.AllFiles = false
		}
	}
	return protocol.Resume(ctx, d.cfg.Dial, d.options(s), snapshot, told)
}

// leaveOut adds the chunks that the server need not send to those the recipient holds. It takes chunks over.
func leaveOut(p protocol.Progress, chunks protocol.ChunkSet) protocol.Progress {
	var rest []protocol.Partial
	for _, partial := range p.Partial {
		if !chunks.Has(partial.Chunk) {
			rest = append(rest, partial)
		}
	}
	p.Partial = rest
	chunks.Union(p.Chunks)
	p.Chunks = chunks
	return p
}

// options are those of the server's side.
func (d *Donor) options(s *session) protocol.Options {
	o := protocol.Options{Workers: d.cfg.Workers, Adapt: true}
	if s.wants.Workers != 0 {
		o.Workers = min(max(s.wants.Workers, 0), d.cfg.Workers)
	}
	if d.direct(s) {
		o.Take = func(ctx context.Context, _ protocol.Stage, files []protocol.FileMeta) (protocol.ChunkSet, error) {
			return d.take(ctx, s, files), nil
		}
	}
	return o
}

// lanesFor is how many streams an attempt has. Only FILE_COPY has any use for more than one.
func (d *Donor) lanesFor(s *session, p protocol.Progress) int {
	if beyondFiles(p) {
		return 1
	}
	n := s.wants.Streams
	if most := d.cfg.Streams; n == 0 || most != 0 && n > most {
		n = most
	}
	if n == 0 {
		// A stream is a chain of steps that wait for each other: on two cores, with both ends on them, two streams were 1.25 × as fast
		// as one, and three no faster than one. Not measured beyond four.
		n = min(runtime.GOMAXPROCS(0)/2+1, 4)
	}
	return min(n, maxStreams)
}

// fetch claims a lane; false if somebody has.
func (a *attempt) fetch(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n < 0 || n >= len(a.fetched) || a.fetched[n] {
		return false
	}
	a.fetched[n] = true
	return true
}

// isFetched reports whether somebody has claimed the main lane.
func (a *attempt) isFetched() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fetched[0]
}

// endAttempt closes the books on an attempt that has been fetched or never will be.
func (d *Donor) endAttempt(s *session, a *attempt, err error) {
	a.cancel(err)
	a.whole = err == nil
	close(a.done)
	if a.confirmed(stream.StageRedoCopy) {
		err = nil // the recipient has everything: what broke is only the farewell
	}
	switch {
	case err == nil:
		d.release(s, nil)
		d.event(s, "ended", nil)
	case errors.Is(err, protocol.ErrKeep) || isBroken(err):
		s.rest(d.lease(), func() { d.expire(s, errLeaseOver) })
		d.event(s, "interrupted", err)
	default:
		d.release(s, err)
		d.event(s, "failed", err)
	}
}

// isBroken reports whether it was the connection to the donor's own server that ended. Whether the snapshot is gone with it shows
// when somebody asks for it.
func isBroken(err error) bool {
	var donor *protocol.DonorError
	return !errors.As(err, &donor) && protocol.IsBroken(err)
}

// run is lane 0: it lives as long as the attempt. w is its stream's writer.
func (d *Donor) run(s *session, a *attempt, w io.Writer) error {
	main := newLane(w)
	hello := s.hello
	hello.Attempt, hello.Lanes = a.number, a.lanes
	hello.Resumes, hello.ResumesEnded = stream.Stage(a.progress.State), a.progress.Ended
	if hello.Resumes < stream.StageFileCopy {
		hello.Resumes, hello.ResumesEnded = 0, false
	}
	if err := main.w.Hello(hello); err != nil {
		return keep(err)
	}
	a.join(0, main)
	g, ctx := errgroup.WithContext(a.ctx)
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		return a.side.serve(ctx, a)
	})
	g.Go(func() error { return main.beat(ctx, d.cfg.Heartbeat, over) })
	g.Go(func() error {
		defer close(a.produced)
		return d.produce(ctx, s, a, 0, over)
	})
	g.Go(func() error { return d.shed(ctx, s, over) })
	if err := g.Wait(); err != nil {
		if cause := context.Cause(a.ctx); cause != nil {
			err = cause // what ended it, not who noticed
		}
		reason := ReasonDonorFailed
		if errors.Is(err, protocol.ErrEncrypted) {
			reason = ReasonUnsupported
		}
		// The recipient may be gone, or the stream broken: then there is nobody to tell.
		_ = main.w.Abort(reason, err.Error())
		return err
	}
	if err := main.w.End(); err != nil {
		return keep(err)
	}
	return nil
}

// runLane is a lane beside the main one. It lives as long as there is data of FILE_COPY.
func (d *Donor) runLane(ctx context.Context, s *session, a *attempt, n int, w io.Writer) error {
	side := newLane(w)
	hello := stream.Hello{SessionID: s.id, DonorPod: d.cfg.Pod, PageSize: s.hello.PageSize, Attempt: a.number, Lane: n, Lanes: a.lanes}
	if err := side.w.Hello(hello); err != nil {
		return keep(err)
	}
	a.join(n, side)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return side.beat(ctx, d.cfg.Heartbeat, a.filesEnd) })
	g.Go(func() error { return d.produce(ctx, s, a, n, a.filesEnd) })
	g.Go(func() error {
		select {
		case <-a.filesEnd:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := side.w.End(); err != nil {
		return keep(err)
	}
	return nil
}

// main is the stream that carries the order of events.
func (a *attempt) main() *stream.Writer { return a.joined[0].w }

func (a *attempt) join(n int, l *lane) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.joined[n] = l
}

// laneOf is where a task of the server sends its data.
func (a *attempt) laneOf(task uint32) *lane {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.joined[int(task)%a.lanes]; l != nil {
		return l
	}
	return a.joined[0]
}

// await prepares for the confirmation of stage, before the recipient can know that it is asked for.
func (a *attempt) await(stage stream.Stage) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stage, a.waiting = stage, make(chan struct{})
	return a.waiting
}

// confirmed reports whether the recipient has said that it holds stage.
func (a *attempt) confirmed(stage stream.Stage) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stage == stage && a.waiting == nil
}

// confirm notes that the recipient holds stage durably. Saying so again is no error: the answer may have been lost.
func (a *attempt) confirm(stage stream.Stage) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case stage == a.stage && a.waiting != nil:
		close(a.waiting)
		a.waiting = nil
		return nil
	case stage != 0 && stage <= a.stage:
		return nil
	}
	return fmt.Errorf("%v is confirmed before it has ended", stage)
}
