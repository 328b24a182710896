package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/mysqlx"
)

const day = 24 * time.Hour

// entry makes a complete backup whose job began so long after noon of a day in 2026; gtid is how many transactions it has.
func entry(n int, after time.Duration, gtid int) catalog.Entry {
	at := noon.Add(after)
	e := catalog.Entry{
		ID: fmt.Sprintf("%s-%08x", at.Format("20060102T150405Z"), n), State: catalog.Complete, Began: at,
		Manifest: &backup.Manifest{Created: at, Finished: at.Add(10 * time.Minute), StoredBytes: 100},
	}
	if gtid > 0 {
		e.Manifest.GTIDAtLeast = fmt.Sprintf("%s:1-%d", uuid, gtid)
	}
	return e
}

// daily makes one backup a day, the oldest first.
func daily(n int) []catalog.Entry {
	var all []catalog.Entry
	for i := range n {
		all = append(all, entry(i, time.Duration(i)*day, i+1))
	}
	return all
}

func check(e *catalog.Entry, ok bool) {
	e.Verification = &catalog.Verification{Segments: &catalog.SegmentsCheck{OK: ok}}
}

// days returns on which days the jobs of some backups began.
func days(decisions []catalog.Decision) (all []int) {
	for _, d := range decisions {
		all = append(all, int(d.Began.Sub(noon)/day))
	}
	slices.Sort(all)
	return all
}

