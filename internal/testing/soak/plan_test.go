package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// draw returns the first n faults of each lane.
func draw(o options, n int) (all [][]fault) {
	for _, l := range lanes(o) {
		var faults []fault
		for range n {
			faults = append(faults, l.next())
		}
		all = append(all, faults)
	}
	return all
}

func TestPlanIsRepeatable(t *testing.T) {
	first := draw(options{seed: 7, pods: 5}, 100)
	if diff := cmp.Diff(first, draw(options{seed: 7, pods: 5}, 100)); diff != "" {
		t.Errorf("the same seed leads to another plan: %s", diff)
	}
	if cmp.Equal(first, draw(options{seed: 8, pods: 5}, 100)) {
		t.Error("another seed leads to the same plan")
	}
	if cmp.Equal(first[0], first[1]) {
		t.Error("two lanes have one plan")
	}
}

func TestPlanHasEverything(t *testing.T) {
	for _, pods := range []int{3, 5} {
		for i, deck := range [][]kind{passing, passing, grave} {
			faults := draw(options{seed: 1, pods: pods}, 10*len(deck))[i]
			for start := 0; start < len(faults); start += len(deck) {
				var kinds []kind
				for _, f := range faults[start : start+len(deck)] {
					kinds = append(kinds, f.Kind)
				}
				slices.Sort(kinds)
				want := slices.Sorted(slices.Values(deck))
				if !slices.Equal(kinds, want) {
					t.Errorf("kinds %v, want each as often as it is in the deck", kinds)
				}
			}
			for _, f := range faults {
				checkFault(t, f, pods)
			}
		}
	}
}

func checkFault(t *testing.T, f fault, pods int) {
	t.Helper()
	switch {
	case onAll[f.Kind] && f.Pod != -1,
		!onAll[f.Kind] && (f.Pod < 0 || f.Pod >= pods),
		onSource[f.Kind] && f.Pod != 0,
		onReplicas[f.Kind] && f.Pod == 0,
		onTwo[f.Kind] && (f.Other < 0 || f.Other >= pods || f.Other == f.Pod),
		!onTwo[f.Kind] && f.Other != -1,
		f.Kind == misdirect && f.Other == 0,
		(f.Jump != 0) != (f.Kind == moveClock),
		f.Rest <= 0:
		t.Errorf("a fault that makes no sense: %+v", f)
	}
	if span, ok := lasts[f.Kind]; ok != (f.For != 0) || f.For < span[0] || f.For > span[1] {
		t.Errorf("%v lasts %v, want %v", f.Kind, f.For, span)
	}
}

func TestPlanWithout(t *testing.T) {
	for _, faults := range draw(options{seed: 1, pods: 3, loopback: true, without: []string{string(moveClock), string(errantWrite)}}, 200) {
		for _, f := range faults {
			if needsCuts[f.Kind] || f.Kind == moveClock || f.Kind == errantWrite {
				t.Errorf("%v is in the plan", f.Kind)
			}
		}
	}
}
