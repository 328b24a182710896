package agent

import (
	"fmt"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// decideReplica keeps a replica read-only and following its source, and nobody else.
func decideReplica(v view) verdict {
	d := verdict{State: StateNotReplicating}
	switch {
	case !v.Mysqld.Facts.SuperReadOnly:
		d.Do = actClose
		return d.because(CodeReadOnlyReasserted, "super_read_only was off on a replica")
	case v.Mysqld.AsRoot || v.ClusterID == "":
		return decideNotCloned(d, v)
	case v.SameUUID != "":
		d.Do = actNewUUID
		return d.because(CodeDuplicateUUID, "%s has the same server_uuid (%s): this pod's data directory was copied with its auto.cnf; mysqld gets a new one",
			v.SameUUID, v.Mysqld.Facts.ServerUUID)
	case !v.ServerKnown:
		if kept, d := keepReceived(d, v); kept {
			return d
		}
		d.Do = actResetChannels
		return d.because(CodeStarting, "a new copy: forgetting the donor's replication channel")
	case v.Mysqld.Facts.ServerID != v.ServerID:
		d.Do = actServerID
		return d.because(CodeStarting, "server_id is %d and has to be %d", v.Mysqld.Facts.ServerID, v.ServerID)
	}
	if fenced, d := decideLineage(v); fenced {
		if d.Do == actNone && d.State == StateSourceIsStranger && unapplied(v) && v.MayStart {
			d.Do = actApply // what waits was received from our own source
		}
		return d
	}
	if v.Request != nil && v.Request.Kind == volume.RequestRebuild {
		return decideChannel(v).heal(v, rebuildCause{Code: CodeRequested, Message: "somebody asked for a new copy", OnlyHere: v.Surplus})
	}
	return decideChannel(v)
}

// decideNotCloned is about a replica with data that holds no account of the cluster: the image initialised it, or it was adopted.
func decideNotCloned(d verdict, v view) verdict {
	src := v.Source
	if src.Kind != PeerAnswered || src.Status.State != StateSource || src.Status.ClusterID == "" {
		return d.because(CodeClusterIDMissing, "this data holds no account of the cluster: it was not cloned from its source, which cannot be compared with now")
	}
	return d.heal(v, rebuildCause{
		Code: CodeNotCloned,
		Message: fmt.Sprintf("this data was not cloned from %s: it holds no account of the cluster, and %d transactions of its own",
			src.Pod, v.Surplus.Count()),
		OnlyHere: v.Surplus, Lineage: src.Status.ClusterID,
	})
}

// decideLineage is the fence: nothing of a source is executed whose history does not contain ours.
func decideLineage(v view) (fenced bool, d verdict) {
	src := v.Source
	if src.Kind != PeerAnswered || src.Status.ClusterID == "" {
		return false, d // nothing is known against it; a channel that does not run is not started either
	}
	if src.Status.ClusterID != v.ClusterID {
		d = verdict{State: StateSourceIsStranger}
		if receiving(v.Channels) {
			d.Do = actStop
		}
		return true, d.because(CodeSourceIsStranger, "%s belongs to cluster %s, this data to %s: none of its transactions are executed",
			src.Pod, src.Status.ClusterID, v.ClusterID)
	}
	if !v.Lasting.IsEmpty() {
		d = verdict{State: StateDiverged, Serving: running(v.Channels)}
		return true, d.heal(v, rebuildCause{
			Code:     CodeErrantTransactions,
			Message:  fmt.Sprintf("this replica has %d transactions that %s lacks: %s", v.Lasting.Count(), src.Pod, orNotKnown(v.Lasting.String())),
			OnlyHere: v.Lasting,
		})
	}
	return false, d
}

// decideChannel configures, starts and judges the channel.
func decideChannel(v view) verdict {
	d := verdict{State: StateNotReplicating, Serving: true}
	src := v.Source
	switch {
	case len(v.Channels) == 1 && fits(v.Channels[0], v.Want) && running(v.Channels) && !v.Skipped.IsEmpty():
		return d.heal(v, rebuildCause{
			Code: CodeDataDrifted,
			Message: fmt.Sprintf("%s has %d transactions of this replica's own server_uuid that this data lacks (%s): a server skips its own",
				src.Pod, v.Skipped.Count(), orNotKnown(v.Skipped.String())),
		})
	case len(v.Channels) == 1 && fits(v.Channels[0], v.Want) && running(v.Channels):
		return judgeChannel(v)
	case elsewhere(v.Channels, v.Want) && receiving(v.Channels):
		d.Do, d.Serving = actStop, false
		return d.because(CodeChannelElsewhere, "the replication channel points at %s:%d as %s, not at %s:%d as %s: it is stopped",
			v.Channels[0].SourceHost, v.Channels[0].SourcePort, v.Channels[0].SourceUser, v.Want.Host, v.Want.Port, v.Want.User)
	case v.Held != "":
		return d.because(CodeReplicationHeld, "replication is not started: %s", v.Held)
	case unapplied(v) && v.MayStart && (src.Kind != PeerAnswered || src.Status.GTIDExecuted == "" || !v.Surplus.IsEmpty()):
		// It may be the last copy: nobody can copy it from here before it is executed.
		d.Do = actApply
		return d.because(CodeApplierStopped, "%d received transactions wait to be executed, and the source cannot be followed now", v.Waiting.Count())
	case src.Kind != PeerAnswered:
		return d.because(CodeSourceUnreachable, "%s", src.Why)
	case src.Status.ClusterID == "" || src.Status.GTIDExecuted == "":
		return d.because(CodeSourceNotOpen, "%s does not know yet what it has (%s)", src.Pod, src.Status.State)
	case !v.Surplus.IsEmpty():
		return d.because(CodeErrantTransactions, "comparing transactions with %s once more", src.Pod)
	}
	if purged, err := mysqlx.ParseGTIDSet(src.Status.GTIDPurged); err != nil {
		return d.because(CodeSourceNotOpen, "%s names its purged transactions in a way that cannot be read: %v", src.Pod, err)
	} else if lost := purged.Subtract(v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting)); !lost.IsEmpty() {
		return d.heal(v, rebuildCause{
			Code:    CodeBinlogsPurged,
			Message: fmt.Sprintf("%s has purged %d transactions that this replica lacks: %s", src.Pod, lost.Count(), orNotKnown(lost.String())),
		})
	}
	if v.Purged != "" && !v.MayStart { // its next start would say the same, unless somebody brings binlogs back
		return d.heal(v, rebuildCause{Code: CodeBinlogsPurged, Message: v.Purged})
	}
	if v.Drifted != "" {
		return d.heal(v, rebuildCause{Code: CodeDataDrifted, Message: v.Drifted})
	}
	if !v.MayStart {
		return describeFailure(d, v.Channels)
	}
	if len(v.Channels) != 1 || !fits(v.Channels[0], v.Want) || v.RelayDamaged {
		if kept, d := keepReceived(d, v); kept && !v.RelayDamaged {
			return d
		}
		d.Do, d.Follow = actFollow, v.Want
		return d.because(CodeReceiverStopped, "pointing the channel at %s", src.Pod)
	}
	d.Do = actStart
	return describeFailure(d, v.Channels)
}

