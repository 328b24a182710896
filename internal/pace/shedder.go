package pace

import "time"

const (
	// floor is what a copy is left with, in bytes per second, however long the donor's own work waits: it must come to an end.
	floor = 1e6
	// near is how much of the rate that was too much is taken back quickly. Above it the Shedder feels its way.
	near = 0.85
	// smallStep is by how much a rate grows at first when it feels its way; the step doubles every calmRound observations, up to largeStep.
	smallStep, largeStep = 0.02, 0.25
	calmRound            = 8
	// restAfter is how many calm observations in a row, all with far less sent than allowed, make a limit superfluous.
	restAfter = 40
	// fresh is the weight of the newest measurement of the rate: large blocks at a low rate make it jump.
	fresh = 0.3
)

// A Shedder finds out how fast a copy may be for the donor's own work to stay within a limit of latency. It is told, a few times per second, what
// the latency was and how fast the copy; its answer is what the copy is allowed from then on.
//
// While the latency is above the limit the rate is halved, and halved again. Below it grows: quickly to near where it was too much, then in small steps, in
// larger ones if nothing happens. When the copy does not use what it may, the limit is lifted.
//
// It decides and does nothing else: there is no clock in it. It is for one goroutine.
type Shedder struct {
	limit time.Duration
	most  uint64 // bytes per second; 0: no bound

	measured float64 // smoothed
	allowed  float64 // bytes per second; 0: no limit
	tooMuch  float64 // the rate at which the latency was last above the limit
	calm     int     // observations since then
	unused   int     // of these, the last ones in which the copy did not use what it was allowed
}

// NewShedder returns a Shedder that keeps the latency below limit and never allows more than most bytes per second; 0 is no bound.
func NewShedder(limit time.Duration, most uint64) *Shedder {
	return &Shedder{limit: limit, most: most}
}

// Allowed returns the rate that the copy may have, in bytes per second; 0 is no limit.
func (s *Shedder) Allowed() uint64 {
	if s.allowed == 0 {
		return s.most
	}
	return uint64(s.allowed)
}

// Shedding says whether the latency is what limits the copy, and not most.
func (s *Shedder) Shedding() bool { return s.allowed > 0 }

// Observe tells of the time since the last call: the mean latency, 0 if there was no work that could have waited, and the rate of the copy in bytes
// per second. It returns Allowed.
func (s *Shedder) Observe(latency time.Duration, rate float64) uint64 {
	if s.measured == 0 {
		s.measured = rate
	}
	s.measured += fresh * (rate - s.measured)
	switch {
	case latency > s.limit:
		s.cut(rate)
	case s.allowed > 0:
		s.grow()
	}
	return s.Allowed()
}

// cut halves the rate: the one that was measured, because half of what the copy did not use would change nothing.
func (s *Shedder) cut(rate float64) {
	rate = max(rate, s.measured)
	if s.allowed > 0 {
		rate = min(rate, s.allowed)
	}
	s.tooMuch = rate
	s.allowed = s.bound(rate / 2)
	s.calm, s.unused = 0, 0
}

func (s *Shedder) grow() {
	s.calm++
	if s.measured < s.allowed/2 {
		// It does not use what it has. More would only make the next cut too small; whether it needs a limit at all shows in the long run. A copy
		// that rests between two stages does not count.
		if s.measured > s.allowed/20 {
			s.unused++
		}
		if s.unused >= restAfter {
			s.allowed = 0
		}
		return
	}
	s.unused = 0
	if goal := near * s.tooMuch; s.allowed < goal {
		s.allowed = s.bound(s.allowed + max((goal-s.allowed)/3, smallStep*s.allowed))
		return
	}
	step := min(smallStep*float64(int(1)<<min(s.calm/calmRound, 10)), largeStep)
	s.allowed = s.bound(s.allowed * (1 + step))
}

// bound keeps a rate above the floor, and lifts a limit that is not below most: that one holds anyway.
func (s *Shedder) bound(rate float64) float64 {
	rate = max(rate, floor)
	if s.most > 0 && rate >= float64(s.most) {
		return 0
	}
	return rate
}
