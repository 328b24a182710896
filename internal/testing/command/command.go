// Package command runs programs that tests need.
package command

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Run runs a program to its end, in a process group of its own, and kills that when ctx ends. The error has the end of what it printed.
func Run(ctx context.Context, cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // with its children
	err := cmd.Wait()
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), context.Cause(ctx))
	}
	if err != nil {
		text := bytes.TrimSpace(out.Bytes())
		if len(text) > 2000 {
			text = text[len(text)-2000:]
		}
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, text)
	}
	return nil
}
