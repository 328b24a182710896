// Package progress counts what a long operation has done and shows it: as a bar on a terminal, otherwise as one event per some seconds that
// the caller logs. The same numbers serve the status endpoints, see [Progress.State].
//
// Rate and remaining time come from the last ten seconds, so that a stall shows soon and a slow start is soon forgotten.
package progress

import (
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	window      = 10 * time.Second // the rate is that of this time
	sampleEvery = time.Second
	stalled     = 2 * window // without a byte for this long the rate is 0
)

// Progress counts one operation. Its methods may be called concurrently. The zero value is ready.
type Progress struct {
	mu      sync.Mutex
	started time.Time // zero: not started
	stage   string
	done    int64
	total   int64
	last    time.Time // of Add
	samples []sample  // oldest first; at most those of the window and one that is older
}

type sample struct {
	at   time.Time
	done int64
}

// State is what a Progress knows at one moment.
type State struct {
	Stage   string        // what is being done; may be empty
	Done    int64         // bytes
	Total   int64         // bytes; 0 if not known; an estimate: Done may exceed it
	Rate    float64       // bytes per second, of the last ten seconds
	ETA     time.Duration // time left, rounded to seconds; -1 if not known
	Since   time.Time     // of Start; zero before
	Elapsed time.Duration // since Start
}

// Start starts counting from 0, also when something was counted before. total is in bytes, 0 if not known.
func (p *Progress) Start(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = time.Now()
	p.done, p.total = 0, max(total, 0)
	p.samples = append(p.samples[:0], sample{at: p.started})
}

// SetTotal corrects the total, in bytes; 0 if not known.
func (p *Progress) SetTotal(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = max(total, 0)
}

// SetStage says what is being done now.
func (p *Progress) SetStage(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stage = text
}

// Add counts n more bytes. Before Start it does nothing.
func (p *Progress) Add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started.IsZero() {
		return
	}
	p.done += n
	now := time.Now()
	p.last = now
	if now.Sub(p.samples[len(p.samples)-1].at) < sampleEvery {
		return
	}
	p.samples = append(p.samples, sample{now, p.done})
	// Keep one that is as old as the window: the rate is measured from it.
	old := 0
	for old+1 < len(p.samples) && now.Sub(p.samples[old+1].at) >= window {
		old++
	}
	p.samples = append(p.samples[:0], p.samples[old:]...)
}

// Skip counts n bytes that were done before: they took no time now, so the rate knows nothing of them.
func (p *Progress) Skip(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started.IsZero() {
		return
	}
	p.done += n
	for i := range p.samples {
		p.samples[i].done += n
	}
}

// State returns the present numbers.
func (p *Progress) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{Stage: p.stage, Done: p.done, Total: p.total, ETA: -1, Since: p.started}
	if p.started.IsZero() {
		return s
	}
	now := time.Now()
	s.Elapsed = now.Sub(p.started)
	base := p.samples[0]
	for _, b := range p.samples[1:] {
		if now.Sub(b.at) < window {
			break
		}
		base = b
	}
	if d := now.Sub(base.at); d > 0 && now.Sub(p.last) < stalled {
		s.Rate = float64(p.done-base.done) / d.Seconds()
	}
	switch left := p.total - p.done; {
	case p.total == 0:
	case left <= 0:
		s.ETA = 0
	case s.Rate > 0:
		const longest = 1000 * time.Hour // what takes longer is not known
		if secs := float64(left) / s.Rate; secs < longest.Seconds() {
			s.ETA = (time.Duration(secs*1e9) * time.Nanosecond).Round(time.Second)
		}
	}
	return s
}

// String returns the state as one line of text, like "FILE_COPY: 1.2 GB of 2.9 GB (41%), 310 MB/s, 6s left".
func (s State) String() string {
	text := Bytes(s.Done)
	if s.Total > 0 {
		text = fmt.Sprintf("%s of %s (%d%%)", text, Bytes(s.Total), s.Percent())
	}
	if s.Stage != "" {
		text = s.Stage + ": " + text
	}
	text += ", " + Bytes(int64(s.Rate)) + "/s"
	if s.ETA >= 0 {
		text += ", " + s.ETA.String() + " left"
	}
	return text
}

// Percent returns how much is done, from 0 to 100, rounded down; 0 if the total is not known.
func (s State) Percent() int {
	if s.Total <= 0 {
		return 0
	}
	return int(min(float64(s.Done)/float64(s.Total), 1) * 100)
}

// Bytes formats a number of bytes with a decimal unit and three digits or fewer: "999 B", "1.2 MB", "31 GB".
func Bytes(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		v /= 1000
		switch {
		case v < 9.95:
			return fmt.Sprintf("%.1f %s", v, unit)
		case v < 999.5:
			return fmt.Sprintf("%.0f %s", v, unit)
		}
	}
	return fmt.Sprintf("%.0f EB", v)
}
