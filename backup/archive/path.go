package archive

import (
	"fmt"
	"time"

	"ordinal/mysqlx"
)

// A Path is a way through an archive from what a backup has.
type Path struct {
	// Segments are to be executed in this order. Each may have transactions that were executed before, which a server skips, and some that are
	// Abandoned, which are to be left out.
	Segments []Segment
	// Reaches is where it leads. Its time is that up to which everything that was committed is there; with something Missing, that of the last
	// transaction.
	Reaches Point
	// Missing is what the archive is known to lack on the way.
	Missing mysqlx.GTIDSet
	// Abandoned are transactions in Segments that are not in the history that it leads to.
	Abandoned mysqlx.GTIDSet
}

// Path returns the way from what a backup has to a time, or with a zero time to the archive's end. It ends with the first segment after which nothing
// follows that was committed up to the time, so it may lead beyond. Only headers are looked at. Whether it leads far enough is for [Index.Check].
func (x *Index) Path(from mysqlx.GTIDSet, until time.Time) Path {
	p, has := x.walk(from)
	full := len(p.Segments)
	if !until.IsZero() {
		keep := 0
		for i, s := range p.Segments {
			if !s.First.After(until) {
				keep = i + 1
			}
		}
		p.Segments = p.Segments[:keep]
	}
	for _, s := range p.Segments {
		p.Abandoned = p.Abandoned.Union(s.Abandons).Subtract(s.GTIDs)
	}
	end := Point{}
	if n := len(p.Segments); n < full {
		// The next one is there, so nothing is missing before it.
		has = from
		for _, s := range p.Segments {
			has = has.Union(s.GTIDs)
		}
		end.Time = until
	} else {
		for _, h := range x.holes(from) {
			p.Missing = p.Missing.Union(h.missing)
		}
		for _, s := range p.Segments {
			end.Time = later(end.Time, s.Last)
		}
		for _, w := range x.watermarks {
			if p.Missing.IsEmpty() && has.Contains(w.GTIDs) {
				end.Time = later(end.Time, w.At)
			}
		}
	}
	end.GTIDs = has.Subtract(p.Abandoned)
	p.Reaches = end
	return p
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// walk takes segments as long as one fits onto what there is, in the order in which they were written where several do. It returns all that there is
// then, abandoned transactions among it.
func (x *Index) walk(from mysqlx.GTIDSet) (p Path, has mysqlx.GTIDSet) {
	has = from
	left := x.segments
	for {
		var waiting []Segment
		for _, s := range left {
			switch {
			case has.Contains(s.GTIDs):
			case has.Contains(s.Before):
				has = has.Union(s.GTIDs)
				p.Segments = append(p.Segments, s)
			default:
				waiting = append(waiting, s)
			}
		}
		if len(waiting) == 0 || len(waiting) == len(left) {
			return p, has
		}
		left = waiting
	}
}

// Check returns an [*UnreachableError] if a backup that has from cannot be brought to a time, or with a zero time to the archive's end, and nil if it
// can. A time after the last one of which it is known that nothing is missing cannot be reached.
func (x *Index) Check(from mysqlx.GTIDSet, until time.Time) error {
	p := x.Path(from, until)
	target := "the end of the archive"
	if !until.IsZero() {
		target = until.UTC().Format(time.RFC3339Nano)
	}
	if p.Missing.IsEmpty() && until.IsZero() || !until.IsZero() && !p.Reaches.Time.Before(until) {
		return nil
	}
	return &UnreachableError{Target: target, Last: p.Reaches, Missing: p.Missing, Damaged: x.damaged}
}

// CheckGTIDs is Check for a set of transactions, all of which are to be there.
func (x *Index) CheckGTIDs(from, target mysqlx.GTIDSet) error {
	p := x.Path(from, time.Time{})
	missing := target.Subtract(p.Reaches.GTIDs)
	if missing.IsEmpty() {
		return nil
	}
	return &UnreachableError{Target: fmt.Sprintf("gtid set %s", shorten(target)), Last: p.Reaches, Missing: missing.Union(p.Missing), Damaged: x.damaged}
}
