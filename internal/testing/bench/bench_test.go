package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"300MB": 300e6, "2gb": 2e9, "1.5 GB": 15e8, "1000": 1000, "0": 0} {
		var got byteSize
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1MB", "many", "1e300GB", "NaN"} {
		var got byteSize
		if err := got.Set(text); err == nil {
			t.Errorf("Set(%q) = %d, want an error", text, got)
		}
	}
}

func TestSpread(t *testing.T) {
	same := func(f float64) float64 { return f }
	for _, test := range []struct {
		figures []float64
		want    spread
	}{
		{nil, spread{}},
		{[]float64{2}, spread{2, 2, 2}},
		{[]float64{3, 1, 2}, spread{1, 2, 3}},
		{[]float64{4, 1, 2, 3}, spread{1, 2.5, 4}},
	} {
		if got := spreadOf(test.figures, same); got != test.want {
			t.Errorf("spreadOf(%v) = %v, want %v", test.figures, got, test.want)
		}
	}
}

// What is measured of a process that ends is what it was seen with last.
func TestWatchToEnd(t *testing.T) {
	const mark = "a-mark-to-find-it-by"
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done", mark)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	got, err := watchToEnd(t.Context(), "-c", mark)
	if err != nil {
		t.Fatal(err)
	}
	if got.cpu < clockTick || got.cpu > time.Minute || got.hwm < 100<<10 || got.hwm > 100<<20 {
		t.Errorf("watchToEnd() = %+v, want some CPU and some memory", got)
	}
	if _, err := usageOf(os.Getpid()); err != nil {
		t.Error(err)
	}
}

func TestOverLimit(t *testing.T) {
	good := func() *result {
		run := cloned{Bytes: 2e9, Copy: 4, Whole: 5, SidecarHWM: 20 << 20, RecipientHWM: 64 << 20}
		return &result{
			Rounds: 1, Ways: []way{{Workers: 1, Pairs: []pair{{run, cloned{Bytes: 2e9, Copy: 5, Whole: 5}}}}},
			Memory: &run, Starts: []float64{0.1, 0.9}, Binary: 12e6,
		}
	}
	if err := good().overLimit(); err != nil {
		t.Error(err)
	}
	if table := good().table(); !strings.Contains(table, "agent, 1 worker") || !strings.Contains(table, "1.25") {
		t.Errorf("table() lacks a line or the ratio:\n%s", table)
	}
	for name, spoil := range map[string]func(*result){
		"sidecar":      func(r *result) { r.Memory.SidecarHWM = 65 << 20 },
		"recipient":    func(r *result) { r.Ways[0].Pairs[0].Agent.RecipientHWM = 64<<20 + 1 },
		"not measured": func(r *result) { r.Memory.SidecarHWM, r.Ways[0].Pairs[0].Agent.SidecarHWM = 0, 0 },
		"start":        func(r *result) { r.Starts[0] = 1 },
		"binary":       func(r *result) { r.Binary = 20e6 },
	} {
		r := good()
		spoil(r)
		if r.overLimit() == nil {
			t.Errorf("%s: overLimit() = nil", name)
		}
	}
}
