package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

type options struct {
	minutes    float64
	pods       int
	seed       uint64
	durability string
	agent      string
	dir        string
	converge   time.Duration
	json       bool
	plan       bool
	loopback   bool
	faketime   string
	without    []string
}

func main() {
	o, ok := parse(os.Args[1:])
	if !ok {
		os.Exit(2)
	}
	if o.plan {
		printPlan(os.Stdout, o)
		return
	}
	if err := soakOnce(o); err != nil {
		fmt.Fprintf(os.Stderr, "soak: FAILED: %v\n", err)
		os.Exit(1)
	}
}

// soakOnce gets what is needed, moves into a world of its own, where this function is called a second time, and runs.
func soakOnce(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once, and the kernel ends its children
	p, err := fromOutside()
	if p == nil && err == nil {
		if p, err = prepare(ctx, o); err == nil && !o.loopback {
			err = p.enterWorld() // returns only to say that it cannot
		}
	}
	if err == nil {
		err = p.run(ctx, o)
	}
	if p != nil && p.Temporary && (err == nil || ctx.Err() != nil) { // otherwise somebody wants to look
		_ = os.RemoveAll(p.Dir)
	}
	return err
}

func parse(args []string) (o options, ok bool) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.Float64Var(&o.minutes, "minutes", 10, "how long things go wrong, in minutes")
	flags.IntVar(&o.pods, "pods", 5, "number of Pods, 3 to 9")
	flags.Uint64Var(&o.seed, "seed", 0, "replays the fault plan of the run that printed it (default: any)")
	flags.StringVar(&o.durability, "durability", "semisync",
		"semisync: the source's volume goes in the middle of writing; async: only when replicas have everything")
	flags.StringVar(&o.agent, "agent", "", "the agent's program (default: built from source, with a clock that can be moved)")
	flags.StringVar(&o.dir, "dir", "", "directory for the Pods, kept afterwards; a short path (default: a temporary one, kept after a failure)")
	flags.DurationVar(&o.converge, "converge", 4*time.Minute, "how long the set may take to get over its faults")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON, and progress on standard error")
	flags.BoolVar(&o.plan, "plan", false, "only print the beginning of the fault plan")
	flags.BoolVar(&o.loopback, "loopback", false, "all Pods on the loopback: nothing needs root, and no network is ever cut")
	flags.StringVar(&o.faketime, "faketime", "", "libfaketime.so.1, for mysqld's clock; none: it is not moved (default: found or downloaded)")
	flags.Func("without", "a kind of fault that is left out, as -plan spells it; may be given more than once", func(name string) error {
		if !slices.Contains(passing, kind(name)) && !slices.Contains(grave, kind(name)) {
			return errors.New("there is no such kind")
		}
		o.without = append(o.without, name)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, false
	}
	if flags.NArg() > 0 || o.minutes <= 0 || o.pods < 3 || o.pods > 9 || o.durability != "semisync" && o.durability != "async" {
		flags.Usage()
		return o, false
	}
	if o.seed == 0 {
		o.seed = 1 + rand.Uint64()>>16 // not too long to be typed
	}
	return o, true
}

// run does what was asked for with what was prepared.
func (p *prepared) run(ctx context.Context, o options) (err error) {
	out := newConsole(os.Stdout)
	if o.json {
		out = newConsole(os.Stderr)
	}
	o.seed = p.Seed
	s, err := newSoak(ctx, o, p, out)
	if err != nil {
		return err
	}
	r := s.run(ctx)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case o.json:
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(r); err != nil {
			return err
		}
	default:
		out.print(r.text())
	}
	if len(r.Wrong) > 0 {
		return fmt.Errorf("%d things are wrong; seed %d; all logs are in %s/mysql-*/log, what happened in %s/events.log", len(r.Wrong), p.Seed, p.Dir, p.Dir)
	}
	return nil
}
