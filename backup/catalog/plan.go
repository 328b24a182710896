package catalog

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"ordinal/mysqlx"
)

// A Policy says which backups are kept: those that at least one of its rules keeps. The zero Policy keeps all.
type Policy struct {
	Last    int           `json:"last,omitempty"`    // the newest so many
	Within  time.Duration `json:"within,omitempty"`  // those that are not older than the newest by more than this; see [NewPlan] for what counts as time
	Daily   int           `json:"daily,omitempty"`   // the last of each day, for the last so many days of which there is one; days are UTC's
	Weekly  int           `json:"weekly,omitempty"`  // the same for weeks, from Monday to Sunday
	Monthly int           `json:"monthly,omitempty"` // the same for months
	// PointInTime keeps what is needed to restore, with the archive of binary logs, to every moment of the last so long that can be restored to now.
	PointInTime time.Duration `json:"point_in_time,omitempty"`
}

// ErrPolicy means that a policy makes no sense.
var ErrPolicy = errors.New("not a policy")

func (p Policy) check() error {
	if p.Last < 0 || p.Within < 0 || p.Daily < 0 || p.Weekly < 0 || p.Monthly < 0 || p.PointInTime < 0 {
		return fmt.Errorf("%w: nothing can be kept for less than nothing: %+v", ErrPolicy, p)
	}
	return nil
}

// A Decision is what a plan says of one backup.
type Decision struct {
	ID      string    `json:"id"`
	Began   time.Time `json:"began_at"`
	State   State     `json:"state"`
	Verdict Verdict   `json:"verdict"`
	Bytes   int64     `json:"bytes"` // of the store
	Reasons []string  `json:"reasons,omitempty"`
}

// A Plan says what becomes of each backup, and why. It is made before anything is touched; [Prune] carries it out.
type Plan struct {
	Policy Policy     `json:"policy"`
	Keep   []Decision `json:"keep"`   // the newest first
	Remove []Decision `json:"remove"` // the oldest first, as they are removed
	Apart  []Decision `json:"apart"`  // what retention never touches: unfinished, damaged, foreign

	// Newest is the backup that has to be looked at before anything is removed, and Good the last good one: the newest that was verified, or, if none was, the
	// newest. Both are kept. Empty if there is no complete backup.
	Newest string `json:"newest"`
	Good   string `json:"good"`
	// Refused says why nothing is removed although the policy would; else empty.
	Refused string `json:"refused,omitempty"`
	Bytes   int64  `json:"bytes"` // of what is removed

	// ArchiveBase are transactions that the archive need not have any more: all backups have them from which a replay may begin, of those that are kept. With
	// Policy.PointInTime these are the ones that are needed for it and those after them, else all.
	ArchiveBase mysqlx.GTIDSet `json:"archive_base"`
}

// Reach says up to which time the archive has, without a gap, what a server lacks that has executed from; the zero time if it has nothing of it.
type Reach func(from mysqlx.GTIDSet) (until time.Time)

