package agent

import (
	"sync/atomic"
	"time"
)

// Heartbeat tells /livez that the loop turns. The loop calls Beat once per turn and before each step that may take long.
// Safe for concurrent use.
type Heartbeat struct {
	bound time.Duration
	now   func() time.Time
	last  atomic.Pointer[time.Time]
}

// NewHeartbeat returns a heartbeat that has just beaten. bound is the age from which the loop counts as stuck: longer than the
// longest step between two beats, all its time-outs included.
func NewHeartbeat(bound time.Duration) *Heartbeat {
	h := &Heartbeat{bound: bound, now: time.Now}
	h.Beat()
	return h
}

// Beat says that the loop turns.
func (h *Heartbeat) Beat() {
	now := h.now()
	h.last.Store(&now)
}

// Age returns the time since the last Beat.
func (h *Heartbeat) Age() time.Duration { return h.now().Sub(*h.last.Load()) }

// Bound returns the age from which the loop counts as stuck.
func (h *Heartbeat) Bound() time.Duration { return h.bound }

// Alive reports whether the last Beat is younger than the bound.
func (h *Heartbeat) Alive() bool { return h.Age() <= h.bound }
