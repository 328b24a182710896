// Command bench measures a clone by the agent against the server's own CLONE INSTANCE, on the same data, on one machine, in turns. It
// also measures what the agent is promised to stay below: memory, the size of the program, the time of `agent init` on a complete
// volume. Everything is real: mysqld, the agent, TLS, the disk; only Kubernetes is played by localset. See docs/benchmarks.md.
//
//	go run ./internal/testing/bench [-size 1GB] [-rss 2GB] [-rounds 3] [-workers 0,1,3] [-dir DIR] [-json]
//
// It exits 0 when all limits hold, 1 when one does not or something went wrong. A ratio is no limit: it depends on the machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

type options struct {
	agent   string
	size    byteSize // rows of the comparison
	rss     byteSize // rows while memory is watched; 0: not watched
	rounds  int
	starts  int // of agent init on a complete volume
	workers counts
	dir     string
	json    bool
}

func main() {
	o := options{size: 1e9, rss: 2e9, rounds: 3, starts: 20, workers: counts{0, 1, 3}}
	flag.StringVar(&o.agent, "agent", "bin/agent", "the agent's program; built from source if it does not exist")
	flag.Var(&o.size, "size", "rows to write for the comparison, like 300MB; with indexes and system tables a clone is larger")
	flag.Var(&o.rss, "rss", "rows to write for the clone during which memory is watched; 0 leaves that out")
	flag.IntVar(&o.rounds, "rounds", o.rounds, "how often each way is measured")
	flag.IntVar(&o.starts, "starts", o.starts, "how often agent init is run on a complete volume")
	flag.Var(&o.workers, "workers", "extra connections of the agent's clone, one run each per round")
	flag.StringVar(&o.dir, "dir", "", "where to put all data, kept afterwards; a short path (default: a temporary one)")
	flag.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	flag.Parse()
	if flag.NArg() > 0 || o.size < 1e6 || o.rounds < 1 || o.starts < 1 {
		flag.Usage()
		os.Exit(2)
	}
	exit(run(o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: FAILED: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once, and the kernel ends its children
	distribution, err := mysqltest.Find(ctx)
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "bench"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(o.dir) }()
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	if _, err := os.Stat(o.agent); err != nil {
		o.agent = filepath.Join(o.dir, "agent")
		if err := localset.Build(ctx, o.agent); err != nil {
			return err
		}
	}
	b := &bench{options: o, distribution: distribution, began: time.Now()}
	result, err := b.run(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if o.json {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	} else {
		_, err = os.Stdout.WriteString(result.table())
	}
	return errors.Join(err, result.overLimit())
}

// byteSize is a flag in bytes, with a decimal unit if one is given.
type byteSize int64

// Set parses what a user wrote.
func (b *byteSize) Set(s string) error {
	number, factor := strings.ToUpper(s), 1.0
	for _, unit := range []struct {
		name   string
		factor float64
	}{{"GB", 1e9}, {"MB", 1e6}} {
		if n, ok := strings.CutSuffix(number, unit.name); ok {
			number, factor = n, unit.factor
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(n >= 0 && n*factor <= 1e15) { // in a form that refuses NaN
		return errors.New("want a size like 300MB or 2GB")
	}
	*b = byteSize(n * factor)
	return nil
}

func (b *byteSize) String() string { return fmt.Sprintf("%gGB", float64(*b)/1e9) }

// counts is a flag with a list of numbers.
type counts []int

// Set parses what a user wrote.
func (c *counts) Set(s string) error {
	*c = nil
	for field := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 0 || n > maxWorkers {
			return fmt.Errorf("want numbers from 0 to %d, with commas", maxWorkers)
		}
		*c = append(*c, n)
	}
	return nil
}

func (c *counts) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint([]int(*c)), " ", ","), "[]")
}
