package protocol

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Session is one clone, or one attempt at it. Open or Resume it, look at the Parameters, Run it once, Close or Keep it. It
// is not for concurrent use, except Snapshot, Close and Keep.
type Session struct {
	dial    Dialer
	opts    Options
	params  Parameters
	locator Locator
	started int64    // when the donor's server process began, Unix seconds; 0: not known yet
	resumed bool     // by Resume
	held    Progress // what the receiver had then

	lastSeen atomic.Int64 // when a byte was received or a sink returned, Unix ns
	inSink   atomic.Int32 // calls of the sink, and waits for new connections, under way

	ackMu  sync.Mutex
	gaveUp bool // the donor was told

	mu        sync.Mutex
	main, aux *conn                   // replaced, with the lock held, only by the goroutine that also reads main
	conns     map[net.Conn]struct{}   // all that are open
	stage     Stage                   // the last one that the donor began
	closed    bool                    // no connection may be added
	cancel    context.CancelCauseFunc // of the Run under way or done
}

func newSession(dial Dialer, opts Options) *Session {
	return &Session{dial: dial, opts: opts, conns: map[net.Conn]struct{}{}, stage: Stage{State: StateInit}}
}

// Open begins a clone: it connects, and the donor prepares a snapshot. It may take the DDL
// timeout and, the first time after the donor's start, as long as the donor
// needs to open every tablespace; it gives up 300 s after the DDL timeout.
//
// Errors: ErrCloneInProgress, ErrDenied, ErrNoPlugin, other DonorErrors, ErrProtocol, and
// the dialer's. Nothing is left behind after an error.
func Open(ctx context.Context, dial Dialer, opts Options) (*Session, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("open clone: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, opts.DDLTimeout+openTimeout, ErrStalled)
	defer cancel()
	s := newSession(dial, opts)
	stop := context.AfterFunc(ctx, s.closeAll)
	err := s.open(ctx)
	if err == nil && stop() {
		return s, nil
	}
	s.closeAll()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("open clone: %w", err)
}

// openTimeout is how long the donor may take to open all its tablespaces.
const openTimeout = 300 * time.Second

func (s *Session) open(ctx context.Context) error {
	if err := s.connectBoth(ctx); err != nil {
		return err
	}
	var p parameters
	version := versionLocator()
	block := initBlock(s.opts.Version, s.opts.DDLTimeout, version[:])
	if err := s.main.call("init", cmdInit, block, p.add); err != nil {
		return err
	}
	// Old donors send parameters after the locator: all of them count only now.
	if err := p.finish(s.opts.Version); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	s.params, s.locator = p.Parameters, p.locator
	return nil
}

// connectBoth opens the main and the auxiliary connection.
func (s *Session) connectBoth(ctx context.Context) error {
	main, err := s.connect(ctx)
	if err != nil {
		return err
	}
	aux, err := s.connect(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.main, s.aux = main, aux
	return nil
}

// connect opens one more connection of the clone. ctx bounds the opening.
func (s *Session) connect(ctx context.Context) (*conn, error) {
	nc, err := s.dial(ctx)
	if err != nil {
		return nil, &brokenError{"connect to donor", err}
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		nc.Close()
		return nil, ErrClosed
	}
	s.conns[nc] = struct{}{}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	c := newConn(nc, s.seen)
	err = s.checkProcess(c)
	if err == nil {
		err = c.enter()
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.disconnect(nc)
		return nil, err
	}
	return c, nil
}

// checkProcess refuses another server process than the one with the snapshot. Its own snapshots have the same names: it would
// hand out somebody else's.
func (s *Session) checkProcess(c *conn) error {
	started, err := c.serverStarted()
	switch {
	case err != nil:
		return err
	case s.started == 0: // the first connection
		s.started = started
	case !sameProcess(s.started, started):
		return fmt.Errorf("%w: its server was restarted", ErrSnapshotGone)
	}
	return nil
}

func (s *Session) disconnect(nc net.Conn) {
	nc.Close()
	s.mu.Lock()
	delete(s.conns, nc)
	s.mu.Unlock()
}

// closeAll closes every connection and lets no new one in.
func (s *Session) closeAll() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.hangUp()
}

// hangUp closes every connection.
func (s *Session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.conns {
		nc.Close()
	}
	clear(s.conns)
}

func (s *Session) seen() { s.lastSeen.Store(time.Now().UnixNano()) }

// Parameters returns what the donor told about itself.
func (s *Session) Parameters() Parameters { return s.params }

// Locator returns the donor's name of the snapshot.
func (s *Session) Locator() Locator { return s.locator }

// Close ends the session, tells the donor to release the snapshot, and closes the connections; a Run under way returns
// ErrClosed. It may be called at any time and more than once, and is needed only when Run
// was not called.
func (s *Session) Close() error {
	s.mu.Lock()
	cancel, closed := s.cancel, s.closed
	s.mu.Unlock()
	switch {
	case cancel != nil:
		cancel(ErrClosed) // Run closes the connections
	case closed:
	case s.resumed: // EXIT would leave it active for half a minute
		s.giveUp(ErrClosed)
	default:
		s.exit(s.main, s.aux)
		s.closeAll()
	}
	return nil
}

// exit takes leave of the donor on all connections, so that it frees the snapshot at once.
// Errors change nothing: the connections are closed next.
func (s *Session) exit(conns ...*conn) {
	deadline := time.Now().Add(exitTimeout)
	// All are told before one is waited for: the donor answers the main connection
	// when the workers have left.
	for _, c := range conns {
		c.nc.SetDeadline(deadline)
		if err := c.send(cmdExit, nil); err != nil {
			return
		}
	}
	for _, c := range conns {
		if err := c.completion("exit", nil); err != nil {
			return
		}
	}
}

// exitTimeout bounds the leave-taking on all connections together.
const exitTimeout = 5 * time.Second
