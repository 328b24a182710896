package protocol

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Dialer opens a connection to the donor: authenticated, in plain text, and at a
// command boundary. The session closes it. It is called several times, also
// concurrently; all connections must reach the same server.
type Dialer func(ctx context.Context) (net.Conn, error)

// MaxWorkers is the number of workers a donor takes beside the main connection.
const MaxWorkers = 127

// VersionLatest is the newest protocol version this client speaks.
const VersionLatest uint32 = 0x0103

// Options say how to clone. The zero value is usable.
type Options struct {
	// Workers is the number of connections beside main and auxiliary that
	// share the transfer, 0 to MaxWorkers.
	Workers int

	// DDLTimeout is how long the donor waits for running DDL at the start; DDL during
	// the clone is allowed. Whole seconds, at least 1 s; 0 means 300 s. Donors before
	// 8.0.27 block DDL for the whole clone instead.
	DDLTimeout time.Duration

	// Version is the protocol version to offer, 0x0100 to VersionLatest; 0 means the
	// latest. The donor lowers it to its own.
	Version uint32

	// StallTimeout ends the session when no connection received a byte for that long while
	// the donor, not the Sink, is waited for; 0 means 5 minutes.
	StallTimeout time.Duration
}

// A Locator names a snapshot of a donor.
type Locator [34]byte

// A Plugin is a plugin of the donor.
type Plugin struct {
	Name    string
	Library string // shared object; empty if built in (or, protocol 0x0100, unknown)
}

// Parameters are what the donor tells about itself before the copy. The caller
// compares: the donor checks nothing.
type Parameters struct {
	Negotiated uint32 // protocol version in use

	Version                string // of the server: "9.7.4"
	OS                     string // version_compile_os
	Machine                string // version_compile_machine
	PageSize               uint32 // innodb_page_size in bytes
	CharacterSet           string // character_set_server
	CharacterSetFilesystem string
	Collation              string // collation_server

	Plugins    []Plugin
	Collations []string          // every collation in use
	Config     map[string]string // all settings as sent, with the ones above

	// ReconnectWindow is how long the donor keeps the snapshot after a broken
	// connection. 0: not at all, or unknown (protocol before 0x0102).
	ReconnectWindow time.Duration
}

// A Session is one clone. Open it, look at the Parameters, Run it once, Close it. It
// is not for concurrent use, except Close.
type Session struct {
	dial    Dialer
	opts    Options
	params  Parameters
	locator Locator

	main, aux *conn
	lastSeen  atomic.Int64 // when a byte was received or a sink returned, Unix ns
	inSink    atomic.Int32 // calls of the sink under way

	ackMu  sync.Mutex
	gaveUp bool // the donor was told

	mu     sync.Mutex
	conns  map[net.Conn]struct{}   // all that are open
	closed bool                    // no connection may be added
	cancel context.CancelCauseFunc // of the Run under way or done
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
	s := &Session{dial: dial, opts: opts, conns: map[net.Conn]struct{}{}}
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

const (
	defaultDDLTimeout   = 300 * time.Second
	defaultStallTimeout = 5 * time.Minute
	maxDDLTimeout       = 24 * time.Hour
)

// complete fills in the defaults and checks the ranges.
func (o *Options) complete() error {
	if o.DDLTimeout == 0 {
		o.DDLTimeout = defaultDDLTimeout
	}
	if o.Version == 0 {
		o.Version = VersionLatest
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = defaultStallTimeout
	}
	switch {
	case o.Workers < 0 || o.Workers > MaxWorkers:
		return fmt.Errorf("%d workers: want 0 to %d", o.Workers, MaxWorkers)
	// Below one second means something else to the donor: any DDL would end the clone.
	case o.DDLTimeout < time.Second || o.DDLTimeout > maxDDLTimeout:
		return fmt.Errorf("DDL timeout %v: want 1s to %v", o.DDLTimeout, maxDDLTimeout)
	case o.Version < 0x0100 || o.Version > VersionLatest:
		return fmt.Errorf("protocol version %#x: want 0x100 to %#x", o.Version, VersionLatest)
	case o.StallTimeout < 0:
		return fmt.Errorf("stall timeout %v is negative", o.StallTimeout)
	}
	return nil
}

func (s *Session) open(ctx context.Context) (err error) {
	if s.main, err = s.connect(ctx); err != nil {
		return err
	}
	if s.aux, err = s.connect(ctx); err != nil {
		return err
	}
	var p parameters
	block := initBlock(s.opts.Version, s.opts.DDLTimeout, versionLocator())
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

// connect opens one more connection of the clone.
func (s *Session) connect(ctx context.Context) (*conn, error) {
	nc, err := s.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to donor: %w", err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		nc.Close()
		return nil, ErrClosed
	}
	s.conns[nc] = struct{}{}
	s.mu.Unlock()
	c, err := enter(nc, s.seen)
	if err != nil {
		s.disconnect(nc)
		return nil, err
	}
	return c, nil
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
	defer s.mu.Unlock()
	s.closed = true
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

// Close ends the session and closes its connections; a Run under way returns
// ErrClosed. It may be called at any time and more than once, and is needed only when Run
// was not called.
func (s *Session) Close() error {
	s.mu.Lock()
	cancel, closed := s.cancel, s.closed
	s.mu.Unlock()
	switch {
	case cancel != nil:
		cancel(ErrClosed) // Run closes the connections
	case !closed:
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

// parameters gathers the answers to INIT.
type parameters struct {
	Parameters
	locator Locator
	count   int
}

func (p *parameters) add(m any) error {
	if p.count++; p.count > maxParameters {
		return protocolError("more than %d parameters", maxParameters)
	}
	switch m := m.(type) {
	case locators:
		if p.Negotiated != 0 {
			return protocolError("two locators")
		}
		p.Negotiated, p.locator = m.version, m.locator
	case plugin:
		p.Plugins = append(p.Plugins, Plugin{m.name, m.library})
	case collation:
		p.Collations = append(p.Collations, string(m))
	case setting:
		if p.Config == nil {
			p.Config = map[string]string{}
		}
		p.Config[m.key] = m.value
	default:
		return protocolError("%T among the parameters", m)
	}
	return nil
}

// finish checks that everything needed is there.
func (p *parameters) finish(offered uint32) error {
	if p.Negotiated < 0x0100 || p.Negotiated > offered {
		return protocolError("protocol version %#x, offered %#x", p.Negotiated, offered)
	}
	for key, field := range map[string]*string{
		"version":                  &p.Version,
		"version_compile_os":       &p.OS,
		"version_compile_machine":  &p.Machine,
		"character_set_server":     &p.CharacterSet,
		"character_set_filesystem": &p.CharacterSetFilesystem,
		"collation_server":         &p.Collation,
	} {
		v, ok := p.Config[key]
		if !ok {
			return protocolError("parameter %s is missing", key)
		}
		*field = v
	}
	n, err := strconv.ParseUint(p.Config["innodb_page_size"], 10, 32)
	if err != nil || n < 4<<10 || n > 64<<10 || n&(n-1) != 0 {
		return protocolError("innodb_page_size is %q", p.Config["innodb_page_size"])
	}
	p.PageSize = uint32(n)
	if v, ok := p.Config["clone_donor_timeout_after_network_failure"]; ok {
		minutes, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return protocolError("clone_donor_timeout_after_network_failure is %q", v)
		}
		p.ReconnectWindow = time.Duration(minutes) * time.Minute
	}
	return nil
}
