package agent

import (
	"fmt"
	"strings"

	"ordinal/internal/volume"
)

// Decision is what is done next, in one word. Words are only ever added.
type Decision string

// The decisions.
const (
	DecideNothing      Decision = "nothing"       // everything is as it should be, or nothing can be done
	DecideWait         Decision = "wait"          // for the reasons given
	DecideRefuse       Decision = "refuse"        // a human has to decide
	DecideServe        Decision = "serve"         // the data is complete: mysqld may start
	DecideFinishChange Decision = "finish_change" // of the volume, which was interrupted
	DecideStartOver    Decision = "start_over"    // an interrupted first initialisation goes to quarantine
	DecideAdopt        Decision = "adopt"         // take over the data directory in the volume's root
	DecideStartEmpty   Decision = "start_empty"   // the image initialises a new database
	DecideClone        Decision = "clone"
	DecideReverseClone Decision = "reverse_clone" // the source gets its data back from a replica
	DecideRestore      Decision = "restore"       // the set's backup, because nobody has data
	DecideGoOn         Decision = "go_on"         // with an unfinished clone
	DecideDiscard      Decision = "discard"       // what is unfinished and nobody's
	DecideUndo         Decision = "undo"          // bring data back from quarantine, as somebody asked
	DecideRebuild      Decision = "rebuild"       // clone anew beside the data, then switch
	DecideAct          Decision = "act"           // on the server only: Act says what
)

// A Plan is what an agent is about to do with its pod, why, and what it costs. `agent init --plan` and `agent plan` print it; what runs
// is what was planned: agent init takes its next step by a plan's decision, and agent run acts on the verdict that its plan shows.
type Plan struct {
	Pod      string   `json:"pod"`
	Role     Role     `json:"role"`
	Decision Decision `json:"decision"`
	Act      string   `json:"act,omitempty"` // with "act": what, for people
	Reasons  []Reason `json:"reasons"`       // never null
	Donor    string   `json:"donor,omitempty"`

	Volume       string    `json:"volume"` // what it holds
	GTIDExecuted string    `json:"gtid_executed,omitempty"`
	Siblings     []Sibling `json:"siblings,omitempty"` // whom the decision rests on

	BytesNeeded *uint64 `json:"bytes_needed"` // on the volume; null: not known, or none
	BytesFree   *uint64 `json:"bytes_free"`

	Quarantined string `json:"quarantined,omitempty"` // what is taken out of service, and kept
	Exported    string `json:"exported,omitempty"`    // GTID set that no other pod has: written to a file that can be replayed
	Lost        string `json:"lost"`                  // "nothing", or exactly what

	step initStep
}

// A Sibling is what a plan knows of another pod.
type Sibling struct {
	Pod          string `json:"pod"`
	Answer       string `json:"answer"` // answered, absent, silent or stranger
	State        State  `json:"state,omitempty"`
	ClusterID    string `json:"cluster_id,omitempty"`
	GTIDExecuted string `json:"gtid_executed,omitempty"`
	GTIDWaiting  string `json:"gtid_waiting,omitempty"` // received and not executed yet
}

func siblings(answers []PeerAnswer) (all []Sibling) {
	for _, a := range answers {
		all = append(all, Sibling{
			Pod: a.Pod, Answer: string(a.Kind), State: a.Status.State, ClusterID: a.Status.ClusterID,
			GTIDExecuted: a.Status.GTIDExecuted, GTIDWaiting: a.Status.GTIDWaiting,
		})
	}
	return all
}

const losesNothing = "nothing"

// newPlan is a plan to do nothing.
func newPlan(id Identity) *Plan {
	return &Plan{Pod: id.Pod, Role: id.Role(), Decision: DecideNothing, Reasons: []Reason{}, Lost: losesNothing}
}

func (p *Plan) because(reasons ...Reason) *Plan {
	p.Reasons = append(p.Reasons, reasons...)
	return p
}

