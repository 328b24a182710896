package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ordinal/mysqlx"
)

// Durability says when a source acknowledges a commit.
type Durability string

// The durabilities.
const (
	DurabilityAsync    Durability = "async"    // when it has it itself
	DurabilitySemisync Durability = "semisync" // when a replica has it as well
)

// A semisyncView is how a source's commits are acknowledged.
type semisyncView struct {
	Wanted  bool // --durability=semisync
	Known   bool // the rest was asked
	Plugins bool // the server has what it needs
	On      bool
	Clients int  // replicas that acknowledge
	Waiting int  // commits that wait for one; a group of them counts once
	Giving  bool // a pod is being cloned from this one
	// Unheard is for how long commits have waited and not one was acknowledged. A replica that was cut off without a word counts as a client until the kernel gives its
	// connection up, after a quarter of an hour.
	Unheard time.Duration
}

// unheardLong is how long no replica may acknowledge a commit that waits, before it counts as having none. A large transaction takes its time too.
const unheardLong = 10 * time.Second

// alone reports whether nobody acknowledges, as far as can be told: who does not write does not learn of a replica that was cut off.
func (s semisyncView) alone() bool { return s.Clients == 0 || s.Unheard >= unheardLong }

// unheard measures semisyncView.Unheard from one observation to the next.
type unheard struct {
	acknowledged uint64    // transactions, when it was looked last
	since        time.Time // since when commits have waited in vain; zero: they do not
}

func (u *unheard) look(now time.Time, waiting int, acknowledged uint64) time.Duration {
	if waiting == 0 || acknowledged != u.acknowledged || u.since.IsZero() {
		u.acknowledged, u.since = acknowledged, now
	}
	if waiting == 0 {
		u.since = time.Time{}
		return 0
	}
	return now.Sub(u.since)
}

// blocks reports whether commits that wait for a replica keep that very replica from being cloned: the server ends no copy before every
// transaction that it has prepared is committed or gone.
func (s semisyncView) blocks() bool { return s.Wanted && s.On && s.Clients == 0 && s.Giving }

// differs reports whether the server is not set as it should be, and can be.
func (s semisyncView) differs() bool {
	return s.Known && s.Plugins && s.On != s.Wanted
}

// want says what differs wants.
func (s semisyncView) want() string {
	if s.Wanted {
		return "a commit is to be acknowledged when a replica has it"
	}
	return "a commit is to be acknowledged without waiting for a replica"
}

// judge adds what there is to say of a source that takes writes. One that nobody acknowledges goes on to serve reads; its commits wait.
func (s semisyncView) judge(d verdict) verdict {
	switch {
	case !s.Wanted || !s.Known:
		return d
	case !s.Plugins:
		return d.because(CodeSemisyncMissing, "--durability=semisync was asked for, and this server has no plugins for it: commits are not protected")
	case s.Clients == 0:
		return d.because(CodeNobodyAcknowledges, "no replica acknowledges: %d sessions wait in their commit until one does", s.Waiting)
	case s.alone():
		return d.because(CodeNobodyAcknowledges, "%d sessions wait in their commit, and no replica has acknowledged one for %v: its connection stands, and nothing comes over it",
			s.Waiting, s.Unheard.Round(time.Second))
	}
	return d
}

// observeSemisync asks how commits are acknowledged. A server that cannot say is asked again in the next turn.
func (r *runner) observeSemisync(ctx context.Context, db *mysqlx.DB, v *view) {
	v.Semisync.Wanted = r.cfg.Durability == DurabilitySemisync
	now, err := db.SemiSync(ctx)
	if err != nil {
		return
	}
	v.Semisync.Known, v.Semisync.Plugins, v.Semisync.On = true, now.SourcePlugin, now.SourceEnabled
	v.Semisync.Clients, v.Semisync.Waiting = now.Clients, now.WaitingSessions
	v.Semisync.Unheard = r.unheard.look(r.now(), now.WaitingSessions, now.Acknowledged)
	v.Semisync.Giving = r.events.giving()
}

// settleEvery is how often is looked whether a statement has got to where it waits.
const settleEvery = 20 * time.Millisecond

// settle ends commits that wait for a replica without telling anybody that they are acknowledged, and takes no further ones: their clients lose their
// connections, and what was written stays, here and, by the copy, at the replica. Commits that begin meanwhile wait behind super_read_only, which waits itself for those that
// there are: so none of them slips through while nobody need acknowledge.
func (r *runner) settle(ctx context.Context) error {
	closed := make(chan error, 1)
	go func() { closed <- r.db.SetSuperReadOnly(ctx, true) }()
	if err := r.untilClosing(ctx, closed); err != nil {
		return err
	}
	killer := r.db
	if r.root != nil {
		killer = r.root // only root may end sessions of root
	}
	if _, err := killer.KillSemiSyncWaiters(ctx); err != nil {
		return fmt.Errorf("end the sessions whose commits wait for a replica: %w", err)
	}
	if err := r.db.SetSemiSyncSource(ctx, false); err != nil {
		return err
	}
	err := <-closed
	return errors.Join(err, r.db.SetSemiSyncSource(ctx, true))
}

// untilClosing waits until super_read_only is on its way: from then on nobody begins to commit.
func (r *runner) untilClosing(ctx context.Context, closed chan error) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		waits, err := r.db.ClosingWaits(ctx)
		if err != nil || waits {
			return err
		}
		select {
		case err := <-closed:
			closed <- err // nothing waited any more
			return nil
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
