package agent

import (
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A view is what one turn of the loop has observed. The decisions are made on it alone.
type view struct {
	Role Role

	Volume     volume.Kind
	Generation int
	StartsOver int  // how often a first initialisation was put aside so far
	ConfigGood bool // mysqld's configuration is what it has to be for this volume

	Mysqld mysqldView
	// ServerKnown says that this server has been set up by us: its server_uuid is the one in the volume's identity. A copy
	// starts with a new server_uuid.
	ServerKnown bool
	ClusterID   string // of the server's accounts; "" when it has none
	Channels    []mysqlx.ReplicaStatus

	Siblings   []PeerAnswer // of a source; of an open one, as they were a while ago
	GateWaited bool         // siblings that do not answer have had time enough

	ServerID uint32 // what server_id has to be
	// The next four are about a new copy that waits to take the place of the old data.
	Older       int            // the generation that is still served
	SwitchBegun bool           // mysqld cannot start on the old data any more
	DownLong    bool           // mysqld on the old data has not answered for so long that nobody expects it to
	OnlyHere    mysqlx.GTIDSet // what was exported of the old data
	Copied      mysqlx.GTIDSet // what the new copy has at least
	Lineage     string         // the cluster that the new copy is of

	Served   bool   // the pod has been ready on this data before
	Replaced bool   // there is data that a newer copy has taken the place of
	SameUUID string // a pod that does not give way and has the same server_uuid; "": none

	Heal    HealPolicy
	Held    string          // why somebody asked the agent not to start replication; "": nobody has
	Request *volume.Request // what somebody asked for; nil: nothing
	Rebuild *rebuildView    // nil: none is under way

	// Quarantine is what lies in quarantine, where room is short and the data that is served has proven itself; else empty.
	Quarantine []volume.QuarantineEntry

	Rotation rotationView
	Overridden []mysqlx.Override // settings of ours that something else has changed

	Semisync semisyncView

	Source  PeerAnswer     // of a replica: the set's source
	Want    mysqlx.Source  // of a replica: what its channel should be; the password is not compared
	Surplus mysqlx.GTIDSet // of a replica: what it has and the source lacks, as far as both are known
	Lasting mysqlx.GTIDSet // the part of Surplus that has been there for several turns, with a source that takes writes
	Waiting mysqlx.GTIDSet // received and not executed yet
	Abroad  mysqlx.GTIDSet // the part of Waiting that the source lacks
	Local   mysqlx.GTIDSet // what a replica that was cloned has executed by itself
	Drifted string         // why the applier cannot go on, ever; "": it can
	Purged  string         // what the source said when it had not kept what the receiver needs next; "": it has not said so
	// RelayDamaged says that the applier cannot read what was received: it has to be fetched again.
	RelayDamaged bool
	MayStart     bool // a start of replication is not too soon after the last one
}

// hasData reports whether the volume's data is complete: it is served, or about to be.
func (v view) hasData() bool { return v.Volume == volume.Complete || v.Volume == volume.Switching }

// mysqldView is what is known of the pod's own server.
type mysqldView struct {
	Reach      mysqldReach
	Why        string // for people, when it is not up
	Facts      mysqlx.Facts
	AsRoot     bool // the agent's account is not there: seen with root's
	Bare       bool // root is let in without its password, though it has one: the first initialisation was cut short
	Elsewhere  bool // it has another data directory open than this volume's unfinished one
	CutShort   bool // a server of the first initialisation was killed: steps of it are missing
	Abandoned  bool // no server has had the data directory open for a while
	UserTables *int
	DataBytes  *uint64
}

// mysqldReach says how far the agent got with the pod's own server.
type mysqldReach int

const (
	mysqldDown      mysqldReach = iota // nobody answers
	mysqldTemporary                    // the image's temporary server, without network
	mysqldDenied                       // it answers and lets none of our accounts in
	mysqldNoRoot                       // root's password would be needed and was not given
	mysqldFailing                      // it answers and something is wrong
	mysqldUp
)

// An act changes something. Each may be taken any number of times.
type act string

const (
	actNone            act = ""
	actFinishFirst     act = "finish the first initialisation" // accounts, the volume's mark, the configuration
	actStartOver       act = "put an interrupted first initialisation aside"
	actConfigure       act = "write mysqld's configuration"
	actAccounts        act = "create the accounts"
	actLetIn           act = "let users in"
	actOpen            act = "open for writes"
	actClose           act = "set super_read_only"
	actResetChannels   act = "reset the replication channels"
	actFollow          act = "point the channel at the source"
	actStart           act = "start replication"
	actStop            act = "stop receiving"
	actCatchUp         act = "catch up from a sibling"
	actServerID        act = "set server_id"
	actNewUUID         act = "give mysqld a new server_uuid"
	actApply           act = "execute what was received"
	actSwitch          act = "restart mysqld on the new copy"
	actDropSpare       act = "remove the oldest data in quarantine, to make room"
	actExport          act = "export what only this pod has"
	actAnswer          act = "do what somebody asked for"
	actRetire          act = "put the replaced data aside"
	actRebuild         act = "build a new copy beside the data"
	actDropRebuild     act = "give the new copy up"
	actRotate          act = "see that the accounts have the cluster secret's passwords"
	actDiscard         act = "end the accounts' former passwords"
	actChannelPassword act = "give the replication channel its new password"
	actSettle        act = "end commits that nobody can acknowledge"
	actSemisync        act = "set semi-synchronous replication"
)

// A verdict is what a turn concludes: what the pod is, why, and at most one thing to do about it.
type verdict struct {
	State   State
	Reasons []Reason
	Do      act
	Serving bool          // in its role, as far as readiness is concerned
	Follow  mysqlx.Source // with actFollow and actCatchUp; without a password
	Spare   string        // with actDropSpare: the name in quarantine
	Cause   *rebuildCause // why the data has to be replaced; nil: it need not be
}

func (d verdict) because(code Code, format string, args ...any) verdict {
	d.Reasons = append(d.Reasons, NewReason(code, format, args...))
	return d
}

// decide is the whole judgement of a turn; it looks at nothing but v.
func decide(v view) verdict {
	if !v.hasData() {
		return decideUnfinished(v)
	}
	if v.Volume == volume.Switching {
		return decideSwitch(v)
	}
	if d, up := decideMysqld(v); !up {
		return d
	}
	var d verdict
	switch {
	case v.Replaced:
		d = verdict{State: StateNotReplicating, Do: actRetire}
		return d.because(CodeRebuilding, "the old data goes to quarantine")
	case v.Role == RoleSource:
		d = decideSource(v)
	default:
		d = decideReplica(v)
	}
	for _, o := range v.Overridden {
		d = d.because(CodeConfigOverridden, "%s", o)
	}
	if name, ok := spare(v.Quarantine, v); d.Do == actNone && ok {
		d.Do, d.Spare = actDropSpare, name
	}
	if d.Do == actNone && v.answerable() {
		d.Do = actAnswer
	}
	if d.Do == actNone && v.Rebuild != nil && d.Cause == nil && d.refutes() {
		d.Do = actDropRebuild
	}
	return d
}

// answerable reports whether somebody asked for something that can be done now. A source's data is changed by agent init only, while
// nobody writes; a rebuild is the replica's own decision.
func (v view) answerable() bool {
	switch {
	case v.Request == nil || v.Request.Kind == volume.RequestRebuild:
		return false
	case v.Request.Kind == volume.RequestUndo:
		return v.Role == RoleReplica && v.Rebuild == nil && !v.Replaced
	}
	return true
}

// decideSwitch is about a new copy that is complete, beside data that is still served. What came to that data while the copy was made must
// be elsewhere before it goes out of service.
func decideSwitch(v view) verdict {
	d := verdict{State: StateNotReplicating}
	switch {
	case v.SwitchBegun, v.DownLong:
		d.Do = actSwitch
		return d.because(CodeRebuilding, "the new copy is complete: mysqld is restarted on it")
	case v.Mysqld.Reach != mysqldUp:
		d.State = StateWaitingForMysqld
		return d.because(CodeRebuilding, "the new copy is complete; before the switch the old data is asked what it has got meanwhile: %s", v.Mysqld.Why)
	case v.Role == RoleReplica && !v.Mysqld.Facts.SuperReadOnly:
		d.Do = actClose
		return d.because(CodeReadOnlyReasserted, "super_read_only was off on a replica")
	case receiving(v.Channels):
		d.Do = actStop
		return d.because(CodeRebuilding, "the new copy is complete: nothing more is received on the old data")
	}
	left := v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting).Subtract(v.OnlyHere).Subtract(v.Copied)
	if lost := left.Subtract(v.elsewhere()); !lost.IsEmpty() {
		if v.Lasting.Contains(lost) {
			d.Do = actExport
			return d.because(CodeErrantTransactions, "the new copy is complete; the old data has got %d transactions meanwhile that %s lacks", lost.Count(), v.Source.Pod)
		}
		return d.because(CodeRebuilding, "the new copy is complete; %d transactions of the old data are not known to be elsewhere (%s): waiting for the source to say that it has them",
			lost.Count(), orNotKnown(lost.String()))
	}
	d.Do = actSwitch
	return d.because(CodeRebuilding, "the new copy is complete: mysqld is restarted on it")
}

