package pace

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// credit is how much unused time is kept: who comes late may catch up with as much, and no more.
	credit = 40 * time.Millisecond
	// ahead is how much too early a block may go: a timer for less costs more than it is worth.
	ahead = time.Millisecond
)

// A Limiter lets a number of bytes per second pass, summed over all who call it. Its methods may be called concurrently; waiting callers are served in
// the order in which they came. The zero Limiter has no limit.
//
// The rate is kept in the long run to within one percent. In the short run as many bytes more may pass as belong to 50 ms, or one block.
type Limiter struct {
	rate   atomic.Uint64 // bytes per second; 0: no limit
	passed atomic.Uint64

	once sync.Once
	turn chan struct{} // holds one token: who has it may wait for the time to come

	mu      sync.Mutex
	free    time.Time     // when all that has passed is paid for
	changed chan struct{} // closed at the next change of rate; nil while nobody waits for it
}

// NewLimiter returns a Limiter of rate bytes per second; 0 is no limit.
func NewLimiter(rate uint64) *Limiter {
	l := new(Limiter)
	l.rate.Store(rate)
	return l
}

// Rate returns the limit in bytes per second, 0 if there is none.
func (l *Limiter) Rate() uint64 { return l.rate.Load() }

// SetRate changes the limit to rate bytes per second; 0 is no limit. Those who wait now wait as if it had been so from now on.
func (l *Limiter) SetRate(rate uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.rate.Swap(rate)
	if old == rate {
		return
	}
	now := time.Now()
	if owed := l.free.Sub(now); owed > 0 {
		l.free = now
		if rate > 0 { // old was not 0 either, or nothing would be owed
			l.free = now.Add(span(owed.Seconds() * float64(old) / float64(rate)))
		}
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Passed returns the number of bytes that have been let pass.
func (l *Limiter) Passed() uint64 { return l.passed.Load() }

// Wait returns when n bytes may pass, or ctx's cause when ctx ends before that; then they are not counted. The first block after a pause need not wait,
// however large it is: it is the next one that pays. Without a limit Wait costs nothing and does not look at ctx.
func (l *Limiter) Wait(ctx context.Context, n int) error {
	if l.rate.Load() > 0 {
		if err := l.wait(ctx, n); err != nil {
			return err
		}
	}
	l.passed.Add(uint64(n))
	return nil
}

func (l *Limiter) wait(ctx context.Context, n int) error {
	l.once.Do(func() { l.turn = make(chan struct{}, 1) })
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		early, changed := l.take(n)
		if early <= 0 {
			return nil
		}
		timer := time.NewTimer(early)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// take lets n bytes pass if it is time to. Otherwise it returns how much too early it is, and a channel that is closed if that changes.
func (l *Limiter) take(n int) (early time.Duration, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rate := l.rate.Load()
	if rate == 0 {
		return 0, nil
	}
	now := time.Now()
	if early := l.free.Sub(now); early > ahead {
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		return early, l.changed
	}
	if oldest := now.Add(-credit); l.free.Before(oldest) {
		l.free = oldest
	}
	l.free = l.free.Add(span(float64(n) / float64(rate)))
	return 0, nil
}

// span is a number of seconds as a Duration. A rate of a few bytes per second would overflow it.
func span(seconds float64) time.Duration {
	return time.Duration(min(seconds*float64(time.Second), math.MaxInt64/4))
}
