package agent

import (
	"errors"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A simAgent is one run of agent run. It decides with the product's own functions; what it sees and what it does is the model's, written
// after observe.go and act.go line by line.
type simAgent struct {
	*simPod
	p    *simProcess
	real *runner // what a runner remembers of starts and failures

	readiness  Readiness
	gateSince  time.Time
	idleSince  time.Time
	downSince  time.Time
	opened     int
	wasInUse   bool
	formerUUID string
	source     PeerAnswer
	sourceAt   time.Time
	surplus    surplus
	skips      skips
	answersOf  []PeerAnswer
	siblingsAt time.Time
	rebuild    *simRebuild
}

// A simRebuild is a copy that is made beside what is served.
type simRebuild struct {
	process *simProcess
	cause   rebuildCause
	now     showing
	err     error
	over    bool
	ended   time.Time
}

func newSimAgent(p *simPod, q *simProcess) *simAgent {
	p.board, p.answers = p.newBoard(PhaseRun), true
	return &simAgent{
		simPod: p, p: q, real: &runner{self: self{cfg: p.cfg, id: p.id, peers: p.peers}, now: p.w.clock}, readiness: Readiness{MaxLag: p.cfg.MaxLag},
	}
}

// loop turns for ever.
func (a *simAgent) loop() {
	for {
		if a.turn() || a.stall > a.w.now {
			a.step()
		} else {
			a.p.sleep(turnEvery + a.w.between(0, turnEvery/4))
		}
	}
}

func (a *simAgent) step() { a.simPod.step(a.p) }

// turn observes, decides, acts and reports once: see runner.turn.
func (a *simAgent) turn() (acted bool) {
	v := a.observe()
	d := decide(v)
	if d.Do != actNone {
		if a.w.verbose {
			a.w.say(a.id.Pod, "%s: %s %v", d.State, d.Do, d.Reasons)
		}
		a.step()
		err := a.do(d, v)
		if err == nil {
			return true
		}
		a.w.say(a.id.Pod, "could not %s: %v", d.Do, err)
		d = d.because(CodeMysqldError, "%s: %v", d.Do, err)
	}
	a.report(v, d)
	return false
}

var errDown = errors.New("mysqld does not answer")

// observe makes a view: see runner.observe.
func (a *simAgent) observe() view {
	content := a.vol.content()
	v := view{
		At: a.w.clock(), Role: a.id.Role(), Volume: content.Kind, Generation: content.Generation, StartsOver: startsOver(content), MayStart: !a.w.clock().Before(a.real.startAfter),
		ServerID: a.id.ServerID(a.cfg.ServerIDBase), Heal: a.cfg.Heal, Rebuild: a.rebuildView(),
		Replaced: content.Kind == volume.Complete && len(content.Older()) > 0, Held: a.vol.held, Request: a.vol.request,
	}
	a.observeSwitch(&v, content)
	if v.hasData() {
		v.ConfigGood = string(a.conf) == string(a.serverConfig(true))
	}
	m := a.observeMysqld(&v)
	if m == nil {
		return v
	}
	a.glance()
	v.ClusterID = m.data.cluster
	if v.hasData() {
		v.Channels = m.channels()
	}
	a.glance()
	if !m.up() {
		v.Mysqld.Reach, v.Mysqld.Why = mysqldFailing, errDown.Error()
		return v
	}
	identity := a.vol.identity
	v.ServerKnown = identity.ServerUUID == v.Mysqld.Facts.ServerUUID
	if v.ServerKnown && identity.Pod != "" && identity.Pod != a.id.Pod {
		v.SameUUID = identity.Pod
	}
	v.Want = mysqlx.Source{Host: a.w.hosts[a.id.First], Port: a.peers.MySQLPort()}
	if v.ClusterID != "" {
		v.Want.User = mysqlx.ReplicationAccount(v.ClusterID)
	}
	v.NewUUID = a.formerUUID != "" && a.formerUUID != v.Mysqld.Facts.ServerUUID
	v.Waiting = waiting(v)
	if v.Role == RoleSource {
		a.observeSiblings(&v)
		v.Semisync = semisyncView{
			Wanted: a.cfg.Durability == DurabilitySemisync, Known: m.up(), Plugins: m.semisyncAck, On: m.semisync,
			Clients: m.acknowledgers(), Giving: a.gives(),
		}
		if m.semisync {
			v.Semisync.Waiting = len(m.data.pending)
		}
		return v
	}
	if identity.Pod == a.id.Pod && v.ServerKnown && content.Record != nil && content.Record.Origin == volume.OriginClone {
		v.Local = ofServer(v.Mysqld.Facts.GTIDExecuted, v.Mysqld.Facts.ServerUUID)
	}
	a.observeSource(&v)
	a.real.observeFailures(&v)
	return v
}

// observeSwitch looks at a copy that is complete and not switched to.
func (a *simAgent) observeSwitch(v *view, content *volume.Content) {
	switch {
	case content.Kind != volume.Switching:
	case content.Record.Replaces == nil:
		v.SwitchBegun = true
	default:
		v.Lineage, v.Older = content.Record.ClusterID, content.Record.Replaces.Generation
		v.Copied, v.OnlyHere = gtidsOf(content.Record.GTIDExecuted), gtidsOf(content.Record.Replaces.OnlyHere)
		if g := a.vol.generation(v.Older); g != nil {
			v.OnlyHere = v.OnlyHere.Union(g.exported)
		}
		v.DownLong = !a.downSince.IsZero() && a.w.clock().Sub(a.downSince) >= downLong
		v.SwitchBegun = a.vol.switchBegun()
	}
}

// glance is the moment between two questions to mysqld: usually nothing happens in it.
func (a *simAgent) glance() {
	if !a.w.calm && a.w.chance(0.05) {
		a.p.sleep(a.w.between(0, time.Second))
	}
}

// observeMysqld returns the server if it is up.
func (a *simAgent) observeMysqld(v *view) *simMysqld {
	m := a.mysqld
	if m == nil {
		v.Mysqld.Reach, v.Mysqld.Why, v.Mysqld.Abandoned = mysqldDown, errDown.Error(), a.abandoned(v)
		if a.downSince.IsZero() {
			a.downSince = a.w.clock()
		}
		return nil
	}
	if !m.data.agent {
		v.Mysqld.AsRoot = true
		v.Mysqld.Bare = !v.hasData() && m.bare && !m.temporary
	}
	a.idleSince, a.downSince, a.opened = time.Time{}, time.Time{}, 0
	if m.temporary {
		v.Mysqld.Reach = mysqldTemporary
		return nil
	}
	v.Mysqld.Reach, v.Mysqld.Facts = mysqldUp, m.facts()
	if !v.hasData() {
		v.Mysqld.Elsewhere = v.Volume != volume.NeverCompleted || !a.inUse(v.Generation)
		v.Mysqld.CutShort = v.Volume == volume.NeverCompleted && m.cutShort
	}
	return m
}

func (a *simAgent) abandoned(v *view) bool {
	if v.Volume != volume.NeverCompleted {
		a.idleSince, a.opened = time.Time{}, 0
		return false
	}
	if a.inUse(v.Generation) {
		if !a.wasInUse {
			a.opened++
		}
		a.wasInUse, a.idleSince = true, time.Time{}
		return false
	}
	if a.wasInUse = false; a.idleSince.IsZero() {
		a.idleSince = a.w.clock()
	}
	return a.opened > maxOpened || a.w.clock().Sub(a.idleSince) >= abandonedAfter
}

func (a *simAgent) observeSiblings(v *view) {
	now := a.w.clock()
	if !v.Mysqld.Facts.SuperReadOnly {
		a.gateSince = time.Time{}
		if now.Sub(a.siblingsAt) < siblingsEvery {
			v.Siblings = a.answersOf
			return
		}
	} else if a.gateSince.IsZero() {
		a.gateSince = now
	}
	patience := a.cfg.Gate()
	v.GateWaited = patience > 0 && !a.gateSince.IsZero() && now.Sub(a.gateSince) >= patience
	v.GateSince, a.siblingsAt = a.gateSince, now
	ordinals, err := a.siblings()
	if err != nil {
		v.Siblings = []PeerAnswer{{Pod: "the set's pods", Kind: PeerSilent, Why: err.Error(), Err: err}}
		return
	}
	v.Siblings = a.askAll(a.p, ordinals)
	a.answersOf = v.Siblings
}

func (a *simAgent) observeSource(v *view) {
	if running(v.Channels) && a.source.Kind == PeerAnswered && a.w.clock().Sub(a.sourceAt) < sourceEvery {
		v.Source, v.Lasting, v.Skipped = a.source, a.surplus.lasting(), a.skips.lasting()
		return
	}
	a.source = a.ask(a.p, a.id.First)
	a.sourceAt = a.w.clock()
	v.Source = a.source
	if v.Source.Kind != PeerAnswered || v.Source.Status.GTIDExecuted == "" || v.ClusterID != "" && v.Source.Status.ClusterID != v.ClusterID {
		a.surplus, a.skips = surplus{}, skips{}
		return
	}
	if v.Source.Status.ServerUUID == v.Mysqld.Facts.ServerUUID {
		v.SameUUID = v.Source.Pod
	}
	theirs, err := mysqlx.ParseGTIDSet(v.Source.Status.GTIDExecuted)
	if err != nil {
		a.w.fail("%s: %v", a.id.Pod, err)
	}
	v.Abroad = v.Waiting.Subtract(theirs)
	told := theirs
	if !sourceBehind(v.Channels) {
		theirs = theirs.Union(ofServer(v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting), v.Source.Status.ServerUUID))
	}
	v.Surplus = v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting).Subtract(theirs)
	if v.Source.Status.State != StateSource {
		a.surplus, a.skips = surplus{}, skips{}
		return
	}
	a.surplus.add(v.Surplus, v.Source.Status.ObservedAt)
	a.skips.add(v, told)
	v.Lasting, v.Skipped = a.surplus.lasting(), a.skips.lasting()
}

