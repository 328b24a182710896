package livefiles

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// A Server is what the donor's mysqld says of where its files are. The values are the server's, unchanged.
type Server struct {
	DataDir      string // @@datadir, an absolute path as mysqld sees it
	UndoDir      string // @@innodb_undo_directory
	DataHomeDir  string // @@innodb_data_home_dir; NULL is ""
	DataFilePath string // @@innodb_data_file_path
	FlushMethod  string // @@innodb_flush_method
	PageSize     uint32 // @@innodb_page_size, in bytes
	UUID         string // @@server_uuid

	// PID is mysqld's process as this process sees it, 0 if it does not: see PIDBehind. It tells two servers apart that both run on
	// a directory with this UUID.
	PID int
}

// writesDirect reports whether the server writes its data files past the page cache. See refman/8.4 sysvar_innodb_flush_method.
func (s Server) writesDirect() bool { return strings.HasPrefix(s.FlushMethod, "O_DIRECT") }

// PIDBehind returns the process that listens on a unix socket, for Server.PID. It is 0, and no error, for a process of another PID
// namespace, as in another container. It connects, and hangs up at once.
func PIDBehind(ctx context.Context, socket string) (int, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, fmt.Errorf("find the process behind a socket: %w", err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	var cred *unix.Ucred
	if err == nil {
		ctl := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
		err = errors.Join(ctl, err)
	}
	if err != nil {
		return 0, fmt.Errorf("find the process behind %s: %w", socket, err)
	}
	return int(cred.Pid), nil
}