// judgeChannel reports on a channel that is as it should be and runs.
func judgeChannel(v view) verdict {
	c := v.Channels[0]
	d := verdict{State: StateReplicating, Serving: true}
	switch {
	case c.DiskFull:
		d.State = StateNotReplicating
		return d.because(CodeDiskFull, "the receiver waits for room on the disk")
	case v.Rotation.Channel:
		d.Do = actChannelPassword
		return d.because(CodeStarting, "the cluster secret has changed: the receiver logs in with the new password from now on")
	case c.ReceiverState != "ON":
		d.State = StateNotReplicating
		if c.ReceiverError.Number != 0 {
			return d.because(CodeSourceUnreachable, "%s", c.ReceiverError.Message)
		}
		return d.because(CodeSourceUnreachable, "connecting to %s:%d", c.SourceHost, c.SourcePort)
	case c.Lag == nil:
		d.State = StateCatchingUp
		return d.because(CodeLagUnknown, "nobody can tell yet how far behind this replica is")
	case *c.Lag > catchingUpLag:
		d.State = StateCatchingUp
		return d.because(CodeLagAboveBound, "%v behind the source", c.Lag.Round(time.Millisecond))
	}
	return d
}

// catchingUpLag is the lag from which on a replica says that it is catching up. Readiness has its own bound, --max-lag.
const catchingUpLag = 10 * time.Second

