package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"ordinal/internal/mysqld"
)

// Names of what the agent does.
const (
	nameBackup     = "agent backup"
	nameBareBackup = "agent backup, no checks after"
	nameRestore    = "agent restore"
	nameVerify     = "agent verify"
)

// An agentKeeper keeps a backup in a store in the file system, by the agent's commands.
type agentKeeper struct {
	*site
	store string
	rows  int64 // that a server must find in shop.orders
}

// backup makes one as it is made when nothing else is said: the tables' checksums are read before the copy and after it, and all of the
// store is read again before the backup counts.
func (k agentKeeper) backup(ctx context.Context) (trial, error) { return k.make(ctx) }

// backupBarely does what a copy does that nobody looks at again. It leaves nothing.
func (k agentKeeper) backupBarely(ctx context.Context) (t trial, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(k.store)) }()
	return k.make(ctx, "--checksums=0s", "--reread=sizes")
}

func (k agentKeeper) make(ctx context.Context, args ...string) (t trial, err error) {
	if err := os.MkdirAll(k.store, 0o750); err != nil {
		return t, err
	}
	server, err := mysqldOf(k.set.Pod(donor))
	if err != nil {
		return t, err
	}
	sidecar, err := k.sidecar()
	if err != nil {
		return t, err
	}
	before, err := usages(server, sidecar)
	if err != nil {
		return t, err
	}
	r, err := k.command(ctx, k.store, append([]string{"backup", "--set=bench", "--peer-host=" + setHosts, "--replicas=1"}, args...)...)
	if err != nil {
		return t, err
	}
	after, err := usages(server, sidecar)
	if err != nil {
		return t, err
	}
	var said struct {
		Stored int64 `json:"stored_bytes"`
	}
	if err := json.Unmarshal(r.out, &said); err != nil || said.Stored <= 0 {
		return t, fmt.Errorf("agent backup printed %q: %w", r.out, err)
	}
	t.Seconds, t.Stored, t.HWM = r.took.Seconds(), said.Stored, r.hwm
	t.CPU = spent{Server: (after[0].cpu - before[0].cpu).Seconds(), Sidecar: (after[1].cpu - before[1].cpu).Seconds(), Programs: r.cpu.Seconds()}
	return t, nil
}

// verify reads all of the backup.
func (k agentKeeper) verify(ctx context.Context) (t trial, err error) {
	r, err := k.command(ctx, k.store, "verify")
	t.Seconds, t.HWM, t.CPU.Programs = r.took.Seconds(), r.hwm, r.cpu.Seconds()
	return t, err
}

// restore makes a directory of the backup, and starts a server on it.
func (k agentKeeper) restore(ctx context.Context) (t trial, err error) {
	begun := time.Now()
	r, err := k.command(ctx, k.store, "restore", "--into="+k.restored())
	if err != nil {
		return t, err
	}
	t.Seconds, t.HWM, t.CPU.Programs = r.took.Seconds(), r.hwm, r.cpu.Seconds()
	err = k.serve(ctx, nil, func(ctx context.Context, server *mysqld.Server) error {
		t.Ready = time.Since(begun).Seconds()
		used, err := usageOf(server.PID())
		t.CPU.Server = used.cpu.Seconds()
		return errors.Join(err, hasRows(ctx, server, k.rows))
	})
	return t, err
}

// serve starts a server on what was restored, with more options if there are any, and ends it when use has returned. It writes a binary
// log and is as durable as a server is by default; its buffer pool is the donor's.
func (s *site) serve(ctx context.Context, options []string, use func(context.Context, *mysqld.Server) error) error {
	program, err := s.mysqldProgram()
	if err != nil {
		return err
	}
	o := mysqld.Options{Program: program, DataDir: s.restored(), NoAccounts: true, BinaryLog: true, Args: options}
	return mysqld.Run(ctx, o, use)
}

// hasRows makes sure that a server has what was backed up.
func hasRows(ctx context.Context, server *mysqld.Server, rows int64) error {
	found, err := server.DB().Query(ctx, "SELECT COUNT(*) FROM shop.orders")
	if err == nil && found[0][0] != fmt.Sprint(rows) {
		err = fmt.Errorf("the restored server has %s rows, want %d", found[0][0], rows)
	}
	return err
}
