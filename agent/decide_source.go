package agent

import (
	"fmt"

	"ordinal/mysqlx"
)

// decideSource brings a source to take writes: first the gate, then accounts and users.
func decideSource(v view) verdict {
	d := verdict{State: StateGateClosed}
	facts := v.Mysqld.Facts
	switch {
	case v.SameUUID != "" && (facts.SuperReadOnly || facts.ReadOnly):
		d.Do = actNewUUID
		return d.because(CodeDuplicateUUID, "this volume is a copy of %s's: mysqld gets a server_uuid of its own", v.SameUUID)
	case facts.SuperReadOnly || facts.ReadOnly:
		return decideGate(v)
	case len(v.Channels) > 0:
		if kept, d := keepReceived(d, v); kept {
			return d
		}
		d.Do = actResetChannels
		return d.because(CodeStarting, "this source has a replication channel from an earlier life")
	case facts.ServerID != v.ServerID:
		d.Do = actServerID
		return d.because(CodeStarting, "server_id is %d and has to be %d", facts.ServerID, v.ServerID)
	case v.ClusterID == "":
		d.Do = actAccounts
		return d.because(CodeClusterIDMissing, "the accounts have to be created")
	}
	if v.Semisync.differs() {
		d.Do = actSemisync
		return d.because(CodeStarting, "%s", v.Semisync.want())
	}
	if facts.OfflineMode {
		d.Do = actLetIn
		return d.because(CodeStarting, "users are not let in yet")
	}
	return openSource(v)
}

// openSource reports on a source that takes writes.
func openSource(v view) verdict {
	d := verdict{State: StateSource, Serving: true}
	if v.Semisync.blocks() && v.Semisync.Waiting > 0 {
		d.Do = actSettle
		return d.because(CodeNobodyAcknowledges, "commits wait for a replica, and keep the one that is being cloned from its copy: they are ended, and none is taken until it acknowledges")
	}
	for _, p := range v.Siblings {
		if p.Kind == PeerAnswered && p.Status.State == StateSourceIsStranger {
			d = d.because(CodeSiblingsAreStrangers, "%s holds data of cluster %s and does not follow this source, whose data is of %s", p.Pod, p.Status.ClusterID, v.ClusterID)
		}
	}
	return v.Semisync.judge(rotate(d, v))
}

// rotate lets the accounts' passwords follow the cluster secret. With nobody to acknowledge it has to wait: such a statement holds a lock while it
// waits, without which no replica can log in to acknowledge it.
func rotate(d verdict, v view) verdict {
	switch {
	case v.Semisync.On && v.Semisync.alone():
	case v.Rotation.Rotate:
		d.Do = actRotate
		return d.because(CodeStarting, "the accounts get the cluster secret's passwords if they have others, which stay valid for a time")
	case v.Rotation.Discard:
		d.Do = actDiscard
		return d.because(CodeStarting, "nobody uses the accounts' former passwords any more")
	}
	return d
}

// A gate is what a source's siblings say about whether it may take writes.
type gate struct {
	Behind     *PeerAnswer    // a sibling that has everything that anybody has, and more than this source; nil: there is none
	Lacks      mysqlx.GTIDSet // what this source lacks of it
	Diverged   string         // what each has, where none has everything
	Waits      []Reason       // siblings that have not said yet what they have
	Unverified []string       // siblings that have had time enough and have not said it
}

// judgeGate compares this source with its siblings. What a replica has executed by itself does not count: it was never the source's,
// and the replica deals with it.
func judgeGate(v view) gate {
	var g gate
	own := holding{Pod: "this source", Executed: v.Mysqld.Facts.GTIDExecuted, Waiting: v.Waiting}
	all := []holding{own}
	from := map[string]PeerAnswer{}
	for _, p := range v.Siblings {
		switch {
		case p.Kind == PeerAbsent:
			// It is started after this source, perhaps, or never: not waited for. Its volume may hold anything.
			g.Unverified = append(g.Unverified, p.Pod)
			continue
		case p.Kind == PeerAnswered && p.Status.HasData == DataNo:
			continue
		case p.Kind == PeerAnswered && p.Status.HasData == DataBuilding && p.Status.Phase == PhaseInit:
			continue // a copy of another pod's data
		case p.Kind == PeerAnswered && p.Status.ClusterID != "" && v.ClusterID != "" && p.Status.ClusterID != v.ClusterID:
			continue // another lineage: it cannot follow us, nor we it. It says so itself.
		case p.Kind != PeerAnswered || p.Status.HasData != DataYes || p.Status.GTIDExecuted == "" || p.isOld(v.GateSince):
			g.wait(v, p.Pod, NewReason(CodeSiblingSilent, "waiting a while for %s to tell what it has", p.Pod))
			continue
		}
		h, err := holdingOf(p)
		local, localErr := mysqlx.ParseGTIDSet(p.Status.GTIDLocal)
		if err != nil || localErr != nil {
			g.Waits = append(g.Waits, NewReason(CodeSiblingSilent, "%s names its transactions in a way that cannot be read", p.Pod))
			continue
		}
		h.Executed = h.Executed.Subtract(local)
		all, from[h.Pod] = append(all, h), p
	}
	best := mostAdvanced(all)
	switch {
	case len(best) == 0:
		g.Diverged = surpluses(all)
	case best[0].Pod != own.Pod:
		p := from[best[0].Pod]
		g.Behind, g.Lacks = &p, best[0].all().Subtract(own.all())
	}
	return g
}