// describeFailure tells what the server says about why a channel does not run.
func describeFailure(d verdict, channels []mysqlx.ReplicaStatus) verdict {
	for _, c := range channels {
		if c.ApplierError.Number != 0 {
			return d.because(CodeApplierStopped, "%s", c.ApplierError.Message)
		}
		if c.ReceiverError.Number != 0 {
			return d.because(CodeReceiverStopped, "%s", c.ReceiverError.Message)
		}
	}
	return d.because(CodeReceiverStopped, "replication is being started")
}

// running reports whether both threads of every channel run; a receiver that is connecting does.
func running(channels []mysqlx.ReplicaStatus) bool {
	for _, c := range channels {
		if c.ReceiverState == "OFF" || c.ApplierState == "OFF" {
			return false
		}
	}
	return len(channels) > 0
}

// keepReceived reports whether a channel has received what may be nowhere else. Forgetting or re-pointing it would throw that away: it is
// executed first.
func keepReceived(d verdict, v view) (bool, verdict) {
	if v.Waiting.IsEmpty() || v.Role == RoleReplica && v.sourceTold() && v.Abroad.IsEmpty() {
		return false, d
	}
	if unapplied(v) && v.MayStart {
		d.Do = actApply
	}
	return true, d.because(CodeApplierStopped, "%d received transactions wait to be executed and may be nowhere else: the channel is kept until they are", v.Waiting.Count())
}

// sourceTold reports whether the source has said what it has.
func (v view) sourceTold() bool {
	return v.Source.Kind == PeerAnswered && v.Source.Status.GTIDExecuted != "" && v.Source.Status.ClusterID == v.ClusterID
}

// unapplied reports whether transactions wait that nobody executes, though nothing is known to be wrong with them.
func unapplied(v view) bool {
	for _, c := range v.Channels {
		if !v.Waiting.IsEmpty() && c.ApplierState == "OFF" && c.ApplierError.Number == 0 {
			return true
		}
	}
	return false
}

// receiving reports whether anything new can arrive.
func receiving(channels []mysqlx.ReplicaStatus) bool {
	for _, c := range channels {
		if c.ReceiverState != "OFF" {
			return true
		}
	}
	return false
}

// active reports whether a thread of any channel runs.
func active(channels []mysqlx.ReplicaStatus) bool {
	for _, c := range channels {
		if c.ReceiverState != "OFF" || c.ApplierState != "OFF" {
			return true
		}
	}
	return false
}

// elsewhere reports whether a channel leads to another server than it should, or there are several.
func elsewhere(channels []mysqlx.ReplicaStatus, want mysqlx.Source) bool {
	for _, c := range channels {
		if c.Channel != "" || c.SourceHost != want.Host || c.SourcePort != want.Port || c.SourceUser != want.User {
			return true
		}
	}
	return false
}

// fits reports whether a channel is configured as it should be. Nothing is changed as long as it does: configuring a channel
// drops what it has received and not applied.
func fits(c mysqlx.ReplicaStatus, want mysqlx.Source) bool {
	return c.Channel == "" && c.SourceHost == want.Host && c.SourcePort == want.Port && c.SourceUser == want.User &&
		c.AutoPosition && c.SSL && c.HeartbeatPeriod == mysqlx.HeartbeatPeriod && c.RetryCount == mysqlx.RetryCount
}
