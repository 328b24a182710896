package pace

import (
	"context"
	"fmt"
	"time"
)

const (
	sampleEvery = 250 * time.Millisecond
	// quietAfter is how many samples without a commit mean that nobody works on the donor. Until then it may be that its commits hang.
	quietAfter = 8
	// blindFor is how long the latency may stay unknown because of errors: a server that restarts is back by then.
	blindFor = 30 * time.Second
)

// A LatencySource measures what the donor's own work waits for. mysqlx.CommitTimer is one.
type LatencySource interface {
	// CommitLatency returns the mean latency of the commits since the last call; ok is false if there were none.
	CommitLatency(ctx context.Context) (mean time.Duration, ok bool, err error)
}

// Run sets l, which all data of the copy passes, to what the latency allows, several times per second, until ctx ends; then it returns nil and leaves l as
// it is. An error of source that does not pass within half a minute ends it, too: the rate stays what it was, and the caller decides.
func (s *Shedder) Run(ctx context.Context, l *Limiter, source LatencySource) error {
	l.SetRate(s.Allowed())
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	since, passed := time.Now(), l.Passed()
	seen := since // when the source last answered
	for quiet := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		latency, ok, err := source.CommitLatency(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && now.Sub(seen) > blindFor:
			return fmt.Errorf("shed load: %w", err)
		case err != nil:
			continue
		}
		seen = now
		if ok {
			quiet = 0
		} else if quiet++; quiet < quietAfter {
			continue // the time goes into the next observation
		}
		total := l.Passed()
		l.SetRate(s.Observe(latency, float64(total-passed)/now.Sub(since).Seconds()))
		since, passed = now, total
	}
}
