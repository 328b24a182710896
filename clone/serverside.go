package clone

import (
	"context"
	"errors"
	"sync"

	"ordinal/clone/protocol"
)

// A serverSide is the server's half of a session's attempts. It ends with the attempt that it was made for, unless the server has nothing
// to do at that moment but to wait, for an acknowledgement or on its way from PAGE_COPY to REDO_COPY: then it goes on waiting, and the next
// attempt takes it over. A server that waits would notice only after some seconds, or minutes, that its client is gone.
type serverSide struct {
	session *protocol.Session
	sink    *relaySink
	release func(context.Context) (int, error) // see releaseWhenStuck
	ctx     context.Context                    // of the run; it ends with the session
	cancel  context.CancelCauseFunc
	once    sync.Once
	done    chan struct{} // closed when the run has ended, or never will begin
	err     error         // the run's
}

func newServerSide(d *Donor, s *session, p *protocol.Session) *serverSide {
	v := &serverSide{session: p, sink: newRelaySink(d, s), release: d.cfg.Server.ReleaseCommitOrder, done: make(chan struct{})}
	v.ctx, v.cancel = context.WithCancelCause(s.ctx)
	return v
}

// start begins the run, unless it has begun.
func (v *serverSide) start() {
	v.once.Do(func() {
		go func() {
			defer close(v.done)
			over := make(chan struct{})
			var freeing sync.WaitGroup
			freeing.Go(func() { releaseWhenStuck(v.ctx, over, v.sink, v.release) })
			v.err = v.session.Run(v.ctx, v.sink)
			close(over)
			freeing.Wait()
		}()
	})
}

// over reports whether the run has ended.
func (v *serverSide) over() bool {
	select {
	case <-v.done:
		return true
	default:
		return false
	}
}

// end ends the run for cause, which says whether the server is to keep the snapshot, and waits for that.
func (v *serverSide) end(cause error) {
	v.cancel(cause)
	v.once.Do(func() { // it has never begun
		if errors.Is(cause, protocol.ErrKeep) {
			v.session.Keep()
		} else {
			_ = v.session.Close() // its connections end in any case
		}
		close(v.done)
	})
	<-v.done
}

// serve lets the run work for a until one of them ends. It returns the run's error, or why a has ended.
func (v *serverSide) serve(ctx context.Context, a *attempt) error {
	v.sink.attach(a)
	v.start()
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	if v.sink.detach(a) {
		return cause
	}
	v.end(cause)
	return cause
}
