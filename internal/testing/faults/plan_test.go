package faults

import (
	"fmt"
	"io"
	"log"
	"slices"
	"testing"
	"time"
)

// A seed is all that a failure needs to be replayed: what it draws does not change.
func TestPlan(t *testing.T) {
	t.Parallel()
	dice := Dice{Faults: 6, Bytes: 100 << 20, Longest: time.Second}
	const want = "lose-server@11694287,all delay(19ms,5242881B)@22374897,all slow(13164960B/s,9136482B)@62909603 flip(0x40)@85148745 " +
		"blackhole@89833421 lose-client@95150869,all"
	if got := Plan(3, dice).String(); got != want {
		t.Errorf("Plan(3) = %s, want %s", got, want)
	}
	if a, b := Plan(4, dice), Plan(4, dice); !slices.Equal(a, b) {
		t.Errorf("one seed has drawn %v and %v", a, b)
	}
	seen := make(map[Kind]int)
	for seed := range uint64(200) {
		s := Plan(seed, dice)
		if err := s.check(); err != nil {
			t.Errorf("Plan(%d): %v", seed, err)
		}
		for _, f := range s {
			seen[f.Kind]++
			if f.At >= dice.Bytes || f.For > dice.Longest || f.Kind == Slow && float64(f.Bytes)/float64(f.Rate) > dice.Longest.Seconds() {
				t.Errorf("Plan(%d) = %v, beyond the dice", seed, s)
			}
		}
		if !slices.IsSortedFunc(s, func(a, b Fault) int { return int(a.At - b.At) }) {
			t.Errorf("Plan(%d) = %v, not in order", seed, s)
		}
	}
	for k := range kinds {
		if seen[k] < 50 {
			t.Errorf("%v was drawn %d times in 1200", k, seen[k])
		}
	}
	for _, f := range Plan(5, Dice{Faults: 50, Bytes: 1000, Kinds: []Kind{Flip, Reset}}) {
		if f.Kind != Flip && f.Kind != Reset {
			t.Errorf("%v was not among the kinds", f)
		}
	}
}

func TestFaultString(t *testing.T) {
	t.Parallel()
	s := Schedule{
		{Kind: Reset, Conn: 2, Toward: ToServer, All: true},
		{Kind: Stall, At: 5 << 20, For: 1500 * time.Millisecond},
		{Kind: Slow, At: 1, Rate: 1000, Bytes: 2000},
		{Kind: Delay, At: 1, For: time.Second, Bytes: 9},
		{Kind: Flip, At: 1, Bits: 4},
		{Kind: LoseClient, At: 1},
	}
	const want = "reset#2@0:to-server,all stall(1.5s)@5242880 slow(1000B/s,2000B)@1 delay(1s,9B)@1 flip(0x04)@1 lose-client@1"
	if got := s.String(); got != want {
		t.Errorf("String() = %s, want %s", got, want)
	}
	if got := fmt.Sprint(Kind(77), ToServer, ToClient); got != "Kind(77) to-server to-client" {
		t.Errorf("names are %s", got)
	}
}

// waitFor polls until ok.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(soon)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		<-tick.C
	}
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
