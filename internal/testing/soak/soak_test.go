package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSoak lets a few things go wrong with three Pods, to see that the soak itself works: that it finds nothing where nothing is, does
// its faults and says so.
func TestSoak(t *testing.T) {
	needsWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "soak") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	here := *outside
	here.Dir = dir
	var said bytes.Buffer
	s, err := newSoak(ctx, options{minutes: 0.5, pods: 3, seed: 3, durability: "semisync", converge: 4 * time.Minute}, &here, newConsole(&said))
	if err != nil {
		t.Fatal(err)
	}
	r := s.run(ctx)
	if len(r.Wrong) > 0 {
		t.Errorf("what is wrong:\n%s\n%s", strings.Join(r.Wrong, "\n"), said.String())
	}
	if len(r.Faults) < 3 || r.Transactions < 10 || r.Rejected == 0 || !r.Cuts {
		t.Errorf("not much of a soak: %s", r.text())
	}
	if text := r.text(); !strings.Contains(text, "soak: ok") || !strings.Contains(text, "seed 3, 3 pods") {
		t.Errorf("report: %s", text)
	}
}

// TestReportSaysWhatIsWrong is about what people read after a failure.
func TestReportSaysWhatIsWrong(t *testing.T) {
	r := report{Seed: 5, Pods: 3, Durability: "semisync", Minutes: 1, Faults: map[kind]int{killAgent: 2, cutOff: 1}, Missed: 4, Wrong: []string{"a row is lost"}}
	text := r.text()
	for _, want := range []string{"seed 5, 3 pods, semisync, 1m0s", "3 (4 more found nothing to hit)", string(killAgent), "  - a row is lost\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q: %s", want, text)
		}
	}
	if strings.Contains(text, "soak: ok") {
		t.Error("the report of a failure says ok")
	}
}
