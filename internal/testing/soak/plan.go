package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A fault is one thing that is going to go wrong.
type fault struct {
	Kind  kind          `json:"kind"`
	Pod   int           `json:"pod"`            // ordinal; -1: all
	Other int           `json:"other"`          // the second Pod, where there is one; else -1
	Rest  time.Duration `json:"rest"`           // before it
	For   time.Duration `json:"for,omitempty"`  // how long it lasts, where that is for the plan to say
	Jump  time.Duration `json:"jump,omitempty"` // of a clock
	Dice  uint64        `json:"-"`              // for choices that the kind makes itself
	Lane  string        `json:"lane,omitempty"` // where it was drawn
}

// String says what happens to whom, in words.
func (f fault) String() string {
	var b strings.Builder
	b.WriteString(string(f.Kind))
	if f.Pod >= 0 {
		fmt.Fprintf(&b, ", mysql-%d", f.Pod)
	}
	if f.Other >= 0 {
		fmt.Fprintf(&b, " and mysql-%d", f.Other)
	}
	if f.Jump != 0 {
		fmt.Fprintf(&b, ", by %v", f.Jump)
	}
	if f.For > 0 {
		fmt.Fprintf(&b, ", for %v", f.For)
	}
	return b.String()
}

// A lane draws one fault after the other. What it draws depends on nothing but seed, name and number of Pods.
type lane struct {
	name   string
	pods   int
	deck   []kind
	left   []kind // of the deck
	rest   [2]time.Duration
	random *rand.Rand
}

// The lanes of a run. Each is repeatable; how their faults fall beside each other depends on how fast real processes are.
func lanes(o options) []*lane {
	all := []*lane{
		{name: "A", deck: passing, rest: [2]time.Duration{1 * time.Second, 7 * time.Second}},
		{name: "B", deck: passing, rest: [2]time.Duration{4 * time.Second, 12 * time.Second}},
		{name: "grave", deck: grave, rest: [2]time.Duration{2 * time.Second, 8 * time.Second}},
	}
	for i, l := range all {
		l.pods, l.random = o.pods, rand.New(rand.NewPCG(o.seed, uint64(i)))
		l.deck = slices.DeleteFunc(slices.Clone(l.deck), func(k kind) bool {
			return o.loopback && needsCuts[k] || slices.Contains(o.without, string(k))
		})
	}
	return all
}

// next draws a fault.
func (l *lane) next() fault {
	if len(l.left) == 0 {
		l.left = append(l.left, l.deck...)
		l.random.Shuffle(len(l.left), func(i, j int) { l.left[i], l.left[j] = l.left[j], l.left[i] })
	}
	f := fault{Kind: l.left[0], Pod: -1, Other: -1, Rest: l.between(l.rest), Dice: l.random.Uint64(), Lane: l.name}
	l.left = l.left[1:]
	switch {
	case onAll[f.Kind]:
	case onSource[f.Kind]:
		f.Pod = 0
	case onReplicas[f.Kind]:
		f.Pod = 1 + l.random.IntN(l.pods-1)
	case l.random.IntN(3) == 0: // the source more often than each of the others
		f.Pod = 0
	default:
		f.Pod = l.random.IntN(l.pods)
	}
	if onTwo[f.Kind] {
		f.Other = l.other(f)
	}
	if span, ok := lasts[f.Kind]; ok {
		f.For = l.between(span)
	}
	if f.Kind == moveClock {
		f.Jump = jumps[l.random.IntN(len(jumps))]
		if l.random.IntN(2) == 0 {
			f.Jump = -f.Jump
		}
	}
	return f
}

// other draws a second Pod.
func (l *lane) other(f fault) int {
	for {
		other := l.random.IntN(l.pods)
		if other != f.Pod && (f.Kind != misdirect || other != 0) { // a channel that leads to the source leads where it should
			return other
		}
	}
}

func (l *lane) between(span [2]time.Duration) time.Duration {
	const step = 100 * time.Millisecond
	steps := int64((span[1]-span[0])/step) + 1
	return span[0] + time.Duration(l.random.Int64N(steps))*step
}

// printPlan shows what a seed leads to.
func printPlan(w io.Writer, o options) {
	fmt.Fprintf(w, "seed %d, %d pods\n", o.seed, o.pods)
	for _, l := range lanes(o) {
		fmt.Fprintf(w, "\nlane %s\n", l.name)
		for range len(l.deck) {
			f := l.next()
			fmt.Fprintf(w, "  after %-5v %v\n", f.Rest, f)
		}
	}
}
