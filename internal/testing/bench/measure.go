package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/internal/progress"
	"ordinal/internal/testing/localset"
)

// measure runs everything in turns: each clone by the agent has one by the server right after it.
func (b *bench) measure(ctx context.Context) (*result, error) {
	r := &result{Machine: describeMachine(b.dir), Server: b.distribution.Version.String(), Rounds: b.rounds, Started: b.began.UTC().Round(time.Second)}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	if err := b.fill(ctx, int64(b.size)); err != nil {
		return nil, err
	}
	// The first clone of a server opens every tablespace: nobody's to pay.
	if _, err := b.cloneByServer(ctx); err != nil {
		return nil, err
	}
	for round := range b.rounds {
		for i, workers := range b.options.workers {
			if round == 0 {
				r.Ways = append(r.Ways, way{Workers: workers})
			}
			ours, err := b.cloneByAgent(ctx, workers)
			if err != nil {
				return nil, fmt.Errorf("clone by the agent with %d workers: %w", workers, err)
			}
			theirs, err := b.cloneByServer(ctx)
			if err != nil {
				return nil, fmt.Errorf("clone by the server: %w", err)
			}
			b.say("round %d of %d, %d workers: agent %.0f MB/s, CLONE INSTANCE %.0f MB/s, ratio %.2f", round+1, b.rounds, workers,
				ours.rate(), theirs.rate(), ours.rate()/theirs.rate())
			r.Ways[i].Pairs = append(r.Ways[i].Pairs, pair{ours, theirs})
		}
	}
	if b.rss > 0 {
		if err := b.fill(ctx, int64(b.rss)); err != nil {
			return nil, err
		}
		run, err := b.cloneByAgent(ctx, 3)
		if err != nil {
			return nil, fmt.Errorf("clone %s: %w", progress.Bytes(int64(b.rss)), err)
		}
		b.say("%s: donor sidecar %d MiB, recipient %d MiB, %.0f MB/s", progress.Bytes(run.Bytes), run.SidecarHWM>>20, run.RecipientHWM>>20, run.rate())
		r.Memory = &run
	}
	return r, errors.Join(b.measureStarts(ctx, r), b.measureBinary(r))
}

// cloneByAgent lets a recipient with an empty volume make itself, and proves that its server replicates afterwards. Pod and volume are
// left as they are until the next call.
func (b *bench) cloneByAgent(ctx context.Context, workers int) (c cloned, err error) {
	if err := b.removeRecipient(ctx); err != nil {
		return c, err
	}
	pod := b.set.Pod(recipient)
	b.mu.Lock()
	b.workers = workers
	b.mu.Unlock()
	sidecar, err := findProcess("run", "--volume="+b.set.Pod(donor).Volume)
	if err != nil {
		return c, err
	}
	server, err := pidFromFile(filepath.Join(b.set.Pod(donor).Dir, "run", "mysqld.pid"))
	if err != nil {
		return c, err
	}
	before, err := b.usages(sidecar, server)
	if err != nil {
		return c, err
	}
	begun := time.Now()
	if err := b.set.Scale(ctx, recipient+1); err != nil {
		return c, err
	}
	init, err := watchToEnd(ctx, "init", "--volume="+pod.Volume)
	if err != nil {
		return c, err
	}
	after, err := b.usages(sidecar, server)
	if err != nil {
		return c, err
	}
	if c, err = b.readLog(ctx, pod, begun); err != nil {
		return c, err
	}
	c.Sidecar = (after[0].cpu - before[0].cpu).Seconds()
	c.Donor = (after[1].cpu - before[1].cpu).Seconds()
	c.Recipient = init.cpu.Seconds()
	c.SidecarHWM, c.RecipientHWM = after[0].hwm, init.hwm
	if err := b.set.WaitReady(ctx, recipient); err != nil {
		return c, err
	}
	c.Ready = time.Since(begun).Seconds()
	// What follows must not compete with a server that recovers and replicates.
	return c, b.set.Scale(ctx, recipient)
}

