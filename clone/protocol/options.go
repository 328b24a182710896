package protocol

import (
	"context"
	"fmt"
	"net"
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
	// the donor, not the Sink nor new connections, is waited for; 0 means 5 minutes.
	StallTimeout time.Duration

	// Take, if set, is called once, when this session has seen every FileMeta of FILE_COPY and has handed over no Data: in a
	// new session, or in one that was resumed with Progress.AllFiles false. Names are those that the files have now; a file that
	// is gone is still among them. It returns the chunks that the caller will deliver to the receiver by itself, from
	// the donor's files; they join those that the receiver holds. Only the others come through Sink.Data. An empty set
	// changes nothing. The donor waits meanwhile, and no longer than a minute. An error ends the session.
	//
	// What was taken has to be read between Take and the return of Sink.StageEnd(FILE_COPY), and delivered by then: the
	// donor sends again every page that it writes in this time or later, and none that it wrote before.
	Take func(ctx context.Context, stage Stage, files []FileMeta) (ChunkSet, error)

	// Renew is how long Sink.StageEnd may withhold an acknowledgement before the hold on the snapshot is renewed, by new
	// connections; 0 means 15 minutes. The donor's limit is 30.
	Renew time.Duration

	// Adapt makes Run begin with one worker and add more, up to Workers, while that makes FILE_COPY faster.
	Adapt bool
}

const (
	defaultDDLTimeout   = 300 * time.Second
	defaultStallTimeout = 5 * time.Minute
	defaultRenew        = 15 * time.Minute
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
	if o.Renew == 0 {
		o.Renew = defaultRenew
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
	case o.Renew < 0:
		return fmt.Errorf("renewal every %v is negative", o.Renew)
	}
	return nil
}
