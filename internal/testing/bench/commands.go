package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ran is what became of a command of the agent.
type ran struct {
	out, log []byte
	took     time.Duration
	cpu      time.Duration // its own, and that of the programs that it has started
	hwm      int64         // the largest of their largest resident sets
}

// command runs a command of the agent that is no Pod of the set, on a store.
func (s *site) command(ctx context.Context, store string, args ...string) (r ran, err error) {
	args = append(args, "--store=file://"+store, "--secret-file="+s.set.SecretFile(), "--log-format=json")
	cmd := exec.CommandContext(ctx, s.agent, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	begun := time.Now()
	err = cmd.Run()
	r.took = time.Since(begun)
	if err != nil {
		return r, fmt.Errorf("agent %s: %w: %s", args[0], err, log.Bytes()[max(0, log.Len()-1000):])
	}
	r.out, r.log, r.cpu = out.Bytes(), log.Bytes(), cpuOf(cmd)
	if used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.hwm = used.Maxrss << 10 // see getrusage(2)
	}
	return r, nil
}

// pipe runs programs, each reading what the one before it writes, and returns when all have ended well. If one fails all are ended.
func pipe(ctx context.Context, list ...*exec.Cmd) error {
	said := make([]bytes.Buffer, len(list))
	var ends []*os.File // of ours: a stream ends when those who have it do
	defer func() {
		for _, end := range ends {
			_ = end.Close()
		}
	}()
	for i, cmd := range list {
		cmd.Stderr, cmd.SysProcAttr = &said[i], &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if i == 0 {
			continue
		}
		out, in, err := os.Pipe()
		if err != nil {
			return err
		}
		list[i-1].Stdout, cmd.Stdin = in, out
		ends = append(ends, out, in)
	}
	var started []*exec.Cmd
	var err error
	for _, cmd := range list {
		if err = cmd.Start(); err != nil {
			break
		}
		started = append(started, cmd)
	}
	for _, end := range ends {
		_ = end.Close()
	}
	ends = nil
	kill := func() {
		for _, cmd := range started {
			_ = cmd.Process.Kill()
		}
	}
	if err != nil {
		kill()
	}
	stop := context.AfterFunc(ctx, kill)
	defer stop()
	errs := make([]error, len(started))
	var wg sync.WaitGroup
	for i, cmd := range started {
		wg.Go(func() {
			if err := cmd.Wait(); err != nil {
				errs[i] = fmt.Errorf("%s: %w: %s", programOf(cmd), err, said[i].Bytes()[:min(said[i].Len(), 1000)])
				kill()
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(append(errs, err)...)
}

// programOf names a program: one that is unpacked is started by its loader, with the path after that's options.
func programOf(cmd *exec.Cmd) string {
	for _, arg := range slices.Backward(cmd.Args) {
		if filepath.IsAbs(arg) && !strings.Contains(arg, ":") && filepath.Base(filepath.Dir(arg)) == "bin" {
			return filepath.Base(arg)
		}
	}
	return filepath.Base(cmd.Path)
}

// mysqldProgram makes one program of the server, which may have to be started by a loader and with options: for what takes a path.
func (s *site) mysqldProgram() (path string, err error) {
	argv := s.distribution.Command().Args
	options := slices.Index(argv, "--no-defaults") // the first of them; whoever starts it says that himself
	if options < 0 {
		return "", fmt.Errorf("the command of the server is %q: want --no-defaults in it", argv)
	}
	quoted := func(args []string) string {
		list := make([]string, len(args))
		for i, arg := range args {
			list[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		return strings.Join(list, " ")
	}
	path = filepath.Join(s.dir, "mysqld")
	text := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" %s\n", quoted(argv[:options]), quoted(argv[options+1:]))
	return path, os.WriteFile(path, []byte(text), 0o755)
}
