package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc/PID/stat on every Linux: USER_HZ. See proc_pid_stat(5).
const clockTick = 10 * time.Millisecond

// usage is what a process has used so far.
type usage struct {
	cpu time.Duration // in user and kernel mode, all threads
	hwm int64         // largest resident set so far, in bytes
}

func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	// The second field is a name in parentheses, which may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return usage{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var u usage
	for _, field := range fields[11:13] { // utime and stime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return usage{}, err
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, ok := kibibytes(strings.TrimSpace(value))
			if !ok {
				return usage{}, fmt.Errorf("/proc/%d/status: VmHWM is %q", pid, value)
			}
			u.hwm = kib << 10
		}
	}
	return u, nil // without the line it is a zombie
}

func usages(pids ...int) ([]usage, error) {
	list := make([]usage, len(pids))
	for i, pid := range pids {
		var err error
		if list[i], err = usageOf(pid); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// ownCPU returns what this process uses while do runs; nothing else of weight may run in it.
func ownCPU(do func() error) (time.Duration, error) {
	var before, after unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &before)
	if err == nil {
		err = do()
	}
	if err == nil {
		err = unix.Getrusage(unix.RUSAGE_SELF, &after)
	}
	if err != nil {
		return 0, err
	}
	nano := func(r unix.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }
	return time.Duration(nano(after) - nano(before)), nil
}

// findProcess returns the process whose command line has all of the given arguments.
func findProcess(args ...string) (pid int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range slices.Backward(entries) {
		n, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue // gone
		}
		argv := strings.Split(string(line), "\x00")
		if !slices.ContainsFunc(args, func(a string) bool { return !slices.Contains(argv, a) }) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no process with the arguments %q: %w", args, fs.ErrNotExist)
}

// pidFromFile reads the file that mysqld writes when it is up.
func pidFromFile(path string) (int, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// watchEvery is short, because what a process used last, before it ended, is not seen.
const watchEvery = 10 * time.Millisecond

// watchToEnd follows a process that is about to start until it has ended or ctx does, and returns what it had used when it was seen last.
func watchToEnd(ctx context.Context, args ...string) (usage, error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last usage
	for pid := 0; ; {
		var err error
		if pid == 0 {
			pid, err = findProcess(args...)
		}
		if pid != 0 {
			var now usage
			if now, err = usageOf(pid); err == nil {
				last = usage{cpu: now.cpu, hwm: max(now.hwm, last.hwm)}
			} else {
				return last, nil // it has ended
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return last, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
	}
}
