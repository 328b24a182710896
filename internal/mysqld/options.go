package mysqld

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"ordinal/mysqlx"
)

// Options say on what a server runs, and how.
type Options struct {
	Program string // see Find
	// DataDir is a data directory: complete, in use by nobody, and from now on changed. The server runs as the user that it belongs to: as root we become that
	// user, as somebody else we have to be it.
	DataDir string
	// RunDir is where a directory of the server's own is made, for its socket; it is removed at the end. Empty: the directory for temporary files, or
	// another one if the path of a socket there would be too long.
	RunDir string
	// TmpDir is for the server's temporary files, such as the changes of a large transaction. Empty: the server's own directory below RunDir.
	TmpDir string

	// NoAccounts lets in whoever reaches the socket, with all rights (skip_grant_tables): nobody but us and root can. The passwords in the data are neither
	// needed nor changed. Statements about accounts are errors then, and plugins, components and loadable functions that the data names are not loaded.
	NoAccounts bool
	// Login is who we are if not NoAccounts.
	Login mysqlx.Credentials

	ReadOnly   bool   // super_read_only
	BinaryLog  bool   // keep a binary log; without it gtid_executed is the same
	ServerID   uint32 // 0: 1
	PageSize   int    // innodb_page_size in bytes; 0: the server's default
	BufferPool int64  // innodb_buffer_pool_size in bytes; 0: DefaultBufferPool
	Args       []string

	// Log gets all that the server says; writes come from one goroutine at a time. Nil: only the end of it is kept, for errors.
	Log io.Writer
}

// DefaultBufferPool is the size of the buffer pool in bytes where nothing else is said.
const DefaultBufferPool = 128 << 20

// environment is all that a server gets of ours: nothing, so that no secret can be in it.
var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}

// checkDataDir returns the data directory's absolute path, and who it belongs to.
func (o *Options) checkDataDir() (path string, owner *syscall.Stat_t, err error) {
	if path, err = filepath.Abs(o.DataDir); err != nil {
		return "", nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	if !info.IsDir() {
		return "", nil, fmt.Errorf("%s is not a directory", path)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", nil, errors.New("the system does not say who it belongs to")
	}
	return path, owner, nil
}

// identity says how a process of user own runs a server as the owner of a data directory: as whom it is started, and what the server is told.
// A server that is started as root goes on as root only if it is told to.
func identity(own, owner, group int, dataDir string) (as *syscall.Credential, args []string, err error) {
	switch {
	case own == 0 && owner == 0:
		return nil, []string{"--user=root"}, nil
	case own == 0:
		// The user needs no name, which images of others do not have; and none of our other groups.
		return &syscall.Credential{Uid: uint32(owner), Gid: uint32(group), Groups: []uint32{}}, nil, nil
	case own == owner:
		return nil, nil, nil
	}
	return nil, nil, &OwnerError{DataDir: dataDir, Owner: owner, Own: own}
}

// arguments returns the server's command line. What is not the same in all versions is "loose": unknown options are passed over.
func (o *Options) arguments(dataDir, runDir string, more ...string) []string {
	pool, id, tmp := o.BufferPool, o.ServerID, o.TmpDir
	if pool == 0 {
		pool = DefaultBufferPool
	}
	if id == 0 {
		id = 1
	}
	if tmp == "" {
		tmp = runDir
	}
	args := []string{
		"--no-defaults", // first, as it must be
		"--persisted-globals-load=OFF",
		"--datadir=" + dataDir,
		"--socket=" + socketIn(runDir),
		"--pid-file=" + filepath.Join(runDir, "pid"),
		"--tmpdir=" + tmp,
		// Who can reach it.
		"--skip-networking",
		"--loose-mysqlx=OFF",
		"--local-infile=OFF",
		"--secure-file-priv=NULL",
		"--max-connections=20",
		// What it does by itself.
		"--loose-skip-replica-start=ON",
		"--loose_skip_slave_start=ON",
		"--event-scheduler=DISABLED",
		"--innodb-buffer-pool-load-at-startup=OFF",
		"--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--loose-auto-generate-certs=OFF",
		"--loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
		"--loose-sha256-password-auto-generate-rsa-keys=OFF",
		// What history it has.
		"--gtid-mode=ON",
		"--enforce-gtid-consistency=ON",
		"--server-id=" + strconv.FormatUint(uint64(id), 10),
		// How much it takes.
		"--innodb-buffer-pool-size=" + strconv.FormatInt(pool, 10),
		"--performance-schema=OFF",
	}
	if o.NoAccounts {
		args = append(args, "--skip-grant-tables")
	}
	if o.ReadOnly {
		args = append(args, "--super-read-only=ON")
	}
	if !o.BinaryLog {
		args = append(args, "--disable-log-bin")
	}
	if o.PageSize != 0 {
		args = append(args, "--innodb-page-size="+strconv.Itoa(o.PageSize))
	}
	args = append(args, more...)
	return append(args, o.Args...) // the caller's win
}

// maxSocket is how long the path of a unix socket may be, in bytes. See unix(7).
const maxSocket = 107

func socketIn(runDir string) string { return filepath.Join(runDir, "sock") }

// makeRunDir makes a directory that only its owner may enter. The path is short enough for a socket in it.
func (o *Options) makeRunDir(as *syscall.Credential) (dir string, err error) {
	parents := []string{o.RunDir}
	if o.RunDir == "" {
		parents = []string{os.TempDir(), "/tmp", "/run", "/dev/shm"}
	}
	for _, parent := range parents {
		var made string
		if made, err = makePrivate(parent, as); err == nil {
			return made, nil
		}
	}
	return "", &RunDirError{Parents: parents, Err: err}
}

func makePrivate(parent string, as *syscall.Credential) (dir string, err error) {
	if parent, err = filepath.Abs(parent); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(parent, "ordinal-"); err != nil { // mode 0700
		return "", err
	}
	if n := len(socketIn(dir)); n > maxSocket {
		err = fmt.Errorf("the path of a socket in %s would have %d bytes, at most %d are possible", parent, n, maxSocket)
	}
	if err == nil && as != nil {
		err = os.Chown(dir, int(as.Uid), int(as.Gid))
	}
	if err != nil {
		_ = os.Remove(dir)
		return "", err
	}
	return dir, nil
}

// RunDirError says that there is no place for a server's socket.
type RunDirError struct {
	Parents []string // that were tried
	Err     error    // of the last
}

func (e *RunDirError) Error() string {
	return fmt.Sprintf("no place for the socket of a mysqld: %v", e.Err)
}
func (e *RunDirError) Unwrap() error { return e.Err }

// Hint says what an operator can do about it.
func (e *RunDirError) Hint() string {
	return "set TMPDIR to a directory that is writable and has a short path, such as an emptyDir at /tmp"
}

// ExitCode is 73: cannot be made.
func (e *RunDirError) ExitCode() int { return 73 }
