// Command bench measures a clone by the agent against the server's own CLONE INSTANCE, a cold copy by tar and the bare disk, on the same
// data, on one machine, in turns; on a disk and on a memory file system. It also measures what a clone takes from the source's writers,
// backups, restores and replays against the server's own tools and cp, memory at two sizes, many small tables, and what the agent is
// promised to stay below. Everything is real: mysqld, the agent, TLS, the disk; only Kubernetes is played by localset. See
// docs/benchmarks.md.
//
//	go run ./internal/testing/bench [-quick] [-dirs disk,mem] [-phases copies,writes,backups,memory,tables] [-docs FILE] …
//
// Its parts: places.go and site.go say where it runs, contenders.go, keep_*.go and replay.go who runs, phase_*.go what is measured,
// result*.go what is found, aims.go what was hoped for, report*.go and table.go how it is printed.
//
// It exits 0 when all limits hold, 1 when one does not or something went wrong. A ratio is no limit: it depends on the machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

// patience ends a run that hangs.
const patience = 3 * time.Hour

func main() {
	o, ok := parse(os.Args[1:], os.Stderr)
	if !ok {
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: FAILED: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.docs != "" { // found out now, not after half an hour
		if _, err := withResults(o.docs, section{marks: resultsMarks}, section{marks: backupsMarks}); err != nil {
			return err
		}
	}
	r, err := measureOrRead(o)
	if err != nil {
		return err
	}
	return errors.Join(publish(o, r), r.overLimit())
}

func measureOrRead(o options) (*result, error) {
	if o.from == "" {
		return measure(o)
	}
	content, err := os.ReadFile(o.from)
	if err != nil {
		return nil, err
	}
	r := new(result)
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("%s: %w", o.from, err)
	}
	return r, nil
}

func measure(o options) (_ *result, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once, and the kernel ends its children
	distribution, err := mysqltest.Find(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(o.agent); err != nil {
		dir, err := os.MkdirTemp("", "bench-agent")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.agent = filepath.Join(dir, "agent")
		if err := localset.Build(ctx, o.agent); err != nil {
			return nil, err
		}
	}
	b := &bench{options: o, distribution: distribution, began: time.Now()}
	r, err := b.run(ctx)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	return r, err
}

// publish prints what was found in the forms that were asked for.
func publish(o options, r *result) error {
	if o.docs != "" {
		content, err := withResults(o.docs, r.sections()...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.docs, content, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "bench: wrote the results to", o.docs)
	}
	switch {
	case o.json:
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	case o.markdown:
		_, err := os.Stdout.WriteString(r.markdown())
		return err
	}
	_, err := os.Stdout.WriteString(r.text())
	return err
}
