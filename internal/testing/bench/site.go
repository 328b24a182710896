package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/internal/testing/localset"
)

// Addresses of our own: a demo may be running.
const (
	setHosts   = "127.0.7.{ordinal}"
	otherHosts = "127.0.8.{ordinal}"
)

const (
	donor     = 0  // ordinals of the set
	recipient = 1  //
	lines     = 15 // of each log, shown after a failure
)

// A site is where it is measured: a donor with data, a place for a recipient, and a server of another cluster that clones by itself.
type site struct {
	*bench
	dir   string
	set   *localset.Set // donor and recipient
	other *localset.Set // one Pod, whose server clones by itself
	files files         // the donor's data files as of the last fill

	mu  sync.Mutex
	way way // what agents that start now are told
}

// at starts the servers below dir, lets measure do its work, and ends and removes everything.
func (b *bench) at(parent context.Context, dir string, measure func(context.Context, *site) error) (err error) {
	ctx, giveUp := context.WithCancelCause(parent)
	defer giveUp(nil)
	hopeless := func(e localset.Event) { // one at a time
		switch {
		case e.Kind == localset.Failed:
			giveUp(fmt.Errorf("%s: %s", e.Pod, e.Detail))
		case e.Kind == localset.Exited && e.Process == localset.Init && e.Code != 0 && e.Code < 128:
			giveUp(fmt.Errorf("%s: agent init ended with code %d: see its log", e.Pod, e.Code))
		}
	}
	s := &site{bench: b, dir: dir}
	s.set, err = localset.New(localset.Options{
		Dir: filepath.Join(dir, "set"), Name: "bench", Replicas: 2, Hosts: setHosts, AgentBinary: b.agent, Distribution: b.distribution,
		AgentArgs: s.agentArgs, OnEvent: hopeless,
	})
	if err != nil {
		return err
	}
	s.other, err = localset.New(localset.Options{
		Dir: filepath.Join(dir, "other"), Name: "other", Replicas: 1, Hosts: otherHosts, AgentBinary: b.agent, Distribution: b.distribution,
		OnEvent: hopeless,
	})
	if err != nil {
		return err
	}
	power, off := context.WithCancel(context.WithoutCancel(parent))
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, set := range []*localset.Set{s.set, s.other} {
		if err := set.Start(power); err != nil {
			off()
			return err
		}
		defer func() { <-set.Done() }()
	}
	defer off() // nobody will miss the data
	if err = s.prepare(ctx); err == nil {
		err = measure(ctx, s)
	}
	if err != nil && parent.Err() == nil {
		fmt.Fprintf(os.Stderr, "%s\n%s\n", s.set.LogTails(lines), s.other.LogTails(lines))
		if ctx.Err() != nil {
			err = context.Cause(ctx) // what made it hopeless, not who noticed
		}
	}
	return err
}

// agentArgs are asked for at each start of an agent, donor's and recipient's.
func (s *site) agentArgs(int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.way.Args
}

// prepare waits for all Pods, removes the recipient again and lets the other server clone.
func (s *site) prepare(ctx context.Context) error {
	s.say("starting a source, a replica, and a server of its own on %s", fileSystem(s.dir))
	for _, set := range []*localset.Set{s.set, s.other} {
		if err := set.WaitReady(ctx); err != nil {
			return err
		}
	}
	if err := s.clear(ctx); err != nil {
		return err
	}
	for _, statement := range []string{
		// The server's clone logs in over TCP. See refman/8.4 clone-plugin-remote.
		"CREATE USER 'cloner'@'%' IDENTIFIED BY '" + clonerPassword + "'",
		"GRANT BACKUP_ADMIN ON *.* TO 'cloner'@'%'",
	} {
		if err := s.set.Exec(ctx, donor, statement); err != nil {
			return err
		}
	}
	return s.other.Exec(ctx, 0, "SET GLOBAL clone_valid_donor_list = ?", s.donorAddress())
}

const clonerPassword = "for-benchmarks-only-aA1"

func (s *site) donorAddress() string {
	return fmt.Sprintf("%s:%d", s.set.Pod(donor).Host, localset.MySQLPort)
}

// Copies that are made beside the recipient's volume.
func (s *site) byServer() string { return filepath.Join(s.dir, "by-server") }
func (s *site) byTar() string    { return filepath.Join(s.dir, "by-tar") }
func (s *site) raw() string      { return filepath.Join(s.dir, "raw") }

// clear ends the recipient's Pod and removes every copy, and what the kernel has still to write: the next measurement shall not pay for
// the last one. Nor shall it find the donor's files in the page cache.
func (s *site) clear(ctx context.Context) error {
	if err := s.set.Scale(ctx, recipient); err != nil {
		return err
	}
	for _, path := range []string{s.set.Pod(recipient).Volume, s.byServer(), s.byTar(), s.raw(), s.kept("."), s.restored()} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	unix.Sync()
	return s.files.evict()
}

// use makes a way the one of all agents that start, and starts the donor's sidecar anew, also so that its memory is that of one clone.
func (s *site) use(ctx context.Context, w way) error {
	s.mu.Lock()
	s.way = w
	s.mu.Unlock()
	old, err := s.sidecar()
	if err != nil {
		return err
	}
	if err := unix.Kill(old, unix.SIGTERM); err != nil {
		return fmt.Errorf("end the donor's sidecar: %w", err)
	}
	err = s.until(ctx, "the donor's sidecar to start anew", func() (bool, error) {
		pid, err := s.sidecar()
		return err == nil && pid != old, nil
	})
	if err != nil {
		return err
	}
	return s.set.WaitReady(ctx, donor)
}

func (s *site) sidecar() (pid int, err error) {
	return findProcess("run", "--volume="+s.set.Pod(donor).Volume)
}

// until waits for something that is looked for every 10 ms.
func (s *site) until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-time.After(watchEvery):
		}
	}
}
