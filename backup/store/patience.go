package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Patience is how long to try again what a store answers with [ErrUnavailable]. The zero Patience is a sensible one.
type Patience struct {
	Pause   time.Duration // after the first failure; it doubles with each further one. 0 means 200 ms
	Longest time.Duration // the longest pause; 0 means 15 s
	Total   time.Duration // from the first failure on; no try begins later. 0 means 5 min, a negative one that nothing is tried again
}

// Do calls try until it returns nil or an error that is not [ErrUnavailable], patience is at an end, or ctx is. It returns the last error of try, or, if
// that was worth a retry and ctx has ended, ctx's cause. Pauses are random between half of their length and all of it, so that many who wait do not come back at once.
func (p Patience) Do(ctx context.Context, try func() error) error {
	pause, longest, total := or(p.Pause, 200*time.Millisecond), or(p.Longest, 15*time.Second), or(p.Total, 5*time.Minute)
	var giveUp time.Time
	for {
		err := try()
		if err == nil || !errors.Is(err, ErrUnavailable) {
			return err
		}
		if ctx.Err() != nil {
			return ended(ctx, err)
		}
		if total < 0 {
			return err
		}
		now := time.Now()
		if giveUp.IsZero() {
			giveUp = now.Add(total)
		}
		pause = min(pause, longest)
		wait := pause/2 + rand.N(pause/2+1)
		if now.Add(wait).After(giveUp) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ended(ctx, err)
		}
		pause *= 2
	}
}

// ended is the error of a wait for a store that answered err, and whose ctx has ended.
func ended(ctx context.Context, err error) error {
	return &Error{Op: "wait for the store", Err: fmt.Errorf("%w (%v)", context.Cause(ctx), err)}
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
