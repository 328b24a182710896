package clone

import "time"

// waitsFor is how long a recipient that was sent away counts as waiting: it comes back after busyRetryAfter, or not at all.
const waitsFor = 3 * busyRetryAfter

// A queue knows who was sent away because the donor was busy. Whoever ranks first is served first when the donor is free: of the pods of
// a set, the one that others wait for in turn. The donor's lock guards it.
type queue struct {
	rank func(recipient string) int // nil: all are equal
	seen map[string]time.Time       // when each one asked last
}

func newQueue(rank func(string) int) queue {
	return queue{rank: rank, seen: make(map[string]time.Time)}
}

// note remembers that recipient was sent away.
func (q *queue) note(recipient string, now time.Time) {
	for other, at := range q.seen {
		if now.Sub(at) > waitsFor {
			delete(q.seen, other) // authenticated pods only, but a set may have many
		}
	}
	q.seen[recipient] = now
}

// served forgets that recipient waited.
func (q *queue) served(recipient string) { delete(q.seen, recipient) }

// before returns who has to be served before recipient, if anybody.
func (q *queue) before(recipient string, now time.Time) (other string, waits bool) {
	if q.rank == nil {
		return "", false
	}
	best := q.rank(recipient)
	for candidate, at := range q.seen {
		if r := q.rank(candidate); r < best && now.Sub(at) <= waitsFor {
			best, other, waits = r, candidate, true
		}
	}
	return other, waits
}
