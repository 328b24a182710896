package main

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"ordinal/internal/testing/localset"
)

// kill ends programs as kill -9 does.
func (s *soak) kill(ctx context.Context, f fault) error {
	var hit bool
	switch f.Kind {
	case killMysqld:
		hit = s.set.Kill9(f.Pod, localset.Mysqld)
	case killAgent:
		hit = s.set.Kill9(f.Pod, localset.Agent)
	case killPod:
		hit = s.killPod(f.Pod)
	case killAll:
		var all sync.WaitGroup
		for ordinal := range s.set.Replicas() {
			all.Go(func() { s.killPod(ordinal) })
		}
		all.Wait()
		hit = true
	case killInit:
		return s.killInit(ctx, f)
	}
	if !hit {
		return errMissed
	}
	return nil
}

func (s *soak) killPod(ordinal int) (hit bool) {
	for _, process := range []localset.Process{localset.Mysqld, localset.Agent, localset.Init} {
		hit = s.set.Kill9(ordinal, process) || hit
	}
	return hit
}

// killInit kills agent init, of a Pod that is being made or of one that is deleted for it, up to three times in a row.
func (s *soak) killInit(ctx context.Context, f fault) error {
	if !s.set.Kill9(f.Pod, localset.Init) {
		if err := s.deletePod(ctx, f.Pod); err != nil {
			return err
		}
	}
	hits := 0
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for range 1 + f.Dice%3 {
		err := until(ctx, func() error {
			if !s.set.Kill9(f.Pod, localset.Init) {
				return errMissed
			}
			hits++
			return nil
		})
		if err != nil || !rest(ctx, time.Duration(f.Dice%400)*time.Millisecond) {
			break
		}
	}
	if hits == 0 {
		return errMissed
	}
	return nil
}

func (s *soak) deletePod(ctx context.Context, ordinal int) error {
	if ordinal == 0 {
		if !s.gentle.TryRLock() {
			return errMissed
		}
		defer s.gentle.RUnlock()
	}
	if len(s.set.Running(ordinal)) == 0 {
		return errMissed
	}
	return s.set.Delete(ctx, ordinal)
}

func (s *soak) deleteAll(ctx context.Context) error {
	errs := make([]error, s.set.Replicas())
	var all sync.WaitGroup
	for ordinal := range errs {
		all.Go(func() {
			if err := s.deletePod(ctx, ordinal); !errors.Is(err, errMissed) {
				errs[ordinal] = err
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// freeze stops programs for a while, as a virtual machine that is moved does. What is started anew meanwhile is not frozen.
func (s *soak) freeze(ctx context.Context, f fault) error {
	processes := map[kind][]localset.Process{
		freezeMysqld: {localset.Mysqld},
		freezeAgent:  {localset.Agent},
		freezePod:    {localset.Mysqld, localset.Agent, localset.Init},
	}[f.Kind]
	hit := false
	for _, process := range processes {
		hit = s.set.Signal(f.Pod, process, syscall.SIGSTOP) || hit
	}
	if !hit {
		return errMissed
	}
	rest(ctx, f.For)
	for _, process := range processes {
		s.set.Signal(f.Pod, process, syscall.SIGCONT)
	}
	return nil
}

// partition cuts links for a while.
func (s *soak) partition(ctx context.Context, f fault) error {
	var links []link
	switch f.Kind {
	case cutPair:
		links = bothWays(f.Pod, f.Other)
	case cutOneWay:
		links = []link{{f.Pod, f.Other}}
	case isolate:
		links = around(f.Pod, s.options.pods, false)
	case cutOff:
		links = around(f.Pod, s.options.pods, true)
	}
	mend, err := s.network.cut(links...)
	if err != nil {
		return err
	}
	rest(ctx, f.For)
	return mend()
}

// moveClock makes a Pod's clock wrong for a while, and right again: two jumps.
func (s *soak) moveClock(ctx context.Context, f fault) error {
	if err := s.clocks.set(f.Pod, f.Jump); err != nil {
		return err
	}
	rest(ctx, f.For)
	return s.clocks.set(f.Pod, 0)
}
