package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ordinal/internal/testing/localset"
)

// report is what there is to tell at the end. Durations are in nanoseconds.
type report struct {
	Seed       uint64  `json:"seed"`
	Pods       int     `json:"pods"`
	Durability string  `json:"durability"`
	Minutes    float64 `json:"minutes"` // asked for
	Cuts       bool    `json:"networks_cut"`
	Clocks     struct {
		Agent  bool `json:"agent"`
		Mysqld bool `json:"mysqld"`
	} `json:"clocks_moved"`

	Faults map[kind]int `json:"faults"` // that hit something
	Missed int          `json:"missed"` // found nothing to hit
	Done   []happened   `json:"done"`
	Copies copies       `json:"copies"`

	Transactions int64          `json:"transactions"` // acknowledged
	Unknown      int64          `json:"unknown"`      // bank transfers whose answer got lost
	Definitions  int64          `json:"definitions"`  // cycles
	Longest      outage         `json:"longest_outage"`
	Outages      int            `json:"outages"` // of a second and more
	OutageSum    time.Duration  `json:"outage_sum"`
	Rejected     int            `json:"rejected_writes"` // on replicas
	HeldBack     time.Duration  `json:"held_back"`       // passing faults, so that the set could get whole
	Settling     time.Duration  `json:"settling"`        // from the last fault and write until everything was everywhere
	Restarts     map[string]int `json:"restarts"`        // of programs

	Wrong []string `json:"wrong"`
}

func (s *soak) report() report {
	s.mu.Lock()
	r := report{
		Seed: s.options.seed, Pods: s.options.pods, Durability: s.options.durability, Minutes: s.options.minutes, Cuts: s.network != nil,
		Faults: map[kind]int{}, Done: slices.Clone(s.done), Wrong: slices.Clone(s.wrong), Restarts: map[string]int{},
	}
	s.mu.Unlock()
	r.Clocks.Agent, r.Clocks.Mysqld = s.clocks.agent, s.clocks.faketime != ""
	for _, h := range r.Done {
		if h.missed {
			r.Missed++
		} else {
			r.Faults[h.Kind]++
		}
	}
	r.Copies = s.countCopies()
	r.Transactions, r.Unknown, r.Definitions = s.traffic.acked(), s.traffic.bank.Stats().Unknown, s.traffic.definitions.Load()
	for _, e := range s.set.Events() {
		if e.Kind == localset.Started {
			r.Restarts[string(e.Process)]++
		}
	}
	w := s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Longest, r.Outages, r.OutageSum, r.Rejected, r.HeldBack, r.Settling = w.longest, w.outages, w.sum, w.rejected, w.held, w.settling
	return r
}

// text is the report for people.
func (r report) text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-34s %s\n", name, fmt.Sprintf(format, args...))
	}
	sum := 0
	for _, n := range r.Faults {
		sum += n
	}
	fmt.Fprintf(&b, "\nsoak: seed %d, %d pods, %s, %v of faults\n\n", r.Seed, r.Pods, r.Durability, minutes(r.Minutes))
	line("faults", "%d (%d more found nothing to hit)", sum, r.Missed)
	kinds := slices.SortedFunc(maps.Keys(r.Faults), func(a, b kind) int {
		return cmp.Or(r.Faults[b]-r.Faults[a], cmp.Compare(a, b))
	})
	for _, k := range kinds {
		line("  "+string(k), "%d", r.Faults[k])
	}
	line("copies made", "%d of replicas at their start, %d reverse, %d beside live data", r.Copies.Init, r.Copies.Reverse, r.Copies.Beside)
	line("programs started", "init %d, agent %d, mysqld %d", r.Restarts["init"], r.Restarts["agent"], r.Restarts["mysqld"])
	line("transactions acknowledged", "%d, and %d cycles of definitions; %d answers got lost", r.Transactions, r.Definitions, r.Unknown)
	line("longest write outage", "%.1f s, at %.1f s: %s", r.Longest.Length.Seconds(), r.Longest.At.Seconds(), cmp.Or(strings.Join(r.Longest.During, "; "), "no fault"))
	line("write outages of a second and more", "%d, %.1f s in all", r.Outages, r.OutageSum.Seconds())
	line("writes that replicas rejected", "%d", r.Rejected)
	line("faults held back for wholeness", "%.1f s", r.HeldBack.Seconds())
	line("converged after the last fault", "%.1f s", r.Settling.Seconds())
	if len(r.Wrong) == 0 {
		b.WriteString("\nsoak: ok: all checksums equal, CHECK TABLE fine, nothing acknowledged is missing\n")
		return b.String()
	}
	b.WriteString("\nwrong:\n")
	for _, w := range r.Wrong {
		b.WriteString("  - " + w + "\n")
	}
	return b.String()
}
