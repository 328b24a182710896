package main

import (
	"context"
	"fmt"
	"time"
)

// do lets a fault happen and returns when it is over. errMissed: there was nothing to do it to.
func (s *soak) do(ctx context.Context, f fault) error {
	switch f.Kind {
	case killMysqld, killAgent, killPod, killInit, killAll:
		return s.kill(ctx, f)
	case deletePod:
		return s.deletePod(ctx, f.Pod)
	case deleteAll:
		return s.deleteAll(ctx)
	case freezeMysqld, freezeAgent, freezePod:
		return s.freeze(ctx, f)
	case cutPair, cutOneWay, isolate, cutOff:
		return s.partition(ctx, f)
	case moveClock:
		return s.moveClock(ctx, f)
	case stopReplica, misdirect:
		return s.disturb(ctx, f)
	case openReplica:
		return s.openReplica(ctx, f)
	case wipeReplica:
		return s.set.DeleteVolume(ctx, f.Pod)
	case wipeSource:
		return s.wipeSource(ctx)
	case rollBack:
		return s.rollBack(ctx)
	case errantWrite:
		return s.errantWrite(ctx, f)
	case purgeBinlogs:
		return s.purgeBinlogs(ctx, f)
	case scaleDownUp:
		return s.scale(ctx, f)
	case duplicateUUID:
		return s.duplicateUUID(ctx, f)
	}
	return fmt.Errorf("%q: nobody knows how", f.Kind)
}

// until calls try again and again until it returns nil, and returns its last error when ctx ends before.
func until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		if !rest(ctx, 100*time.Millisecond) {
			return err
		}
	}
}
