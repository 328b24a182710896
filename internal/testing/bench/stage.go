package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/internal/progress"
	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

// Addresses of our own: a demo may be running.
const (
	setHosts   = "127.0.7.{ordinal}"
	otherHosts = "127.0.8.{ordinal}"
)

// maxWorkers is what the donor of the set allows.
const maxWorkers = 16

const (
	donor     = 0 // ordinals of the set
	recipient = 1 //
	patience  = 30 * time.Minute
	lines     = 15 // of each log, shown after a failure
)

// bench is one run.
type bench struct {
	options
	distribution mysqltest.Distribution
	began        time.Time

	set    *localset.Set // donor and recipient
	other  *localset.Set // one Pod of another cluster, whose server clones by itself
	filled int64         // bytes of rows on the donor

	mu      sync.Mutex
	workers int // of the recipient's next clone
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// run starts everything, measures, and ends everything.
func (b *bench) run(parent context.Context) (_ *result, err error) {
	ctx, giveUp := context.WithCancelCause(parent)
	defer giveUp(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done within %v", patience))
	defer cancel()
	hopeless := func(e localset.Event) {
		switch {
		case e.Kind == localset.Failed:
			giveUp(fmt.Errorf("%s: %s", e.Pod, e.Detail))
		case e.Process == localset.Init && e.Kind == localset.Exited && e.Code != 0 && e.Code < 128:
			giveUp(fmt.Errorf("%s: agent init ended with code %d: see its log", e.Pod, e.Code))
		}
	}
	b.set, err = localset.New(localset.Options{
		Dir: filepath.Join(b.dir, "set"), Name: "bench", Replicas: 2, Hosts: setHosts, AgentBinary: b.agent, Distribution: b.distribution,
		AgentArgs: b.agentArgs, OnEvent: hopeless,
	})
	if err != nil {
		return nil, err
	}
	b.other, err = localset.New(localset.Options{
		Dir: filepath.Join(b.dir, "other"), Name: "other", Replicas: 1, Hosts: otherHosts, AgentBinary: b.agent, Distribution: b.distribution,
		OnEvent: hopeless,
	})
	if err != nil {
		return nil, err
	}
	power, off := context.WithCancel(context.WithoutCancel(parent))
	for _, set := range []*localset.Set{b.set, b.other} {
		if err := set.Start(power); err != nil {
			off()
			return nil, err
		}
		defer func() { <-set.Done() }()
	}
	defer off() // nobody will miss the data
	r, err := b.measure(ctx)
	if err != nil && parent.Err() == nil {
		fmt.Fprintf(os.Stderr, "%s\n%s\n", b.set.LogTails(lines), b.other.LogTails(lines))
		if ctx.Err() != nil {
			err = context.Cause(ctx) // what made it hopeless, not who noticed
		}
	}
	return r, err
}

// agentArgs are asked for at each start of an agent.
func (b *bench) agentArgs(ordinal int) []string {
	if ordinal == donor {
		return []string{fmt.Sprintf("--clone-workers=%d", maxWorkers)} // a recipient may ask for fewer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return []string{fmt.Sprintf("--clone-workers=%d", b.workers)}
}

// prepare waits for all Pods, removes the recipient again and lets the other server clone.
func (b *bench) prepare(ctx context.Context) error {
	b.say("starting a source, a replica, and a server of its own")
	for _, set := range []*localset.Set{b.set, b.other} {
		if err := set.WaitReady(ctx); err != nil {
			return err
		}
	}
	if err := b.removeRecipient(ctx); err != nil {
		return err
	}
	for _, statement := range []string{
		// The server's clone logs in over TCP. See refman/8.4 clone-plugin-remote.
		"CREATE USER 'cloner'@'%' IDENTIFIED BY '" + clonerPassword + "'",
		"GRANT BACKUP_ADMIN ON *.* TO 'cloner'@'%'",
	} {
		if err := b.set.Exec(ctx, donor, statement); err != nil {
			return err
		}
	}
	return b.other.Exec(ctx, 0, "SET GLOBAL clone_valid_donor_list = ?", b.donorAddress())
}

const clonerPassword = "for-benchmarks-only-aA1"

func (b *bench) donorAddress() string {
	return fmt.Sprintf("%s:%d", b.set.Pod(donor).Host, localset.MySQLPort)
}

// fill adds rows to the donor until it has about size bytes of them.
func (b *bench) fill(ctx context.Context, size int64) error {
	if size <= b.filled {
		return nil
	}
	b.say("writing %s of rows", progress.Bytes(size-b.filled))
	// Durable at the end is enough.
	for _, statement := range []string{"SET GLOBAL innodb_flush_log_at_trx_commit = 0", "SET GLOBAL sync_binlog = 0"} {
		if err := b.set.Exec(ctx, donor, statement); err != nil {
			return err
		}
	}
	if err := load.Fill(ctx, b.set.RootEndpoint(donor), size-b.filled, nil); err != nil {
		return err
	}
	b.filled = size
	b.say("written; waiting until the donor's disk is quiet")
	for _, statement := range []string{
		"SET GLOBAL innodb_flush_log_at_trx_commit = 1", "SET GLOBAL sync_binlog = 1",
		// What is still to be written would be written, and sent again, while something is measured.
		"SET GLOBAL innodb_max_dirty_pages_pct = 0", "FLUSH BINARY LOGS",
	} {
		if err := b.set.Exec(ctx, donor, statement); err != nil {
			return err
		}
	}
	return b.settle(ctx)
}

// settle gives the donor some time to write its dirty pages. A few it may keep for long.
func (b *bench) settle(ctx context.Context) error {
	const most, few = 20 * time.Second, "100"
	for deadline := time.Now().Add(most); time.Now().Before(deadline); {
		rows, err := b.set.Query(ctx, donor, `SELECT VARIABLE_VALUE + 0 < `+few+` FROM performance_schema.global_status
			WHERE VARIABLE_NAME = 'Innodb_buffer_pool_pages_dirty'`)
		if err != nil {
			return err
		}
		if len(rows) == 1 && rows[0][0] == "1" {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the donor has written its pages: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
	unix.Sync()
	return nil
}

// removeRecipient ends the recipient's Pod and removes its volume.
func (b *bench) removeRecipient(ctx context.Context) error {
	if err := b.set.Scale(ctx, recipient); err != nil {
		return err
	}
	return b.removeAll(b.set.Pod(recipient).Volume)
}

// removeAll removes files and what the kernel has still to write: the next measurement shall not pay for the last one.
func (b *bench) removeAll(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	unix.Sync()
	return nil
}
