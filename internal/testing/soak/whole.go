package main

import (
	"context"
	"fmt"
	"time"

	"ordinal/mysqlx"
)

const pollEvery = 200 * time.Millisecond

// whole waits until every Pod is ready and every transaction that the source had when this began is on every replica, and no replica has one
// that the source lacks. Writing may go on. The error says what was missing last.
func (s *soak) whole(ctx context.Context) error {
	var last error
	var want mysqlx.GTIDSet
	for known := false; ; {
		err := ctx.Err()
		if err == nil && !known {
			if want, err = s.gtids(ctx, 0); err == nil {
				known = true
			}
		}
		if err == nil {
			if err = s.isWhole(ctx, want); err == nil {
				return nil
			}
		}
		if ctx.Err() == nil || last == nil { // what was cut off says nothing new
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), last)
		case <-time.After(pollEvery):
		}
	}
}

func (s *soak) isWhole(ctx context.Context, want mysqlx.GTIDSet) error {
	for ordinal := range s.set.Replicas() {
		if !s.set.Ready(ctx, ordinal) {
			st, err := s.set.Status(ctx, ordinal)
			if err != nil {
				return err
			}
			return fmt.Errorf("%s is not ready: %s", st.Pod, st.Explain())
		}
		have, err := s.gtids(ctx, ordinal)
		if err != nil {
			return err
		}
		source, err := s.gtids(ctx, 0) // after the replica
		if err != nil {
			return err
		}
		if lacks := want.Subtract(have); !lacks.IsEmpty() {
			return fmt.Errorf("mysql-%d lacks %v", ordinal, lacks)
		}
		if more := have.Subtract(source); !more.IsEmpty() {
			return fmt.Errorf("mysql-%d has %v that the source lacks", ordinal, more)
		}
	}
	return nil
}

func (s *soak) gtids(ctx context.Context, ordinal int) (mysqlx.GTIDSet, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.set.GTIDExecuted(ctx, ordinal)
}
