package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// The agent that the soak builds believes what its clock's file says, also when it changes.
func TestAgentClock(t *testing.T) {
	if !outside.Movable {
		t.Skip("the standard library's clock does not look as expected")
	}
	dir := t.TempDir()
	c, err := newClocks(&prepared{Dir: dir, Movable: true}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), bytes.Repeat([]byte("s"), 40), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, jump := range []time.Duration{0, 20 * time.Hour, -90 * time.Second} {
		if err := c.set(0, jump); err != nil {
			t.Fatal(err)
		}
		said := firstLogTime(t, dir, c.env(0, localset.Init))
		if off := time.Since(said) + jump; off.Abs() > 30*time.Second {
			t.Errorf("with a clock that is wrong by %v the agent logs a time that is wrong by %v", jump, jump-off)
		}
	}
}

// firstLogTime runs an agent init that has nobody to clone from, and returns the time of the first line that it logs.
func firstLogTime(t *testing.T, dir string, env []string) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := os.MkdirAll(filepath.Join(dir, "volume"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, outside.Agent, "init", "--pod-name=mysql-1", "--peer-host=127.0.0.{ordinal}", "--replicas=2",
		"--volume="+filepath.Join(dir, "volume"), "--mysql-config-dir="+dir, "--secret-file="+filepath.Join(dir, "secret"),
		"--data-port=1", "--data-listen=127.0.0.1:0", "--status-listen=127.0.0.1:0", "--log-format=json")
	cmd.Env = append(os.Environ(), env...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	var line struct {
		Time time.Time `json:"time"`
	}
	text, err := bufio.NewReader(said).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &line)
	}
	if err != nil {
		t.Fatalf("the agent's first line: %v: %s", err, text)
	}
	return line.Time
}
