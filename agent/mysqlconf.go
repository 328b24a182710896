package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ordinal/internal/atomicfile"
)

// configFile is the name of mysqld's configuration in its directory of *.cnf: the last to be read, so that it wins.
const configFile = "zz-ordinal.cnf"

// binlogName is the base name of the server's binlogs.
const binlogName = "binlog"

// relayLogName is that of the relay logs.
const relayLogName = "relay"

// defaultPageSize is innodb_page_size where nothing else is configured, in bytes. See refman/8.4 sysvar_innodb_page_size.
const defaultPageSize = 16 << 10

// serverConfig is what mysqld has to be told about its place in the set.
type serverConfig struct {
	ServerID   uint32
	ReportHost string
	DataDir    string
	HasData    bool // false: the image's own first initialisation comes next
	Semisync   bool // --durability=semisync
}

// render writes the file. Names that older servers spell differently are given in both spellings as loose options, which a
// server that does not know one only warns about.
func (c serverConfig) render() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by agent init at every start of the pod. Changes are lost; use a file of your own beside it.")
	line("[mysqld]")
	line("datadir = %s", c.DataDir)
	line("server_id = %d", c.ServerID)
	line("report_host = %s", c.ReportHost)
	line("gtid_mode = ON")
	line("enforce_gtid_consistency = ON")
	line("log_bin = %s", binlogName)
	line("relay_log = %s", relayLogName)
	if c.Semisync {
		line("# What a replica has acknowledged may be nowhere else: it outlives a crash, and is executed before anything is fetched again.")
		line("relay_log_recovery = OFF")
		line("sync_relay_log = 1")
	} else {
		line("relay_log_recovery = ON")
	}
	line("plugin_load_add = mysql_clone.so")
	line("# The snapshot of a clone outlives a break of so many minutes, the most there is: the agent lets go of it sooner.")
	line("loose_clone_donor_timeout_after_network_failure = 30")
	if c.Semisync {
		line("# Never without a replica's word, however long it takes. The agent turns it on before it lets anybody write.")
		line("plugin_load_add = semisync_source.so")
		line("plugin_load_add = semisync_replica.so")
		line("loose_rpl_semi_sync_source_enabled = OFF")
		line("loose_rpl_semi_sync_source_timeout = 4294967295")
		line("loose_rpl_semi_sync_source_wait_no_replica = ON")
		line("loose_rpl_semi_sync_replica_enabled = ON")
	}
	line("# The agent starts replication, after it has checked whose transactions would be executed.")
	line("loose_skip_replica_start = ON")
	line("loose_skip_slave_start = ON")
	line("# A source that is gone is noticed in seconds: three heartbeats of 2 s.")
	line("loose_replica_net_timeout = 6")
	line("loose_slave_net_timeout = 6")
	if c.HasData {
		line("# A server with data takes no write before the agent has found that it may.")
		line("super_read_only = ON")
	} else {
		line("# First initialisation: only root gets in until it is complete and the agent has made that durable.")
		line("offline_mode = ON")
	}
	return b.Bytes()
}

// settings are the lines of the file that mysqld has to follow for as long as it runs. What the agent turns on and off itself is none.
func (c serverConfig) settings() map[string]string {
	set := map[string]string{}
	for line := range strings.Lines(string(c.render())) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok && !slices.Contains([]string{"datadir", "plugin_load_add", "super_read_only", "offline_mode"}, key) {
			set[key] = value
		}
	}
	return set
}

// write puts the file into dir, durably, if it is not there already. It reports whether anything changed.
func (c serverConfig) write(dir string) (changed bool, err error) {
	if same, err := c.isWritten(dir); same || err != nil {
		return false, err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, configFile), c.render(), 0o644); err != nil {
		return false, configDirError(dir, err)
	}
	return true, nil
}

// isWritten reports whether dir holds exactly this configuration.
func (c serverConfig) isWritten(dir string) (bool, error) {
	have, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, configDirError(dir, err)
	}
	return err == nil && bytes.Equal(have, c.render()), nil
}

// checkConfigDir finds out whether write could work, and changes nothing.
func checkConfigDir(dir string) error {
	err := unix.Faccessat(unix.AT_FDCWD, dir+"/.", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	if err != nil {
		return configDirError(dir, &fs.PathError{Op: "access", Path: dir, Err: err})
	}
	return nil
}

func configDirError(dir string, err error) error {
	code := ExitCannotCreate
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		code = ExitPermission
	}
	return &fileError{
		msg:  fmt.Sprintf("write mysqld's configuration: %v", err),
		hint: fmt.Sprintf("mount a directory that uid %d can write at %s, the same one into mysqld's container, or name it with --mysql-config-dir", os.Getuid(), dir),
		code: code,
		err:  err,
	}
}

// fileError is a file of ours that cannot be read or written, with what to do about it.
type fileError struct {
	msg, hint string
	code      int
	err       error
}

func (e *fileError) Error() string { return e.msg }
func (e *fileError) Unwrap() error { return e.err }
func (e *fileError) Hint() string  { return e.hint }
func (e *fileError) ExitCode() int { return e.code }

// configuredPageSize is the innodb_page_size, in bytes, that the files in mysqld's configuration directory ask for, or the
// server's default. A value that cannot be read here is left to mysqld to complain about.
func configuredPageSize(dir string) uint32 {
	size := uint32(defaultPageSize)
	names, _ := filepath.Glob(filepath.Join(dir, "*.cnf")) // the pattern is well-formed but for what dir may contain
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			key, value, ok := strings.Cut(lines.Text(), "=")
			key = strings.ReplaceAll(strings.TrimSpace(key), "-", "_")
			if ok && strings.TrimPrefix(key, "loose_") == "innodb_page_size" {
				if n, ok := parseSize(strings.TrimSpace(value)); ok {
					size = n
				}
			}
		}
		f.Close()
	}
	return size
}

// parseSize reads a number of bytes as mysqld's options are written: 16384 or 16k.
func parseSize(text string) (uint32, bool) {
	shift := 0
	if n := len(text); n > 0 && (text[n-1] == 'k' || text[n-1] == 'K') {
		text, shift = text[:n-1], 10
	}
	n, err := strconv.ParseUint(text, 10, 20)
	return uint32(n) << shift, err == nil && n > 0
}
