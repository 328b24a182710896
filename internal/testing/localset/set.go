package localset

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"ordinal/mysqlx"
)

// controlInterval is how often the controller looks at the Pods without being told to.
const controlInterval = 100 * time.Millisecond

// A Set is a StatefulSet. Its methods may be called concurrently.
type Set struct {
	options Options
	events  events
	http    *http.Client

	wake chan struct{} // holds a token when the controller should look

	mu      sync.Mutex
	want    int           // replicas
	lives   map[int]*life // the Pods that exist, those that are ending included
	dbs     map[int]*mysqlx.DB
	stopped bool
	done    chan struct{} // closed when the controller has ended; nil before Start
}

// New checks the options and writes the secrets' files. It starts nothing.
func New(o Options) (*Set, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := o.writeSecrets(); err != nil {
		return nil, err
	}
	return &Set{
		options: o,
		events:  events{observe: o.OnEvent},
		http:    newHTTPClient(),
		wake:    make(chan struct{}, 1),
		want:    o.Replicas,
		lives:   map[int]*life{},
		dbs:     map[int]*mysqlx.DB{},
	}, nil
}

// Start begins to create Pods and returns. The end of ctx is a power failure: it kills everything. Stop ends everything in order. Either
// way the volumes stay. A set is started once.
func (s *Set) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done != nil {
		return errors.New("local set: started before")
	}
	for ordinal := range s.want {
		if s.options.Network != nil {
			break // nobody else is there
		}
		if err := freePorts(ctx, s.Pod(ordinal).Host); err != nil {
			return err
		}
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		s.control(ctx)
	}()
	return nil
}

// Stop ends all Pods at once, each in order, and returns when nothing of the set runs any more.
func (s *Set) Stop() {
	s.mu.Lock()
	s.stopped = true
	done := s.done
	s.mu.Unlock()
	s.nudge()
	if done != nil {
		<-done
	}
}

// Done is closed when the set has been started and has ended.
func (s *Set) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// Replicas returns the number of Pods that the set should have.
func (s *Set) Replicas() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want
}

// Scale changes the number of replicas and returns when the Pods that are too many are gone. Their volumes stay, and are found again when
// the set grows. Agents that run already are not told: they learn of it when they are started the next time.
func (s *Set) Scale(ctx context.Context, replicas int) error {
	s.mu.Lock()
	s.want = replicas
	var surplus []*life
	for ordinal, l := range s.lives {
		if ordinal >= replicas {
			surplus = append(surplus, l)
		}
	}
	s.mu.Unlock()
	s.nudge()
	return waitGone(ctx, surplus...)
}

// Delete ends a Pod and returns when it is gone. The controller then creates it anew, on the same volume.
func (s *Set) Delete(ctx context.Context, ordinal int) error { return s.delete(ctx, ordinal, nil) }

// DeleteVolume is Delete with the volume removed before the Pod is created anew.
func (s *Set) DeleteVolume(ctx context.Context, ordinal int) error {
	return s.delete(ctx, ordinal, wipe)
}

// Change is Delete with something done to the volume before the Pod is created anew: a roll-back, a copy of another's. Nothing of the
// Pod runs meanwhile.
func (s *Set) Change(ctx context.Context, ordinal int, change func(volume string) error) error {
	return s.delete(ctx, ordinal, change)
}

// wipe removes a volume; the next life makes an empty one.
func wipe(volume string) error { return os.RemoveAll(volume) }

func (s *Set) delete(ctx context.Context, ordinal int, change func(volume string) error) error {
	s.mu.Lock()
	l := s.lives[ordinal]
	if l != nil {
		if change != nil {
			l.change = change
		}
		l.stop()
	}
	s.mu.Unlock()
	if l == nil {
		return fmt.Errorf("delete %s: no such pod at the moment", s.Pod(ordinal).Name)
	}
	return waitGone(ctx, l)
}