// elsewhere is what pods of the new copy's lineage say that they have executed.
func (v view) elsewhere() (set mysqlx.GTIDSet) {
	for _, p := range append([]PeerAnswer{v.Source}, v.Siblings...) {
		if p.Kind != PeerAnswered || p.Status.ClusterID != v.Lineage || p.Status.HasData != DataYes {
			continue
		}
		if has, err := mysqlx.ParseGTIDSet(p.Status.GTIDExecuted); err == nil {
			set = set.Union(has)
		}
	}
	return set
}

// refutes reports whether a verdict that sees no cause for a rebuild is worth more than the one that began it: one that is made while
// the source cannot be asked is not.
func (d verdict) refutes() bool {
	switch d.State {
	case StateReplicating, StateSource, StateSourceIsStranger:
		return true
	}
	return false
}

// decideUnfinished is about a volume whose data is not complete: normally the image's first initialisation is under way.
func decideUnfinished(v view) verdict {
	d := verdict{State: StateInitialising}
	switch {
	case v.Volume != volume.Prepared && v.Volume != volume.NeverCompleted:
		d.State = StateWaitingForMysqld
		return d.because(CodeMysqldNotAnswering, "the volume is %v: agent init has to run before mysqld and this agent", v.Volume)
	case v.Mysqld.Elsewhere:
		return d.because(CodeMysqldInitialising, "waiting for the end of a server that runs on data that was put aside")
	case v.Mysqld.Bare:
		return d.startOver(v, "root is let in without a password: the first initialisation was cut short")
	case v.Mysqld.CutShort:
		return d.startOver(v, "a server of the first initialisation did not shut down in order: steps are missing")
	case v.Mysqld.Abandoned && v.Volume == volume.NeverCompleted:
		return d.startOver(v, "nobody goes on with the first initialisation")
	case v.Mysqld.Reach == mysqldUp:
		d.Do = actFinishFirst
		return d.because(CodeMysqldInitialising, "the first initialisation has ended; creating the accounts")
	case v.Mysqld.Reach == mysqldNoRoot:
		return d.because(CodeRootPasswordMissing, "%s", v.Mysqld.Why)
	case v.Mysqld.Reach == mysqldDenied:
		return d.because(CodeAccessDenied, "%s", v.Mysqld.Why)
	case v.Mysqld.Reach == mysqldFailing:
		return d.because(CodeMysqldError, "%s", v.Mysqld.Why)
	}
	return d.because(CodeMysqldInitialising, "the image's first initialisation is under way")
}

