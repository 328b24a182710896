package main

import (
	"context"
	"fmt"
	"strings"
)

// kind is who makes a copy.
type kind string

// Kinds of contenders.
const (
	byAgent  kind = "agent"
	byServer kind = "server"
	byTar    kind = "tar"
	byWrite  kind = "write" // no copy: as many bytes from nowhere
)

// Names of the contenders that are no way of the agent.
const (
	nameAutotune = "CLONE INSTANCE"
	nameThreads  = "CLONE INSTANCE, 4 threads"
	nameTar      = "tar | tcp | tar, fsync"
	nameWrite    = "raw write"
)

// contender makes a copy of the donor's data files in its own way, on call.
type contender struct {
	name string
	kind kind
	args []string
	copy func(context.Context, *site) (copied, error)
}

func agentContender(w way) contender {
	return contender{name: w.Name, kind: byAgent, args: w.Args, copy: func(ctx context.Context, s *site) (copied, error) {
		return s.cloneByAgent(ctx, w)
	}}
}

// serverContender clones with a number of threads; 0 leaves the number to the server.
func serverContender(name string, threads int) contender {
	return contender{name: name, kind: byServer, copy: func(ctx context.Context, s *site) (copied, error) {
		return s.cloneByServer(ctx, threads)
	}}
}

// contenders are all that a copy is compared with.
func (b *bench) contenders() []contender {
	var list []contender
	for _, w := range b.ways {
		list = append(list, agentContender(w))
	}
	return append(list,
		serverContender(nameAutotune, 0),
		serverContender(nameThreads, 4),
		contender{name: nameTar, kind: byTar, copy: func(ctx context.Context, s *site) (copied, error) { return s.copyByTar(ctx) }},
		contender{name: nameWrite, kind: byWrite, copy: func(ctx context.Context, s *site) (copied, error) { return s.writeRaw(ctx) }},
	)
}

// inTurns lets all contenders run once per round, each time another one first, and returns what they found in the order of the list.
func (s *site) inTurns(ctx context.Context, list []contender) ([]figures, error) {
	found := make([]figures, len(list))
	for i, c := range list {
		found[i] = figures{Name: c.name, Kind: c.kind, Args: c.args}
	}
	// The first clone of a server opens every tablespace: nobody's to pay.
	if _, err := s.cloneByServer(ctx, 0); err != nil {
		return nil, fmt.Errorf("first clone by the server: %w", err)
	}
	for round := range s.rounds {
		var line []string
		for turn := range list {
			i := (turn + round) % len(list)
			if err := s.clear(ctx); err != nil {
				return nil, err
			}
			run, err := list[i].copy(ctx, s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list[i].name, err)
			}
			run.Bytes = s.files.bytes
			found[i].Runs = append(found[i].Runs, run)
			line = append(line, fmt.Sprintf("%s %.0f", list[i].name, run.rate()))
		}
		s.say("round %d of %d, MB/s: %s", round+1, s.rounds, strings.Join(line, "; "))
	}
	return found, s.clear(ctx)
}
