package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// Bounds and rhythms of an observation.
const (
	sqlTimeout     = 5 * time.Second
	abandonedAfter = 30 * time.Second // the image's entry point leaves the data directory alone for a second or two between its servers
	// maxOpened is how often programs may open the data directory of a first initialisation before one of them answers: mysqld --initialize
	// and the image's temporary server do, and the end of one and the start of the next can look like one more.
	maxOpened      = 3
	bytesEvery     = time.Minute
	overridesEvery = 30 * time.Second
	downLong       = 5 * time.Minute  // a mysqld that has been away for so long does not come up on its data any more
	siblingsEvery  = 10 * time.Second // how often an open source looks at its siblings
	tablesEvery    = 10 * time.Second
	sourceEvery    = 2 * time.Second // how often a running replica compares itself with its source
	lastingTurns   = 3               // answers of the source in a row that lack a transaction of ours
)

// observe looks at everything a decision depends on. It changes nothing.
func (r *runner) observe(ctx context.Context) (view, error) {
	began := r.now()
	content, err := r.vol.Inspect()
	if err != nil {
		return view{}, err
	}
	v := view{
		At: began, Role: r.id.Role(), Volume: content.Kind, Generation: content.Generation, StartsOver: startsOver(content), MayStart: !r.now().Before(r.startAfter),
		ServerID: r.id.ServerID(r.cfg.ServerIDBase), Heal: r.cfg.Heal, Rebuild: r.rebuildView(),
	}
	if err := r.observeVolume(&v, content); err != nil {
		return view{}, err
	}
	if v.hasData() {
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
	if v.ClusterID, err = db.ClusterID(ctx); err == nil && v.hasData() {
		v.Channels, err = db.ReplicaStatus(ctx)
	}
	if err != nil {
		v.Mysqld.Reach, v.Mysqld.Why = mysqldFailing, err.Error()
		return v, nil
	}
	v.Mysqld.UserTables, v.Mysqld.DataBytes = r.userTables(ctx, db), r.dataBytes(ctx, db)
	identity, err := r.vol.Identity()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return view{}, err
	}
	v.ServerKnown = identity.ServerUUID == v.Mysqld.Facts.ServerUUID
	if v.ServerKnown && identity.Pod != "" && identity.Pod != r.id.Pod {
		v.SameUUID = identity.Pod // the volume is a copy of that pod's, or was that pod's
	}
	v.Want = mysqlx.Source{Host: r.peers.Host(r.id.First), Port: r.peers.MySQLPort()}
	if v.ClusterID != "" {
		v.Want.User = mysqlx.ReplicationAccount(v.ClusterID)
	}
	v.Overridden = r.overrides(ctx, db)
	v.NewUUID = r.formerUUID != "" && r.formerUUID != v.Mysqld.Facts.ServerUUID
	v.Waiting = waiting(v)
	r.observeRotation(&v)
	if v.Role == RoleSource {
		r.observeSiblings(ctx, &v)
		r.observeSemisync(ctx, db, &v)
		return v, nil
	}
	if identity.Pod == r.id.Pod && v.ServerKnown && content.Record != nil && copied(content.Record.Origin) {
		v.Local = ofServer(v.Mysqld.Facts.GTIDExecuted, v.Mysqld.Facts.ServerUUID)
	}
	r.observeSource(ctx, &v)
	r.observeFailures(&v)
	return v, nil
}

// waiting is what was received and not executed yet.
func waiting(v view) (set mysqlx.GTIDSet) {
	for _, c := range v.Channels {
		set = set.Union(c.RetrievedGTIDs)
	}
	return set.Subtract(v.Mysqld.Facts.GTIDExecuted)
}

// observeVolume looks at what is beside the data, and at what people have asked for.
func (r *runner) observeVolume(v *view, content *volume.Content) error {
	v.Replaced = content.Kind == volume.Complete && len(content.Older()) > 0
	if err := r.observeSwitch(v, content); err != nil {
		return err
	}
	hold, err := r.vol.Held()
	if err != nil {
		return err
	}
	if hold != nil {
		v.Held = hold.Reason
	}
	request, err := r.vol.Request()
	if err != nil {
		return err
	}
	v.Request = request
	v.Served = content.Record != nil && content.Record.ServedAt != nil
	v.Restored = content.Record != nil && content.Record.Origin == volume.OriginRestored
	if content.Kind == volume.Complete {
		r.observeReplay(v)
	}
	return r.observeSpare(v, content)
}