func waitGone(ctx context.Context, lives ...*life) error {
	for _, l := range lives {
		select {
		case <-l.gone:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of %s: %w", l.Name, context.Cause(ctx))
		}
	}
	return nil
}

// Kill9 kills what runs of a Pod's program at this instant, as kill -9 does, and returns whether there was something: between two runs,
// and outside the program's part of a Pod's life, there is not. It is restarted as a kubelet would.
func (s *Set) Kill9(ordinal int, process Process) bool {
	s.mu.Lock()
	l := s.lives[ordinal]
	s.mu.Unlock()
	if l == nil {
		return false
	}
	c := l.container(process)
	return c != nil && c.kill()
}

// Signal sends a signal to what runs of a Pod's program at this instant, SIGSTOP and SIGCONT say, and returns whether there was something.
func (s *Set) Signal(ordinal int, process Process, sig syscall.Signal) bool {
	s.mu.Lock()
	l := s.lives[ordinal]
	s.mu.Unlock()
	if l == nil {
		return false
	}
	c := l.container(process)
	return c != nil && c.signal(sig)
}

// Running returns which of a Pod's programs run at this instant.
func (s *Set) Running(ordinal int) []Process {
	s.mu.Lock()
	l := s.lives[ordinal]
	s.mu.Unlock()
	var running []Process
	for _, process := range []Process{Init, Mysqld, Agent} {
		if l == nil {
			break
		}
		if c := l.container(process); c != nil && c.running() {
			running = append(running, process)
		}
	}
	return running
}

func (s *Set) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// control is the StatefulSet's controller. It looks at what there is and does what is missing.
func (s *Set) control(ctx context.Context) {
	defer s.closeDBs()
	tick := time.NewTicker(controlInterval)
	defer tick.Stop()
	for {
		s.bury()
		if ctx.Err() != nil || s.isStopped() {
			break
		}
		s.remove()
		s.create(ctx)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-tick.C:
		}
	}
	s.mu.Lock()
	lives := s.lives
	s.mu.Unlock()
	for _, l := range lives { // nobody adds to them any more
		l.stop()
	}
	for _, l := range lives {
		<-l.over // by the end of ctx, or in order
	}
	s.bury()
}

func (s *Set) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// bury takes the Pods out of the set whose programs have ended.
func (s *Set) bury() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ordinal, l := range s.lives {
		select {
		case <-l.over:
		default:
			continue
		}
		l.event(Event{Kind: Gone})
		if l.change != nil {
			if err := l.change(l.Volume); err != nil {
				l.event(Event{Kind: Failed, Detail: err.Error()})
			}
			l.event(Event{Kind: VolumeChanged})
		}
		delete(s.lives, ordinal)
		close(l.gone)
	}
}

// remove ends the Pods that are too many: all at once, or one by one from the highest ordinal.
func (s *Set) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	highest := -1
	for ordinal, l := range s.lives {
		if ordinal < s.want {
			continue
		}
		highest = max(highest, ordinal)
		if s.options.Policy == Parallel {
			l.stop()
		}
	}
	if highest >= 0 {
		s.lives[highest].stop()
	}
}

// create makes the Pods that are missing: all at once, or the first one if those before it are ready.
func (s *Set) create(ctx context.Context) {
	for ordinal := range s.Replicas() {
		s.mu.Lock()
		if s.lives[ordinal] == nil {
			l := s.newLife(ordinal)
			s.lives[ordinal] = l
			go func() {
				l.run(ctx)
				s.nudge()
			}()
		}
		s.mu.Unlock()
		if s.options.Policy == OrderedReady && !s.Ready(ctx, ordinal) {
			return
		}
	}
}

// replicasToTell returns what an agent that starts now is told as --replicas.
func (s *Set) replicasToTell() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.Policy == Parallel {
		return s.want
	}
	exist := 0
	for ordinal := range s.lives {
		exist = max(exist, ordinal+1) // names are counted from the first: a gap counts
	}
	return exist
}
