package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"ordinal/internal/testing/mysqltest"
)

// bench is one run.
type bench struct {
	options
	distribution mysqltest.Distribution
	began        time.Time
	known        func(way) bool // the agent has its flags
	result       *result
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// leaveOut notes what is not measured.
func (b *bench) leaveOut(format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if slices.Contains(b.result.Left, why) {
		return
	}
	b.say("left out: %s", why)
	b.result.Left = append(b.result.Left, why)
}

// run measures at each place. It fails if there is none to measure at.
func (b *bench) run(ctx context.Context) (*result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done within %v", patience))
	defer cancel()
	b.result = &result{Machine: describeMachine(), Server: b.distribution.Version.String(), Rounds: b.rounds, Started: b.began.UTC().Round(time.Second)}
	if err := b.meetAgent(ctx); err != nil {
		return nil, err
	}
	for i, place := range b.dirs {
		phases := b.phases
		if i > 0 {
			phases = slices.DeleteFunc(slices.Clone(phases), func(p string) bool { return p != phaseCopies && p != phaseWrites })
		}
		if len(phases) == 0 {
			continue
		}
		if err := b.measureAt(ctx, place, phases); err != nil {
			return nil, err
		}
	}
	if len(b.result.Sites) == 0 {
		return nil, errors.New("nothing was measured: " + strings.Join(b.result.Left, "; "))
	}
	b.result.Took = time.Since(b.began).Seconds()
	return b.result, nil
}

// meetAgent learns what the agent is and can do, and leaves out the ways that it cannot go.
func (b *bench) meetAgent(ctx context.Context) error {
	version, err := exec.CommandContext(ctx, b.agent, "version").Output()
	if err != nil {
		return fmt.Errorf("%s version: %w", b.agent, err)
	}
	b.result.Agent = strings.TrimSpace(string(version))
	info, err := os.Stat(b.agent)
	if err != nil {
		return err
	}
	b.result.Binary = info.Size()
	if b.known, err = known(ctx, b.agent); err != nil {
		return err
	}
	b.ways = slices.DeleteFunc(slices.Clone(b.ways), func(w way) bool {
		if b.known(w) {
			return false
		}
		b.leaveOut("%s: this agent does not know %s", w.Name, w.flags())
		return true
	})
	if len(b.ways) == 0 {
		b.ways = ways{{Name: "agent"}} // in the one way that it has
	}
	b.result.Way = b.ways[0].Name
	return nil
}

func (b *bench) measureAt(ctx context.Context, place string, phases list) (err error) {
	dir, err := makeDir(place)
	if err != nil && place == placeMemory {
		b.leaveOut("%s: %v", place, err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	missing, err := room(dir, b.need(phases))
	if err != nil {
		return err
	}
	if missing != "" {
		b.leaveOut("%s: %s", place, missing)
		return nil
	}
	f := found{Place: place, FileSystem: fileSystem(dir)}
	err = b.at(ctx, dir, func(ctx context.Context, s *site) error {
		if !slices.Equal(phases, list{phaseBackups}) { // which has rows of its own
			if err := s.fill(ctx, int64(b.size)); err != nil {
				return err
			}
		}
		for _, phase := range []struct {
			name    string
			measure func(*site, context.Context, *found) error
		}{
			{phaseCopies, (*site).measureCopies},
			{phaseWrites, (*site).measureWrites},
			{phaseBackups, (*site).measureBackups},
			{phaseMemory, (*site).measureMemory},
			{phaseTables, (*site).measureTables}, // the last: it drops the rows
		} {
			if !slices.Contains(phases, phase.name) {
				continue
			}
			s.say("%s on %s", phase.name, f.FileSystem)
			if err := phase.measure(s, ctx, &f); err != nil {
				return fmt.Errorf("%s on %s: %w", phase.name, f.FileSystem, err)
			}
		}
		return nil
	})
	if err == nil {
		b.result.Sites = append(b.result.Sites, f)
	}
	return err
}
