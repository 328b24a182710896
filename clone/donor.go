package clone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"ordinal/clone/protocol"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// Timing of a session. See docs/formats/data-plane.md.
const (
	heartbeatEvery = 5 * time.Second  // a stream is never silent for longer
	writeStall     = 30 * time.Second // a recipient that takes no byte for so long is gone
	fetchWithin    = 30 * time.Second // a session nobody fetches ends
	busyRetryAfter = 3 * time.Second
	supersedeWait  = 10 * time.Second
)

// A Server is what the donor asks its own mysqld, over SQL, before it serves a copy.
type Server interface {
	Facts(ctx context.Context) (mysqlx.Facts, error)
	EncryptedTablespaces(ctx context.Context) ([]string, error)
	ExternalTablespaces(ctx context.Context) ([]string, error)
	NonInnoDBTables(ctx context.Context) ([]string, error)
	// KillOwnClones ends clone sessions of our own account that an earlier process of this pod left behind.
	KillOwnClones(ctx context.Context) (int, error)
	// ReleaseCommitOrder throws back transactions that wait, prepared, for an earlier one to be committed.
	ReleaseCommitOrder(ctx context.Context) (int, error)
}

// Unfit says why a pod serves no clones now.
type Unfit struct {
	Code    string // reason code, docs/reason-codes.md
	Message string
}

// DonorConfig says whom a Donor speaks for. All fields are required but Log.
type DonorConfig struct {
	Pod       string
	Workers   int             // connections beside the main one, 0 … protocol.MaxWorkers
	Dial      protocol.Dialer // to the pod's own mysqld
	Server    Server
	ClusterID func() string // "" while it is not known
	Fit       func() *Unfit // nil: fit. Asked at the start of every session.
	Event     func(Event)   // may be called concurrently
}

// Event is a change in a donor's sessions that an operator may want to see.
type Event struct {
	Recipient string
	Session   string
	What      string // "began", "ended", "failed", "refused"
	Bytes     uint64 // data sent so far
	Err       error
}

// A Donor hands out copies of its own mysqld's data directory, one at a time. Its methods may be called concurrently.
type Donor struct {
	cfg DonorConfig

	mu      sync.Mutex
	current *session
}

// NewDonor returns a Donor. It starts nothing.
func NewDonor(cfg DonorConfig) *Donor { return &Donor{cfg: cfg} }

// A session is one copy for one recipient, from the donor's server to the HTTP response.
type session struct {
	id        string
	recipient string
	ctx       context.Context // ends with the session
	cancel    context.CancelCauseFunc
	ended     chan struct{} // closed when the server's side has been released, too

	clone *protocol.Session
	hello stream.Hello

	mu      sync.Mutex
	phase   phase
	waiting chan struct{} // closed by confirm; nil while nothing waits
	stage   stream.Stage  // whose confirmation is waited for
	sent    uint64
}

func newSession(recipient string) *session {
	s := &session{id: rand.Text(), recipient: recipient, ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// phase is who holds a session: whoever moves it on releases it in the end.
type phase int

const (
	opening   phase = iota // begin
	ready                  // nobody: it waits to be fetched
	streaming              // serveStream, or whoever ended it while it was ready
)

var (
	errSuperseded = errors.New("the recipient has begun anew")
	errNotFetched = errors.New("nobody fetched the stream")
	errAbandoned  = errors.New("the recipient gave the copy up")
	errShutdown   = errors.New("the donor's agent ends")
)

// Close ends the session under way, if any.
func (d *Donor) Close() {
	d.mu.Lock()
	s := d.current
	d.mu.Unlock()
	if s != nil {
		d.end(s, errShutdown)
		<-s.ended
	}
}

// take moves a session that is ready on to streaming; it reports whether the caller is the one who did.
func (s *session) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.phase == ready
	if taken {
		s.phase = streaming
	}
	return taken
}

// end makes s end soon, whoever holds it.
func (d *Donor) end(s *session, cause error) {
	s.cancel(cause)
	if s.take() {
		d.release(s, cause)
	}
}

// begin opens a session with the donor's server for recipient. ctx bounds the opening only.
func (d *Donor) begin(ctx context.Context, recipient string, workers int) (*session, error) {
	if unfit := d.cfg.Fit(); unfit != nil {
		return nil, &RefusedError{Donor: d.cfg.Pod, Code: unfit.Code, Message: unfit.Message, RetryAfter: busyRetryAfter}
	}
	s, err := d.reserve(ctx, recipient)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.cancel(errAbandoned) })
	defer stop()
	err = d.open(s, workers)
	if err == nil {
		err = context.Cause(s.ctx)
	}
	if err != nil {
		d.release(s, err)
		return nil, err
	}
	s.mu.Lock()
	s.phase = ready
	s.mu.Unlock()
	time.AfterFunc(fetchWithin, func() {
		if s.take() {
			d.release(s, errNotFetched)
		}
	})
	return s, nil
}

