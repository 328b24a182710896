package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"ordinal/internal/mysqld"
	"ordinal/internal/testing/mysqltest"
)

// Names of what is done by dumps.
const (
	nameDump = "mysqldump | zstd"
	nameLoad = "zstd -d | mysql"
)

// A dumpKeeper keeps a logical dump in a file.
type dumpKeeper struct {
	*site
	file string
	rows int64
}

// backup dumps all databases in one transaction, compressed at zstd's default level on all cores, and syncs the file.
func (k dumpKeeper) backup(ctx context.Context) (t trial, err error) {
	login, err := k.loginFile()
	if err != nil {
		return t, err
	}
	server, err := mysqldOf(k.set.Pod(donor))
	if err != nil {
		return t, err
	}
	before, err := usageOf(server)
	if err != nil {
		return t, err
	}
	file, err := os.Create(k.file)
	if err != nil {
		return t, err
	}
	defer file.Close() // was synced
	dump := k.distribution.Tool("mysqldump", "--defaults-file="+login, "--all-databases", "--single-transaction", "--routines", "--events",
		"--set-gtid-purged=ON")
	pack := exec.Command("zstd", "-q", "-c", "-T0")
	pack.Stdout = file
	begun := time.Now()
	if err := errors.Join(pipe(ctx, dump, pack), file.Sync()); err != nil {
		return t, err
	}
	t.Seconds = time.Since(begun).Seconds()
	after, err := usageOf(server)
	if err != nil {
		return t, err
	}
	info, err := file.Stat()
	if err != nil {
		return t, err
	}
	t.Stored = info.Size()
	t.CPU = spent{Server: (after.cpu - before.cpu).Seconds(), Programs: (cpuOf(dump) + cpuOf(pack)).Seconds()}
	return t, nil
}

// loginFile writes how root logs in to the donor.
func (s *site) loginFile() (path string, err error) {
	password, err := os.ReadFile(s.set.RootPasswordFile())
	if err != nil {
		return "", err
	}
	path = s.kept("login.cnf")
	text := fmt.Sprintf("[client]\nuser = root\npassword = %s\nsocket = %s\n", password, s.set.Pod(donor).Socket)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// restore loads the dump into an empty server, which runs already: the start of the server is nobody's to pay.
func (k dumpKeeper) restore(ctx context.Context) (t trial, err error) {
	if err := k.distribution.CopyTemplate(ctx, k.restored()); err != nil {
		return t, err
	}
	err = k.serve(ctx, nil, func(ctx context.Context, server *mysqld.Server) error {
		unpack, into := exec.Command("zstd", "-q", "-d", "-c", k.file), mysqlTool(k.distribution, server)
		before, err := usageOf(server.PID())
		if err != nil {
			return err
		}
		begun := time.Now()
		if err := pipe(ctx, unpack, into); err != nil {
			return err
		}
		t.Seconds = time.Since(begun).Seconds()
		t.Ready = t.Seconds
		after, err := usageOf(server.PID())
		t.CPU = spent{Server: (after.cpu - before.cpu).Seconds(), Programs: (cpuOf(unpack) + cpuOf(into)).Seconds()}
		return errors.Join(err, hasRows(ctx, server, k.rows))
	})
	return t, err
}

// mysqlTool is the client that executes what it reads, in one session.
func mysqlTool(d mysqltest.Distribution, server *mysqld.Server) *exec.Cmd {
	return d.Tool("mysql", "--no-defaults", "--socket="+server.Socket(), "--user=root", "--binary-mode", "--max-allowed-packet=1G")
}