func upTo(from, to int) (all []int) {
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

func TestPlan(t *testing.T) {
	later := noon.Add(1000 * day)
	for _, test := range []struct {
		name    string
		entries []catalog.Entry
		policy  catalog.Policy
		removed []int
	}{
		{"nothing there", nil, catalog.Policy{Last: 1}, nil},
		{"no policy", daily(9), catalog.Policy{}, nil},
		{"last", daily(9), catalog.Policy{Last: 3}, upTo(0, 5)},
		{"within", daily(9), catalog.Policy{Within: 3 * day}, upTo(0, 4)},
		{"within less than a gap", daily(9), catalog.Policy{Within: time.Hour}, upTo(0, 7)},
		{"either", daily(9), catalog.Policy{Within: 3 * day, Last: 6}, upTo(0, 2)},
		{"within, of three", daily(3), catalog.Policy{Within: time.Hour}, nil},
		{"daily", slices.Concat(daily(5), []catalog.Entry{entry(9, 4*day+time.Hour, 0)}), catalog.Policy{Daily: 2}, []int{0, 1, 2, 4}},
		// Noon is that of a Saturday.
		{"weekly", daily(23), catalog.Policy{Weekly: 2}, slices.Concat(upTo(0, 14), upTo(16, 21))},
		{"monthly", daily(70), catalog.Policy{Monthly: 3}, slices.Concat(upTo(0, 8), []int{}, upTo(10, 39), upTo(41, 68))},
		{"marked", func() []catalog.Entry {
			all := daily(5)
			all[1].Mark = &catalog.Mark{Keep: true}
			all[2].Mark = &catalog.Mark{Note: "no more than a note"}
			return all
		}(), catalog.Policy{Last: 1}, []int{0, 2, 3}},
		{"last verified", func() []catalog.Entry {
			all := daily(6)
			check(&all[1], true)
			check(&all[2], true)
			return all
		}(), catalog.Policy{Last: 2}, []int{0, 1, 3}},
		{"failures take nobody's place", func() []catalog.Entry {
			all := daily(6)
			check(&all[3], false)
			check(&all[4], false)
			return all
		}(), catalog.Policy{Last: 3}, []int{0}},
		{"newest failed", func() []catalog.Entry {
			all := daily(6)
			check(&all[5], false)
			return all
		}(), catalog.Policy{Last: 1}, nil},
		{"unfinished and others are not touched", func() []catalog.Entry {
			all := daily(6)
			all[0].State, all[1].State, all[2].State, all[3].State = catalog.Unfinished, catalog.Damaged, catalog.Foreign, catalog.WrongKey
			return all
		}(), catalog.Policy{Last: 1}, []int{4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := catalog.NewPlan(test.entries, test.policy, nil, later)
			must(t, err)
			if got := days(plan.Remove); !slices.Equal(got, test.removed) {
				t.Errorf("removed: days %v, want %v", got, test.removed)
			}
			if len(plan.Keep)+len(plan.Remove)+len(plan.Apart) != len(test.entries) {
				t.Errorf("%d, %d and %d backups, want %d", len(plan.Keep), len(plan.Remove), len(plan.Apart), len(test.entries))
			}
			if plan.Bytes != int64(100*len(plan.Remove)) {
				t.Errorf("frees %d bytes", plan.Bytes)
			}
			for _, d := range plan.Keep {
				if len(d.Reasons) == 0 {
					t.Errorf("%s is kept for no reason", d.ID)
				}
			}
			if _, err := json.Marshal(plan); err != nil {
				t.Error(err)
			}
		})
	}
	for _, policy := range []catalog.Policy{{Last: -1}, {Within: -1}, {PointInTime: time.Hour}} {
		if _, err := catalog.NewPlan(daily(3), policy, nil, later); !errors.Is(err, catalog.ErrPolicy) {
			t.Errorf("NewPlan(%+v) = %v, want ErrPolicy", policy, err)
		}
	}
}

func plan(t interface {
	Helper()
	Fatal(...any)
}, entries []catalog.Entry, policy catalog.Policy, now time.Time) catalog.Plan {
	t.Helper()
	p, err := catalog.NewPlan(entries, policy, nil, now)
	must(t, err)
	return p
}

// Ten years forward, whose clock ever it is, and back: nothing becomes old by that.
func TestPlanClockJumps(t *testing.T) {
	const jump = 3650 * day
	policies := []catalog.Policy{{Within: 10 * day}, {Last: 10}, {Daily: 10}, {Last: 3, Daily: 5, Weekly: 2, Monthly: 2}}
	for _, policy := range policies {
		all := daily(20)
		now := noon.Add(19*day + time.Hour)
		usual := plan(t, all, policy, now)
		if len(usual.Remove) == 0 {
			t.Fatalf("%+v removes nothing", policy)
		}
		if diff := cmp.Diff(usual, plan(t, all, policy, now.Add(jump)), cmp.Comparer(mysqlx.GTIDSet.Equal)); diff != "" {
			t.Errorf("%+v: the clock here jumps forward:\n%s", policy, diff)
		}
		for _, d := range plan(t, all, policy, now.Add(-jump)).Remove {
			t.Errorf("%+v: the clock here jumps back: %s is removed", policy, d.ID)
		}

		// The newest backup is made while the clock is wrong, and the plan as well.
		future := slices.Concat(all, []catalog.Entry{entry(99, 20*day+jump, 30)})
		with := plan(t, future, policy, now.Add(jump+2*day))
		normal := plan(t, slices.Concat(all, []catalog.Entry{entry(99, 20*day, 30)}), policy, now.Add(2*day))
		if a, b := len(with.Remove), len(normal.Remove); a > b+3 { // it takes one place of each rule
			t.Errorf("%+v: a backup that is ten years late makes %d of 21 go, one in time %d", policy, a, b)
		}
		// The clock is right again: the backup from the future is kept, and counts for nothing.
		after := plan(t, future, policy, now.Add(2*day))
		if !slices.Equal(days(after.Remove), days(usual.Remove)) || after.Newest != usual.Newest {
			t.Errorf("%+v: a backup from the future makes days %v go, without it %v", policy, days(after.Remove), days(usual.Remove))
		}
		// It is made while the clock is ten years back: it looks like the oldest, has the most transactions, and is kept.
		past := slices.Concat(all, []catalog.Entry{entry(99, -jump, 30)})
		before := plan(t, past, policy, now)
		if !slices.Equal(days(before.Remove), days(usual.Remove)) {
			t.Errorf("%+v: a backup from the past makes days %v go, without it %v", policy, days(before.Remove), days(usual.Remove))
		}
	}
	// A pause of a month is none of the age's business either: what was kept is, until there are newer ones.
	paused := slices.Concat(daily(20), []catalog.Entry{entry(99, 60*day, 30)})
	if got := days(plan(t, paused, catalog.Policy{Within: 10 * day}, noon.Add(61*day)).Remove); !slices.Equal(got, upTo(0, 10)) {
		t.Errorf("after a pause days %v go", got)
	}
	// A week with nights and a Sunday without backups is as long as any.
	var office []catalog.Entry
	for d := range 40 {
		for h := range 8 {
			if d%7 != 1 {
				office = append(office, entry(d*10+h, time.Duration(d)*day+time.Duration(h)*time.Hour, d*10+h+1))
			}
		}
	}
	if got := days(plan(t, office, catalog.Policy{Within: 14 * day}, noon.Add(40*day)).Keep); got[0] != 25 {
		t.Errorf("kept from day %d on, want 25", got[0])
	}
}

// The set was taken back to an earlier state on purpose: then the backup that lacks transactions is the one that cannot be placed, not all that have them.
func TestPlanAfterGoingBack(t *testing.T) {
	all := daily(10)
	all[9].Manifest.GTIDAtLeast = uuid + ":1-3"
	if got := days(plan(t, all, catalog.Policy{Last: 2}, noon.Add(10*day)).Remove); !slices.Equal(got, upTo(0, 6)) {
		t.Errorf("days %v go, want 0 to 6: two that count, and the newest", got)
	}
	// From then on the set writes transactions of its own.
	other := strings.Replace(uuid, "3e11fa47", "4e11fa47", 1)
	for i := 10; i < 14; i++ {
		e := entry(i, time.Duration(i)*day, 0)
		e.Manifest.GTIDAtLeast = fmt.Sprintf("%s:1-3,%s:1-%d", uuid, other, i)
		all = append(all, e)
	}
	if got := days(plan(t, all, catalog.Policy{Last: 2}, noon.Add(14*day)).Remove); len(got) < 10 || slices.Contains(got, 13) || slices.Contains(got, 12) {
		t.Errorf("days %v go", got)
	}
}

// archive reaches from each base in it to some hour after noon, or as far as from one that has more transactions.
func archive(reaches map[int]time.Duration) catalog.Reach {
	return func(from mysqlx.GTIDSet) time.Time {
		after, ok := reaches[int(from.Count())]
		if !ok {
			return time.Time{}
		}
		return noon.Add(after)
	}
}

func TestPlanPointInTime(t *testing.T) {
	all := daily(10)
	whole := map[int]time.Duration{}
	for i := range 10 {
		whole[i+1] = 9*day + 5*time.Hour
	}
	gap := map[int]time.Duration{} // between day 6 and day 7
	for i := range 10 {
		gap[i+1] = 9*day + 5*time.Hour
		if i < 7 {
			gap[i+1] = 6*day + 12*time.Hour
		}
	}
	for _, test := range []struct {
		name    string
		reaches map[int]time.Duration
		window  time.Duration
		now     time.Duration
		kept    []int
	}{
		{"whole archive", whole, 3 * day, 10 * day, []int{6, 9}}, // the window begins 5 h after noon of day 6
		{"window at a base", whole, 3*day + 5*time.Hour - 10*time.Minute, 10 * day, []int{6, 9}},
		{"window just before a base", whole, 3*day + 5*time.Hour - 10*time.Minute + time.Second, 10 * day, []int{5, 9}},
		{"window before everything", whole, 100 * day, 10 * day, []int{0, 9}},
		{"gap in it", gap, 5 * day, 10 * day, []int{4, 7, 9}},
		{"nothing archived", map[int]time.Duration{}, 5 * day, 10 * day, []int{9}},
		{"only the last base", map[int]time.Duration{10: 9*day + 5*time.Hour}, 5 * day, 10 * day, []int{9}},
		{"archive from the future", map[int]time.Duration{7: 9000 * day, 10: 9000 * day}, 3 * day, 9*day + 5*time.Hour, []int{6, 9}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := catalog.NewPlan(all, catalog.Policy{PointInTime: test.window, Last: 1}, archive(test.reaches), noon.Add(test.now))
			must(t, err)
			if got := days(p.Keep); !slices.Equal(got, test.kept) {
				t.Errorf("kept: days %v, want %v", got, test.kept)
			}
			base := uint64(0)
			for _, d := range p.Keep {
				if slices.Contains(d.Reasons, "point in time") && (base == 0 || days([]catalog.Decision{d})[0]+1 < int(base)) {
					base = uint64(days([]catalog.Decision{d})[0] + 1)
				}
			}
			if got := p.ArchiveBase.Count(); got != base {
				t.Errorf("archive may lose %d transactions, want %d", got, base)
			}
		})
	}
	if p := plan(t, all, catalog.Policy{Last: 4}, noon.Add(10*day)); p.ArchiveBase.Count() != 7 {
		t.Errorf("archive may lose %s, want what the oldest that is kept has", p.ArchiveBase)
	}
	all[0].State = catalog.WrongKey
	if p := plan(t, all, catalog.Policy{Last: 4}, noon.Add(10*day)); !p.ArchiveBase.IsEmpty() {
		t.Errorf("archive may lose %s, and there is a backup of which nothing is known", p.ArchiveBase)
	}
}

