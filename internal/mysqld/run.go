package mysqld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"ordinal/mysqlx"
)

const (
	pollInterval = 25 * time.Millisecond
	waitDelay    = 5 * time.Second // for output after the end
	// stopPatience is how long an orderly shutdown may take: a small buffer pool is written to a slow disk.
	stopPatience = 5 * time.Minute
	// grace is how long a server may take to end after the caller's context has.
	grace = 10 * time.Second
)

// A Server is a mysqld that runs and answers. It lives no longer than the function that [Run] has given it to.
type Server struct {
	db      *mysqlx.DB
	socket  string
	process *process
}

// DB returns connections to the server. Run closes it.
func (s *Server) DB() *mysqlx.DB { return s.db }

// Socket returns the path of the server's socket.
func (s *Server) Socket() string { return s.socket }

// PID returns the id of the server's process.
func (s *Server) PID() int { return s.process.cmd.Process.Pid }

// Log returns the end of what the server has said, at most some dozen lines: errors if there are any.
func (s *Server) Log() []string { return s.process.said.lines() }

// Run starts a server, waits until it answers, calls use, and shuts the server down. However it ends, no server is left when it returns; and the kernel
// kills the server if this process dies. (It does not for a program with file capabilities; then the end of the container has to.)
//
// Starting and stopping take as long as they take: crash recovery is not bounded, ctx is. The context of use ends, with an [*EndedError] as its cause, when
// the server ends by itself. When ctx ends, before or after, the server is given 10 seconds to end.
//
// Errors: that of use, as it is, unless the server ended by itself, which is an [*EndedError] that has use's error in its chain. Before use: an EndedError in
// the phase Starting, [*OwnerError], [*RunDirError], [*UnusableError], why it cannot be logged in to. After use, if that had no error: an EndedError if
// the server did not shut down in order.
func Run(ctx context.Context, o Options, use func(ctx context.Context, s *Server) error) error {
	err := run(ctx, o, use)
	ended, ok := errors.AsType[*EndedError](err)
	if !ok || ended.Phase != Starting {
		return err
	}
	// It is part of the data, is not to be seen from outside, and no server starts with another one.
	lower, ok := lowerCaseInDictionary(ended.whole)
	if !ok {
		return err
	}
	return run(ctx, o, use, "--lower-case-table-names="+lower)
}

func run(ctx context.Context, o Options, use func(ctx context.Context, s *Server) error, more ...string) (err error) {
	dataDir, owner, err := o.checkDataDir()
	if err != nil {
		return fmt.Errorf("run mysqld: %w", err)
	}
	as, args, err := identity(os.Geteuid(), int(owner.Uid), int(owner.Gid), dataDir)
	if err != nil {
		return fmt.Errorf("run mysqld: %w", err)
	}
	runDir, err := o.makeRunDir(as)
	if err != nil {
		return fmt.Errorf("run mysqld: %w", err)
	}
	defer os.RemoveAll(runDir)
	socket := socketIn(runDir)
	login := o.Login
	if o.NoAccounts {
		login = mysqlx.Credentials{User: "root"} // whoever
	}
	db, err := mysqlx.Open(mysqlx.Endpoint{Address: socket, Credentials: login})
	if err != nil {
		return err
	}
	defer db.Close()

	p, err := start(o, as, o.arguments(dataDir, runDir, append(args, more...)...))
	if err != nil {
		return &UnusableError{Path: o.Program, Err: err}
	}
	defer p.kill() // whatever happens below, a panic in use included
	s := &Server{db: db, socket: socket, process: p}
	if err := s.wait(ctx); err != nil {
		p.end(grace)
		return err
	}
	using, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-p.done:
			cancel(p.ended(Running, nil))
		case <-using.Done():
		}
	}()
	err = use(using, s)
	cancel(nil)
	<-watched
	return s.stop(ctx, err)
}

// wait returns when the server answers.
func (s *Server) wait(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := s.db.Ping(ctx)
		if err == nil {
			return nil
		}
		if mysqlx.IsAccessDenied(err) {
			return err // waiting does not change that
		}
		select {
		case <-s.process.done:
			return s.process.ended(Starting, nil)
		case <-ctx.Done():
			return fmt.Errorf("wait for mysqld to answer: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// stop ends the server in order, and returns what became of it, used being what its use came to.
func (s *Server) stop(ctx context.Context, used error) error {
	p := s.process
	select {
	case <-p.done:
		return p.ended(Running, used)
	default:
	}
	if ctx.Err() != nil {
		p.end(grace)
		return used
	}
	telling, cancel := context.WithTimeout(ctx, grace)
	err := s.db.Shutdown(telling)
	cancel()
	if err != nil {
		p.signal(syscall.SIGTERM) // it means the same
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
		p.kill()
		return errors.Join(used, fmt.Errorf("mysqld did not shut down within %v and was killed", stopPatience))
	case <-ctx.Done():
		p.end(grace)
		return used
	}
	switch {
	case p.cmd.ProcessState.Success():
		return used
	case err != nil: // it was on its way out before it was told to
		return p.ended(Running, used)
	case used != nil:
		return used
	}
	return p.ended(Stopping, nil)
}

// A process is one run of the program.
type process struct {
	cmd  *exec.Cmd
	said *tail
	done chan struct{} // closed when it has ended and was waited for
}

// start starts a program that the kernel kills when this process dies. The kernel means the thread that started it, which therefore waits for its end.
func start(o Options, as *syscall.Credential, args []string) (*process, error) {
	p := &process{cmd: exec.Command(o.Program, args...), said: newTail(maxTail), done: make(chan struct{})}
	output := both(p.said, o.Log)
	p.cmd.Env = environment
	p.cmd.Dir = "/"
	p.cmd.Stdout, p.cmd.Stderr = output, output // the same: one goroutine writes
	p.cmd.WaitDelay = waitDelay
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C is for us; we tell the server
		Credential: as,
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState says it all
			close(p.done)
		}
	}()
	return p, <-started
}

// signal reaches the process, unless it has ended.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// end tells the process to end, kills it if it has not after some time, and returns when it is gone.
func (p *process) end(patience time.Duration) {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
	}
}

// kill returns when the process is gone.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// ended says how the process ended, which it has. cause may be nil.
func (p *process) ended(phase Phase, cause error) error {
	state := p.cmd.ProcessState
	killed := false
	status := "in an unknown way"
	if state != nil {
		status = state.String()
		if w, ok := state.Sys().(syscall.WaitStatus); ok {
			killed = w.Signaled() && w.Signal() == syscall.SIGKILL
		}
	}
	log := p.said.String()
	return &EndedError{
		Phase: phase, Trouble: trouble(log, killed), Status: status, Log: p.said.lines(), Err: cause, whole: log,
	}
}
