package agent

import "time"

// A donorFate is what is known of a pod as a donor, since it was asked last.
type donorFate int

const (
	donorNotAsked donorFate = iota // in this round
	donorUnfit                     // silent, behind, stopped: nobody can tell when it will be fit
	donorBuilding                  // it has no data yet and is getting some: it will be fit
	donorLater                     // it is fit and serves another pod, or has to begin anew with us
	donorCorrupt                   // its data has bad pages
)

// A donorCandidate is one pod that could give a copy.
type donorCandidate struct {
	Ordinal  int
	Fate     donorFate
	UnfitFor time.Duration // without a break; only if it is unfit
	Reason   Reason        // what it said, or that it said nothing
}

// donorView is what the choice of a donor depends on.
type donorView struct {
	Candidates []donorCandidate // the previous pod first, then those before it
	Patience   time.Duration    // how long the previous pod may be unfit
	Held       int              // ordinal of the pod that an unfinished copy in the volume comes from; noDonor: there is none
}

const noDonor = -1

// A donorStep is what to do about donors next.
type donorStep int

const (
	donorAsk    donorStep = iota // ask Ordinal; its copy goes on, or replaces an unfinished one from elsewhere
	donorWait                    // nobody can give a copy now; then begin the next round
	donorDrop                    // the unfinished copy cannot go on: remove it, then choose again
	donorNone                    // all are corrupt
	donorNoData                  // nobody has data: there is nothing to copy
)

// A donorChoice is the decision. Reasons say what is waited for, why a copy is dropped, or who was passed over.
type donorChoice struct {
	Step    donorStep
	Ordinal int // with donorAsk
	Reasons []Reason
	Why     []Reason // with donorAsk: why it is asked, where that is not the rule
}

// decideDonor chooses whom to ask for a copy: the previous pod, not just any pod, so that a set of five reads its source once. One that is
// being built is waited for without limit, one that is unfit for as long as patience lasts; then the pods before it get their turn in
// descending order, and the previous one is still the first to be asked in every round. A copy that is under way binds to its
// donor for longer: bytes that are here already are worth waiting for.
func decideDonor(v donorView) donorChoice {
	if held, ok := v.held(); ok {
		wait := donorChoice{Step: donorWait, Reasons: []Reason{held.Reason}}
		switch held.Fate {
		case donorNotAsked:
			return donorChoice{Step: donorAsk, Ordinal: held.Ordinal}
		case donorBuilding:
			return donorChoice{Step: donorDrop, Reasons: wait.Reasons} // its data is gone, and the snapshot with it
		case donorLater:
			return wait
		case donorUnfit:
			if held.UnfitFor < copyPatience(v.Patience) {
				return wait
			}
		}
	}
	held, ok := v.held()
	lost := ok && held.Fate == donorUnfit // for longer than anybody keeps a snapshot
	wait := func(why []Reason) donorChoice {
		if lost {
			// Others may wait to hear that nothing comes of this copy.
			return donorChoice{Step: donorDrop, Reasons: why}
		}
		return donorChoice{Step: donorWait, Reasons: why}
	}
	var passed []Reason
	previous := true
	for _, c := range v.Candidates {
		switch c.Fate {
		case donorCorrupt:
			continue
		case donorNotAsked:
			return donorChoice{Step: donorAsk, Ordinal: c.Ordinal, Reasons: passed}
		}
		passed = append(passed, c.Reason)
		if c.Fate != donorUnfit || previous && c.UnfitFor < v.Patience {
			return wait(passed)
		}
		previous = false
	}
	if len(passed) == 0 {
		return donorChoice{Step: donorNone}
	}
	return wait(passed)
}

// copyPatience is the patience with the donor of an unfinished copy: five minutes where two are the rule, which is what a donor's lease on its
// snapshot lasts.
func copyPatience(patience time.Duration) time.Duration { return patience * 5 / 2 }

func (v donorView) held() (donorCandidate, bool) {
	for _, c := range v.Candidates {
		if c.Ordinal == v.Held {
			return c, true
		}
	}
	return donorCandidate{}, false
}
