package clone

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"ordinal/clone/livefiles"
	"ordinal/clone/protocol"
	"ordinal/internal/pack"
	"ordinal/stream"
)

// DefaultLease is how long a session outlives its attempts. The server keeps the snapshot for longer, but nobody else can be served
// meanwhile.
const DefaultLease = 5 * time.Minute

const (
	contention  = 5 // the lease is so many times shorter while another recipient waits
	letGoWithin = 10 * time.Second
)

func (d *Donor) lease() time.Duration {
	if d.cfg.Lease > 0 {
		return d.cfg.Lease
	}
	return DefaultLease
}

// A session is one snapshot of the donor's server, held for one recipient. It lasts over any number of attempts to transfer it, and
// over the end of the donor's agent.
type session struct {
	id        string
	recipient string
	ctx       context.Context // ends with the session
	cancel    context.CancelCauseFunc
	ended     chan struct{} // closed when the server's side has been released, too

	// Written before the session is found by others.
	wants openRequest
	hello stream.Hello

	chooser  pack.Chooser // what packing and sending cost, with compress=auto
	starting sync.Mutex   // one attempt begins at a time

	mu         sync.Mutex
	snapshot   protocol.Snapshot // as of the latest stage
	fresh      *protocol.Session // opened and not run yet; nil once it is
	attempt    *attempt          // the latest one; nil before the first
	side       *serverSide       // of the latest attempt, perhaps waiting for the next one; nil before the first
	attempts   int
	files      *livefiles.Set // open from the first attempt to the last one in FILE_COPY; nil: none
	fallback   bool           // reading the files directly has failed
	copy       string         // CopyDirect or CopyServer, once known
	idle       *time.Timer    // of the lease; nil while an attempt lives
	idleSince  time.Time
	leaseUntil time.Time
	sent       uint64
	gone       bool
}

func newSession(recipient string) *session {
	s := &session{id: rand.Text(), recipient: recipient, ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// rest begins the lease: over is called unless an attempt begins before it ends.
func (s *session) rest(most time.Duration, over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	s.idleSince = time.Now()
	s.setLease(s.idleSince.Add(most), over)
}

// hurry shortens a lease that runs, because somebody else waits.
func (s *session) hurry(most time.Duration, over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := s.idleSince.Add(most); s.idle != nil && until.Before(s.leaseUntil) {
		s.setLease(until, over)
	}
}

// setLease makes over be called at until. s.mu is held.
func (s *session) setLease(until time.Time, over func()) {
	if s.idle != nil {
		s.idle.Stop()
	}
	s.leaseUntil = until
	s.idle = time.AfterFunc(time.Until(until), func() {
		s.mu.Lock()
		due := s.idle != nil && !time.Now().Before(s.leaseUntil)
		s.mu.Unlock()
		if due {
			over()
		}
	})
}

// wake ends the lease: an attempt begins.
func (s *session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
}

func (s *session) count(n int) {
	s.mu.Lock()
	s.sent += uint64(n)
	s.mu.Unlock()
}

// closeFiles lets go of the data files that were read directly.
func (s *session) closeFiles() {
	s.mu.Lock()
	files := s.files
	s.files = nil
	s.mu.Unlock()
	if files != nil {
		_ = files.Close() // opened for reading
	}
}

// find returns the session with that id, if it is the current one and belongs to recipient.
func (d *Donor) find(id, recipient string) (*session, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.current
	return s, s != nil && s.id == id && s.recipient == recipient
}

// release ends s for good: its attempt, the server's snapshot, what was saved of it. It may be called more than once, and reports whether
// this call was the first.
func (d *Donor) release(s *session, cause error) bool {
	s.mu.Lock()
	first := !s.gone
	s.gone = true
	attempt := s.attempt
	s.mu.Unlock()
	if !first {
		return false
	}
	s.wake()
	s.mu.Lock()
	side := s.side
	s.mu.Unlock()
	running := side != nil && !side.over()
	s.cancel(cause)
	if attempt != nil {
		<-attempt.done
	}
	if side != nil {
		side.end(cause)
	}
	d.letGo(s, running)
	s.closeFiles()
	d.forget()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == s {
		d.current = nil
	}
	close(s.ended)
	return true
}

// expire ends a session that nobody came for.
func (d *Donor) expire(s *session, why error) {
	if d.release(s, why) {
		d.event(s, "failed", why)
	}
}

// letGo makes the server drop the snapshot. An attempt that was cancelled has told it already; after one that broke, nobody has.
func (d *Donor) letGo(s *session, told bool) {
	s.mu.Lock()
	fresh := s.fresh
	s.fresh = nil
	whole := s.attempt != nil && s.attempt.whole
	snapshot := s.snapshot
	s.mu.Unlock()
	if fresh != nil {
		_ = fresh.Close() // tells the server; its connections end in any case
		return
	}
	if told || whole || len(s.hello.SessionID) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), letGoWithin)
	defer cancel()
	// A server that has not noticed the end of our connections drops the snapshot with them.
	if n, err := d.cfg.Server.KillOwnClones(ctx); err == nil && n > 0 {
		return
	}
	// One that has would go on tracking pages for half an hour. If it does not answer there is nothing to let go.
	_ = protocol.Release(ctx, d.cfg.Dial, snapshot)
}

// Close ends what is under way. A session is kept, when it can be, for the next process of this pod.
func (d *Donor) Close() {
	d.mu.Lock()
	s := d.current
	d.mu.Unlock()
	if s == nil {
		return
	}
	if d.cfg.Sessions == nil {
		d.release(s, errShutdown)
		<-s.ended
		return
	}
	s.wake()
	s.mu.Lock()
	attempt, side, fresh := s.attempt, s.side, s.fresh
	s.gone, s.fresh = true, nil // nothing begins any more
	s.mu.Unlock()
	s.cancel(keep(errShutdown))
	if attempt != nil {
		<-attempt.done
	}
	if side != nil {
		side.end(keep(errShutdown))
	}
	if fresh != nil {
		fresh.Keep()
	}
	s.closeFiles()
}
