package mysqltest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"ordinal/mysqlx"
)

const (
	startTimeout = 90 * time.Second // crash recovery on a busy two-core machine included
	stopTimeout  = 30 * time.Second
	pollInterval = 20 * time.Millisecond
)

// process is one run of mysqld.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait, once done is closed
}

// startProcess starts a program that the kernel kills when this process dies. The kernel means the thread that started it, which
// therefore waits for the program's end.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, <-started
}

func (s *Server) start(ctx context.Context, args ...string) error {
	output, err := os.OpenFile(s.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	cmd := s.Distribution.Command(slices.Concat(s.args, args)...)
	cmd.Stdout, cmd.Stderr = output, output // what it says before it opens its log
	p, err := startProcess(cmd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.db.Ping(ctx)
		if err == nil || mysqlx.IsAccessDenied(err) {
			return err // waiting changes neither answer
		}
		select {
		case <-p.done:
			return fmt.Errorf("mysqld ended while starting (%v):\n%s", p.err, tail(s.Log(), 3000))
		case <-ctx.Done():
			s.end()
			return fmt.Errorf("mysqld does not answer: %w\n%s", err, tail(s.Log(), 3000))
		case <-time.After(pollInterval):
		}
	}
}

// end makes sure that mysqld is gone: asked first, then killed.
func (s *Server) end() {
	p := s.current()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Stop shuts mysqld down in order, and kills it after half a minute. A server that is not running stays so.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end()
}

// Kill9 ends mysqld as a crash would.
func (s *Server) Kill9(t testing.TB) {
	t.Helper()
	if p := s.current(); p != nil {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Restart stops mysqld if it runs and starts it again on the same data, socket and address. args are added for this start only.
func (s *Server) Restart(t testing.TB, args ...string) {
	t.Helper()
	s.end()
	if err := s.start(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// Done is closed when the mysqld that was started last has ended.
func (s *Server) Done() <-chan struct{} { return s.current().done }

// PID returns the process of the mysqld that was started last.
func (s *Server) PID() int { return s.current().cmd.Process.Pid }

// Log returns what mysqld has written to its error log so far, all starts included.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
