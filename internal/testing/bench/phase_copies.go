package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/internal/testing/localset"
)

// measureCopies lets everybody copy in turns, and the agent start on what it has copied.
func (s *site) measureCopies(ctx context.Context, f *found) (err error) {
	if f.Copies, err = s.inTurns(ctx, s.contenders()); err != nil {
		return err
	}
	f.Starts, err = s.measureStarts(ctx)
	return err
}

// measureStarts runs agent init on a complete volume.
func (s *site) measureStarts(ctx context.Context) (seconds []float64, err error) {
	if _, err := s.cloneByAgent(ctx, s.ways[0]); err != nil {
		return nil, err
	}
	pod := s.set.Pod(recipient)
	args := []string{
		"init", "--pod-name=" + pod.Name, "--peer-host=" + setHosts, "--replicas=2", "--volume=" + pod.Volume,
		"--mysql-config-dir=" + pod.ConfigDir, "--mysql-address=" + pod.Socket, "--secret-file=" + s.set.SecretFile(),
		fmt.Sprintf("--data-listen=%s:%d", pod.Host, localset.DataPort), fmt.Sprintf("--status-listen=%s:%d", pod.Host, localset.StatusPort),
	}
	for range s.starts {
		cmd := exec.CommandContext(ctx, s.agent, args...)
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		begun := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("agent init on a complete volume: %w: %s", err, out)
		}
		seconds = append(seconds, time.Since(begun).Seconds())
	}
	return seconds, s.clear(ctx)
}
