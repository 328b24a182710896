package replay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ordinal/backup/replay"
	"ordinal/mysqlx"
)

// upTo is the GTID set 1 to n of the first server.
func upTo(n int) mysqlx.GTIDSet {
	if n == 0 {
		return mysqlx.GTIDSet{}
	}
	return parse(fmt.Sprintf("%s:1-%d", uuidOf(1), n))
}

func second(n int) time.Time { return begun.Add(time.Duration(n) * time.Second) }

// tens archives 50 transactions in segments of ten.
func tens(t testing.TB) *memArchive {
	a := new(memArchive)
	h := linear(1, 50)
	for i := 0; i < 50; i += 10 {
		a.segment(t, mysqlx.GTIDSet{}, h, i, i+10)
	}
	return a
}

func TestPlan(t *testing.T) {
	one := func(n int) mysqlx.GTIDSet { return parse(fmt.Sprintf("%s:%d", uuidOf(1), n)) }
	for name, c := range map[string]struct {
		base   int
		target replay.Target
		want   int // transactions executed in the end; -1: unreachable, -2: passed
		opened int // at most so many segments are read
	}{
		"everything":                   {3, replay.Target{}, 50, 1},
		"everything, nothing to do":    {50, replay.Target{}, 50, 0},
		"time":                         {3, replay.Target{Time: second(24)}, 25, 1},
		"time, just before":            {3, replay.Target{Time: second(24).Add(-time.Microsecond)}, 24, 1},
		"time, just after":             {3, replay.Target{Time: second(24).Add(time.Microsecond)}, 25, 1},
		"time, end of a segment":       {3, replay.Target{Time: second(29)}, 30, 2},
		"time, end of the archive":     {3, replay.Target{Time: second(49)}, 50, 1},
		"time, behind it":              {3, replay.Target{Time: second(50)}, -1, 1},
		"time, of the base":            {25, replay.Target{Time: second(24)}, 25, 2},
		"time, before the base":        {25, replay.Target{Time: second(23)}, -2, 1},
		"time, long before the base":   {25, replay.Target{Time: second(3)}, -2, 1},
		"time, before everything":      {3, replay.Target{Time: second(-1)}, -2, 1},
		"time, before, with no base":   {0, replay.Target{Time: second(-1)}, 0, 1},
		"gtids":                        {3, replay.Target{GTIDs: one(17)}, 17, 1},
		"gtids, a range":               {3, replay.Target{GTIDs: upTo(30)}, 30, 1},
		"gtids, with a hole":           {3, replay.Target{GTIDs: one(5).Union(one(31))}, 31, 1},
		"gtids, of the base":           {17, replay.Target{GTIDs: upTo(17)}, 17, 0},
		"gtids, passed":                {17, replay.Target{GTIDs: upTo(16)}, -2, 0},
		"gtids, passed by one of them": {17, replay.Target{GTIDs: one(16)}, -2, 0},
		"gtids, not archived":          {3, replay.Target{GTIDs: one(51)}, -1, 1},
		"before":                       {3, replay.Target{Before: one(21)}, 20, 2},
		"before, middle":               {3, replay.Target{Before: one(25)}, 24, 1},
		"before, next":                 {3, replay.Target{Before: one(4)}, 3, 1},
		"before, passed":               {3, replay.Target{Before: one(3)}, -2, 0},
		"before, not archived":         {3, replay.Target{Before: one(51)}, -1, 1},
	} {
		a := tens(t)
		p, err := replay.NewPlan(t.Context(), a, replay.Exactly(upTo(c.base)), c.target)
		var unreachable *replay.UnreachableError
		var passed *replay.PassedError
		switch {
		case errors.As(err, &unreachable):
			if c.want != -1 || !unreachable.Last.Executed.Equal(upTo(50)) || !strings.HasSuffix(unreachable.Last.GTID, ":50") || !unreachable.Last.Committed.Equal(second(49)) {
				t.Errorf("%s: %v", name, err)
			}
		case errors.As(err, &passed):
			if c.want != -2 || passed.Beyond.IsEmpty() {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			if !p.Until.Equal(upTo(c.want)) || !p.Missing.Equal(upTo(c.want).Subtract(upTo(c.base))) || !p.Last.Executed.Equal(p.Until) {
				t.Errorf("%s: until %v, last %v, want %d transactions", name, p.Until, p.Last, c.want)
			}
			if !p.Missing.IsEmpty() && (!strings.HasSuffix(p.Last.GTID, fmt.Sprintf(":%d", c.want)) || !p.Last.Committed.Equal(second(c.want-1))) {
				t.Errorf("%s: the last one is %v", name, p.Last)
			}
		}
		if len(a.opened) > c.opened {
			t.Errorf("%s: %q were read, want %d segments", name, a.opened, c.opened)
		}
	}
}

func TestPlanRefusesContradictions(t *testing.T) {
	for _, target := range []replay.Target{
		{Time: begun, GTIDs: upTo(3)}, {GTIDs: upTo(3), Before: upTo(1)}, {Time: begun, Before: upTo(1)}, {Before: upTo(2)},
	} {
		if _, err := replay.NewPlan(t.Context(), tens(t), replay.Base{}, target); err == nil {
			t.Errorf("NewPlan() to %+v: no error", target)
		}
	}
}

// TestPlanWithoutASegment: whichever is missing, everything behind it cannot be reached, everything before it can.
func TestPlanWithoutASegment(t *testing.T) {
	for i := range 5 {
		a := tens(t).without(i)
		last := max(3, 10*i)
		for name, target := range map[string]replay.Target{
			"everything": {}, "time": {Time: second(10*i + 5)}, "gtids": {GTIDs: upTo(10*i + 5)}, "before": {Before: upTo(10*i + 5).Subtract(upTo(10*i + 4))},
		} {
			_, err := replay.NewPlan(t.Context(), a, replay.Exactly(upTo(3)), target)
			var e *replay.UnreachableError
			if i == 4 && name == "time" {
				// The archive's word is taken for where it ends.
				a.complete = second(39)
				_, err = replay.NewPlan(t.Context(), a, replay.Exactly(upTo(3)), target)
			}
			if !errors.As(err, &e) || e.ExitCode() != 82 || !e.Last.Executed.Equal(upTo(last)) {
				t.Errorf("without segment %d, %s: %v", i, name, err)
				continue
			}
			if i > 0 && i < 4 && name == "everything" && !e.Missing.Equal(upTo(10*i+10).Subtract(upTo(10*i))) {
				t.Errorf("without segment %d: missing %v", i, e.Missing)
			}
		}
		if i > 0 {
			p, err := replay.NewPlan(t.Context(), a, replay.Exactly(upTo(3)), replay.Target{GTIDs: upTo(10 * i)})
			if err != nil || !p.Until.Equal(upTo(10*i)) {
				t.Errorf("without segment %d, up to it: %v", i, err)
			}
		}
	}
}

// TestPlanOfABaseNotKnownExactly: a copy is as of its end, which may be behind a target that was before its beginning.
func TestPlanOfABaseNotKnownExactly(t *testing.T) {
	base := replay.Base{AtLeast: upTo(13), AtMost: upTo(18)}
	p, err := replay.NewPlan(t.Context(), tens(t), base, replay.Target{GTIDs: upTo(25)})
	if err != nil || !p.Until.Equal(upTo(25)) || !p.Missing.Equal(upTo(25).Subtract(upTo(13))) {
		t.Errorf("NewPlan() = %+v, %v", p, err)
	}
	for name, target := range map[string]replay.Target{
		"gtids": {GTIDs: upTo(15)}, "time": {Time: second(14)}, "before": {Before: upTo(16).Subtract(upTo(15))}, "nothing to do": {GTIDs: upTo(13)},
	} {
		_, err := replay.NewPlan(t.Context(), tens(t), base, target)
		var e *replay.PassedError
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a PassedError", name, err)
		}
	}
}

