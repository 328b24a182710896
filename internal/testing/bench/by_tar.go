package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// copyByTar copies the donor's data files as somebody would who has stopped the server: one tar writes into a TCP connection, another
// one reads from it, and everything is synced. Here the server is up, but idle. Nothing lies between the two programs but the kernel,
// nothing is encrypted or checked: the cheapest copy over a network that there is.
func (s *site) copyByTar(ctx context.Context) (c copied, err error) {
	if err := os.Mkdir(s.byTar(), 0o750); err != nil {
		return c, err
	}
	begun := time.Now()
	sent, received, err := tarOverTCP(ctx, s.files, s.byTar())
	if err != nil {
		return c, err
	}
	syncing, err := ownCPU(func() error { return syncTree(s.byTar()) })
	if err != nil {
		return c, err
	}
	c.Copy = time.Since(begun).Seconds()
	c.Whole, c.Received = c.Copy, s.files.bytes
	c.CPU = cpu{Sender: sent.Seconds(), Recipient: (received + syncing).Seconds()}
	return c, nil
}

// tarOverTCP returns the CPU time of both programs.
func tarOverTCP(ctx context.Context, from files, to string) (sent, received time.Duration, err error) {
	out, in, err := connect(ctx)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	send := exec.CommandContext(ctx, "tar", "--create", "--file=-", "--directory="+from.dir, "--null", "--verbatim-files-from", "--files-from=-")
	send.Stdin, send.Stdout = strings.NewReader(strings.Join(from.names, "\x00")), out
	extract := exec.CommandContext(ctx, "tar", "--extract", "--file=-", "--directory="+to)
	extract.Stdin = in
	var errs [2]strings.Builder
	send.Stderr, extract.Stderr = &errs[0], &errs[1]
	for _, cmd := range []*exec.Cmd{send, extract} {
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if err = cmd.Start(); err != nil {
			break
		}
	}
	// Each end belongs to its program alone: the stream ends when that does.
	_, _ = out.Close(), in.Close()
	if err != nil {
		cancel()
		if send.Process != nil {
			_ = send.Wait()
		}
		return 0, 0, err
	}
	err = send.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // "some files differ": the idle server has written something to one
	}
	if err != nil {
		cancel()
	}
	if err = errors.Join(err, extract.Wait()); err != nil {
		return 0, 0, fmt.Errorf("tar: %w: %s%s", err, errs[0].String(), errs[1].String())
	}
	return cpuOf(send), cpuOf(extract), nil
}

func cpuOf(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// connect returns both ends of a TCP connection over the loopback, as programs want them: blocking.
func connect(ctx context.Context) (out, in *os.File, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	dialed, err := new(net.Dialer).DialContext(ctx, "tcp4", listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	defer dialed.Close()
	accepted, err := listener.Accept() // at once: it is connected
	if err != nil {
		return nil, nil, err
	}
	defer accepted.Close()
	if out, err = blocking(dialed); err != nil {
		return nil, nil, err
	}
	if in, err = blocking(accepted); err != nil {
		_ = out.Close()
	}
	return out, in, err
}

func blocking(conn net.Conn) (*os.File, error) {
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(int(file.Fd()), false); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// syncTree makes all files and directories below dir durable, itself included.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
