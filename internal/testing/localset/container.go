package localset

import (
	"context"
	"errors"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Pauses between two runs of a program that ends. A kubelet's are a hundred times longer.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 2 * time.Second
	resetBackoff = 10 * time.Second // a run of this length counts as a success
)

// errAborted says that a run was killed or stopped between two of its programs.
var errAborted = errors.New("aborted")

// A container runs one thing again and again, as a kubelet does. A run may take several programs, one after the other or together:
// see entrypoint.go.
type container struct {
	life    *life
	process Process
	attempt func(ctx context.Context, c *container) (code int, err error)

	began   chan struct{}      // closed when the first run begins
	stop    context.CancelFunc // no further run, and no further program in this one
	stopped chan struct{}      // closed when the last run has ended
	ok      bool               // the last run's code was 0; valid once stopped is closed

	mu       sync.Mutex
	programs []*process         // of the run under way; those that have ended may be among them
	abort    context.CancelFunc // ends the run under way before its next program; nil between runs
}

// startContainer begins the first run and returns then. With untilSuccess the container ends after a run with code 0.
func (l *life) startContainer(process Process, untilSuccess bool, attempt func(context.Context, *container) (int, error)) *container {
	ctx, stop := context.WithCancel(context.Background()) // ended by end, which the life always calls
	c := &container{
		life: l, process: process, attempt: attempt,
		began: make(chan struct{}), stop: stop, stopped: make(chan struct{}),
	}
	l.mu.Lock()
	l.containers[process] = c
	l.mu.Unlock()
	go func() {
		defer close(c.stopped)
		c.run(ctx, untilSuccess)
	}()
	<-c.began
	return c
}

func (c *container) run(ctx context.Context, untilSuccess bool) {
	begun := sync.OnceFunc(func() { close(c.began) })
	backoff := firstBackoff
	for ctx.Err() == nil {
		began := time.Now()
		code, err := c.once(ctx, begun)
		c.ok = code == 0
		c.life.event(Event{Process: c.process, Kind: Exited, Code: code, Detail: detail(err)})
		if untilSuccess && c.ok {
			return
		}
		if time.Since(began) > resetBackoff {
			backoff = firstBackoff
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (c *container) once(ctx context.Context, begun func()) (code int, err error) {
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	c.mu.Lock()
	c.abort = abort
	c.mu.Unlock()
	c.life.event(Event{Process: c.process, Kind: Started})
	begun()
	code, err = c.attempt(ctx, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.programs, c.abort = nil, nil
	return code, err
}

// start starts a program of the run under way, unless the run was aborted.
func (c *container) start(ctx context.Context, cmd *exec.Cmd) (*process, error) {
	log, err := appendFile(c.life.LogFile(c.process))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.mu.Lock() // so that a kill comes either before, and nothing starts, or after, and hits it
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return nil, errAborted
	}
	p, err := startProcess(cmd, log, c.life.enter())
	if err == nil {
		c.programs = append(c.programs, p)
	}
	return p, err
}

// call starts a program and waits for its end.
func (c *container) call(ctx context.Context, cmd *exec.Cmd) (code int, err error) {
	p, err := c.start(ctx, cmd)
	if err != nil {
		return 1, err
	}
	<-p.done
	return p.code, nil
}

// kill ends everything that runs now, as kill -9 of the container's first process does. It returns false between two runs.
func (c *container) kill() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abort == nil {
		return false
	}
	c.life.event(Event{Process: c.process, Kind: Killed, Detail: ByKill9}) // before anybody can see that it has ended
	c.abort()
	for _, p := range c.programs {
		p.signal(syscall.SIGKILL)
	}
	return true
}

// signal reaches all programs of the run under way.
func (c *container) signal(sig syscall.Signal) (reached bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.programs {
		reached = p.signal(sig) || reached
	}
	return reached
}

func (c *container) running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.abort != nil
}

// end stops the container for good, with SIGTERM first, and returns when nothing of it runs. Closing hurry cuts the grace short.
func (c *container) end(grace time.Duration, hurry <-chan struct{}) {
	c.stop()
	c.mu.Lock()
	programs := c.programs
	c.mu.Unlock()
	for _, p := range programs {
		p.end(grace, hurry, func() {
			c.life.event(Event{Process: c.process, Kind: Killed, Detail: "its grace was over, or the set was switched off"})
		})
	}
	<-c.stopped
}

func detail(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