// maxStartsOver bounds how often a first initialisation is put aside and begun again. Each one stays in quarantine, and one
// that fails for ever, because of a script of the user's, must not fill the volume.
const maxStartsOver = 10

func (d verdict) startOver(v view, why string) verdict {
	if v.StartsOver >= maxStartsOver {
		return d.because(CodeInterruptedFirstStart, "%s. It was put aside %d times already and stays as it is: see in mysqld's log what ends it, "+
			"then empty quarantine/ on the volume", why, v.StartsOver)
	}
	d.Do = actStartOver
	return d.because(CodeInterruptedFirstStart, "%s", why)
}

// decideMysqld is about a server that cannot be asked, whatever the role.
func decideMysqld(v view) (d verdict, up bool) {
	d = verdict{State: StateWaitingForMysqld}
	if !v.ConfigGood {
		// A server that restarts must find that it may not take writes, so this comes before all else.
		d.Do = actConfigure
		return d, false
	}
	switch v.Mysqld.Reach {
	case mysqldUp:
		return verdict{}, true
	case mysqldTemporary:
		return d.because(CodeMysqldInitialising, "mysqld runs without network"), false
	case mysqldDenied, mysqldNoRoot:
		d.State = StateNotReplicating
		if v.Role == RoleSource {
			d.State = StateGateClosed
		}
		return d.because(CodeAccessDenied, "%s", v.Mysqld.Why), false
	case mysqldFailing:
		return d.because(CodeMysqldError, "%s", v.Mysqld.Why), false
	}
	return d.because(CodeMysqldNotAnswering, "%s", v.Mysqld.Why), false
}