// NewPlan decides what a policy keeps. It changes nothing. entries are all of a place, as [Place.List] returns them. reach may be nil unless the policy keeps
// points in time.
//
// Whatever the policy says, these are kept: the newest backup; the last good one; what is marked; and everything if the newest has failed its verification.
// Only complete backups are removed. One that has failed its verification takes nobody's place: the rules are applied to those that have not as if it
// were not there, and once more to all.
//
// Clocks are not trusted. Time passes between backups, not on the clock: age is counted from the newest one, and a gap between two counts for at most twice the
// third longest of all gaps. So a clock that jumps, here or where a backup is made, makes no others old, and neither does a pause of the job. With fewer than
// four backups nothing is old. A backup whose time cannot be right is kept and not counted: one that comes from the future, or that has
// transactions which a backup of a later day lacks. For that alone now is asked.
func NewPlan(entries []Entry, policy Policy, reach Reach, now time.Time) (Plan, error) {
	if err := policy.check(); err != nil {
		return Plan{}, err
	}
	if policy.PointInTime > 0 && reach == nil {
		return Plan{}, fmt.Errorf("%w: points in time can be kept only where there is an archive of binary logs", ErrPolicy)
	}
	plan := Plan{Policy: policy, Keep: []Decision{}, Remove: []Decision{}, Apart: []Decision{}}
	var complete []*Entry
	for _, e := range newestFirst(entries) {
		if e.State == Complete {
			complete = append(complete, e)
		} else {
			plan.Apart = append(plan.Apart, decision(e, e.Problem))
		}
	}
	if len(complete) == 0 {
		return plan, nil
	}
	k := keeper{policy: policy, reasons: map[*Entry][]string{}}
	wrong := wrongTimes(complete, now)
	counted := without(complete, func(e *Entry) bool { return wrong[e] != "" })
	good := without(counted, func(e *Entry) bool { return e.Verdict() == Failed })
	if policy == (Policy{}) {
		k.keep("no policy", complete...)
	}
	newest, last := choose(complete, counted, good)
	plan.Newest, plan.Good = newest.ID, last.ID
	k.keep("newest", newest)
	if last.Verdict() == Verified {
		k.keep("last verified", last)
	} else {
		k.keep("last good", last)
	}
	for _, e := range complete {
		if e.Kept() {
			k.keep("marked", e)
		}
		if why := wrong[e]; why != "" {
			k.keep(why, e)
		}
	}
	ages := agesOf(without(complete, func(e *Entry) bool { return wrong[e] == contradicts }))
	k.apply(good, ages)
	k.apply(counted, ages)
	var bases []*Entry
	if policy.PointInTime > 0 {
		bases = basesFor(good, policy.PointInTime, reach, now)
		k.keep("point in time", bases...)
	}
	if newest.Verdict() == Failed {
		plan.Refused = "the newest backup has failed its verification: nothing is removed before there is a newer one that has not"
		k.keep("nothing is removed now", complete...)
	}
	for _, e := range complete {
		if reasons := k.reasons[e]; len(reasons) > 0 {
			plan.Keep = append(plan.Keep, decision(e, reasons...))
			continue
		}
		plan.Remove = append(plan.Remove, decision(e))
		plan.Bytes += e.Stored()
	}
	slices.Reverse(plan.Remove)
	plan.ArchiveBase = archiveBase(without(complete, func(e *Entry) bool { return len(k.reasons[e]) == 0 }), bases, plan.Apart, policy)
	return plan, nil
}

func decision(e *Entry, reasons ...string) Decision {
	reasons = slices.DeleteFunc(reasons, func(r string) bool { return r == "" })
	return Decision{ID: e.ID, Began: e.created(), State: e.State, Verdict: e.Verdict(), Bytes: e.Stored(), Reasons: reasons}
}

func without(entries []*Entry, leave func(*Entry) bool) []*Entry {
	return slices.DeleteFunc(slices.Clone(entries), leave)
}

// choose returns the newest backup and the last good one. Those whose time may be wrong come into question only if there are no others.
func choose(complete, counted, good []*Entry) (newest, last *Entry) {
	for _, list := range [][]*Entry{complete, counted} {
		if len(list) > 0 {
			newest, last = list[0], list[0]
		}
	}
	if len(good) > 0 {
		last = good[0]
	}
	for _, list := range [][]*Entry{complete, counted} {
		if i := slices.IndexFunc(list, func(e *Entry) bool { return e.Verdict() == Verified }); i >= 0 {
			last = list[i]
		}
	}
	return newest, last
}

// A keeper collects why backups are kept.
type keeper struct {
	policy  Policy
	reasons map[*Entry][]string
}

func (k *keeper) keep(reason string, entries ...*Entry) {
	for _, e := range entries {
		if !slices.Contains(k.reasons[e], reason) {
			k.reasons[e] = append(k.reasons[e], reason)
		}
	}
}

// apply applies the rules to a list, the newest first.
func (k *keeper) apply(list []*Entry, ages map[*Entry]time.Duration) {
	p := k.policy
	k.keep(fmt.Sprintf("last %d", p.Last), list[:min(p.Last, len(list))]...)
	if p.Within > 0 && len(list) > 0 {
		for _, e := range list {
			if ages[e]-ages[list[0]] <= p.Within {
				k.keep("within "+p.Within.String(), e)
			}
		}
	}
	k.calendar("daily", p.Daily, list, func(t time.Time) string { return t.Format(time.DateOnly) })
	k.calendar("weekly", p.Weekly, list, func(t time.Time) string {
		year, week := t.ISOWeek()
		return fmt.Sprintf("%d-W%02d", year, week)
	})
	k.calendar("monthly", p.Monthly, list, func(t time.Time) string { return t.Format("2006-01") })
}

// calendar keeps the newest backup of each of the last n periods of which there is one.
func (k *keeper) calendar(rule string, n int, list []*Entry, period func(time.Time) string) {
	last := ""
	for _, e := range list {
		if n == 0 {
			return
		}
		if is := period(e.created().UTC()); is != last {
			k.keep(rule+" "+is, e)
			last, n = is, n-1
		}
	}
}
