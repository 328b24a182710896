package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// What is aimed at. An aim that is not met fails nothing: it depends on the machine.
const (
	aimMemoryRate = 1.5  // times the rate of the server's own clone, where the CPU is the limit
	aimDiskRate   = 1.15 // the same on a disk
	aimColdRate   = 0.9  // times the rate of the cold copy, on a disk
	aimCPU        = 0.5  // times the CPU of the server's own clone, at most
	aimKept       = 0.9  // of the source's transactions go on during a limited clone
	aimLeft       = 1.5  // times what the server's own clone leaves goes on during an unlimited one
	aimFlat       = 1.25 // times the memory at the largest size, at most

	aimLoad   = 5.0 // times the rate at which a dump is loaded, until a server has the data
	aimRaw    = 0.8 // times the rate of a raw copy to the same store, and of one back
	aimReplay = 3.0 // times the transactions per second of mysqlbinlog | mysql
)

// aimedSize is the least data for which the aims are meant, in bytes.
const aimedSize = 2_000_000_000

// limited says whether the agent was told to slow down.
func (w *written) limited() bool {
	return slices.ContainsFunc(w.Args, func(arg string) bool {
		return strings.HasPrefix(arg, flagRate) || strings.HasPrefix(arg, flagLatency)
	})
}

// aim is what was hoped for, and what was found.
type aim struct {
	what   string
	where  string // type of file system
	wanted float64
	atMost bool
	found  spread
}

func (a aim) met() bool {
	if a.atMost {
		return a.found.median <= a.wanted
	}
	return a.found.median >= a.wanted
}

// wantedText rounds nothing: the aims have two digits.
func (a aim) wantedText() string {
	sign := "≥"
	if a.atMost {
		sign = "≤"
	}
	return fmt.Sprintf("%s %.2f", sign, a.wanted)
}

// verdict is never "met" for what was not found.
func (a aim) verdict() string {
	switch {
	case math.IsNaN(a.found.median) || a.found == spread{}:
		return "not measured"
	case a.met():
		return "met"
	}
	return "not met"
}

// aims holds the first way against all aims that something was measured for.
func (r *result) aims() (list []aim) {
	for _, s := range r.Sites {
		list = append(list, s.copyAims(r.Way)...)
		list = append(list, s.writeAims(r.Way)...)
		list = append(list, s.memoryAims(r.Way)...)
	}
	return list
}

func (f *found) copyAims(way string) (list []aim) {
	ours, theirs, cold := named(f.Copies, way), named(f.Copies, nameAutotune), named(f.Copies, nameTar)
	if len(ours) == 0 {
		return nil
	}
	if isMemory(f.FileSystem) {
		list = append(list, aim{what: "rate / CLONE INSTANCE's, CPU is the limit", wanted: aimMemoryRate, found: ratios(ours, theirs, copied.rate)})
	} else {
		list = append(list,
			aim{what: "rate / CLONE INSTANCE's", wanted: aimDiskRate, found: ratios(ours, theirs, copied.rate)},
			aim{what: "rate / cold copy's", wanted: aimColdRate, found: ratios(ours, cold, copied.rate)})
	}
	list = append(list, aim{what: "CPU / CLONE INSTANCE's, all processes", wanted: aimCPU, atMost: true,
		found: ratios(ours, theirs, func(c copied) float64 { return c.CPU.sum() })})
	for i := range list {
		list[i].where = f.FileSystem
	}
	return list
}

func (f *found) writeAims(way string) (list []aim) {
	var ours, theirs []window
	for _, w := range f.Writes {
		switch {
		case w.Name == way:
			ours = w.Runs
		case w.Name == nameAutotune:
			theirs = w.Runs
		case w.limited():
			list = append(list, aim{what: "transactions kept, " + w.Name, where: f.FileSystem, wanted: aimKept, found: spreadOf(w.Runs, window.kept)})
		}
	}
	if len(ours) > 0 && len(theirs) > 0 {
		list = append(list, aim{what: "transactions left, no limit / CLONE INSTANCE's", where: f.FileSystem, wanted: aimLeft,
			found: ratios(ours, theirs, func(w window) float64 { return w.During })})
	}
	return list
}

func (f *found) memoryAims(way string) (list []aim) {
	var first, last *copied
	for i := range f.Memory {
		if run := &f.Memory[i].Run; f.Memory[i].Name == way {
			if first == nil {
				first = run
			}
			last = run
		}
	}
	if first == last {
		return nil
	}
	sizes := fmt.Sprintf(", %.1f / %.1f GB", float64(last.Bytes)/1e9, float64(first.Bytes)/1e9)
	for _, end := range []struct {
		name string
		hwm  func(copied) float64
	}{
		{"donor's sidecar", func(c copied) float64 { return float64(c.SidecarHWM) }},
		{"recipient", func(c copied) float64 { return float64(c.RecipientHWM) }},
	} {
		list = append(list, aim{what: "memory of the " + end.name + sizes, where: f.FileSystem, wanted: aimFlat, atMost: true,
			found: ratios([]copied{*last}, []copied{*first}, end.hwm)})
	}
	return list
}
