package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ordinal/mysqlx"
)

// A Base is what the data has that a replay begins with. Where it is known exactly both sets are the same.
type Base struct {
	AtLeast mysqlx.GTIDSet
	AtMost  mysqlx.GTIDSet
}

// Exactly is a Base that is known.
func Exactly(executed mysqlx.GTIDSet) Base { return Base{executed, executed} }

// A Plan says what has to be executed to reach a target, and that the archive has all of it.
type Plan struct {
	Target Target
	// Until is what the server will have executed in the end, neither less nor more. With a Base that is not known exactly, what the data has besides AtLeast
	// is left out where the archive does not have it.
	Until mysqlx.GTIDSet
	// Missing is what will be executed, as far as it is known now.
	Missing mysqlx.GTIDSet
	Last    Point // the target, in the terms of the archive
	Steps   []Step
	// ClockWentBack says that, for a target that is a time, there are transactions behind the target that were committed before it by their servers'
	// clocks. They are not executed.
	ClockWentBack bool
}

// A Step is a segment that is needed, and which of its transactions.
type Step struct {
	Segment Segment
	GTIDs   mysqlx.GTIDSet
}

// Bytes returns how much of the archive has to be read, in bytes of binlogs.
func (p *Plan) Bytes() (n int64) {
	for _, s := range p.Steps {
		n += s.Segment.Bytes
	}
	return n
}

// NewPlan finds out whether a target can be reached from a base, and how. It reads at most a few segments: those in which the target is. Errors:
// *UnreachableError, *PassedError, *SegmentError, and ctx's.
func NewPlan(ctx context.Context, a Archive, base Base, target Target) (*Plan, error) {
	if err := target.Validate(); err != nil {
		return nil, err
	}
	var abandoned mysqlx.GTIDSet
	for {
		p := planner{ctx: ctx, archive: a, base: base, target: target, plan: &Plan{Target: target}}
		err := p.run(abandoned)
		if lost, ok := errors.AsType[*abandonedError](err); ok {
			if !overlap(base.AtLeast, lost.set) {
				abandoned = abandoned.Union(lost.set)
				continue
			}
			err = p.unreachable(fmt.Sprintf("the backup has transactions that the archived history after it has not: %s", shorten(lost.set.String())), mysqlx.GTIDSet{})
		}
		if err != nil {
			return nil, err
		}
		return p.plan, nil
	}
}

type planner struct {
	ctx     context.Context
	archive Archive
	base    Base
	target  Target
	chain   *chain
	plan    *Plan
	sought  mysqlx.GTIDSet // of a target that is a GTID set: what is not executed yet
	last    Point
}

func (p *planner) run(abandoned mysqlx.GTIDSet) error {
	p.chain = newChain(p.archive.Segments(), p.base.AtLeast, abandoned)
	p.last = Point{Executed: p.base.AtLeast}
	p.sought = p.target.GTIDs.Subtract(p.base.AtLeast)
	switch {
	case !p.target.GTIDs.IsEmpty() && p.sought.IsEmpty():
		if beyond := p.base.AtMost.Subtract(p.target.GTIDs); !beyond.IsEmpty() {
			return &PassedError{p.target, beyond}
		}
		return p.finish()
	case p.base.AtMost.Contains(p.target.Before) && !p.target.Before.IsEmpty():
		return &PassedError{p.target, p.target.Before}
	}
	if err := p.notPassed(abandoned); err != nil {
		return err
	}
	for {
		s, fresh, ok, err := p.chain.next()
		if gap, is := errors.AsType[*gapError](err); is {
			return p.unreachable("transactions are missing in the archive: "+shorten(gap.missing.String()), gap.missing)
		}
		if _, is := errors.AsType[*abandonedError](err); is {
			return err
		}
		if err != nil {
			return p.unreachable(err.Error(), mysqlx.GTIDSet{})
		}
		if !ok {
			return p.atEnd()
		}
		reached, err := p.take(s, fresh)
		if err != nil {
			return err
		}
		if reached {
			return p.finish()
		}
	}
}

// notPassed checks that the base has nothing that was committed after a target that is a time.
func (p *planner) notPassed(abandoned mysqlx.GTIDSet) error {
	if p.target.Time.IsZero() {
		return nil
	}
	for _, s := range p.archive.Segments() {
		has := s.GTIDs.Subtract(abandoned).Intersect(p.base.AtMost)
		if has.IsEmpty() || !s.Last.After(p.target.Time) {
			continue
		}
		if !s.First.After(p.target.Time) {
			var later gatherer
			err := eachTransaction(p.ctx, p.archive, s, func(t transaction) error {
				if t.committed.After(p.target.Time) && has.Contains(t.set) {
					later.add(t.GTID)
				}
				return nil
			})
			if err != nil {
				return err
			}
			has = later.set()
		}
		if !has.IsEmpty() {
			return &PassedError{p.target, has}
		}
	}
	return nil
}

// take adds a segment, or what is before the target in it. fresh is what it has that is not executed.
func (p *planner) take(s Segment, fresh mysqlx.GTIDSet) (reached bool, err error) {
	inside := false // whether the target is in it
	switch {
	case !p.target.Time.IsZero():
		inside = s.Last.After(p.target.Time)
	case !p.target.GTIDs.IsEmpty():
		inside = s.GTIDs.Contains(p.sought)
	case !p.target.Before.IsEmpty():
		inside = s.GTIDs.Contains(p.target.Before)
	}
	if !inside {
		p.sought = p.sought.Subtract(fresh)
		p.add(s, fresh)
		p.last = Point{Executed: p.chain.has, GTID: "", Committed: s.Last}
		return false, nil
	}
	before, behind, err := p.split(s)
	if err != nil {
		return false, err
	}
	if beyond := behind.Intersect(p.base.AtMost); !beyond.IsEmpty() {
		return false, &PassedError{p.target, beyond}
	}
	// What is behind the target was counted as taken.
	p.chain.has, p.chain.taken = p.chain.has.Subtract(behind), p.chain.taken.Subtract(behind)
	p.add(s, before.Intersect(fresh))
	return true, nil
}

