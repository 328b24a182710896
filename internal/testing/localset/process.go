package localset

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is one run of a program, in a process group of its own: what a program started itself ends with it, and the terminal's
// Ctrl-C does not reach it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was reaped
	code int           // exit code, or 128 + signal, as a kubelet reports it; valid once done is closed

	mu     sync.Mutex
	reaped bool // its id may belong to somebody else now
}

// startProcess starts a program with its output appended to log, unless it has another place for that. The kernel kills it when this
// process dies. The kernel means the thread that started it, which therefore waits for the program's end. That thread calls enter
// before, if it is not nil, and is of no use to anybody else afterwards.
func startProcess(cmd *exec.Cmd, log *os.File, enter func() error) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		var err error
		if enter == nil {
			defer runtime.UnlockOSThread()
		} else {
			err = enter() // a thread that is still locked ends with its goroutine
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			p.reap()
		}
	}()
	return p, <-started
}

// reap waits for the end, ends what is left of the group and only then gives the id back to the kernel.
func (p *process) reap() {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	p.mu.Lock()
	_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
	_ = p.cmd.Wait() // the state below says more than the error
	p.reaped = true
	p.mu.Unlock()
	p.code = exitCode(p.cmd.ProcessState)
	close(p.done)
}

func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// signal reaches the whole group, or nobody if the program has ended.
func (p *process) signal(sig syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.reaped && unix.Kill(-p.cmd.Process.Pid, sig) == nil
}

// end asks the program to end, kills it after grace or when hurry is closed, and returns when it is gone. It calls killing when asking
// was not enough.
func (p *process) end(grace time.Duration, hurry <-chan struct{}, killing func()) {
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	case <-hurry:
	}
	killing()
	p.signal(syscall.SIGKILL)
	<-p.done
}

func appendFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}
