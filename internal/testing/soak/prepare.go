package main

import (
	"context"
	"fmt"
	"os"

	"ordinal/internal/testing/mysqltest"
)

// prepared is what a run needs from the network, the machine's or the world's, so what it cannot get where the Pods live.
type prepared struct {
	Seed      uint64
	Dir       string // of the Pods
	Temporary bool   // Dir goes when all was well
	Agent     string // its program
	Movable   bool   // the agent's clock is
	Faketime  string // the library that moves mysqld's; "": there is none
}

// prepare finds or downloads mysqld and libfaketime, and builds the agent. A clock that cannot be moved is no error.
func prepare(ctx context.Context, o options) (_ *prepared, err error) {
	p := &prepared{Seed: o.seed, Dir: o.dir, Agent: o.agent}
	if p.Dir == "" {
		if p.Dir, err = os.MkdirTemp("", "soak"); err != nil {
			return nil, err
		}
		p.Temporary = true
	} else if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := (mysqltest.Finder{Progress: os.Stderr}).Find(ctx); err != nil {
		return p, err
	}
	if o.faketime != "none" {
		p.Faketime = o.faketime
	}
	if o.faketime == "" {
		if p.Faketime, err = findFaketime(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "soak: mysqld's clock stays right: %v\n", err)
		}
	}
	if p.Agent == "" {
		p.Agent, p.Movable, err = buildAgent(ctx, p.Dir)
		return p, err
	}
	return p, nil
}
