package doctor

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ordinal/agent"
	"ordinal/internal/volume"
)

// volumeFacts is what is at --volume, and in mysqld's configuration directory.
type volumeFacts struct {
	statErr   error // there is no directory
	uid, gid  uint32
	accessErr error // this process may not change it
	mount     mount
	free      uint64 // bytes
	size      uint64
	inodes    uint64 // that are free
	allInodes uint64 // 0: the file system does not count them

	content    *volume.Content
	contentErr error
	data       uint64 // bytes on disk of the data directory in service; 0: there is none, or it is not known
	dataUID    uint32 // who owns it
	hasData    bool
	serverUUID string // in its auto.cnf; "" not there

	config    map[string]string // what the agent's file tells mysqld; nil: it is not there
	configErr error             // the file could not be read
	dirErr    error             // the directory cannot be written to
	socketUID int               // who owns mysqld's socket; -1: it is not there, or no socket
	socketDir error             // the directory of the socket
}

// configName is what agent init calls mysqld's configuration.
const configName = "zz-ordinal.cnf"

func lookAtVolume(ctx context.Context, cfg agent.Config) (volumeFacts, error) {
	v := volumeFacts{socketUID: -1}
	v.config, v.configErr = readConfig(filepath.Join(cfg.MySQLConfigDir, configName))
	v.dirErr = access(cfg.MySQLConfigDir)
	if filepath.IsAbs(cfg.MySQLAddress) {
		_, v.socketDir = os.Stat(filepath.Dir(cfg.MySQLAddress))
		if info, err := os.Stat(cfg.MySQLAddress); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				v.socketUID = int(st.Uid)
			}
		}
	}
	info, err := os.Stat(cfg.Volume)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: cfg.Volume, Err: syscall.ENOTDIR}
	}
	if err != nil {
		v.statErr = err
		return v, nil
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		v.uid, v.gid = st.Uid, st.Gid
	}
	v.accessErr = access(cfg.Volume)
	if v.mount, err = mountOf(cfg.Volume); err != nil {
		return v, err
	}
	var room unix.Statfs_t
	if err := unix.Statfs(cfg.Volume, &room); err != nil {
		return v, &fs.PathError{Op: "statfs", Path: cfg.Volume, Err: err}
	}
	v.free, v.size = room.Bavail*uint64(room.Bsize), room.Blocks*uint64(room.Bsize)
	v.inodes, v.allInodes = room.Ffree, room.Files
	v.content, v.contentErr = volume.Inspect(cfg.Volume)
	if v.contentErr == nil && v.content.Current > 0 {
		v.lookAtData(ctx, filepath.Join(cfg.Volume, "current"))
	}
	return v, nil
}

// lookAtData measures the data directory in service.
func (v *volumeFacts) lookAtData(ctx context.Context, dir string) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return
	}
	if st, ok := stat(dir); ok {
		v.hasData, v.dataUID = true, st.Uid
	}
	text, _ := os.ReadFile(filepath.Join(dir, "auto.cnf"))
	for line := range bytes.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(string(line)), "="); ok && key == "server-uuid" {
			v.serverUUID = value
		}
	}
	// Files come and go below a server that works: what cannot be looked at does not count.
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if st, ok := stat(path); err == nil && ok {
			v.data += uint64(st.Blocks) * 512
		}
		return nil
	})
	if ctx.Err() != nil {
		v.data = 0
	}
}

func stat(path string) (*syscall.Stat_t, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return st, ok
}

// access finds out whether this process may make files in a directory, and makes none.
func access(dir string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, dir+"/.", unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "access", Path: dir, Err: err}
	}
	return nil
}

// A mount is what a path lies on.
type mount struct {
	point    string // where it is mounted
	kind     string // the file system: ext4, overlay, nfs4
	readOnly bool
	device   string // major:minor, and the directory of it that is mounted
}

// mountOf finds it in the kernel's list. Of mounts over each other the last one counts. See proc_pid_mountinfo(5).
func mountOf(path string) (found mount, err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return found, err
	}
	list, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return found, err
	}
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+3 {
			continue
		}
		m := mount{point: unescape(fields[4]), kind: fields[dash+1], device: fields[2] + " " + unescape(fields[3])}
		options := fields[5]
		if len(fields) > dash+3 {
			options += "," + fields[dash+3]
		}
		m.readOnly = slices.Contains(strings.Split(options, ","), "ro")
		below := path == m.point || m.point == "/" || strings.HasPrefix(path, m.point+"/")
		if below && len(m.point) >= len(found.point) {
			found = m
		}
	}
	if found.point == "" {
		return found, errors.New("no mount of " + path + " in /proc/self/mountinfo")
	}
	return found, nil
}

// unescape undoes what the kernel does to white space in its lists: \040 is a space.
func unescape(s string) string {
	for _, c := range []string{`\040`, `\011`, `\012`, `\134`} {
		n, _ := strconv.ParseUint(c[1:], 8, 8)
		s = strings.ReplaceAll(s, c, string(rune(n)))
	}
	return s
}

// readConfig returns what the agent's file tells mysqld, name by name; nil and no error if it is not there.
func readConfig(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	config := map[string]string{}
	for line := range bytes.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(string(line)), " = "); ok && !strings.HasPrefix(key, "#") {
			config[key] = value
		}
	}
	return config, nil
}
