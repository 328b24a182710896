package faults

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Dice say what Plan draws from. Faults, Bytes and, if Kinds has one that takes time, Longest are needed.
type Dice struct {
	Faults  int           // how many
	Bytes   int64         // they befall bytes 0 … Bytes-1 of all that goes to the client
	Longest time.Duration // of a Stall; a Slow takes as long at most, and a Delay a tenth
	Kinds   []Kind        // to draw from, each as likely as another; none: all
}

// Plan draws a schedule. The same seed and dice draw the same one, on every machine.
func Plan(seed uint64, d Dice) Schedule {
	random := rand.New(rand.NewPCG(seed, 0))
	from := d.Kinds
	if len(from) == 0 {
		for k := range Kind(len(kinds)) {
			from = append(from, k+1)
		}
	}
	s := make(Schedule, d.Faults)
	for i := range s {
		f := Fault{Kind: from[random.IntN(len(from))], At: random.Int64N(d.Bytes)}
		// Half of the time one connection alone, half of the time the whole network.
		f.All = f.Kind != Flip && random.IntN(2) == 0
		switch f.Kind {
		case Stall:
			f.For = between(random, d.Longest/10, d.Longest)
		case Delay:
			f.For, f.Bytes = between(random, d.Longest/100, d.Longest/10), d.Bytes/20+1
		case Slow:
			f.Bytes = random.Int64N(d.Bytes/10+1) + 1
			takes := between(random, d.Longest/10, d.Longest)
			f.Rate = int64(float64(f.Bytes)/takes.Seconds()) + 1
		case Flip:
			f.Bits = 1 << random.IntN(8)
		}
		s[i] = f
	}
	slices.SortStableFunc(s, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return s
}

// between returns a duration of whole milliseconds, at least one, so that a schedule is easy to read.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	d := least + time.Duration(random.Int64N(int64(most-least)+1))
	return max(d.Round(time.Millisecond), time.Millisecond)
}
