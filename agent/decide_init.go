package agent

import (
	"fmt"
	"strings"

	"ordinal/internal/volume"
)

// An initStep is what agent init does next. Each but the last three changes what the volume holds, and is followed by a new
// look at it.
type initStep int

const (
	stepServe     initStep = iota // the data is complete: write mysqld's configuration and end
	stepResume                    // finish an adoption, a quarantine or a switch that was interrupted
	stepDiscard                   // remove an unfinished copy of our own making, then start over
	stepStartOver                 // put an interrupted first initialisation aside, then start over
	stepAdopt                     // move the data directory in the root into a generation
	stepEmpty                     // leave the volume to the image's own first initialisation
	stepAsk                       // empty source: ask the siblings, then decide with decideEmptySource
	stepClone                     // replica that is empty or holds an unfinished copy: clone, or go on with it
	stepWait                      // nothing to do but to look again
)

// RefusedError is a guard's no. Nothing was changed; a human has to decide.
type RefusedError struct {
	Reason Reason
	Remedy string
}

func (e *RefusedError) Error() string { return "refused: " + e.Reason.String() }

// Hint tells the operator what to do.
func (e *RefusedError) Hint() string { return e.Remedy }

// ExitCode returns ExitRefused.
func (e *RefusedError) ExitCode() int { return ExitRefused }

// decideVolume chooses the next step from what the volume holds. It is the table of docs/init-decisions.md, row by row.
func decideVolume(role Role, c *volume.Content, adopt bool) (initStep, error) {
	switch c.Kind {
	case volume.Complete:
		return stepServe, nil
	case volume.Switching, volume.ChangeUnderWay:
		return stepResume, nil
	case volume.UnderWay:
		if role == RoleReplica {
			return stepClone, nil
		}
		return stepDiscard, nil
	case volume.NeverCompleted:
		if n := startsOver(c); n >= maxStartsOver {
			return 0, &RefusedError{
				Reason: NewReason(CodeInterruptedFirstStart, "the image's first initialisation was cut short again, after it was put aside %d times", n),
				Remedy: "see in mysqld's log what ends it, a script in /docker-entrypoint-initdb.d perhaps, then empty quarantine/ on the volume",
			}
		}
		return stepStartOver, nil
	case volume.Foreign:
		return decideForeign(c, adopt)
	case volume.Prepared:
		if role == RoleReplica {
			return stepDiscard, nil
		}
		return stepAsk, nil
	case volume.Empty:
		if role == RoleReplica {
			return stepClone, nil
		}
		return stepAsk, nil
	}
	return 0, fmt.Errorf("decide what to do with a volume that is %v: this agent does not know how", c.Kind)
}

// startsOver counts the first initialisations in quarantine.
func startsOver(c *volume.Content) (n int) {
	for _, name := range c.Quarantined {
		if strings.Contains(name, string(CodeInterruptedFirstStart)) {
			n++
		}
	}
	return n
}

func decideForeign(c *volume.Content, adopt bool) (initStep, error) {
	names := strings.Join(c.Foreign[:min(len(c.Foreign), 8)], ", ")
	switch {
	case !c.Adoptable:
		return 0, &RefusedError{
			Reason: NewReason(CodeForeignData, "the volume holds files that are not ours: %s", names),
			Remedy: "mount a volume of its own for this pod, or move these files away",
		}
	case !adopt:
		return 0, &RefusedError{
			Reason: NewReason(CodeForeignData, "the volume's root is a data directory that this agent did not make (%s)", names),
			Remedy: "to take it over as it is, stop its server cleanly and run agent init with --adopt; it is moved, not copied",
		}
	}
	return stepAdopt, nil
}

// emptySource is what an empty source decides upon.
type emptySource struct {
	Siblings     []PeerAnswer
	Listed       bool // Siblings is the whole set, by --replicas; else it is what DNS names at the moment
	WindowOver   bool // names have had time to appear in DNS
	AllowEmpty   bool // --allow-empty-source
	DiscoveryErr error
}

// decideEmptySource says whether an empty source may start empty. It fails closed: one sibling with data forbids it, one that
// may have data and does not answer delays it. The reasons say for what it waits, or what --allow-empty-source overrode.
func decideEmptySource(s emptySource) (initStep, []Reason, error) {
	var waits []Reason
	if s.DiscoveryErr != nil {
		waits = append(waits, NewReason(CodeDNSFailed, "%v", s.DiscoveryErr))
	}
	if !s.Listed && !s.WindowOver {
		waits = append(waits, NewReason(CodePeerAbsent, "DNS may not name every pod of the set yet"))
	}
	for _, p := range s.Siblings {
		switch {
		case p.Kind == PeerAnswered && p.Status.HasData == DataYes:
			return 0, nil, &RefusedError{
				Reason: NewReason(CodeSiblingsHaveData, "this source's volume is empty, but %s has data (gtid_executed %s): starting empty would lose it",
					p.Pod, orNotKnown(p.Status.GTIDExecuted)),
				Remedy: "bring the source's volume back, or move the data of " + p.Pod + " into it; every volume is left as it is",
			}
		case p.Kind == PeerAnswered && p.Status.HasData == DataNo:
		case p.Kind == PeerAnswered:
			waits = append(waits, NewReason(CodeSiblingSilent, "%s cannot tell yet whether it has data (%s)", p.Pod, p.Status.HasData))
		case p.Kind != PeerAbsent:
			waits = append(waits, p.Reason())
		case !s.WindowOver:
			waits = append(waits, p.Reason())
		}
	}
	if len(waits) > 0 && !s.AllowEmpty {
		return stepWait, waits, nil
	}
	return stepEmpty, waits, nil
}

func orNotKnown(gtids string) string {
	if gtids == "" {
		return "not known"
	}
	const most = 200
	if len(gtids) > most {
		return gtids[:most] + "…"
	}
	return gtids
}
