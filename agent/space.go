package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"ordinal/clone"
	"ordinal/internal/progress"
)

const (
	spaceEvery = 3 * time.Second
	// spaceRetry is when a copy is tried again although no room can be seen: a quota is not.
	spaceRetry = 5 * time.Minute
	// spaceMore is how much more room than last time, in bytes, is worth another try.
	spaceMore = 1 << 20
)

// spaceNeeded says whether err is a volume without room for a copy, and how many bytes are known to be needed; 0: not known.
func spaceNeeded(err error) (need uint64, full bool) {
	var noSpace *clone.NoSpaceError
	if errors.As(err, &noSpace) {
		return noSpace.Need, true
	}
	return 0, errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// waitForSpace frees what was copied and waits until there is room for a copy. need is how many bytes are known to be needed.
func (c *cloner) waitForSpace(ctx context.Context, need uint64, cause error) error {
	if c.gen != nil {
		// It ran into the end of the volume although there was room at first: what there is at the moment is not enough.
		room, err := c.room()
		if err != nil {
			return err
		}
		need = max(need, room+spaceMore)
	}
	if err := c.drop(ctx, []Reason{NewReason(CodeNoSpace, "%v", cause)}); err != nil {
		return err
	}
	c.log.Warn("no room for the copy; waiting for some", zap.Uint64("need_bytes", need), zap.Error(cause))
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for until := time.Now().Add(spaceRetry); ; {
		c.beat()
		have, err := freeBytes(c.vol.Path())
		if err != nil {
			return err
		}
		if have >= need || time.Now().After(until) {
			c.log.Info("trying the copy again", zap.Uint64("need_bytes", need), zap.Uint64("have_bytes", have))
			c.book.newRound()
			return nil
		}
		c.show(showing{State: StateWaitingForSpace, HasData: DataNo, Reasons: []Reason{noSpace(need, have)}})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func noSpace(need, have uint64) Reason {
	return NewReason(CodeNoSpace, "need=%d have=%d: %s are missing", need, have, progress.Bytes(int64(need-have)))
}

// room is what a copy that begins anew has on the volume, in bytes: the unfinished one makes way for it.
func (c *cloner) room() (uint64, error) {
	free, err := freeBytes(c.vol.Path())
	if err != nil || c.gen == nil {
		return free, err
	}
	held, err := allocated(c.gen.Path())
	return free + held, err
}

// freeBytes is what an unprivileged process may still write on the file system of path.
func freeBytes(path string) (uint64, error) {
	free, _, err := space(path)
	return free, err
}

// space is freeBytes with the size of the whole file system, in bytes.
func space(path string) (free, size uint64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return 0, 0, fmt.Errorf("ask for free space: %w", &fs.PathError{Op: "statfs", Path: path, Err: err})
	}
	return stat.Bavail * uint64(stat.Bsize), stat.Blocks * uint64(stat.Bsize), nil
}

// allocated is what the files below dir take on disk, in bytes.
func allocated(dir string) (sum uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += uint64(stat.Blocks) * 512 // see stat(2)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure the unfinished copy: %w", err)
	}
	return sum, nil
}
