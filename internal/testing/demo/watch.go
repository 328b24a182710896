package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"ordinal/internal/progress"
	"ordinal/internal/testing/localset"
)

const (
	lookEvery = 100 * time.Millisecond
	lineEvery = 5 * time.Second // between two lines of progress where there is no terminal
)

// watcher looks at the Pods and shows what changes.
type watcher struct {
	set  *localset.Set
	out  *console
	rows *progress.Progress // of the writing of rows

	looking    sync.Mutex
	mu         sync.Mutex
	pods       [replicas]view
	meanwhile  int64 // bytes of rows written while a Pod was cloning
	rowsBefore int64 // written when the watcher looked last
	line       time.Time
}

// view is what was seen of a Pod.
type view struct {
	status  localset.Status
	answers bool
	clone   *localset.Clone // the latest one, also after its end
	took    time.Duration   // from its beginning to when it was seen last
}

// run looks until ctx ends.
func (w *watcher) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look asks all Pods once and shows what they say.
func (w *watcher) look(ctx context.Context) {
	w.looking.Lock()
	defer w.looking.Unlock()
	for ordinal := range w.pods {
		st, err := w.set.Status(ctx, ordinal)
		if ctx.Err() != nil {
			return
		}
		w.see(ordinal, st, err == nil)
	}
	w.show()
}

func (w *watcher) see(ordinal int, st localset.Status, answers bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.pods[ordinal]
	next := view{status: st, answers: answers, clone: old.clone, took: old.took}
	if !answers {
		next.status.State = "starting"
	}
	changed := next.status.State != old.status.State || next.status.Ready != old.status.Ready || answers != old.answers
	if st.Clone != nil {
		next.clone, next.took = st.Clone, time.Since(st.Clone.Since) // one machine, one clock
	}
	w.pods[ordinal] = next
	if changed && answers {
		w.out.event(next.status.Pod, "%s", next.brief())
	}
}

// brief is what a change of state looks like.
func (v view) brief() string {
	switch {
	case v.status.Clone != nil:
		return v.status.State + " from " + v.status.Clone.Donor
	case v.status.Ready:
		return v.status.State + ", ready"
	}
	return v.status.State + v.why()
}

// why is the first reason of a state that does not explain itself.
func (v view) why() string {
	switch v.status.State {
	case "waiting_for_mysqld", "initialising", "terminating": // what is missing in between is no news
		return ""
	}
	for _, r := range v.status.Reasons {
		if r.Code != "starting" {
			return ": " + r.Message
		}
	}
	return ""
}

// full is the line that a terminal shows all the time.
func (v view) full(name string) string {
	line := fmt.Sprintf("  %-8s %-20s", name, v.status.State)
	switch c := v.status.Clone; {
	case c != nil && c.BytesTotal == 0:
		line += " from " + c.Donor
	case c != nil:
		line += fmt.Sprintf(" %s %s, %s of %s, %s/s", bar(c.BytesDone, c.BytesTotal), c.Stage, progress.Bytes(c.BytesDone),
			progress.Bytes(c.BytesTotal), progress.Bytes(int64(c.Rate)))
	case v.status.Ready && v.status.LagSeconds != nil:
		line += fmt.Sprintf(" ready, %.1f s behind", *v.status.LagSeconds)
	case v.status.Ready:
		line += " ready"
	default:
		line += strings.TrimPrefix(v.why(), ":")
	}
	return line
}

// show draws the block, or writes a line of progress now and then.
func (w *watcher) show() {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := w.rows.State()
	cloning := false
	lines := []string{""}
	for ordinal, v := range w.pods {
		cloning = cloning || v.status.Clone != nil
		lines = append(lines, v.full(w.set.Pod(ordinal).Name))
	}
	if cloning {
		w.meanwhile += rows.Done - w.rowsBefore
	}
	w.rowsBefore = rows.Done
	writing := rows.Done > 0 && rows.Done < rows.Total
	if writing {
		lines = append(lines, fmt.Sprintf("  %-29s %s %s of %s, %s/s", "rows", bar(rows.Done, rows.Total),
			progress.Bytes(rows.Done), progress.Bytes(rows.Total), progress.Bytes(int64(rows.Rate))))
	}
	w.out.block(lines)
	if w.out.terminal || time.Since(w.line) < lineEvery || !writing && !cloning {
		return
	}
	w.line = time.Now()
	if writing {
		w.out.event("rows", "%s of %s, %s/s", progress.Bytes(rows.Done), progress.Bytes(rows.Total), progress.Bytes(int64(rows.Rate)))
	}
	for _, v := range w.pods {
		if c := v.status.Clone; c != nil && c.BytesTotal > 0 {
			w.out.event(v.status.Pod, "%s %s of %s, %s/s", c.Stage, progress.Bytes(c.BytesDone),
				progress.Bytes(c.BytesTotal), progress.Bytes(int64(c.Rate)))
		}
	}
}

// writtenMeanwhile returns how many bytes of rows were written while a Pod was cloning.
func (w *watcher) writtenMeanwhile() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.meanwhile
}

// lastClone returns the latest clone that a Pod was seen to make, and how long it took; nil if none was seen.
func (w *watcher) lastClone(ordinal int) (*localset.Clone, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pods[ordinal].clone, w.pods[ordinal].took
}