func (b *bench) usages(pids ...int) ([]usage, error) {
	list := make([]usage, len(pids))
	for i, pid := range pids {
		var err error
		if list[i], err = usageOf(pid); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// readLog takes from the recipient's log what it says of its clone, and from the events how long the program took.
func (b *bench) readLog(ctx context.Context, pod localset.Pod, begun time.Time) (c cloned, err error) {
	for c.Whole == 0 {
		if c.Whole = b.initTook(pod, begun).Seconds(); c.Whole > 0 {
			break
		}
		select {
		case <-ctx.Done():
			return c, fmt.Errorf("wait for the end of agent init: %w", context.Cause(ctx))
		case <-time.After(watchEvery): // the process has ended; the event is about to come
		}
	}
	log, err := os.ReadFile(pod.LogFile(localset.Init))
	if err != nil {
		return c, err
	}
	at := bytes.LastIndex(log, []byte(`"msg":"cloned"`))
	line := log[bytes.LastIndexByte(log[:max(at, 0)], '\n')+1:]
	var entry struct {
		Took  string `json:"took"`
		Bytes int64  `json:"bytes"`
	}
	if at < 0 {
		return c, errors.New("its log does not say that it cloned")
	}
	if err := json.NewDecoder(bytes.NewReader(line)).Decode(&entry); err != nil {
		return c, fmt.Errorf("read its log: %w", err)
	}
	took, err := time.ParseDuration(entry.Took)
	if err != nil {
		return c, fmt.Errorf("read its log: %w", err)
	}
	c.Copy, c.Bytes = took.Seconds(), entry.Bytes
	return c, nil
}

// initTook is how long the agent init took that was started after begun and ended well; 0 if none has.
func (b *bench) initTook(pod localset.Pod, begun time.Time) time.Duration {
	var from time.Time
	for _, e := range b.set.Events() {
		if e.Pod != pod.Name || e.Process != localset.Init || e.Time.Before(begun) {
			continue
		}
		switch {
		case e.Kind == localset.Started:
			from = e.Time
		case e.Kind == localset.Exited && e.Code == 0:
			return e.Time.Sub(from)
		}
	}
	return 0
}

// cloneByServer lets the other server clone into an empty directory. See refman/8.4 clone-plugin-remote.
func (b *bench) cloneByServer(ctx context.Context) (c cloned, err error) {
	dir := filepath.Join(b.dir, "by-server")
	if err := b.removeAll(dir); err != nil {
		return c, err
	}
	server, err := pidFromFile(filepath.Join(b.set.Pod(donor).Dir, "run", "mysqld.pid"))
	if err != nil {
		return c, err
	}
	other, err := pidFromFile(filepath.Join(b.other.Pod(0).Dir, "run", "mysqld.pid"))
	if err != nil {
		return c, err
	}
	before, err := b.usages(server, other)
	if err != nil {
		return c, err
	}
	begun := time.Now()
	// Names and paths of our own making: nothing to quote.
	err = b.other.Exec(ctx, 0, fmt.Sprintf("CLONE INSTANCE FROM 'cloner'@'%s':%d IDENTIFIED BY '%s' DATA DIRECTORY = '%s'",
		b.set.Pod(donor).Host, localset.MySQLPort, clonerPassword, dir))
	if err != nil {
		return c, err
	}
	c.Whole = time.Since(begun).Seconds()
	after, err := b.usages(server, other)
	if err != nil {
		return c, err
	}
	c.Donor = (after[0].cpu - before[0].cpu).Seconds()
	c.Recipient = (after[1].cpu - before[1].cpu).Seconds()
	rows, err := b.other.Query(ctx, 0, `SELECT TIMESTAMPDIFF(MICROSECOND, MIN(BEGIN_TIME), MAX(END_TIME)), CAST(SUM(DATA) AS SIGNED)
		FROM performance_schema.clone_progress WHERE STATE = 'Completed' AND STAGE IN ('FILE COPY', 'PAGE COPY', 'REDO COPY', 'FILE SYNC')`)
	if err != nil {
		return c, err
	}
	micros, err := strconv.ParseInt(rows[0][0], 10, 64)
	if err == nil {
		c.Bytes, err = strconv.ParseInt(rows[0][1], 10, 64)
	}
	if err != nil {
		return c, fmt.Errorf("read performance_schema.clone_progress: %w", err)
	}
	c.Copy = float64(micros) / 1e6
	return c, b.removeAll(dir)
}

// measureStarts runs agent init on the recipient's volume, which is complete.
func (b *bench) measureStarts(ctx context.Context, r *result) error {
	pod := b.set.Pod(recipient)
	args := []string{
		"init", "--pod-name=" + pod.Name, "--peer-host=" + setHosts, "--replicas=2", "--volume=" + pod.Volume,
		"--mysql-config-dir=" + pod.ConfigDir, "--mysql-address=" + pod.Socket, "--secret-file=" + b.set.SecretFile(),
		fmt.Sprintf("--data-listen=%s:%d", pod.Host, localset.DataPort), fmt.Sprintf("--status-listen=%s:%d", pod.Host, localset.StatusPort),
	}
	for range b.starts {
		cmd := exec.CommandContext(ctx, b.agent, args...)
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		begun := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("agent init on a complete volume: %w: %s", err, out)
		}
		r.Starts = append(r.Starts, time.Since(begun).Seconds())
	}
	return nil
}

func (b *bench) measureBinary(r *result) error {
	info, err := os.Stat(b.agent)
	if err != nil {
		return err
	}
	r.Binary = info.Size()
	return nil
}