// drawn makes any history of backups.
func drawn(t *rapid.T) []catalog.Entry {
	var all []catalog.Entry
	at := time.Duration(0)
	for i := range rapid.IntRange(0, 14).Draw(t, "backups") {
		at += time.Duration(rapid.SampledFrom([]int{1, 5, 24, 25, 200, 90_000, -48}).Draw(t, "gap")) * time.Hour
		e := entry(i, at, rapid.IntRange(0, 20).Draw(t, "gtid"))
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			e.State = rapid.SampledFrom([]catalog.State{catalog.Unfinished, catalog.Damaged, catalog.Foreign, catalog.WrongKey}).Draw(t, "state")
		case 1, 2:
			check(&e, true)
		case 3:
			check(&e, false)
		case 4:
			e.Mark = &catalog.Mark{Keep: rapid.Bool().Draw(t, "keep")}
		}
		all = append(all, e)
	}
	return all
}

func drawnPolicy(t *rapid.T) catalog.Policy {
	n := rapid.IntRange(0, 4)
	return catalog.Policy{
		Last: n.Draw(t, "last"), Within: time.Duration(rapid.IntRange(0, 100).Draw(t, "within")) * time.Hour,
		Daily: n.Draw(t, "daily"), Weekly: n.Draw(t, "weekly"), Monthly: n.Draw(t, "monthly"),
		PointInTime: time.Duration(rapid.IntRange(0, 100).Draw(t, "point in time")) * time.Hour,
	}
}

