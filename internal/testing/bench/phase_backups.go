package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// asItIs is the donor's sidecar when nothing else is said.
var asItIs = way{Name: "as it is"}

// measureBackups lets the agent and others back the donor's data up, restore it, and execute what was written afterwards, in turns.
// It leaves other rows than it found.
func (s *site) measureBackups(ctx context.Context, f *found) error {
	if exec.CommandContext(ctx, s.agent, "backup", "--help").Run() != nil {
		s.leaveOut("backups: this agent makes none")
		return nil
	}
	if err := s.clear(ctx); err != nil {
		return err
	}
	if err := s.use(ctx, asItIs); err != nil { // what came before may have limited it
		return err
	}
	rows, err := s.fillOrders(ctx, int64(s.size))
	if err != nil {
		return err
	}
	f.Backups = new(backups)
	if err := s.keepInTurns(ctx, f.Backups, rows); err != nil {
		return err
	}
	if f.Backups.Replay, err = s.replayInTurns(ctx); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return s.clear(ctx)
}

// keepInTurns backs up and restores. What is restored in a round was backed up in it.
func (s *site) keepInTurns(ctx context.Context, found *backups, rows int64) error {
	making, restoring := s.keepers(rows)
	for round := range s.rounds {
		if err := s.clear(ctx); err != nil {
			return err
		}
		for _, step := range []struct {
			tasks []task
			found *[]trials
		}{{making, &found.Backup}, {restoring, &found.Restore}} {
			if err := s.takeTurns(ctx, round, step.tasks, step.found); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepers are all who make backups, and all who restore them. Who lacks a program is left out.
func (s *site) keepers(rows int64) (making, restoring []task) {
	agent, raw := agentKeeper{s, s.kept("agent"), rows}, rawKeeper{s, s.kept("raw")}
	making = []task{
		{nameBackup, agent.backup},
		{nameBareBackup, agentKeeper{s, s.kept("bare"), rows}.backupBarely},
	}
	restoring = []task{{nameRestore, agent.restore}, {nameVerify, agent.verify}}
	if missing := s.missing("mysqldump", "mysql", "zstd"); missing != "" {
		s.leaveOut("%s: there is no %s", nameDump, missing)
	} else {
		dump := dumpKeeper{s, s.kept("dump.sql.zst"), rows}
		making, restoring = append(making, task{nameDump, dump.backup}), append(restoring, task{nameLoad, dump.restore})
	}
	return append(making, task{nameRaw, raw.backup}), append(restoring, task{nameRawBack, raw.restore})
}

// missing returns the first program that is neither the server's nor in PATH, "" if all are there.
func (s *site) missing(programs ...string) string {
	for _, program := range programs {
		if s.distribution.Tool(program).Err != nil {
			return program
		}
	}
	return ""
}

// A task is what somebody does when it is his turn.
type task struct {
	name string
	do   func(context.Context) (trial, error)
}

// takeTurns lets each task be done once, in each round another one first, and adds what was found in the order of the list.
func (s *site) takeTurns(ctx context.Context, round int, list []task, found *[]trials) error {
	if *found == nil {
		for _, t := range list {
			*found = append(*found, trials{Name: t.name})
		}
	}
	var line []string
	for turn := range list {
		i := (turn + round) % len(list)
		if err := s.calm(); err != nil {
			return err
		}
		run, err := list[i].do(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", list[i].name, err)
		}
		run.Bytes = s.files.bytes
		(*found)[i].Runs = append((*found)[i].Runs, run)
		line = append(line, fmt.Sprintf("%s %.1f s", list[i].name, run.Seconds))
	}
	s.say("round %d of %d: %s", round+1, s.rounds, strings.Join(line, "; "))
	return nil
}

// kept is the path of something that is kept: beside the volumes, on the same disk.
func (s *site) kept(name string) string { return filepath.Join(s.dir, "kept", name) }

// restored is where data is restored to, in each turn anew.
func (s *site) restored() string { return filepath.Join(s.dir, "restored") }

// calm removes what was restored last, and what the kernel has still to write, and leaves nothing in the page cache that anybody is to
// read.
func (s *site) calm() error {
	if err := errors.Join(os.RemoveAll(s.restored()), os.MkdirAll(s.kept("."), 0o750)); err != nil {
		return err
	}
	unix.Sync()
	kept, err := listAll(s.kept("."))
	return errors.Join(err, kept.evict(), s.files.evict())
}
