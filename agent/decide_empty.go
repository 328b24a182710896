package agent

import (
	"fmt"
	"time"

	"ordinal/mysqlx"
)

// emptySource is what a source without data decides upon.
type emptySource struct {
	Siblings     []PeerAnswer
	Listed       bool // Siblings is the whole set, by --replicas; else it is what DNS names at the moment
	WindowOver   bool // names have had time to appear in DNS
	AllowEmpty   bool // --allow-empty-source
	DiscoveryErr error
	Since        time.Time // what siblings said before does not count
}

// A sourceChoice is what a source without data does next: [stepEmpty], [stepWait] or [stepReverseClone].
type sourceChoice struct {
	Step initStep
	// Donors are the siblings that have everything, by ordinal; with stepReverseClone, not empty.
	Donors []holding
	// Reasons say for what it waits, or what --allow-empty-source overrode.
	Reasons []Reason
}

// decideEmptySource says where a source without data gets some: from the sibling that has everything that any sibling has, and
// from nowhere only if nobody has any. It fails closed: who may have data and does not tell is waited for, and siblings of which none
// has everything are a human's to judge.
func decideEmptySource(s emptySource) (sourceChoice, error) {
	var waits []Reason
	if s.DiscoveryErr != nil {
		waits = append(waits, NewReason(CodeDNSFailed, "%v", s.DiscoveryErr))
	}
	if !s.Listed && !s.WindowOver {
		waits = append(waits, NewReason(CodePeerAbsent, "DNS may not name every pod of the set yet"))
	}
	var holders []PeerAnswer
	for _, p := range s.Siblings {
		switch {
		case p.Kind == PeerAnswered && p.Status.HasData == DataYes:
			holders = append(holders, p)
		case p.Kind == PeerAnswered && p.Status.HasData == DataNo:
		case p.Kind == PeerAnswered:
			waits = append(waits, NewReason(CodeSiblingSilent, "%s cannot tell yet whether it has data (%s)", p.Pod, p.Status.HasData))
		case p.Kind != PeerAbsent:
			waits = append(waits, p.Reason())
		case !s.WindowOver:
			waits = append(waits, p.Reason())
		}
	}
	overridden := waits
	if s.AllowEmpty {
		waits = nil
	}
	if len(holders) == 0 {
		if len(waits) > 0 {
			return sourceChoice{Step: stepWait, Reasons: waits}, nil
		}
		return sourceChoice{Step: stepEmpty, Reasons: overridden}, nil
	}
	choice, err := decideReverseClone(holders, s.Since)
	if err == nil && len(waits) > 0 {
		// Somebody who is still silent may have more than they.
		return sourceChoice{Step: stepWait, Reasons: append(waits, choice.Reasons...)}, nil
	}
	return choice, err
}

// decideReverseClone chooses among siblings that have data, by what they have said since a moment.
func decideReverseClone(holders []PeerAnswer, since time.Time) (sourceChoice, error) {
	var (
		all   []holding
		waits []Reason
	)
	for _, p := range holders {
		h, err := holdingOf(p)
		switch {
		case p.Status.Phase != PhaseRun || p.Status.GTIDExecuted == "" || p.Status.ClusterID == "" || p.isOld(since):
			waits = append(waits, NewReason(CodeSiblingSilent, "%s has data and cannot tell yet how much (%s)", p.Pod, p.Status.State))
			continue
		case err != nil:
			waits = append(waits, NewReason(CodeSiblingSilent, "%v", err))
			continue
		case p.Status.ClusterID != holders[0].Status.ClusterID && holders[0].Status.ClusterID != "":
			return sourceChoice{}, &RefusedError{
				Reason: NewReason(CodeSiblingsDiverged, "this source's volume is empty, and its siblings belong to different clusters: %s to %s, %s to %s",
					holders[0].Pod, holders[0].Status.ClusterID, p.Pod, p.Status.ClusterID),
				Remedy: "keep every volume; decide whose data is the right one, and start this pod with only those pods running",
			}
		}
		all = append(all, h)
	}
	if len(waits) > 0 {
		return sourceChoice{Step: stepWait, Reasons: waits}, nil
	}
	best := mostAdvanced(all)
	if len(best) == 0 {
		return sourceChoice{}, &RefusedError{
			Reason: NewReason(CodeSiblingsDiverged, "this source's volume is empty, and of its siblings none has everything: %s", surpluses(all)),
			Remedy: "keep every volume; decide whose data is the right one, and start this pod with only the pods running that do not contradict it",
		}
	}
	var donors []holding
	for _, h := range best {
		if !h.Waiting.IsEmpty() {
			// What it has received is safe with nobody else, perhaps. A copy taken now would lack it.
			waits = append(waits, NewReason(CodeSiblingApplying, "%s has received %d transactions that it has not executed yet", h.Pod, h.Waiting.Count()))
			continue
		}
		donors = append(donors, h)
	}
	if len(donors) == 0 {
		return sourceChoice{Step: stepWait, Reasons: waits}, nil
	}
	return sourceChoice{Step: stepReverseClone, Donors: donors, Reasons: []Reason{whyReverse(donors[0], all)}}, nil
}

// whyReverse says why the data comes from this sibling.
func whyReverse(donor holding, all []holding) Reason {
	behind := ""
	for _, h := range all {
		if lacks := donor.all().Subtract(h.all()); !lacks.IsEmpty() {
			behind += fmt.Sprintf(", %s lacks %d transactions of it", h.Pod, lacks.Count())
		}
	}
	return NewReason(CodeSiblingsHaveData, "this source's volume is empty; %s has everything that any sibling has (gtid_executed %s%s)",
		donor.Pod, orNotKnown(donor.Executed.String()), behind)
}

// fitForSource says why a replica may not be copied by its own source, whose volume is empty. It need not replicate: whom should it
// replicate from?
func fitForSource(s Status) string {
	waiting, err := mysqlx.ParseGTIDSet(s.GTIDWaiting)
	switch {
	case s.HasData != DataYes || s.GTIDExecuted == "":
		return "it cannot tell what it has"
	case err != nil || !waiting.IsEmpty():
		return "it has received transactions that it has not executed yet"
	}
	switch s.State {
	case StateReplicating, StateCatchingUp, StateNotReplicating, StateDiverged:
		return ""
	}
	return "it is " + string(s.State)
}