// A model as simple as can be says what must never happen.
func TestPlanNeverRemovesTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, policy := drawn(t), drawnPolicy(t)
		reaches := map[int]time.Duration{}
		for _, e := range entries {
			if rapid.Bool().Draw(t, "archived") {
				gtids := e.GTIDs()
				reaches[int(gtids.Count())] = e.Began.Sub(noon) + time.Duration(rapid.IntRange(0, 300).Draw(t, "reach"))*time.Hour
			}
		}
		now := noon.Add(time.Duration(rapid.IntRange(-1000, 1_000_000).Draw(t, "now")) * time.Hour)
		p, err := catalog.NewPlan(entries, policy, archive(reaches), now)
		must(t, err)
		byID := map[string]catalog.Entry{}
		for _, e := range entries {
			byID[e.ID] = e
		}
		said := map[string]int{}
		for _, d := range slices.Concat(p.Keep, p.Remove, p.Apart) {
			said[d.ID]++
		}
		for _, e := range entries {
			if said[e.ID] != 1 {
				t.Errorf("%s is decided %d times", e.ID, said[e.ID])
			}
		}
		complete := without(entries, func(e catalog.Entry) bool { return e.State != catalog.Complete })
		kept := without(complete, func(e catalog.Entry) bool {
			return slices.ContainsFunc(p.Remove, func(d catalog.Decision) bool { return d.ID == e.ID })
		})
		for i, d := range p.Remove {
			e := byID[d.ID]
			if e.State != catalog.Complete || e.Kept() || d.ID == p.Newest || d.ID == p.Good {
				t.Errorf("%s is removed: %+v", d.ID, e)
			}
			if i > 0 && d.Began.Before(p.Remove[i-1].Began) {
				t.Errorf("%s is removed after a newer one", d.ID)
			}
		}
		count := func(list []catalog.Entry, is func(catalog.Verdict) bool) (n int) {
			for _, e := range list {
				if is(e.Verdict()) {
					n++
				}
			}
			return n
		}
		well := func(v catalog.Verdict) bool { return v != catalog.Failed }
		proved := func(v catalog.Verdict) bool { return v == catalog.Verified }
		if len(complete) > 0 && len(kept) == 0 {
			t.Error("no backup is left")
		}
		if count(complete, proved) > 0 && count(kept, proved) == 0 {
			t.Error("no verified backup is left")
		}
		if count(complete, well) > 0 && count(kept, well) == 0 {
			t.Error("no good backup is left")
		}
		if a, b := count(kept, well), min(policy.Last, count(complete, well)); a < b {
			t.Errorf("%d good ones are kept, want at least %d", a, b)
		}
		if policy == (catalog.Policy{}) && len(p.Remove) > 0 {
			t.Error("no policy removes something")
		}
		// Every moment of the window that can be restored to now can be restored to afterwards.
		if policy.PointInTime == 0 {
			return
		}
		var end time.Time
		covers := func(e catalog.Entry, at time.Time) bool {
			until := archive(reaches)(e.GTIDs())
			return e.Verdict() != catalog.Failed && !e.Manifest.Finished.After(at) && until.After(at)
		}
		placed := without(complete, func(e catalog.Entry) bool { // whose time can be right
			return slices.ContainsFunc(p.Keep, func(d catalog.Decision) bool {
				return d.ID == e.ID && slices.ContainsFunc(d.Reasons, func(r string) bool { return strings.HasPrefix(r, "its time") })
			})
		})
		for _, e := range placed {
			if e.Verdict() == catalog.Failed {
				continue
			}
			for _, at := range []time.Time{e.Manifest.Finished, archive(reaches)(e.GTIDs())} {
				if at.After(end) {
					end = at
				}
			}
		}
		if end.After(now) {
			end = now
		}
		for minutes := range int(policy.PointInTime / time.Hour) {
			at := end.Add(-time.Duration(minutes)*time.Hour - time.Minute)
			could := slices.ContainsFunc(placed, func(e catalog.Entry) bool { return covers(e, at) })
			can := slices.ContainsFunc(kept, func(e catalog.Entry) bool { return covers(e, at) })
			if could && !can {
				t.Errorf("%v could be restored to, and cannot any more", at)
			}
		}
	})
}

// The clock here can only ever keep more, never remove more.
func TestPlanDoesNotAskTheTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, policy := drawn(t), drawnPolicy(t)
		policy.PointInTime = 0
		now := noon.Add(time.Duration(rapid.IntRange(-1000, 1_000_000).Draw(t, "now")) * time.Hour)
		least := plan(t, entries, policy, noon.Add(2_000_000*time.Hour))
		for _, d := range plan(t, entries, policy, now).Remove {
			if !slices.ContainsFunc(least.Remove, func(o catalog.Decision) bool { return o.ID == d.ID }) && least.Refused == "" {
				t.Errorf("%s is removed at %v, and not by a clock that is later", d.ID, now)
			}
		}
	})
}

func without(entries []catalog.Entry, leave func(catalog.Entry) bool) []catalog.Entry {
	return slices.DeleteFunc(slices.Clone(entries), leave)
}
