package agent

import "ordinal/mysqlx"

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
		// Both threads at once: an applier that has half a transaction would keep mysqld from ending for a minute, waiting for the other half.
		d.Do = actHalt
		return d.because(CodeRebuilding, "the new copy is complete: nothing more is received on the old data")
	}
	left := v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting).Subtract(v.OnlyHere).Subtract(v.Copied)
	if lost := left.Subtract(v.elsewhere()); !lost.IsEmpty() {
		return keepOld(d, v, lost)
	}
	if active(v.Channels) {
		d.Do = actHalt
		return d.because(CodeRebuilding, "the new copy is complete: nothing more is executed on the old data")
	}
	d.Do = actSwitch
	return d.because(CodeRebuilding, "the new copy is complete: mysqld is restarted on it")
}

// keepOld is about a switch that would take transactions out of service which are not known to be elsewhere.
func keepOld(d verdict, v view, lost mysqlx.GTIDSet) verdict {
	switch {
	case executing(v):
		return d.because(CodeRebuilding, "the new copy is complete; %d received transactions are still being executed on the old data", v.Waiting.Count())
	case unapplied(v) && v.MayStart:
		// The source may have lost its data and wait for them: nobody can copy what is only received.
		d.Do = actApply
		return d.because(CodeRebuilding, "the new copy is complete; %d received transactions that may be nowhere else are executed first", v.Waiting.Count())
	case v.Lasting.Contains(lost):
		d.Do = actExport
		return d.because(CodeErrantTransactions, "the new copy is complete; the old data has got %d transactions meanwhile that %s lacks", lost.Count(), v.Source.Pod)
	}
	return d.because(CodeRebuilding, "the new copy is complete; %d transactions of the old data are not known to be elsewhere (%s): waiting for the source to say that it has them",
		lost.Count(), orNotKnown(lost.String()))
}

// executing reports whether an applier works through what was received, with no receiver beside it.
func executing(v view) bool {
	return !v.Waiting.IsEmpty() && !receiving(v.Channels) && active(v.Channels)
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
