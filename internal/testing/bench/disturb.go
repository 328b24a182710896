package main

import (
	"context"
	"fmt"
	"time"

	"ordinal/internal/progress"
	"ordinal/internal/testing/localset"
)

// disturbance is what may take something from the source's writers.
type disturbance struct {
	written
	prepare func(context.Context) error
	// clone returns when the clone is over or full is closed, whichever comes first. It calls began when the copy begins.
	clone func(ctx context.Context, began func(), full <-chan struct{}) error
}

// Flags of the agent that limit a clone.
const (
	flagRate    = "--max-rate="
	flagLatency = "--donor-latency-limit="
)

// disturbances are all ways without limit, the first one with limits, and the server's own clone. latency is what commits take alone.
func (s *site) disturbances(latency time.Duration) (list []disturbance) {
	for _, w := range append(s.ways[:len(s.ways):len(s.ways)], s.limited(latency)...) {
		if !s.known(w) {
			s.leaveOut("%s: this agent does not know %s", w.Name, w.flags())
			continue
		}
		list = append(list, disturbance{
			written: written{Name: w.Name, Kind: byAgent, Args: w.Args},
			prepare: func(ctx context.Context) error { return s.use(ctx, w) },
			clone:   s.disturbByAgent,
		})
	}
	return append(list, disturbance{
		written: written{Name: nameAutotune, Kind: byServer},
		prepare: func(ctx context.Context) error { return s.setThreads(ctx, 0) },
		clone:   s.disturbByServer,
	})
}

// limited are the ways to slow the first one down. Where commits wait for no disk, their latency says nothing.
func (s *site) limited(latency time.Duration) ways {
	first := s.ways[0]
	list := ways{first.with(fmt.Sprintf("%s, %s/s", first.Name, progress.Bytes(int64(s.rate))), fmt.Sprintf("%s%d", flagRate, s.rate))}
	if isMemory(fileSystem(s.dir)) {
		return list
	}
	limit := s.latency
	if limit == 0 {
		limit = (latency + latency/10).Round(10 * time.Microsecond)
	}
	return append(list, first.with(fmt.Sprintf("%s, latency %v", first.Name, limit), fmt.Sprintf("%s%v", flagLatency, limit)))
}

// disturbByAgent lets a recipient clone, and leaves it alone when full is closed.
func (s *site) disturbByAgent(ctx context.Context, began func(), full <-chan struct{}) error {
	log, begun := newLogReader(s.set.Pod(recipient).LogFile(localset.Init)), time.Now()
	if err := s.set.Scale(ctx, recipient+1); err != nil {
		return err
	}
	err := s.until(ctx, "a copy to begin", func() (bool, error) {
		line, err := log.entry(saysCloning)
		return line != nil, err
	})
	if err != nil {
		return err
	}
	began()
	return s.until(ctx, "the end of agent init", func() (bool, error) {
		select {
		case <-full:
			return true, nil
		default:
			return s.initTook(s.set.Pod(recipient), begun) > 0, nil
		}
	})
}

// disturbByServer waits for the end also when full is closed: what it left would have to be cleaned up.
func (s *site) disturbByServer(ctx context.Context, began func(), _ <-chan struct{}) error {
	began()
	return s.cloneInstance(ctx)
}
