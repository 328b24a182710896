package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// Bounds and rhythms of an observation.
const (
	sqlTimeout     = 5 * time.Second
	gatePatience   = 10 * time.Second // a source waits so long for siblings that do not answer
	abandonedAfter = 10 * time.Second // the image's entry point leaves the data directory alone for a second or two between its servers
	tablesEvery    = 10 * time.Second
	sourceEvery    = 2 * time.Second // how often a running replica compares itself with its source
	lastingTurns   = 3               // answers of the source in a row that lack a transaction of ours
)

// observe looks at everything a decision depends on. It changes nothing.
func (r *runner) observe(ctx context.Context) (view, error) {
	content, err := r.vol.Inspect()
	if err != nil {
		return view{}, err
	}
	v := view{Role: r.id.Role(), Volume: content.Kind, Generation: content.Generation, StartsOver: startsOver(content), MayStart: !r.now().Before(r.startAfter)}
	if v.Volume == volume.Complete {
		if v.ConfigGood, err = r.config().isWritten(r.cfg.MySQLConfigDir); err != nil {
			return view{}, err
		}
	}
	db, err := r.observeMysqld(ctx, &v)
	if db == nil {
		return v, err
	}
	ctx, cancel := context.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	if v.ClusterID, err = db.ClusterID(ctx); err == nil && v.Volume == volume.Complete {
		v.Channels, err = db.ReplicaStatus(ctx)
	}
	if err != nil {
		v.Mysqld.Reach, v.Mysqld.Why = mysqldFailing, err.Error()
		return v, nil
	}
	v.Mysqld.UserTables = r.userTables(ctx, db)
	identity, err := r.vol.Identity()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return view{}, err
	}
	v.ServerKnown = identity.ServerUUID == v.Mysqld.Facts.ServerUUID
	if v.Role == RoleSource {
		r.observeSiblings(ctx, &v)
	} else {
		r.observeSource(ctx, &v)
	}
	return v, nil
}

// observeMysqld finds out how far one gets with the pod's own server. It returns the connection to go on with if it is up. An
// error is a server that this agent cannot work with.
func (r *runner) observeMysqld(ctx context.Context, v *view) (*mysqlx.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	facts, err := r.db.Facts(ctx)
	db := r.db
	if mysqlx.IsAccessDenied(err) {
		facts, db, err = r.asRoot(ctx, v, err)
	}
	m := &v.Mysqld
	var unsupported *mysqlx.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		return nil, err
	case m.Reach == mysqldNoRoot:
		return nil, nil
	case mysqlx.IsAccessDenied(err):
		m.Reach, m.Why = mysqldDenied, err.Error()
		return nil, nil
	case mysqlx.IsUnreachable(err):
		m.Reach, m.Why = mysqldDown, err.Error()
		m.Abandoned = r.abandoned(v)
		return nil, nil
	case err != nil:
		m.Reach, m.Why = mysqldFailing, err.Error()
		return nil, nil
	}
	r.idleSince = time.Time{}
	if facts.SkipNetworking || facts.Port == 0 {
		m.Reach = mysqldTemporary
		return nil, nil
	}
	m.Reach, m.Facts = mysqldUp, facts
	if v.Volume != volume.Complete {
		if err := r.observeFirst(v); err != nil {
			m.Reach, m.Why = mysqldFailing, err.Error()
			return nil, nil
		}
	}
	return db, nil
}

// observeFirst looks at what a server that runs before the volume is complete has behind it.
func (r *runner) observeFirst(v *view) error {
	if v.Volume != volume.NeverCompleted {
		v.Mysqld.Elsewhere = true // a data directory that has not been begun has no server
		return nil
	}
	used, err := r.vol.InUse(v.Generation)
	if err != nil {
		return err
	}
	v.Mysqld.Elsewhere = !used
	// The image's entry point shuts its temporary server down after the last of its steps, and not before.
	inOrder, err := mysqlx.ShutDownInOrder(r.vol.DataDir(), binlogName)
	v.Mysqld.CutShort = !inOrder
	return err
}

// asRoot looks with root's account where the agent's is not there (yet). Root's password is needed for the first accounts
// only, so it may be missing.
func (r *runner) asRoot(ctx context.Context, v *view, denied error) (mysqlx.Facts, *mysqlx.DB, error) {
	v.Mysqld.AsRoot = true
	if r.root == nil {
		v.Mysqld.Reach = mysqldNoRoot
		v.Mysqld.Why = "the agent's account is not there, and to create it root's password is needed: give --root-password-file"
		return mysqlx.Facts{}, nil, denied
	}
	facts, err := r.root.Facts(ctx)
	if mysqlx.IsAccessDenied(err) && v.Volume != volume.Complete {
		// A first initialisation that was cut short can leave a server that lets root in without a password. Its temporary
		// server does so too, for a while.
		if bare, bareErr := r.bare.Facts(ctx); bareErr == nil {
			v.Mysqld.Bare = !bare.SkipNetworking && bare.Port != 0
			return bare, r.bare, nil
		}
	}
	return facts, r.root, err
}

