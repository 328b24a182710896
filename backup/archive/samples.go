package archive

import (
	"time"

	"ordinal/mysqlx"
)

// maxSamples bounds how many moments are remembered.
const maxSamples = 512

// A sample is what the source had executed at a moment.
type sample struct {
	set  mysqlx.GTIDSet
	at   time.Time // by its clock
	seen time.Time // by ours, when we asked
}

// samples tell up to when everything is archived: the latest moment at which the source had executed nothing that is not. They do not depend on what
// is in the binary log, nor on anybody's clock but for its speed.
type samples struct {
	waiting []sample // oldest first
	covered sample   // zero at first
}

// add notes a moment. When there are many, every other one is forgotten: the answer gets coarser, never wrong.
func (s *samples) add(one sample) {
	if len(s.waiting) >= maxSamples {
		kept := s.waiting[:0]
		for i := 1; i < len(s.waiting); i += 2 {
			kept = append(kept, s.waiting[i])
		}
		s.waiting = kept
	}
	s.waiting = append(s.waiting, one)
}

// cover says which moments a set covers.
func (s *samples) cover(archived mysqlx.GTIDSet) {
	for len(s.waiting) > 0 && archived.Contains(s.waiting[0].set) {
		s.covered = s.waiting[0]
		s.waiting = s.waiting[1:]
	}
}