// TestPlanWhenTheClockWentBack: what was committed after the target stays out, and so does all that came after it.
func TestPlanWhenTheClockWentBack(t *testing.T) {
	h := linear(1, 20)
	for i := 10; i < 20; i++ {
		h[i].at = h[i].at.Add(-5 * time.Second)
	}
	a := new(memArchive)
	a.segment(t, mysqlx.GTIDSet{}, h, 0, 15)
	a.segment(t, mysqlx.GTIDSet{}, h, 15, 20)
	p, err := replay.NewPlan(t.Context(), a, replay.Base{}, replay.Target{Time: second(7)})
	if err != nil || !p.Until.Equal(upTo(8)) || !p.ClockWentBack {
		t.Errorf("NewPlan() = %+v, %v", p, err)
	}
	p, err = replay.NewPlan(t.Context(), a, replay.Base{}, replay.Target{Time: second(3)})
	if err != nil || !p.Until.Equal(upTo(4)) || p.ClockWentBack {
		t.Errorf("NewPlan() = %+v, %v", p, err)
	}
}

// TestPlanAfterALostSource: five transactions were archived and then lost with their source. They belong to a point before that, and to none after it.
func TestPlanAfterALostSource(t *testing.T) {
	old := linear(1, 25)
	now := append(slices.Clone(old[:20]), linear(2, 10)...)
	for i := range 10 {
		now[20+i].at = second(30 + i)
	}
	lost := old[20:].set()
	archive := func(abandons mysqlx.GTIDSet) *memArchive {
		a := new(memArchive)
		a.segment(t, mysqlx.GTIDSet{}, old, 0, 15)
		a.segment(t, mysqlx.GTIDSet{}, old, 15, 25)
		a.segment(t, mysqlx.GTIDSet{}, now, 20, 30)
		a.segments[2].Abandons = abandons
		a.known = a.known.Subtract(abandons)
		return a
	}
	p, err := replay.NewPlan(t.Context(), archive(lost), replay.Base{}, replay.Target{})
	if err != nil || !p.Until.Equal(now.set()) {
		t.Errorf("NewPlan() of everything = %+v, %v", p, err)
	}
	p, err = replay.NewPlan(t.Context(), archive(lost), replay.Base{}, replay.Target{Time: second(23)})
	if err != nil || !p.Until.Equal(upTo(24)) {
		t.Errorf("NewPlan() to before the loss = %+v, %v", p, err)
	}
	p, err = replay.NewPlan(t.Context(), archive(lost), replay.Base{}, replay.Target{Time: second(33)})
	if want := now[:24].set(); err != nil || !p.Until.Equal(want) {
		t.Errorf("NewPlan() to after the loss = %+v, %v, want %v", p, err, want)
	}
	var e *replay.UnreachableError
	if _, err = replay.NewPlan(t.Context(), archive(mysqlx.GTIDSet{}), replay.Base{}, replay.Target{}); !errors.As(err, &e) || !strings.Contains(err.Error(), "two histories") {
		t.Errorf("NewPlan() with a loss that nobody noted: %v", err)
	}
	if _, err = replay.NewPlan(t.Context(), archive(lost), replay.Exactly(upTo(22)), replay.Target{}); !errors.As(err, &e) {
		t.Errorf("NewPlan() from a backup of the lost source: %v", err)
	}
}