// observeMysqld finds out how far one gets with the pod's own server. It returns the connection to go on with if it is up. An
// error is a server that this agent cannot work with.
func (r *runner) observeMysqld(ctx context.Context, v *view) (*mysqlx.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	facts, err := r.db.Facts(ctx)
	db := r.db
	for range r.passwords.others() {
		if !mysqlx.IsAccessDenied(err) {
			break
		}
		r.passwords.next()
		facts, err = r.db.Facts(ctx)
	}
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
		if r.downSince.IsZero() {
			r.downSince = r.now()
		}
		m.Reach, m.Why = mysqldDown, err.Error()
		m.Abandoned = r.abandoned(v)
		return nil, nil
	case err != nil:
		m.Reach, m.Why = mysqldFailing, err.Error()
		return nil, nil
	}
	r.idleSince, r.downSince, r.opened = time.Time{}, time.Time{}, 0
	if facts.SkipNetworking || facts.Port == 0 {
		m.Reach = mysqldTemporary
		return nil, nil
	}
	m.Reach, m.Facts = mysqldUp, facts
	if !v.hasData() {
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
	if mysqlx.IsAccessDenied(err) && !v.hasData() {
		// A first initialisation that was cut short can leave a server that lets root in without a password. Its temporary
		// server does so too, for a while.
		if bare, bareErr := r.bare.Facts(ctx); bareErr == nil {
			v.Mysqld.Bare = !bare.SkipNetworking && bare.Port != 0
			return bare, r.bare, nil
		}
	}
	return facts, r.root, err
}

