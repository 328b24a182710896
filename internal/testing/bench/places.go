package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ordinal/internal/progress"
)

// Words of -dirs that are no paths.
const (
	placeDisk   = "disk"
	placeMemory = "mem"
)

// memoryDir is the memory file system that Linux has. See shm_overview(7).
const memoryDir = "/dev/shm"

// makeDir makes a new folder at a place, below which everything is put; a short path, because there will be sockets. The caller
// removes it.
func makeDir(place string) (string, error) {
	parent := place
	switch place {
	case placeDisk:
		parent = os.TempDir()
	case placeMemory:
		parent = memoryDir
	}
	dir, err := os.MkdirTemp(parent, "bench")
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// smallTable is what an empty table takes, in bytes: seven pages.
const smallTable = 7 * 16 << 10

// need returns how many bytes a place must have free: for the data, one copy, or one in each form that backups are kept in and one more
// that is restored, and what servers write besides.
func (o options) need(phases list) int64 {
	const servers = 1500e6 // two redo logs, undo logs, binary logs of one step of fill, the servers' own tables
	most := int64(o.size)
	for _, phase := range phases {
		switch phase {
		case phaseMemory:
			most = max(most, int64(o.memory[len(o.memory)-1]))
		case phaseTables:
			most = max(most, int64(o.tables)*smallTable)
		}
	}
	need := 2 * most
	if slices.Contains(phases, phaseBackups) {
		need = max(need, 6*int64(o.size))
	}
	return need + servers
}

// room says what is missing at dir, "" if nothing is.
func room(dir string, need int64) (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	free := int64(s.Bavail) * s.Bsize
	if isMemory(fileSystem(dir)) { // its pages come from what is available, whatever its size says
		if kib, ok := kibibytes(field("/proc/meminfo", "MemAvailable")); ok {
			free = min(free, kib<<10)
		}
	}
	if free >= need {
		return "", nil
	}
	return fmt.Sprintf("%s has %s free, %s are needed", filepath.Dir(dir), progress.Bytes(free), progress.Bytes(need)), nil
}

// isMemory says whether a type of file system keeps its files in memory: there the CPU is the limit, not the disk.
func isMemory(fileSystem string) bool { return strings.HasPrefix(fileSystem, "tmpfs") }
