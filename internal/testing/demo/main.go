// Command demo shows on one machine what Ordinal promises: three Pods assemble themselves from nothing while rows are written, replicas
// hold the same rows and reject writes, and a Pod that lost its volume comes back by itself. Everything is real: mysqld, the agent,
// the network; only Kubernetes is played by localset.
//
//	go run ./internal/testing/demo [-agent bin/agent] [-rows 300] [-dir DIR] [-keep]
//
// It exits 0 after "demo: ok". With -keep, or KEEP=1 in the environment, it then stays in the foreground until Ctrl-C: nothing that it
// started ever outlives it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"ordinal/agent"
	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

const (
	replicas = 3
	limit    = 5 * time.Minute // for everything but the download of a server and -keep
	logLines = 12              // of each log, shown after a failure
)

type options struct {
	agent string
	rows  int // MB
	dir   string
	keep  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once, and the kernel ends its children
	var o options
	flag.StringVar(&o.agent, "agent", "bin/agent", "the agent's program; built from source if it does not exist")
	flag.IntVar(&o.rows, "rows", 300, "MB of rows to write")
	flag.StringVar(&o.dir, "dir", "", "directory for the Pods, kept afterwards; a short path (default: a temporary one)")
	flag.BoolVar(&o.keep, "keep", os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0", "leave the Pods running until Ctrl-C")
	flag.Parse()
	if flag.NArg() > 0 || o.rows < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "demo: FAILED: %v\n", err)
		os.Exit(1)
	}
}

// worthARetry says whether agent init may do better the next time. See docs/exit-codes.md.
func worthARetry(code int) bool {
	return code == 0 || code == agent.ExitUnavailable || code == agent.ExitTemporary || code > 128
}

func run(ctx context.Context, o options) (err error) {
	began := time.Now()
	out := newConsole(os.Stdout)
	distribution, err := mysqltest.Finder{Progress: os.Stdout}.Find(ctx)
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "demo"); err != nil {
			return err
		}
		defer func() {
			if err == nil || ctx.Err() != nil { // otherwise somebody wants to look
				_ = os.RemoveAll(o.dir)
			}
		}()
	}
	if _, err := os.Stat(o.agent); err != nil {
		o.agent = filepath.Join(o.dir, "agent")
		if err := localset.Build(ctx, o.agent); err != nil {
			return err
		}
	}
	running, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	d := &demo{options: o, out: out}
	d.set, err = localset.New(localset.Options{
		Dir: o.dir, Replicas: replicas, AgentBinary: o.agent, Distribution: distribution,
		OnEvent: func(e localset.Event) {
			switch {
			case e.Kind == localset.Failed:
				giveUp(fmt.Errorf("%s: %s", e.Pod, e.Detail))
			case e.Kind == localset.Exited && e.Process == localset.Init && !worthARetry(e.Code):
				giveUp(fmt.Errorf("%s: agent init ended with code %d: see its log", e.Pod, e.Code))
			}
		},
	})
	if err != nil {
		return err
	}
	out.printf("demo: MySQL %v, %s\n", distribution.Version, distribution.Mysqld())
	out.printf("demo: three Pods in %s: volumes, configuration, logs\n\n", o.dir)

	// The set ends after everything that looks at it.
	power, off := context.WithCancel(context.WithoutCancel(ctx))
	defer off()
	if err := d.set.Start(power); err != nil {
		return err
	}
	defer d.set.Stop()
	err = d.prove(running)
	switch {
	case ctx.Err() != nil:
		off() // nobody waits for an orderly end
		return errors.New("interrupted")
	case err != nil:
		out.printf("%s\n", d.set.LogTails(logLines))
		off()
		if running.Err() != nil {
			err = context.Cause(running) // what made it hopeless, not who noticed
		}
		return fmt.Errorf("%w\ndemo: all logs are in %s/mysql-*/log", err, o.dir)
	}
	d.table(time.Since(began))
	if !o.keep {
		off()
		return nil
	}
	return d.stay(ctx, distribution)
}
