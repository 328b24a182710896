package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// label is on every container and network of this package: `docker rm -f $(docker ps -aqf label=ordinal.test=pods)` removes what a test that
// was killed has left.
const label = "ordinal.test=pods"

// docker runs the client program and returns what it prints, without the last newline. Its context is not the test's: what ends or removes a
// container must happen even when the test's time is over.
func docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return command(ctx, "docker", args...)
}

// command runs a program and returns what it prints; what it says on standard error is in the error.
func command(ctx context.Context, name string, args ...string) (string, error) {
	var said, out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// execute runs a command of the client program that has an exit code to be looked at. What it says on standard error comes as an error, nil for
// nothing.
func execute(ctx context.Context, args []string) (stdout string, code int, stderr error) {
	var said, out bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", -1, err
	}
	if said.Len() > 0 {
		stderr = errors.New(strings.TrimSpace(said.String()))
	}
	return out.String(), cmd.ProcessState.ExitCode(), stderr
}

// logs returns what a container has printed so far, both streams in their order.
func logs(id string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	text, err := exec.CommandContext(ctx, "docker", "logs", id).CombinedOutput()
	return string(text), err
}
