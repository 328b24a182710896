package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

const (
	assembleLimit = 6 * time.Minute // until the set is ready for the first time
	summaryEvery  = 30 * time.Second
)

// soak is one run.
type soak struct {
	options options
	dir     string // of the Pods
	out     *console
	began   time.Time // when faults begin

	set     *localset.Set
	network *network // nil: all on the loopback
	clocks  *clocks
	traffic *traffic
	watch   *watch
	power   context.CancelFunc // kills the set
	log     *os.File           // events.log

	// calm is held by passing faults, for reading, and by whoever wants to see the set without them.
	calm sync.RWMutex
	// gentle is held, for reading, by what ends the source in order, and by faults after which the source's volume is gone: they exclude
	// each other. mysqld tells a client whose commit waits for a replica that all is well when it is ended in order. See docs/soak.md.
	gentle sync.RWMutex
	// closed are held, for reading, by what tries to write to a replica, and by faults that let such a write succeed.
	closed []sync.RWMutex

	mu       sync.Mutex
	done     []happened
	wrong    []string
	errants  []errant
	hopeless context.CancelCauseFunc // ends the faults when going on is useless
}

// happened is a fault that was done.
type happened struct {
	fault
	At      time.Duration `json:"at"`                // since the beginning
	Took    time.Duration `json:"took"`              // until it was over; for a grave one until it was done, not until the set was whole
	Outcome string        `json:"outcome,omitempty"` // what there is to say; "" if all went as planned

	missed bool // there was nothing to do it to
}

// newSoak makes everything that a run needs and starts nothing.
func newSoak(ctx context.Context, o options, p *prepared, out *console) (*soak, error) {
	s := &soak{options: o, dir: p.Dir, out: out, closed: make([]sync.RWMutex, o.pods)}
	distribution, err := mysqltest.Finder{Progress: os.Stderr}.Find(ctx)
	if err != nil {
		return nil, err
	}
	if s.clocks, err = newClocks(p, o.pods); err != nil {
		return nil, err
	}
	hosts, err := s.findHosts()
	if err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(p.Dir, "events.log")); err != nil {
		return nil, err
	}
	setOptions := localset.Options{
		Dir: p.Dir, Replicas: o.pods, AgentBinary: p.Agent, Distribution: distribution, Hosts: hosts, Env: s.clocks.env,
		AgentArgs: func(int) []string { return []string{"--durability=" + o.durability} },
		OnEvent:   s.event,
	}
	if s.network != nil {
		setOptions.Network = s.network
	}
	if s.set, err = localset.New(setOptions); err != nil {
		return nil, err
	}
	s.traffic = newTraffic(s.set, o.seed)
	s.watch = newWatch(s)
	out.line("", "seed %d: %d pods, %s, faults for %v, MySQL %v", o.seed, o.pods, o.durability, minutes(o.minutes), distribution.Version)
	out.line("", "the seed replays the plan of faults, not the speed of real processes: they fall differently beside each other")
	out.line("", "networks that can be cut: %v; clocks that can be moved: agent %v, mysqld %v", s.network != nil, p.Movable, p.Faketime != "")
	out.line("", "volumes, configuration and logs are in %s", p.Dir)
	return s, nil
}

func (s *soak) findHosts() (hosts string, err error) {
	if s.options.loopback {
		return localset.FreeHosts()
	}
	s.network, err = newNetwork(s.options.pods)
	return podHosts, err
}

func minutes(n float64) time.Duration {
	return time.Duration(n * float64(time.Minute)).Round(time.Second)
}

// event keeps what happens to the Pods. See localset.Options.OnEvent.
func (s *soak) event(e localset.Event) {
	fmt.Fprintln(s.log, e)
	if e.Kind == localset.Failed {
		s.fail("the emulator of Pods: %s: %s", e.Pod, e.Detail)
	}
}

// fail notes that something is wrong.
func (s *soak) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.wrong = append(s.wrong, text)
	s.mu.Unlock()
	s.out.line("WRONG", "%s", text)
}

// giveUp is fail where nothing that comes after could be believed.
func (s *soak) giveUp(err error) {
	s.fail("%v", err)
	s.autopsy()
	s.hopeless(err)
}

// run does everything, and returns what there is to tell.
func (s *soak) run(ctx context.Context) report {
	power, off := context.WithCancel(context.WithoutCancel(ctx))
	defer s.log.Close()
	defer func() {
		off()
		if done := s.set.Done(); done != nil {
			<-done
		}
		if s.network != nil {
			_ = s.network.close() // nobody misses it: see enterWorld
		}
	}()
	s.power = off
	ctx, s.hopeless = context.WithCancelCause(ctx)
	defer s.hopeless(nil)
	if err := s.start(ctx, power); err != nil {
		s.fail("%v", err)
		s.out.print(s.set.LogTails(12))
		return s.report()
	}
	background, rest := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() { s.watch.run(background) })
	s.runLanes(ctx)
	s.traffic.stop()
	s.watch.stop()
	s.settle(ctx)
	rest()
	looking.Wait()
	if ctx.Err() == nil {
		s.judge(ctx)
		s.set.Stop()
		s.judgeEnds()
	} else {
		s.out.print(s.set.LogTails(12))
	}
	return s.report()
}

// start brings the set up with traffic on it.
func (s *soak) start(ctx, power context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, assembleLimit, fmt.Errorf("the set is not ready after %v", assembleLimit))
	defer cancel()
	if err := s.set.Start(power); err != nil {
		return err
	}
	if err := s.set.WaitReady(ctx); err != nil {
		return err
	}
	if err := s.traffic.prepare(ctx); err != nil {
		return err
	}
	s.began = time.Now()
	s.out.begin()
	s.traffic.start()
	s.out.line("", "all pods are ready, writing begins")
	return nil
}

// settle is the suffix without faults: everything that was cut, frozen and moved is back, nobody writes.
func (s *soak) settle(ctx context.Context) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.converge, fmt.Errorf("not within %v", s.options.converge))
	defer cancel()
	defer time.AfterFunc(autopsyAfter, s.autopsy).Stop()
	err := s.whole(ctx)
	if err == nil {
		err = s.set.WaitConverged(ctx)
	}
	if err != nil {
		s.giveUp(fmt.Errorf("the set does not converge: %w", err))
		return
	}
	s.watch.settled(time.Since(began))
	s.out.line("", "no more faults and no more writes: everything is everywhere after %.1f s", time.Since(began).Seconds())
}
