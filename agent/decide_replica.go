package agent

import (
	"time"

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
		return d.because(CodeClusterIDMissing, "this data holds no account of the cluster: it was not cloned from its source")
	case !v.ServerKnown:
		d.Do = actResetChannels
		return d.because(CodeStarting, "a new copy: forgetting the donor's replication channel")
	}
	if fenced, d := decideLineage(v); fenced {
		return d
	}
	return decideChannel(v)
}

// decideLineage is the fence: nothing of a source is executed whose history does not contain ours.
func decideLineage(v view) (fenced bool, d verdict) {
	src := v.Source
	if src.Kind != PeerAnswered || src.Status.ClusterID == "" {
		return false, d // nothing is known against it; a channel that does not run is not started either
	}
	if src.Status.ClusterID != v.ClusterID {
		d = verdict{State: StateSourceIsStranger}
		if running(v.Channels) {
			d.Do = actStop
		}
		return true, d.because(CodeSourceIsStranger, "%s belongs to cluster %s, this data to %s: none of its transactions are executed",
			src.Pod, src.Status.ClusterID, v.ClusterID)
	}
	if !v.Lasting.IsEmpty() {
		d = verdict{State: StateDiverged, Serving: running(v.Channels)}
		return true, d.because(CodeErrantTransactions, "this replica has %d transactions that %s lacks: %s",
			v.Lasting.Count(), src.Pod, orNotKnown(v.Lasting.String()))
	}
	return false, d
}

// decideChannel configures, starts and judges the channel.
func decideChannel(v view) verdict {
	d := verdict{State: StateNotReplicating, Serving: true}
	src := v.Source
	if len(v.Channels) == 1 && fits(v.Channels[0], v.Want) && running(v.Channels) {
		return judgeChannel(v)
	}
	switch {
	case src.Kind != PeerAnswered:
		return d.because(CodeSourceUnreachable, "%s", src.Why)
	case src.Status.ClusterID == "" || src.Status.GTIDExecuted == "":
		return d.because(CodeSourceNotOpen, "%s does not know yet what it has (%s)", src.Pod, src.Status.State)
	case !v.Surplus.IsEmpty():
		return d.because(CodeErrantTransactions, "comparing transactions with %s once more", src.Pod)
	}
	if purged, err := mysqlx.ParseGTIDSet(src.Status.GTIDPurged); err != nil {
		return d.because(CodeSourceNotOpen, "%s names its purged transactions in a way that cannot be read: %v", src.Pod, err)
	} else if lost := purged.Subtract(v.Mysqld.Facts.GTIDExecuted); !lost.IsEmpty() {
		return d.because(CodeBinlogsPurged, "%s has purged %d transactions that this replica lacks: %s; it has to be cloned anew",
			src.Pod, lost.Count(), orNotKnown(lost.String()))
	}
	if !v.MayStart {
		return describeFailure(d, v.Channels)
	}
	if len(v.Channels) != 1 || !fits(v.Channels[0], v.Want) {
		d.Do = actFollow
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

// fits reports whether a channel is configured as it should be. Nothing is changed as long as it does: configuring a channel
// drops what it has received and not applied.
func fits(c mysqlx.ReplicaStatus, want mysqlx.Source) bool {
	return c.Channel == "" && c.SourceHost == want.Host && c.SourcePort == want.Port && c.SourceUser == want.User &&
		c.AutoPosition && c.SSL && c.HeartbeatPeriod == mysqlx.HeartbeatPeriod && c.RetryCount == mysqlx.RetryCount
}
