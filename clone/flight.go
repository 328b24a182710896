package clone

import "sync"

// A flight counts pieces that have been handed to the writers and are not written yet.
type flight struct {
	mu   sync.Mutex
	cond *sync.Cond
	n    int
}

func (f *flight) begin() {
	f.mu.Lock()
	f.n++
	f.mu.Unlock()
}

func (f *flight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.cond != nil {
		f.cond.Broadcast()
	}
}

// wait returns when none is in flight. One goroutine at a time waits. The end of an attempt makes the writers drop what they hold, so it ends this, too.
func (f *flight) wait() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cond == nil {
		f.cond = sync.NewCond(&f.mu)
	}
	for f.n > 0 {
		f.cond.Wait()
	}
}