func (p *planner) add(s Segment, gtids mysqlx.GTIDSet) {
	if !gtids.IsEmpty() {
		p.plan.Steps = append(p.plan.Steps, Step{s, gtids})
	}
}

// split reads a segment in which the target is, and says what is on either side.
func (p *planner) split(s Segment) (before, behind mysqlx.GTIDSet, err error) {
	var left, right gatherer
	passed := false
	sought := p.sought
	err = eachTransaction(p.ctx, p.archive, s, func(t transaction) error {
		if !s.GTIDs.Contains(t.set) {
			return nil // abandoned
		}
		switch {
		case passed:
			if !p.target.Time.IsZero() && !t.committed.After(p.target.Time) {
				p.plan.ClockWentBack = true
			}
		case !p.target.Time.IsZero():
			if t.committed.IsZero() {
				return fmt.Errorf("transaction %s has no commit time: a time cannot be found by it", t.GTID)
			}
			passed = t.committed.After(p.target.Time)
		case !p.target.Before.IsEmpty():
			passed = p.target.Before.Equal(t.set)
		default:
			passed = sought.IsEmpty()
			sought = sought.Subtract(t.set)
		}
		if passed {
			right.add(t.GTID)
			return nil
		}
		left.add(t.GTID)
		p.last.GTID, p.last.Committed = t.GTID, t.committed
		return nil
	})
	return left.set(), right.set(), err
}

// atEnd is called when the archive has no more segments.
func (p *planner) atEnd() error {
	until, missing := p.archive.End(p.base.AtLeast)
	missing = missing.Subtract(p.chain.has)
	switch {
	case !p.target.Time.IsZero():
		if !until.Before(p.target.Time) {
			break
		}
		why := "the archive ends before"
		if !until.IsZero() {
			why = "the archive is complete until " + until.UTC().Format(time.RFC3339Nano) + " only"
		}
		return p.unreachable(why, missing)
	case !p.target.GTIDs.IsEmpty():
		return p.unreachable("the archive does not have "+shorten(p.sought.String()), p.sought)
	case !p.target.Before.IsEmpty():
		return p.unreachable("the archive does not have that transaction", p.target.Before)
	case !missing.IsEmpty():
		return p.unreachable("transactions are missing at the end of the archive: "+shorten(missing.String()), missing)
	}
	return p.finish()
}

// finish checks that the data has nothing from behind the target, and completes the plan.
func (p *planner) finish() error {
	for _, s := range p.chain.left {
		behind := s.GTIDs.Subtract(p.chain.has)
		if beyond := behind.Intersect(p.base.AtMost); !beyond.IsEmpty() {
			return &PassedError{p.target, beyond}
		}
		if !p.target.Time.IsZero() && !behind.IsEmpty() && !s.First.After(p.target.Time) {
			p.plan.ClockWentBack = true
		}
	}
	for _, s := range p.plan.Steps {
		p.plan.Missing = p.plan.Missing.Union(s.GTIDs)
	}
	p.plan.Until = p.base.AtLeast.Union(p.plan.Missing)
	p.last.Executed = p.plan.Until
	p.plan.Last = p.last
	return p.describe(&p.plan.Last)
}

// unreachable names the last point.
func (p *planner) unreachable(why string, missing mysqlx.GTIDSet) error {
	last := p.last
	last.Executed = p.chain.has
	if err := p.describe(&last); err != nil && p.ctx.Err() != nil {
		return err // otherwise it goes without a name
	}
	return &UnreachableError{Target: p.target, Why: why, Missing: missing, Last: last}
}

// describe finds the GTID of the last transaction before a point, in the last segment before it.
func (p *planner) describe(at *Point) error {
	if at.GTID != "" || len(p.plan.Steps) == 0 {
		return nil
	}
	last := p.plan.Steps[len(p.plan.Steps)-1]
	return eachTransaction(p.ctx, p.archive, last.Segment, func(t transaction) error {
		if last.GTIDs.Contains(t.set) {
			at.GTID, at.Committed = t.GTID, t.committed
		}
		return nil
	})
}

// remaining makes the plan for what is left of one whose end is known: a replay that was interrupted. Missing must be in the archive.
func remaining(a Archive, executed, until mysqlx.GTIDSet, target Target) (*Plan, error) {
	missing := until.Subtract(executed)
	plan := &Plan{Target: target, Until: until, Missing: missing}
	// What does not belong to the end is left out, and with it what can only be executed after it.
	segments := a.Segments()
	var others mysqlx.GTIDSet
	for _, s := range segments {
		others = others.Union(s.GTIDs.Subtract(until))
	}
	c := newChain(segments, executed, others)
	for !missing.IsEmpty() {
		s, fresh, ok, err := c.next()
		if err == nil && !ok {
			err = &gapError{missing}
		}
		if err != nil {
			return nil, &UnreachableError{Target: target, Why: err.Error(), Missing: missing, Last: Point{Executed: c.has}}
		}
		plan.Steps = append(plan.Steps, Step{s, fresh})
		missing = missing.Subtract(fresh)
	}
	return plan, nil
}
