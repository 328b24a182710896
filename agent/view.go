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

	Siblings   []PeerAnswer // of a source whose gate is closed
	GateWaited bool         // siblings that do not answer have had time enough

	Source   PeerAnswer     // of a replica: the set's source
	Want     mysqlx.Source  // of a replica: what its channel should be; the password is not compared
	Surplus  mysqlx.GTIDSet // of a replica: what it has and the source lacks, as far as both are known
	Lasting  mysqlx.GTIDSet // the part of Surplus that has been there for several turns
	MayStart bool           // a start of replication is not too soon after the last one
}

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
	actNone          act = ""
	actFinishFirst   act = "finish the first initialisation" // accounts, the volume's mark, the configuration
	actStartOver     act = "put an interrupted first initialisation aside"
	actConfigure     act = "write mysqld's configuration"
	actAccounts      act = "create the accounts"
	actLetIn         act = "let users in"
	actOpen          act = "open for writes"
	actClose         act = "set super_read_only"
	actResetChannels act = "reset the replication channels"
	actFollow        act = "point the channel at the source"
	actStart         act = "start replication"
	actStop          act = "stop replication"
)

// A verdict is what a turn concludes: what the pod is, why, and at most one thing to do about it.
type verdict struct {
	State   State
	Reasons []Reason
	Do      act
	Serving bool // in its role, as far as readiness is concerned
}

func (d verdict) because(code Code, format string, args ...any) verdict {
	d.Reasons = append(d.Reasons, NewReason(code, format, args...))
	return d
}

// decide is the whole judgement of a turn; it looks at nothing but v.
func decide(v view) verdict {
	if v.Volume != volume.Complete {
		return decideUnfinished(v)
	}
	if d, up := decideMysqld(v); !up {
		return d
	}
	if v.Role == RoleSource {
		return decideSource(v)
	}
	return decideReplica(v)
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