// report puts what was seen and concluded on the board: see runner.report.
func (a *simAgent) report(v view, d verdict) {
	if d.State == StateReplicating {
		a.real.startPause = 0
	}
	o := Observation{Role: v.Role, Serving: d.Serving}
	if len(v.Channels) == 1 {
		o.Lag = v.Channels[0].Lag
	}
	ready := a.readiness.Observe(a.w.clock(), o)
	if a.w.verbose && a.board.Status().State != d.State {
		a.w.say(a.id.Pod, "state %s %v", d.State, d.Reasons)
	}
	a.board.UpdateAsOf(v.At, func(s *Status) {
		s.State, s.Ready, s.Reasons = d.State, ready.Ready, d.Reasons
		s.HasData = hasData(v)
		if v.Mysqld.Reach == mysqldUp {
			facts := v.Mysqld.Facts
			s.ClusterID, s.ServerUUID = v.ClusterID, facts.ServerUUID
			s.GTIDExecuted, s.GTIDPurged = facts.GTIDExecuted.String(), facts.GTIDPurged.String()
			s.GTIDWaiting, s.GTIDLocal = v.Waiting.Union(v.Copied).Subtract(facts.GTIDExecuted).String(), v.Local.String()
		}
	})
}

func (a *simAgent) rebuildView() *rebuildView {
	b := a.rebuild
	if b == nil {
		return nil
	}
	v := &rebuildView{Cause: b.cause, Now: b.now}
	if b.err != nil {
		v.Failed = b.err.Error()
		v.Resting = a.w.clock().Sub(b.ended) < rebuildRest
	}
	return v
}