func TestPlanOfADamagedSegment(t *testing.T) {
	a := tens(t)
	a.files["segment-0003"] = a.files["segment-0003"][:400]
	_, err := replay.NewPlan(t.Context(), a, replay.Base{}, replay.Target{Time: second(28)})
	var e *replay.SegmentError
	if !errors.As(err, &e) || e.Segment != "segment-0003" || e.ExitCode() != 82 || e.Hint() == "" {
		t.Errorf("NewPlan() = %v, want a SegmentError", err)
	}
}

// TestPlanProperties: segments of any size, overlapping, repeated and in disorder, from one history. Whatever the target, the plan is a prefix of the history
// that ends there, and its steps are in an order in which a server can execute them.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(rt, "transactions")
		h := linear(1, n)
		for i := range h {
			h[i].at = begun.Add(time.Duration(i/3) * time.Second) // several of one time
		}
		a := new(memArchive)
		for end := 0; end < n; {
			first := rapid.IntRange(0, end).Draw(rt, "first")
			end = rapid.IntRange(end+1, n).Draw(rt, "end")
			a.segment(t, mysqlx.GTIDSet{}, h, first, end)
		}
		if rapid.Bool().Draw(rt, "disorder") {
			a.segments = rapid.Permutation(a.segments).Draw(rt, "order")
		}
		base := rapid.IntRange(0, n).Draw(rt, "base")
		end := rapid.IntRange(base, n).Draw(rt, "target")
		var target replay.Target
		want := end
		switch rapid.IntRange(0, 3).Draw(rt, "kind") {
		case 0:
			want = n
		case 1:
			if end == 0 {
				return
			}
			target.Time = h[end-1].at
			for want < n && !h[want].at.After(target.Time) {
				want++
			}
			if base > want {
				return
			}
		case 2:
			if end == 0 {
				return
			}
			target.GTIDs = upTo(end)
		case 3:
			if end == n {
				return
			}
			target.Before = parse(h[end].gtid())
		}
		p, err := replay.NewPlan(t.Context(), a, replay.Exactly(upTo(base)), target)
		if err != nil {
			rt.Fatalf("NewPlan(): %v", err)
		}
		if !p.Until.Equal(upTo(want)) {
			rt.Fatalf("until %v, want 1-%d", p.Until, want)
		}
		has := upTo(base)
		for _, s := range p.Steps {
			if !has.Contains(s.Segment.Before) {
				rt.Fatalf("step %s needs %v, there is %v", s.Segment.Name, s.Segment.Before, has)
			}
			if s.GTIDs.IsEmpty() || !s.Segment.GTIDs.Contains(s.GTIDs) || !s.GTIDs.Subtract(has).Equal(s.GTIDs) {
				rt.Fatalf("step %s with %v, there is %v", s.Segment.Name, s.GTIDs, has)
			}
			has = has.Union(s.GTIDs)
		}
		if !has.Equal(p.Until) {
			rt.Fatalf("the steps lead to %v, want %v", has, p.Until)
		}
	})
}
