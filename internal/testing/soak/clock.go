package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"ordinal/internal/testing/localset"
)

// A machine's wall clock cannot be moved for one Pod: no namespace has one of its own. So the two programs of a Pod are told another
// time: mysqld by libfaketime, which is loaded before the C library; the agent, which has none, by being built with a time.Now that adds
// what the same file says. Clocks that only count, which time-outs go by, are left alone in both.

// clocks has a file per Pod that says by how much its clock is wrong.
type clocks struct {
	dir      string
	faketime string // the library; "": mysqld's clock is not moved
	agent    bool   // the agent's can be
}

func newClocks(p *prepared, pods int) (*clocks, error) {
	c := &clocks{dir: p.Dir, faketime: p.Faketime, agent: p.Movable}
	for ordinal := range pods {
		if err := c.set(ordinal, 0); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *clocks) file(ordinal int) string {
	return filepath.Join(c.dir, fmt.Sprintf("clock-%d", ordinal))
}

// set makes a Pod's clock wrong by so much, in whole seconds. Its programs see it within a second. The file is written in place, because
// the agent has it mapped: see testdata/jump.go.
func (c *clocks) set(ordinal int, by time.Duration) error {
	f, err := os.OpenFile(c.file(ordinal), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%+08d", int64(by/time.Second))
	return errors.Join(err, f.Close())
}

// env is what a Pod's programs need to look at that file. See localset.Options.Env.
func (c *clocks) env(ordinal int, process localset.Process) []string {
	switch {
	case process != localset.Mysqld:
		return []string{"ORDINAL_SOAK_CLOCK=" + c.file(ordinal)}
	case c.faketime == "":
		return nil
	}
	return []string{
		"LD_PRELOAD=" + c.faketime, "FAKETIME_TIMESTAMP_FILE=" + c.file(ordinal), "FAKETIME_CACHE_DURATION=1", "NO_FAKE_STAT=1",
		"FAKETIME_DONT_FAKE_MONOTONIC=1",
		"FAKETIME_FORCE_MONOTONIC_FIX=0", // otherwise InnoDB's waits end at once, again and again
	}
}

// findFaketime returns libfaketime from where it was installed, else from Debian's package, downloaded once.
func findFaketime(ctx context.Context) (string, error) {
	if path := faketimeBelow("/"); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	root := filepath.Join(cache, "ordinal", "tools", "libfaketime")
	if path := faketimeBelow(root); path != "" {
		return path, nil
	}
	work, err := os.MkdirTemp("", "faketime")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	get := exec.CommandContext(ctx, "apt-get", "download", "libfaketime")
	get.Dir = work
	if out, err := get.CombinedOutput(); err != nil {
		return "", fmt.Errorf("apt-get download libfaketime: %w: %s", err, lastLine(out))
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(packages) != 1 {
		return "", errors.Join(err, fmt.Errorf("apt-get left %d packages", len(packages)))
	}
	if out, err := exec.CommandContext(ctx, "dpkg", "-x", packages[0], root).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack libfaketime: %w: %s", err, lastLine(out))
	}
	if path := faketimeBelow(root); path != "" {
		return path, nil
	}
	return "", errors.New("the package libfaketime has no library for many threads")
}

// faketimeBelow looks for the library for programs with threads where Debian puts it.
func faketimeBelow(root string) string {
	found, _ := filepath.Glob(filepath.Join(root, "usr/lib/*/faketime/libfaketimeMT.so.1")) // the pattern is well-formed
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}
