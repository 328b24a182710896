package agent

import "ordinal/mysqlx"

// decideSource brings a source to take writes: first nothing of an old role, then the gate, then accounts and users.
func decideSource(v view) verdict {
	d := verdict{State: StateGateClosed}
	facts := v.Mysqld.Facts
	switch {
	case len(v.Channels) > 0:
		d.Do = actResetChannels
		return d.because(CodeStarting, "this source has a replication channel from an earlier life")
	case facts.SuperReadOnly || facts.ReadOnly:
		open, reasons := decideGate(v)
		d.Reasons = reasons
		if open {
			d.Do = actOpen
		}
		return d
	case v.ClusterID == "":
		d.Do = actAccounts
		return d.because(CodeClusterIDMissing, "the accounts have to be created")
	case facts.OfflineMode:
		d.Do = actLetIn
		return d.because(CodeStarting, "users are not let in yet")
	}
	return verdict{State: StateSource, Serving: true}
}

// decideGate says whether the source may take writes: no sibling that can be asked holds a transaction that it lacks. One that
// cannot be asked is waited for a while, not for ever: a source must be able to come back alone.
func decideGate(v view) (open bool, reasons []Reason) {
	open = true
	for _, p := range v.Siblings {
		switch {
		case p.Kind == PeerAbsent:
		case p.Kind == PeerAnswered && p.Status.HasData == DataNo:
		case p.Kind != PeerAnswered || p.Status.HasData != DataYes || p.Status.GTIDExecuted == "":
			if !v.GateWaited {
				open = false
				reasons = append(reasons, NewReason(CodeSiblingSilent, "waiting a while for %s to tell what it has", p.Pod))
			}
		case v.ClusterID != "" && p.Status.ClusterID != v.ClusterID:
			// Another lineage: it cannot follow us, nor we it. It says so itself.
		default:
			has, err := mysqlx.ParseGTIDSet(p.Status.GTIDExecuted)
			if err != nil {
				open = false
				reasons = append(reasons, NewReason(CodeSiblingSilent, "%s names its transactions in a way that cannot be read: %v", p.Pod, err))
				continue
			}
			if lacks := has.Subtract(v.Mysqld.Facts.GTIDExecuted); !lacks.IsEmpty() {
				open = false
				reasons = append(reasons, NewReason(CodeSiblingAhead,
					"%s has %d transactions that this source lacks: %s; it takes no writes, and no data is changed", p.Pod, lacks.Count(), orNotKnown(lacks.String())))
			}
		}
	}
	return open, reasons
}