// planVolume is agent init's next step as far as the volume alone says. A guard's no is a *RefusedError.
func planVolume(id Identity, c *volume.Content, adopt bool, request *volume.Request, begun bool) (*Plan, error) {
	p := newPlan(id)
	p.Volume = c.Kind.String()
	if c.Record != nil {
		p.GTIDExecuted = c.Record.GTIDExecuted // when it was completed; since then only more
	}
	var err error
	if p.step, err = decideVolume(id.Role(), c, adopt, request, begun); err != nil {
		return nil, err
	}
	switch p.step {
	case stepServe:
		p.Decision = DecideServe
	case stepResume:
		p.Decision, p.Act = DecideFinishChange, c.Change
	case stepDiscard:
		p.Decision = DecideDiscard
	case stepStartOver:
		p.Decision, p.Quarantined = DecideStartOver, fmt.Sprintf("generation %d, an interrupted first initialisation", c.Generation)
	case stepAdopt:
		p.Decision = DecideAdopt
	case stepUndo:
		p.Decision, p.Quarantined = DecideUndo, fmt.Sprintf("generation %d, in whose place %s comes back", c.Generation, request.Name)
	default:
		p.Decision = DecideWait // until others were asked
	}
	return p, nil
}

// plan is what the next step for a copy means for the pod.
func (c *cloner) plan(next copyStep) *Plan {
	p := newPlan(c.id).because(next.Reasons...).because(next.Why...)
	p.Siblings = siblings(c.asked)
	switch next.Step {
	case donorNone:
		p.Decision = DecideRefuse
	case donorNoData:
		p.Decision = DecideStartEmpty
	case donorDrop:
		p.Decision = DecideDiscard
	case donorWait:
		p.Decision = DecideWait
	case donorAsk:
		p.Decision, p.Donor, p.BytesNeeded = DecideClone, next.Answer.Pod, next.Answer.Status.DataBytes
		if c.id.Role() == RoleSource {
			p.Decision = DecideReverseClone
		} else {
			p.Siblings = siblings([]PeerAnswer{next.Answer})
		}
		if next.Holds {
			p.Decision = DecideGoOn
		}
	}
	if c.replaces != nil {
		p.Quarantined, p.Exported = fmt.Sprintf("generation %d", c.replaces.Generation), c.replaces.OnlyHere
	}
	if free, err := freeBytes(c.cfg.Volume); err == nil {
		p.BytesFree = &free
	}
	return p
}

// planOfTurn is what a turn of agent run is about to do.
func planOfTurn(id Identity, v view, d verdict) *Plan {
	p := newPlan(id).because(d.Reasons...)
	p.Volume, p.GTIDExecuted = v.Volume.String(), v.Mysqld.Facts.GTIDExecuted.String()
	p.Siblings = siblings(v.Siblings)
	if v.Source.Pod != "" {
		p.Siblings = append(p.Siblings, siblings([]PeerAnswer{v.Source})...)
	}
	switch {
	case d.Cause != nil:
		p.Decision = DecideRebuild
		p.Quarantined = fmt.Sprintf("generation %d, with everything in it", v.Generation)
		p.Exported = d.Cause.OnlyHere.String()
		p.BytesNeeded = v.Source.Status.DataBytes
		if d.Do == actNone {
			p.Act = "nothing yet: see the reasons"
		}
	case d.Do != actNone:
		p.Decision, p.Act = DecideAct, string(d.Do)
	case len(d.Reasons) > 0:
		p.Decision = DecideWait
	}
	return p
}

// Lines tells the plan to a person.
func (p *Plan) Lines() []string {
	lines := []string{fmt.Sprintf("%s (%s): %s", p.Pod, p.Role, strings.ReplaceAll(string(p.Decision), "_", " "))}
	say := func(what, text string) {
		if text != "" {
			lines = append(lines, fmt.Sprintf("  %-12s %s", what, text))
		}
	}
	say("act", p.Act)
	for _, r := range p.Reasons {
		say("because", r.String())
	}
	say("donor", p.Donor)
	say("volume", p.Volume)
	say("has", orNotKnown(p.GTIDExecuted))
	for _, s := range p.Siblings {
		text := s.Pod + " " + s.Answer
		if s.State != "" {
			text += fmt.Sprintf(", %s, has %s", s.State, orNotKnown(s.GTIDExecuted))
		}
		if s.GTIDWaiting != "" {
			text += ", has received " + orNotKnown(s.GTIDWaiting)
		}
		say("sibling", text)
	}
	if p.BytesNeeded != nil {
		say("needs", fmt.Sprintf("%d bytes", *p.BytesNeeded))
	}
	if p.BytesFree != nil {
		say("free", fmt.Sprintf("%d bytes", *p.BytesFree))
	}
	say("quarantines", p.Quarantined)
	say("exports", p.Exported)
	say("loses", p.Lost)
	return lines
}