// wait notes a sibling that does not say what it has. It is waited for a while, not for ever: a source must be able to come back alone,
// unless it has promised that nothing acknowledged is ever lost.
func (g *gate) wait(v view, pod string, why Reason) {
	if v.GateWaited {
		g.Unverified = append(g.Unverified, pod)
		return
	}
	g.Waits = append(g.Waits, why)
}

// decideGate says what a source that takes no writes does next: it catches up with a sibling that has more, and opens when nobody that can be
// asked has more.
func decideGate(v view) verdict {
	d := verdict{State: StateGateClosed}
	g := judgeGate(v)
	d.Reasons = g.Waits
	switch {
	case g.Diverged != "":
		d.State = StateDiverged
		if running(v.Channels) {
			d.Do = actStop
		}
		return d.because(CodeSiblingsDiverged, "this source and its siblings have different transactions and none has all of them: %s; it takes no writes, and no data is changed", g.Diverged)
	case g.Behind != nil && v.Restored && !v.Served:
		// Somebody wanted the state of the backup. Its sibling has what came after, which may be just what is to be undone.
		return d.because(CodeRestoredBehind, "this source was restored from a backup, and %s has %d transactions that it lacks: %s; it takes no writes, and no data is changed",
			g.Behind.Pod, g.Lacks.Count(), orNotKnown(g.Lacks.String()))
	case g.Behind != nil:
		return catchUp(d, v, g)
	case len(g.Waits) > 0:
		return d
	case !v.Waiting.IsEmpty():
		_, d = keepReceived(d, v)
		return d
	case v.Semisync.blocks():
		return d.because(CodeNobodyAcknowledges, "no writes are taken until the pod that is being cloned has its copy and can acknowledge them")
	case len(v.Channels) > 0 || !v.ServerKnown:
		d.Do = actResetChannels
		return d.because(CodeStarting, "this source has everything that its siblings have: forgetting replication channels")
	case v.Mysqld.Facts.ServerID != v.ServerID:
		d.Do = actServerID
		return d.because(CodeStarting, "server_id is %d and has to be %d", v.Mysqld.Facts.ServerID, v.ServerID)
	case len(g.Unverified) > 0 && !v.NewUUID:
		// Should this volume have been rolled back, a silent sibling has transactions with the numbers that come next: two different ones
		// under one name could never be told apart again. That none is here under this server_uuid proves nothing.
		d.Do = actNewUUID
		return d.because(CodeSiblingSilent, "%s did not say what it has: new transactions get a server_uuid of their own", g.Unverified[0])
	case v.ClusterID != "" && v.Semisync.differs():
		d.Do = actSemisync
		return d.because(CodeStarting, "%s", v.Semisync.want())
	}
	d.Do = actOpen
	return d
}

// catchUp lets a source that is behind replicate from the sibling that has everything.
func catchUp(d verdict, v view, g gate) verdict {
	pod := g.Behind.Pod
	d = d.because(CodeSiblingAhead, "%s has %d transactions that this source lacks: %s; it catches up before it takes writes",
		pod, g.Lacks.Count(), orNotKnown(g.Lacks.String()))
	if v.ClusterID == "" {
		return d.because(CodeClusterIDMissing, "this source's data has no account of the cluster: it cannot log in to %s", pod)
	}
	want := v.Want
	want.Host = g.Behind.Host
	switch {
	case len(v.Channels) == 1 && fits(v.Channels[0], want) && running(v.Channels):
		return describeFailure(d, v.Channels)
	case g.purged(v):
		return d.heal(v, rebuildCause{
			Code:    CodeBinlogsPurged,
			Message: fmt.Sprintf("%s has purged binlogs that this source lacks", pod),
		})
	case !v.MayStart:
		return describeFailure(d, v.Channels)
	}
	if kept, d := keepReceived(d, v); kept {
		return d
	}
	d.Do, d.Follow = actCatchUp, want
	return d
}

// purged reports whether the sibling no longer has the binlogs of what this source lacks.
func (g gate) purged(v view) bool {
	purged, err := mysqlx.ParseGTIDSet(g.Behind.Status.GTIDPurged)
	return err == nil && !purged.Subtract(v.Mysqld.Facts.GTIDExecuted).IsEmpty()
}