// reserve makes a new session the current one. A recipient that asks again has lost its old session: that one ends first.
func (d *Donor) reserve(ctx context.Context, recipient string) (*session, error) {
	for deadline := time.Now().Add(supersedeWait); ; {
		d.mu.Lock()
		old := d.current
		if old == nil {
			s := newSession(recipient)
			d.current = s
			d.mu.Unlock()
			return s, nil
		}
		d.mu.Unlock()
		if old.recipient != recipient || time.Now().After(deadline) {
			return nil, &RefusedError{
				Donor: d.cfg.Pod, Code: ReasonBusy, RetryAfter: busyRetryAfter,
				Message: fmt.Sprintf("busy with a clone for %s", old.recipient),
			}
		}
		d.end(old, errSuperseded)
		select {
		case <-old.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// open asks the donor's server for a snapshot, after checking that a clone can carry everything it has.
func (d *Donor) open(s *session, workers int) error {
	warnings, err := d.preflight(s.ctx)
	if err != nil {
		return err
	}
	opts := protocol.Options{Workers: d.cfg.Workers, StallTimeout: 0}
	if workers != 0 {
		opts.Workers = min(max(workers, 0), d.cfg.Workers)
	}
	s.clone, err = protocol.Open(s.ctx, d.cfg.Dial, opts)
	if errors.Is(err, protocol.ErrCloneInProgress) {
		// Most likely left over by an agent that was killed: the server notices a vanished client only when it writes.
		if n, killErr := d.cfg.Server.KillOwnClones(s.ctx); killErr == nil && n > 0 {
			s.clone, err = d.reopen(s.ctx, opts)
		}
	}
	if err != nil {
		if errors.Is(err, protocol.ErrCloneInProgress) {
			return &RefusedError{
				Donor: d.cfg.Pod, Code: ReasonBusy, RetryAfter: busyRetryAfter,
				Message: "its server is busy with another clone",
			}
		}
		return fmt.Errorf("begin clone: %w", err)
	}
	p := s.clone.Parameters()
	s.hello = stream.Hello{
		SessionID: s.id, DonorPod: d.cfg.Pod, ClusterID: d.cfg.ClusterID(),
		ServerVersion: p.Version, PageSize: p.PageSize, Warnings: warnings,
		Parameters: p.Config, Collations: p.Collations,
	}
	for _, plugin := range p.Plugins {
		s.hello.Plugins = append(s.hello.Plugins, stream.Plugin{Name: plugin.Name, SharedObject: plugin.Library})
	}
	return nil
}

// reopen tries until the server has noticed that the killed session is gone. If it does not, the other clone is somebody else's.
func (d *Donor) reopen(ctx context.Context, opts protocol.Options) (*protocol.Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, supersedeWait, protocol.ErrCloneInProgress)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := protocol.Open(ctx, d.cfg.Dial, opts)
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, protocol.ErrCloneInProgress // a dial notices the end of ctx before ctx does
		}
		if err == nil || !errors.Is(err, protocol.ErrCloneInProgress) {
			return c, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// preflight refuses by name what a clone cannot carry, and returns by name what it will carry without its rows.
func (d *Donor) preflight(ctx context.Context) (warnings []string, err error) {
	facts, err := d.cfg.Server.Facts(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the donor's server: %w", err)
	}
	if !facts.ClonePluginActive {
		return nil, &RefusedError{
			Donor: d.cfg.Pod, Code: ReasonNoClonePlugin, Permanent: true,
			Message: "the clone plugin is not active; start mysqld with plugin-load-add=mysql_clone.so",
		}
	}
	for _, check := range []struct {
		what string
		list func(context.Context) ([]string, error)
	}{
		{"encrypted tablespaces", d.cfg.Server.EncryptedTablespaces},
		{"tables with DATA DIRECTORY", d.cfg.Server.ExternalTablespaces},
	} {
		names, err := check.list(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", check.what, err)
		}
		if len(names) > 0 {
			return nil, &UnsupportedError{What: check.what, Names: names}
		}
	}
	names, err := d.cfg.Server.NonInnoDBTables(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for tables that are not InnoDB: %w", err)
	}
	for _, name := range names {
		warnings = append(warnings, fmt.Sprintf("%s is not an InnoDB table: it arrives without its rows", name))
	}
	return warnings, nil
}

// release ends s and frees the place for the next one. It may be called more than once.
func (d *Donor) release(s *session, cause error) {
	s.cancel(cause)
	if s.clone != nil {
		// The connections are closed by now, or about to be: what Close says of them changes nothing.
		_ = s.clone.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == s {
		d.current = nil
		close(s.ended)
	}
}

// find returns the session with that id, if it is the current one and belongs to recipient.
func (d *Donor) find(id, recipient string) (*session, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.current
	return s, s != nil && s.id == id && s.recipient == recipient
}

func (d *Donor) event(s *session, what string, err error) {
	if d.cfg.Event != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.cfg.Event(Event{Recipient: s.recipient, Session: s.id, What: what, Bytes: s.sent, Err: err})
	}
}
