package protocol

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Snapshot is what must be kept to resume a session: it names a donor's snapshot and says how far the donor has gone. It holds no
// secret. It must not come from the receiver: the donor's server ends itself when it is told of chunks that it does not have.
type Snapshot struct {
	Locator Locator `json:"locator"`
	Version uint32  `json:"version"` // of the protocol, as negotiated
	Started int64   `json:"started"` // when the donor's server process began, in seconds of Unix time, give or take one
	Stage   Stage   `json:"stage"`   // the last one that the donor began; State INIT if none
}

// Snapshot returns what Resume needs when this session has broken. It changes with every stage: what is saved has to be taken anew
// in each Sink.StageStart, before the receiver hears of the stage. It may be called at any time, also while Run is under way.
func (s *Session) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{Locator: s.locator, Version: s.params.Negotiated, Started: s.started, Stage: s.stage}
}

// check refuses a snapshot that cannot have come from a session, and progress that does not fit it. What does not fit cannot be
// resumed: the donor never sends anything of an earlier stage again.
func (snap *Snapshot) check(p Progress) error {
	if snap.Version < 0x0100 || snap.Version > VersionLatest {
		return fmt.Errorf("protocol version %#x: want 0x100 to %#x", snap.Version, VersionLatest)
	}
	if err := p.Check(); err != nil {
		return err
	}
	at := max(p.State, StateInit)
	switch donor := snap.Stage; {
	case donor.State == at && donor.Chunks == p.ChunkCount:
		return nil
	case donor.State == at:
		return fmt.Errorf("%w as the receiver knows it: %v has %d chunks at the donor, %d at the receiver",
			ErrSnapshotGone, at, donor.Chunks, p.ChunkCount)
	case donor.State == at+1 && (p.Ended || at == StateInit):
		return nil
	default:
		return lost(donor.State, at)
	}
}

// lost is the error of a receiver that has not all that the donor was told it had.
func lost(donor, receiver State) error {
	return fmt.Errorf("%w as the receiver needs it: the donor is in %v, the receiver in %v", ErrSnapshotGone, donor, receiver)
}

// Resume goes on with the snapshot of a session whose Run failed because a connection broke, or which was kept, from what the receiver
// holds. All connections of the old session are closed. The new session's Run then calls the sink for what the receiver lacks, only:
//
//   - not StageStart of p.State, nor File for a data file below p.Files that FILE_COPY announces again;
//   - not Data of blocks that p names, nor, if p.Ended, StageEnd of p.State;
//   - where the donor is one stage ahead, first the batch of that stage, whole, even if the receiver has heard of it: it may say
//     something else by now, for it names what the files are at this time.
//
// With p.State 0 or INIT everything comes from the beginning. With p.AllFiles false the donor announces the files of FILE_COPY again.
//
// It takes a moment when the donor was sending, some seconds when it was waiting, because it notices a broken connection when it writes,
// and up to a minute more until it is ErrStillActive.
//
// Errors: ErrSnapshotGone, when there is nothing to resume: the donor's server was restarted, gave up waiting (see
// [Parameters.ReconnectWindow]) or took another clone, or p does not fit the snapshot. ErrStillActive. DonorErrors, ErrProtocol, ErrStalled
// and the dialer's: the snapshot may still be there. Of the Parameters, only Negotiated is known. Other options than those of the
// old session may be given.
func Resume(ctx context.Context, dial Dialer, opts Options, snap Snapshot, p Progress) (*Session, error) {
	opts.Version = snap.Version
	err := opts.complete()
	if err == nil {
		err = snap.check(p)
	}
	if err != nil {
		return nil, fmt.Errorf("resume clone: %w", err)
	}
	s := snap.session(dial, opts)
	s.held = p
	if err := s.reconnect(ctx, s.progress()); err != nil {
		s.closeAll()
		return nil, fmt.Errorf("resume clone: %w", err)
	}
	return s, nil
}

// progress returns what the donor is told of what the receiver holds.
func (s *Session) progress() Progress {
	p := s.held
	switch {
	case p.State != s.stage.State:
		p.Chunks, p.Partial = nil, nil // the donor has gone on: it would not look at them
	case p.State == StateRedoCopy && p.RedoFiles < s.stage.Files:
		// Of the redo files there is no list but the one that follows START. To get it again is to have held the stage before, only.
		p = Progress{State: StatePageCopy, Ended: true, AllFiles: true}
	}
	return p
}

const (
	reconnectTimeout = 3 * time.Minute
	reconnectTries   = 2 // the donor looks for half a minute at each
)

const opReinit = "reinit"

// reconnect opens new main and auxiliary connections to the snapshot, in place of closed ones, and tells the donor what need not be sent.
func (s *Session) reconnect(ctx context.Context, p Progress) error {
	ctx, cancel := context.WithTimeoutCause(ctx, reconnectTimeout, ErrStalled)
	defer cancel()
	defer context.AfterFunc(ctx, s.hangUp)()
	for try := 1; ; try++ {
		err := s.reinit(ctx, p)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil || try == reconnectTries || !errors.Is(err, ErrStillActive) {
			return err
		}
		s.hangUp()
	}
}

func (s *Session) reinit(ctx context.Context, p Progress) error {
	if err := s.connectBoth(ctx); err != nil {
		return err
	}
	block := initBlock(s.params.Negotiated, s.opts.DDLTimeout, s.locator.restart(p))
	return s.main.call(opReinit, cmdReinit, block, func(m any) error {
		l, ok := m.(locators)
		if !ok {
			return protocolError("%T instead of locators", m)
		}
		if l.locator.names() != s.locator.names() {
			return protocolError("locator of another snapshot")
		}
		return nil
	})
}

// Keep closes the connections as if they had broken, so that the donor keeps the snapshot for Resume as long as its window is. A Run under way
// returns ErrKeep. It may be called at any time; after Close it does nothing.
func (s *Session) Keep() {
	s.mu.Lock()
	cancel, closed := s.cancel, s.closed
	s.mu.Unlock()
	switch {
	case cancel != nil:
		cancel(ErrKeep) // Run closes the connections
	case !closed:
		// A snapshot of which nothing was asked goes with its connections.
		s.main.nc.SetWriteDeadline(time.Now().Add(giveUpTimeout))
		_ = s.main.send(cmdExecute, nil)
		s.closeAll()
	}
}

// Release tells the donor that a snapshot which was kept will not be resumed. It takes as long as Resume. ErrSnapshotGone: there was
// nothing to release.
func Release(ctx context.Context, dial Dialer, snap Snapshot) error {
	opts := Options{Version: snap.Version}
	if err := opts.complete(); err != nil {
		return fmt.Errorf("release clone: %w", err)
	}
	s := snap.session(dial, opts)
	defer s.closeAll()
	// A snapshot without connections does not listen.
	err := s.reconnect(ctx, Progress{})
	if err == nil {
		err = s.acknowledge(ackBlock(erQueryInterrupted, s.locator, nil))
	}
	if err == nil {
		s.aux.nc.SetReadDeadline(time.Now().Add(exitTimeout))
		err = s.aux.completion("ack", nil)
	}
	if err != nil {
		return fmt.Errorf("release clone: %w", err)
	}
	return nil
}

// session returns a session of the snapshot, without connections.
func (snap *Snapshot) session(dial Dialer, opts Options) *Session {
	s := newSession(dial, opts)
	s.locator, s.started, s.stage, s.params.Negotiated, s.resumed = snap.Locator, snap.Started, snap.Stage, snap.Version, true
	return s
}
