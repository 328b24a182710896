package agent

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds of the wait between two tries. Pods of one set wait for each other, so the longest wait is paid once per link of
// the chain.
const (
	minBackoff = 250 * time.Millisecond
	maxBackoff = 1500 * time.Millisecond
)

// A backoff waits longer each time, up to maxBackoff, with jitter, so that pods that started at once do not ask at once.
type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{next: minBackoff} }

// reset makes the next wait short again: something has changed.
func (b *backoff) reset() { b.next = minBackoff }

// sleep waits; it returns the cause of ctx's end if that comes first.
func (b *backoff) sleep(ctx context.Context) error {
	d := b.next/2 + rand.N(b.next)
	b.next = min(b.next*3/2, maxBackoff)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