// abandoned reports whether nobody has had the data directory open for a while.
func (r *runner) abandoned(v *view) bool {
	used, err := r.vol.InUse(v.Generation)
	if err != nil || used || v.Volume != volume.NeverCompleted {
		r.idleSince = time.Time{}
		return false
	}
	if r.idleSince.IsZero() {
		r.idleSince = r.now()
	}
	return r.now().Sub(r.idleSince) >= abandonedAfter
}

// userTables counts tables, now and then: it reads the dictionary.
func (r *runner) userTables(ctx context.Context, db *mysqlx.DB) *int {
	if r.tables != nil && r.now().Sub(r.tablesAt) < tablesEvery {
		return r.tables
	}
	n, err := db.UserTables(ctx)
	if err != nil {
		return nil // not known: level=full says so
	}
	r.tables, r.tablesAt = &n, r.now()
	return r.tables
}

// observeSiblings asks the siblings of a source whose gate is closed.
func (r *runner) observeSiblings(ctx context.Context, v *view) {
	if facts := v.Mysqld.Facts; !facts.SuperReadOnly && !facts.ReadOnly {
		r.gateSince = time.Time{}
		return
	}
	if r.gateSince.IsZero() {
		r.gateSince = r.now()
	}
	v.GateWaited = r.now().Sub(r.gateSince) >= gatePatience
	ordinals, err := r.peers.Siblings(ctx, net.DefaultResolver)
	if err != nil {
		v.Siblings = []PeerAnswer{{Pod: "the set's pods", Kind: PeerSilent, Why: err.Error(), Err: err}}
		return
	}
	v.Siblings = askAll(ctx, r.client, ordinals)
}

// observeSource asks a replica's source what it is and has. Our own transactions were read before: what the source executes
// in between can only make it look further ahead.
func (r *runner) observeSource(ctx context.Context, v *view) {
	v.Want = mysqlx.Source{Host: r.peers.Host(r.id.First), Port: r.peers.MySQLPort()}
	if v.ClusterID != "" {
		v.Want.User = mysqlx.ReplicationAccount(v.ClusterID)
	}
	if running(v.Channels) && r.source.Kind == PeerAnswered && r.now().Sub(r.sourceAt) < sourceEvery {
		v.Source, v.Lasting = r.source, r.surplus.lasting()
		return
	}
	r.source, r.sourceAt = r.client.Ask(ctx, r.id.First), r.now()
	v.Source = r.source
	if v.Source.Kind != PeerAnswered || v.Source.Status.GTIDExecuted == "" || v.Source.Status.ClusterID != v.ClusterID {
		r.surplus = surplus{}
		return
	}
	theirs, err := mysqlx.ParseGTIDSet(v.Source.Status.GTIDExecuted)
	if err != nil {
		v.Source.Kind, v.Source.Why = PeerSilent, fmt.Sprintf("%s names its transactions in a way that cannot be read: %v", v.Source.Pod, err)
		return
	}
	v.Surplus = v.Mysqld.Facts.GTIDExecuted.Subtract(theirs)
	r.surplus.add(v.Surplus, v.Source.Status.ObservedAt)
	v.Lasting = r.surplus.lasting()
}

// A surplus tells transactions that the source does not have from those it had executed but not yet told of: only what
// several answers in a row lack counts.
type surplus struct {
	set   mysqlx.GTIDSet
	turns int
	at    time.Time // of the source's last answer, by its clock
}

func (s *surplus) add(set mysqlx.GTIDSet, at time.Time) {
	switch {
	case set.IsEmpty():
		*s = surplus{at: at}
	case s.turns == 0:
		*s = surplus{set: set, turns: 1, at: at}
	case at != s.at:
		both := s.set.Subtract(s.set.Subtract(set))
		*s = surplus{set: both, turns: s.turns + 1, at: at}
		if both.IsEmpty() {
			*s = surplus{set: set, turns: 1, at: at}
		}
	}
}

func (s *surplus) lasting() mysqlx.GTIDSet {
	if s.turns < lastingTurns {
		return mysqlx.GTIDSet{}
	}
	return s.set
}
