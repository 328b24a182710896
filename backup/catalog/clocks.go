package catalog

import (
	"slices"
	"time"
)

const (
	// clockError is how far clocks of different machines may be apart.
	clockError = time.Hour
	// replicaDelay is how much of the newest data may be missing in a backup without anybody's clock being wrong: it was made from a replica that lagged.
	replicaDelay = 24 * time.Hour
)

// Why a backup's time cannot be right.
const (
	fromFuture  = "its time is in the future"
	contradicts = "its time contradicts its transactions"
)

// wrongTimes returns the backups, of a list that has the newest first, whose time cannot be right, and why.
//
// Transactions are a clock that nobody can set: a later backup has all of an earlier one's. Where it lacks some and has none of its own, one of the two times is
// wrong, or the set was taken back to an earlier state on purpose. Of all that contradict each other, those are blamed that contradict the most others.
func wrongTimes(list []*Entry, now time.Time) map[*Entry]string {
	wrong := map[*Entry]string{}
	for _, e := range list {
		if e.created().After(now.Add(clockError)) {
			wrong[e] = fromFuture
		}
	}
	conflicts := make(map[*Entry]map[*Entry]bool)
	add := func(a, b *Entry) {
		if conflicts[a] == nil {
			conflicts[a] = map[*Entry]bool{}
		}
		conflicts[a][b] = true
	}
	for i, newer := range list {
		has := newer.GTIDs()
		if has.IsEmpty() {
			continue
		}
		for _, older := range list[i+1:] {
			had := older.GTIDs()
			if newer.created().Sub(older.created()) > replicaDelay && had.Contains(has) && !has.Contains(had) {
				add(newer, older)
				add(older, newer)
			}
		}
	}
	for len(conflicts) > 0 {
		most := 0
		for _, others := range conflicts {
			most = max(most, len(others))
		}
		var blamed []*Entry
		for e, others := range conflicts {
			if len(others) == most {
				blamed = append(blamed, e)
			}
		}
		for _, e := range blamed {
			wrong[e] = contradicts
			for other := range conflicts[e] {
				if delete(conflicts[other], e); len(conflicts[other]) == 0 {
					delete(conflicts, other)
				}
			}
			delete(conflicts, e)
		}
	}
	return wrong
}

// agesOf returns how much older each backup of a list, which has the newest first, is than the first. A gap counts for at most twice the third longest one; with
// fewer than three gaps for nothing.
func agesOf(list []*Entry) map[*Entry]time.Duration {
	gaps := make([]time.Duration, 0, len(list))
	for i := 1; i < len(list); i++ {
		gaps = append(gaps, list[i-1].created().Sub(list[i].created()))
	}
	longest := time.Duration(0)
	if sorted := slices.Sorted(slices.Values(gaps)); len(sorted) >= 3 {
		longest = 2 * sorted[len(sorted)-3]
	}
	ages, age := map[*Entry]time.Duration{}, time.Duration(0)
	for i, e := range list {
		if i > 0 {
			age += min(gaps[i-1], longest)
		}
		ages[e] = age
	}
	return ages
}
