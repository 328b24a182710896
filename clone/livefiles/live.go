package livefiles

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotLive is what errors of Check match when the directory is there but is not proven to be the one the server works in.
var ErrNotLive = errors.New("not the server's live data directory")

// Check reports whether dir, a path of this process, is the directory in which the server works, on a file system that
// one kernel serves. It is nil only if all of this holds:
//
//   - the file system is local, and files opened on it are the ones that others write to: not NFS, FUSE, 9p, an overlay;
//   - auto.cnf has the server's UUID;
//   - some process, Server.PID if it is known, holds a lock on one of the files that a server keeps locked all its life. Locks
//     belong to files of this kernel: no copy, snapshot or remote mount of the directory has them.
//
// Otherwise the error matches ErrNotLive and says what is missing, or is that of a file operation; the server is to send
// its files itself then. The answer is as old as the call; Open asks again.
func Check(dir string, s Server) error {
	root, err := openLive(dir, s)
	if err != nil {
		return err
	}
	return root.Close()
}

// openLive opens the directory after making sure of it. The caller closes it.
func openLive(dir string, s Server) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	for _, check := range []func(*os.Root, Server) error{checkFileSystem, checkUUID, checkLock} {
		if err := check(root, s); err != nil {
			return nil, errors.Join(fmt.Errorf("data directory %s: %w", dir, err), root.Close())
		}
	}
	return root, nil
}

// notLive makes an error that matches ErrNotLive.
func notLive(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrNotLive, fmt.Errorf(format, args...))
}

// oneKernel holds the magic numbers, see statfs(2), of file systems whose files every process of a machine shares through one
// kernel. An overlay is not among them although it is local: a file that was opened before its first write stays the old one.
var oneKernel = map[int64]string{
	unix.EXT4_SUPER_MAGIC:  "ext4", // and ext2, ext3
	unix.XFS_SUPER_MAGIC:   "xfs",
	unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.F2FS_SUPER_MAGIC:  "f2fs",
	unix.TMPFS_MAGIC:       "tmpfs",
	0x2fc12fc1:             "zfs",
	0xca451a4e:             "bcachefs",
}

func checkFileSystem(root *os.Root, _ Server) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("ask for its file system: %w", err)
	}
	if oneKernel[int64(st.Type)] == "" {
		return notLive("its file system, type %#x, is not known to show what the server writes", uint64(st.Type))
	}
	return nil
}

// maxAutoCnf bounds what is read of auto.cnf, in bytes. The server writes two lines.
const maxAutoCnf = 4 << 10

func checkUUID(root *os.Root, s Server) error {
	f, err := openPlain(root, "auto.cnf", 0)
	if errors.Is(err, fs.ErrNotExist) {
		return notLive("it has no auto.cnf")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxAutoCnf))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		if strings.TrimSpace(key) != "server-uuid" {
			continue
		}
		if uuid := strings.TrimSpace(value); uuid == "" || !strings.EqualFold(uuid, s.UUID) {
			return notLive("it belongs to server %q, the donor is %q", uuid, s.UUID)
		}
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read auto.cnf: %w", err)
	}
	return notLive("its auto.cnf names no server")
}

// lockedFiles are names of files that InnoDB locks when it opens them. The first ones stay locked; the others lose the lock when the
// server clones them, because closing any descriptor of a file releases a process's locks on it. See fcntl(2).
func (s Server) lockedFiles() []string {
	return []string{
		"ibtmp1",
		fmt.Sprintf("#ib_%d_0.dblwr", s.PageSize),
		fmt.Sprintf("#ib_%d_1.dblwr", s.PageSize),
		"#innodb_temp/temp_10.ibt",
		"#innodb_temp/temp_1.ibt",
		"mysql.ibd",
		"undo_001",
		"ibdata1",
	}
}

func checkLock(root *os.Root, s Server) error {
	var other int
	for _, name := range s.lockedFiles() {
		switch pid, err := lockHolder(root, name); {
		case err != nil || pid < 0: // perhaps another file
		case s.PID != 0 && pid != s.PID:
			other = pid
		default:
			return nil
		}
	}
	if other != 0 {
		return notLive("its files are in use by process %d, the server is process %d", other, s.PID)
	}
	return notLive("no server has its files open")
}

// lockHolder returns the process that holds a lock on a file: -1 if none does, 0 if it cannot be seen from here.
func lockHolder(root *os.Root, name string) (pid int, err error) {
	f, err := openPlain(root, name, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return -1, err
	}
	if lock.Type == unix.F_UNLCK {
		return -1, nil
	}
	return int(lock.Pid), nil // -1: a lock of another kind, which no server takes
}
