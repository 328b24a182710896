package doctor

import (
	"context"
	"slices"
	"time"
)

// patience is how long everything together may take. Each look has less.
const patience = 8 * time.Second

// Examine looks at everything at once and judges what it has seen. It returns within ten seconds whatever does not answer, and changes
// nothing. The configuration need not be valid in what a check looks at: the pod's name, the secret, root's password, the stores.
func Examine(ctx context.Context, s Surroundings) Report {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return judge(look(ctx, s))
}

// A Check is one question about a pod.
type Check struct {
	ID     string // stable, for people and scripts
	Title  string // what holds if all is well
	Why    string // why it matters
	Remedy string // what to do, in general; a finding's fix is about the case

	after []string // checks whose fault leaves nothing to judge here
	judge func(*exam) finding
}

// Checks returns all checks, in order of cause and effect.
func Checks() []Check {
	return slices.Concat(nameChecks(), secretChecks(), volumeChecks(), networkChecks(), peerChecks(), serverChecks(), replicationChecks(), dataChecks(), operationChecks())
}

// An exam is what was seen, and what has been concluded from it so far.
type exam struct {
	*facts
	wrong map[string]bool // checks that have found a fault
}

// after returns the conclusion of a check that makes no sense while another one has found a fault.
func (e *exam) after(others ...string) (finding, bool) {
	for _, other := range others {
		if e.wrong[other] {
			return unseen("see " + other), true
		}
	}
	return finding{}, false
}

func judge(f *facts) Report {
	r := Report{Says: f.says()}
	if f.peers != nil {
		r.Pod, r.Role = f.id.Pod, string(f.id.Role())
	}
	e := &exam{f, map[string]bool{}}
	for _, c := range Checks() {
		found, skip := e.after(c.after...)
		if !skip {
			found = c.judge(e)
		}
		e.wrong[c.ID] = found.state == Fault
		result := Result{ID: c.ID, State: found.state, Title: c.Title, What: found.what, Fix: found.fix}
		if found.state == Warning || found.state == Fault {
			result.Why = c.Why
		}
		r.Results = append(r.Results, result)
	}
	return r
}
