package agent

import "ordinal/mysqlx"

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
	actHalt            act = "stop replication"
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
	actSettle          act = "end commits that nobody can acknowledge"
	actReplay          act = "replay the archive"
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
