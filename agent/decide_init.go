package agent

import (
	"fmt"
	"strings"

	"ordinal/internal/volume"
)

// An initStep is what agent init does next. Each that needs nobody else changes what the volume holds, and is followed by a new
// look at it.
type initStep int

const (
	stepServe        initStep = iota // the data is complete: write mysqld's configuration and end
	stepResume                       // finish an adoption, a quarantine or a switch that was interrupted
	stepDiscard                      // remove a directory prepared for a first initialisation that nobody wants
	stepStartOver                    // put an interrupted first initialisation aside, then start over
	stepAdopt                        // move the data directory in the root into a generation
	stepEmpty                        // leave the volume to the image's own first initialisation
	stepAsk                          // source that is empty or holds an unfinished copy: ask the siblings, then decide with decideEmptySource
	stepClone                        // replica that is empty or holds an unfinished copy: clone, or go on with it
	stepWait                         // nothing to do but to look again
	stepReverseClone                 // source: clone from the sibling that has most
	stepUndo                         // bring data back from quarantine
	stepPutAside                     // source: its data makes way for its siblings', as somebody asked
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

// decideVolume chooses the next step from what the volume holds and what somebody asked for. begun says that the old data of a switch cannot
// be started any more. It is the table of
// docs/init-decisions.md, row by row.
func decideVolume(role Role, c *volume.Content, adopt bool, request *volume.Request, begun bool) (initStep, error) {
	switch c.Kind {
	case volume.Complete:
		switch {
		case request != nil && request.Kind == volume.RequestUndo:
			return stepUndo, nil
		case request != nil && request.Kind == volume.RequestRebuild && role == RoleSource:
			return stepPutAside, nil
		}
		return stepServe, nil // a replica is rebuilt beside the data that it serves, by agent run
	case volume.Switching:
		if c.Record != nil && c.Record.Replaces != nil && !begun {
			return stepServe, nil // agent run compares the old data with the copy first; until then it is served
		}
		return stepResume, nil
	case volume.ChangeUnderWay:
		return stepResume, nil
	case volume.UnderWay, volume.Empty:
		if role == RoleReplica {
			return stepClone, nil
		}
		return stepAsk, nil
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