// abandoned reports whether nobody goes on with the first initialisation: nobody has had the data directory open for a while, or somebody
// opens it again and again and never gets so far as to answer. A server cannot start on what an initialisation that was killed has left.
func (r *runner) abandoned(v *view) bool {
	used, err := r.vol.InUse(v.Generation)
	if err != nil || v.Volume != volume.NeverCompleted {
		r.idleSince, r.opened = time.Time{}, 0
		return false
	}
	if used {
		if !r.inUse {
			r.opened++
		}
		r.inUse, r.idleSince = true, time.Time{}
		return false
	}
	if r.inUse = false; r.idleSince.IsZero() {
		r.idleSince = r.now()
	}
	return r.opened > maxOpened || r.now().Sub(r.idleSince) >= abandonedAfter
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

// overrides looks, now and then, which of the agent's settings something else has changed: another file, or SET PERSIST.
func (r *runner) overrides(ctx context.Context, db *mysqlx.DB) []mysqlx.Override {
	if !r.overridesAt.IsZero() && r.now().Sub(r.overridesAt) < overridesEvery {
		return r.overridden
	}
	found, err := db.Overrides(ctx, r.config().settings())
	if err != nil {
		return r.overridden
	}
	r.overridden, r.overridesAt = found, r.now()
	return found
}

// dataBytes asks how large a copy would be, now and then: it makes the server look at every tablespace.
func (r *runner) dataBytes(ctx context.Context, db *mysqlx.DB) *uint64 {
	if r.bytes != nil && r.now().Sub(r.bytesAt) < bytesEvery {
		return r.bytes
	}
	n, err := db.CopySize(ctx)
	if err != nil {
		return r.bytes
	}
	r.bytes, r.bytesAt = &n, r.now()
	return r.bytes
}

// observeSwitch looks at a copy that is complete and not switched to.
func (r *runner) observeSwitch(v *view, content *volume.Content) (err error) {
	if content.Kind != volume.Switching {
		return nil
	}
	if content.Record.Replaces == nil {
		v.SwitchBegun = true // there is nothing to compare it with
		return nil
	}
	v.Lineage, v.Older = content.Record.ClusterID, content.Record.Replaces.Generation
	if v.Copied, err = mysqlx.ParseGTIDSet(content.Record.GTIDExecuted); err != nil {
		return fmt.Errorf("read what the new copy has: %w", err)
	}
	noted, err := mysqlx.ParseGTIDSet(content.Record.Replaces.OnlyHere)
	if err != nil {
		return fmt.Errorf("read what only the old data has: %w", err)
	}
	if v.OnlyHere, err = r.exportedOf(content.Record.Replaces.Generation); err != nil {
		return err
	}
	v.OnlyHere = v.OnlyHere.Union(noted)
	v.DownLong = !r.downSince.IsZero() && r.now().Sub(r.downSince) >= downLong
	v.SwitchBegun, err = r.vol.SwitchBegun()
	return err
}

// observeSiblings asks the siblings of a source: in each turn while its gate is closed, and now and then later.
func (r *runner) observeSiblings(ctx context.Context, v *view) {
	facts := v.Mysqld.Facts
	if !facts.SuperReadOnly && !facts.ReadOnly {
		r.gateSince = time.Time{}
		if r.now().Sub(r.siblingsAt) < siblingsEvery {
			v.Siblings = r.siblings
			return
		}
	} else if r.gateSince.IsZero() {
		r.gateSince = r.now()
	}
	patience := r.cfg.Gate()
	v.GateWaited = patience > 0 && !r.gateSince.IsZero() && r.now().Sub(r.gateSince) >= patience
	v.GateSince, r.siblingsAt = r.gateSince, r.now()
	ordinals, err := r.peers.Siblings(ctx, net.DefaultResolver)
	if err != nil {
		v.Siblings = []PeerAnswer{{Pod: "the set's pods", Kind: PeerSilent, Why: err.Error(), Err: err}}
		return
	}
	v.Siblings = askAll(ctx, r.client, ordinals)
	r.siblings = v.Siblings
}

// observeSource asks a replica's source what it is and has. Our own transactions were read before: what the source executes
// in between can only make it look further ahead.
func (r *runner) observeSource(ctx context.Context, v *view) {
	if running(v.Channels) && r.source.Kind == PeerAnswered && r.now().Sub(r.sourceAt) < sourceEvery {
		v.Source, v.Lasting, v.Skipped = r.source, r.surplus.lasting(), r.skips.lasting()
		return
	}
	r.source, r.sourceAt = r.client.Ask(ctx, r.id.First), r.now()
	v.Source = r.source
	if v.Source.Kind != PeerAnswered || v.Source.Status.GTIDExecuted == "" || v.ClusterID != "" && v.Source.Status.ClusterID != v.ClusterID {
		r.surplus, r.skips = surplus{}, skips{}
		return
	}
	if v.Source.Status.ServerUUID == v.Mysqld.Facts.ServerUUID {
		v.SameUUID = v.Source.Pod
	}
	theirs, err := mysqlx.ParseGTIDSet(v.Source.Status.GTIDExecuted)
	if err != nil {
		v.Source.Kind, v.Source.Why = PeerSilent, fmt.Sprintf("%s names its transactions in a way that cannot be read: %v", v.Source.Pod, err)
		return
	}
	v.Abroad = v.Waiting.Subtract(theirs)
	told := theirs
	if !sourceBehind(v.Channels) {
		// A commit of its own that waits for our acknowledgement is not in its gtid_executed yet, and is with us already. Should it have
		// lost transactions of this server_uuid, it does not feed us: its side of the connection compares as well.
		theirs = theirs.Union(ofServer(v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting), v.Source.Status.ServerUUID))
	}
	v.Surplus = v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting).Subtract(theirs)
	if v.Source.Status.State != StateSource {
		// It may be about to catch up: what it lacks today is no reason to throw anything away.
		r.surplus, r.skips = surplus{}, skips{}
		return
	}
	r.surplus.add(v.Surplus, v.Source.Status.ObservedAt)
	r.skips.add(v, told)
	v.Lasting, v.Skipped = r.surplus.lasting(), r.skips.lasting()
}

// sourceBehind reports whether the source has said that it lacks transactions of its own that we have.
func sourceBehind(channels []mysqlx.ReplicaStatus) bool {
	return slices.ContainsFunc(channels, func(c mysqlx.ReplicaStatus) bool { return c.ReceiverError.Class() == mysqlx.ClassSourceBehind })
}

// A surplus tells transactions that the source does not have from those it had executed but not yet told of: only what
// several answers in a row lack counts.
type surplus struct {
	sets []mysqlx.GTIDSet // of the latest answers, at most lastingTurns
	at   time.Time        // of the source's last answer, by its clock
}

func (s *surplus) add(set mysqlx.GTIDSet, at time.Time) {
	if len(s.sets) > 0 && at.Equal(s.at) {
		return // the same answer proves nothing more
	}
	s.sets, s.at = append(s.sets, set), at
	if len(s.sets) > lastingTurns {
		s.sets = s.sets[1:]
	}
}

func (s *surplus) lasting() mysqlx.GTIDSet {
	if len(s.sets) < lastingTurns {
		return mysqlx.GTIDSet{}
	}
	all := s.sets[0]
	for _, set := range s.sets[1:] {
		all = intersect(all, set)
	}
	return all
}
