package clone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"ordinal/clone/livefiles"
	"ordinal/clone/protocol"
	"ordinal/internal/pace"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// Timing of a session. See docs/formats/data-plane.md.
const (
	heartbeatEvery = 5 * time.Second  // a stream is never silent for longer
	writeStall     = 30 * time.Second // a recipient that takes no byte for so long is gone
	fetchWithin    = 30 * time.Second // an attempt nobody fetches ends
	busyRetryAfter = 3 * time.Second
	supersedeWait  = 10 * time.Second
)

// Ways to read the data files, as --copy names them.
const (
	CopyAuto   = "auto"   // direct where that is possible and safe
	CopyDirect = "direct" // by the agent itself, out of band; by the server what cannot be read so
	CopyServer = "server" // by the server
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

// A SessionStore keeps what is needed to go on with a session after this process has died. Calls do not overlap.
type SessionStore interface {
	// Save durably replaces what was saved before.
	Save(b []byte) error
	// Load returns what was saved last; fs.ErrNotExist when there is nothing.
	Load() ([]byte, error)
	// Remove forgets it; it is no error if there is nothing.
	Remove() error
}

// Unfit says why a pod serves no clones now.
type Unfit struct {
	Code    string // reason code, docs/reason-codes.md
	Message string
}

// DonorConfig says whom a Donor speaks for. The first group of fields is required.
type DonorConfig struct {
	Pod       string
	Workers   int             // connections beside the main one, 0 … protocol.MaxWorkers
	Dial      protocol.Dialer // to the pod's own mysqld
	Server    Server
	ClusterID func() string // "" while it is not known
	// Fit says why this pod may not be copied by the recipient; nil: it may. Asked at the start of every session.
	Fit func(recipient string) *Unfit

	// Event hears of changes; it may be called concurrently. nil: nobody does.
	Event func(Event)
	// Sessions keeps a session over the end of this process. nil: it ends with the process.
	Sessions SessionStore
	// Rank orders recipients that wait: the lowest is served first. nil: whoever asks first.
	Rank func(recipient string) int

	// Heartbeat is how often a stream that has nothing to say is heard. 0: every 5 s.
	Heartbeat time.Duration
	// FetchWithin is how long an attempt waits for its recipient to fetch it. 0: 30 s.
	FetchWithin time.Duration
	// Lease is how long a session outlives a broken attempt; a fifth of it while another recipient waits. 0: DefaultLease.
	Lease time.Duration

	Streams int    // connections of one attempt; 0: as many as suit this machine
	Copy    string // CopyAuto, CopyDirect or CopyServer; "": CopyServer
	// LiveDir is the path at which this process sees the data directory of its mysqld. "": it does not, so CopyServer.
	LiveDir string
	// Files asks the server where its files are. Required with LiveDir.
	Files func(ctx context.Context) (livefiles.Server, error)

	MaxRate      uint64             // bytes per second, 0: no limit
	LatencyLimit time.Duration      // of the server's commits, above which the copy slows down; 0: none
	Latency      pace.LatencySource // required with LatencyLimit

	// Estimate is about how many bytes a copy has; nil: not known.
	Estimate func(ctx context.Context) (uint64, error)
	// FreeBytes is the room on the donor's own volume, where its server archives redo during the copy; nil: not known.
	FreeBytes func() (uint64, error)
}

// Event is a change in a donor's sessions that an operator may want to see.
type Event struct {
	Recipient string
	Session   string
	// What happened: "began", "resumed" (another attempt), "interrupted" (an attempt broke, the session is kept), "fallback"
	// (files are read by the server from now on), "blind" (the server's latency cannot be told, the rate stays), "ended", "failed", "refused".
	What  string
	Copy  string // CopyDirect or CopyServer; "" where it does not matter
	Bytes uint64 // data sent so far, in all attempts
	Err   error
}

// A Donor hands out copies of its own mysqld's data directory, one at a time. Its methods may be called concurrently.
type Donor struct {
	cfg     DonorConfig
	limiter *pace.Limiter
	queue   queue

	mu      sync.Mutex
	current *session
}

// NewDonor returns a Donor. It starts nothing.
func NewDonor(cfg DonorConfig) *Donor {
	cfg.Heartbeat, cfg.FetchWithin = cmp.Or(cfg.Heartbeat, heartbeatEvery), cmp.Or(cfg.FetchWithin, fetchWithin)
	return &Donor{cfg: cfg, limiter: pace.NewLimiter(0), queue: newQueue(cfg.Rank)}
}

var (
	errSuperseded = errors.New("the recipient has begun anew")
	errNotFetched = errors.New("nobody fetched the stream")
	errAbandoned  = errors.New("the recipient gave the copy up")
	errLeaseOver  = errors.New("the recipient did not come back")
	errNewAttempt = errors.New("the recipient has begun another attempt")
	errShutdown   = errors.New("the donor's agent ends")
)

// begin opens a session with the donor's server for recipient. ctx bounds the opening only.
func (d *Donor) begin(ctx context.Context, recipient string, wants openRequest) (*session, error) {
	if unfit := d.cfg.Fit(recipient); unfit != nil {
		return nil, &RefusedError{Donor: d.cfg.Pod, Code: unfit.Code, Message: unfit.Message, RetryAfter: busyRetryAfter}
	}
	s, err := d.reserve(ctx, recipient)
	if err != nil {
		return nil, err
	}
	s.wants = wants
	stop := context.AfterFunc(ctx, func() { s.cancel(errAbandoned) })
	defer stop()
	err = d.open(s)
	if err == nil {
		err = context.Cause(s.ctx)
	}
	if err == nil {
		err = d.save(s)
	}
	if err != nil {
		d.release(s, err)
		return nil, err
	}
	d.event(s, "began", nil)
	s.rest(fetchWithin, func() { d.expire(s, errNotFetched) })
	return s, nil
}

// reserve makes a new session the current one. A recipient that asks again has lost its old session: that one ends first.
func (d *Donor) reserve(ctx context.Context, recipient string) (*session, error) {
	for deadline := time.Now().Add(supersedeWait); ; {
		d.mu.Lock()
		old := d.current
		if old == nil {
			if before, waits := d.queue.before(recipient, time.Now()); waits {
				d.queue.note(recipient, time.Now())
				d.mu.Unlock()
				return nil, d.busy(before + " is served first")
			}
			s := newSession(recipient)
			d.current = s
			d.queue.served(recipient)
			d.mu.Unlock()
			return s, nil
		}
		if old.recipient != recipient {
			d.queue.note(recipient, time.Now())
		}
		d.mu.Unlock()
		if old.recipient != recipient || time.Now().After(deadline) {
			old.hurry(d.lease()/contention, func() { d.expire(old, errLeaseOver) })
			return nil, d.busy("busy with a clone for " + old.recipient)
		}
		d.release(old, errSuperseded)
		select {
		case <-old.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (d *Donor) busy(why string) error {
	return &RefusedError{Donor: d.cfg.Pod, Code: ReasonBusy, RetryAfter: busyRetryAfter, Message: why}
}

// open asks the donor's server for a snapshot, after checking that a clone can carry everything it has.
func (d *Donor) open(s *session) error {
	executed, warnings, err := d.preflight(s.ctx)
	if err != nil {
		return err
	}
	var estimate uint64
	if d.cfg.Estimate != nil {
		if estimate, err = d.cfg.Estimate(s.ctx); err != nil {
			return fmt.Errorf("estimate the size of the copy: %w", err)
		}
	}
	server, err := d.openServer(s)
	if err != nil {
		if errors.Is(err, protocol.ErrCloneInProgress) {
			return d.busy("its server is busy with another clone")
		}
		return fmt.Errorf("begin clone: %w", err)
	}
	p := server.Parameters()
	s.fresh, s.snapshot = server, server.Snapshot()
	s.hello = stream.Hello{
		SessionID: s.id, DonorPod: d.cfg.Pod, ClusterID: d.cfg.ClusterID(),
		ServerVersion: p.Version, PageSize: p.PageSize, EstimatedBytes: estimate, GTIDExecuted: executed, Warnings: warnings,
		Parameters: p.Config, Collations: p.Collations,
	}
	for _, plugin := range p.Plugins {
		s.hello.Plugins = append(s.hello.Plugins, stream.Plugin{Name: plugin.Name, SharedObject: plugin.Library})
	}
	return nil
}

// openServer begins a clone at the server. One that is in its way is most likely left over by an agent that was killed: the server
// notices a vanished client only when it writes.
func (d *Donor) openServer(s *session) (*protocol.Session, error) {
	c, err := protocol.Open(s.ctx, d.cfg.Dial, d.options(s))
	if errors.Is(err, protocol.ErrCloneInProgress) {
		if n, killErr := d.cfg.Server.KillOwnClones(s.ctx); killErr == nil && n > 0 {
			return d.reopen(s)
		}
	}
	return c, err
}

// reopen tries until the server has noticed that the killed session is gone. If it does not, the other clone is somebody else's.
func (d *Donor) reopen(s *session) (*protocol.Session, error) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, supersedeWait, protocol.ErrCloneInProgress)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := protocol.Open(ctx, d.cfg.Dial, d.options(s))
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
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

// event reports what happened to s.
func (d *Donor) event(s *session, what string, err error) {
	if d.cfg.Event == nil {
		return
	}
	s.mu.Lock()
	e := Event{Recipient: s.recipient, Session: s.id, What: what, Copy: s.copy, Bytes: s.sent, Err: err}
	s.mu.Unlock()
	d.cfg.Event(e)
}
