package catalog

import (
	"slices"
	"time"

	"ordinal/mysqlx"
)

// A base is a backup with the times that can be restored to from it.
type base struct {
	entry    *Entry
	at       time.Time // its data is of no later time
	until    time.Time // what follows is in the archive up to here; not before at
	archived bool      // anything is
}

// basesFor returns backups that together reach every moment of the last so long that the given ones reach, all with the archive; the fewest, and of
// those that reach as far the newest, from which the replay is shortest. The window ends at the last moment that can be reached, or now, whichever is earlier: not
// at a time that a wrong clock says.
func basesFor(good []*Entry, window time.Duration, reach Reach, now time.Time) (needed []*Entry) {
	var bases []base
	var end time.Time
	for _, e := range good {
		b := base{entry: e, at: e.Manifest.Finished, until: e.Manifest.Finished}
		if until := reach(e.GTIDs()); until.After(b.at) {
			b.until, b.archived = until, true
		}
		bases = append(bases, b)
		if b.until.After(end) {
			end = b.until
		}
	}
	if end.After(now) {
		end = now
	}
	slices.SortFunc(bases, func(a, b base) int { return a.at.Compare(b.at) })
	at := end.Add(-window)
	for at.Before(end) {
		var best *base
		for i := range bases {
			b := &bases[i]
			if !b.at.After(at) && b.until.After(at) && (best == nil || !b.until.Before(best.until)) {
				best = b
			}
		}
		if best != nil {
			needed = append(needed, best.entry)
			at = best.until
			continue
		}
		// Nothing reaches this moment. The next one that anything reaches is a base's own.
		next := slices.IndexFunc(bases, func(b base) bool { return b.at.After(at) && b.archived })
		if next < 0 {
			break
		}
		at = bases[next].at
	}
	return needed
}

// archiveBase returns what all of the backups have from which a replay may begin.
func archiveBase(kept, bases []*Entry, apart []Decision, policy Policy) (common mysqlx.GTIDSet) {
	for _, d := range apart {
		if d.State == WrongKey {
			return mysqlx.GTIDSet{} // somebody with the key may need what we cannot know
		}
	}
	var since time.Time
	if policy.PointInTime > 0 {
		if len(bases) == 0 {
			return mysqlx.GTIDSet{}
		}
		since = bases[0].created()
		for _, b := range bases {
			if b.created().Before(since) {
				since = b.created()
			}
		}
	}
	first := true
	for _, e := range kept {
		if e.created().Before(since) {
			continue
		}
		has := e.GTIDs()
		if first {
			common, first = has, false
			continue
		}
		common = common.Subtract(common.Subtract(has))
	}
	return common
}
