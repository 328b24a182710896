package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/bootcheck"
	"ordinal/backup/store"
	"ordinal/internal/progress"
)

// start restores a backup into the scratch directory, starts a server on it and reads all of its tables. Nothing of it is left.
func (v *verifyCommand) start(ctx context.Context, d *depot, m *backup.Manifest, log *zap.Logger) (result *bootcheck.Result, err error) {
	recorded, err := recordedChecksums(ctx, d, m)
	if err != nil {
		return nil, err
	}
	dir, leave, err := scratchIn(v.scratch)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, leave()) }()
	data := filepath.Join(dir, "data")
	job := &agent.RestoreJob{Store: d.Store, StoreURL: d.url, Keys: d.keys, Manifest: m, Into: data, Log: log}
	if err := job.Run(ctx); err != nil {
		return nil, err
	}
	var meter progress.Progress
	meter.Start(0)
	done := show(ctx, &meter, func(s progress.State) {
		log.Info("check progress", zap.String("backup", m.ID), zap.String("stage", s.Stage), zap.Int64("bytes", s.Done), zap.Int64("bytes_total", s.Total),
			zap.Float64("bytes_per_second", math.Round(s.Rate)))
	})
	defer done()
	got, err := bootcheck.Run(ctx, bootcheck.Options{
		Mysqld: v.mysqld, DataDir: data, ServerVersion: m.ServerVersion, PageSize: int(m.PageSize),
		GTIDExecuted: m.GTIDExecuted, GTIDAtLeast: m.GTIDAtLeast, GTIDAtMost: m.GTIDAtMost, Recorded: recorded, Progress: &meter,
	})
	if err != nil {
		return nil, err
	}
	return &got, nil
}

// recordedChecksums returns what the backup knows of its tables; nil if it knows nothing.
func recordedChecksums(ctx context.Context, d *depot, m *backup.Manifest) (*bootcheck.Recorded, error) {
	content, err := backup.ReadAttachment(ctx, d.Store, m, bootcheck.ChecksumsName)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	recorded, err := bootcheck.DecodeRecorded(content)
	return &recorded, err
}

// show shows how something comes along, until done is called.
func show(ctx context.Context, meter *progress.Progress, line func(progress.State)) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	var shown sync.WaitGroup
	shown.Go(func() { meter.Show(ctx, os.Stderr, line) })
	return func() {
		cancel()
		shown.Wait()
	}
}

// scratchName is what our directory below --scratch is called: always the same, so that what a process has left that was killed is found, and removed.
const scratchName = "ordinal-verify"

// scratchIn returns an empty directory below parent that is ours until leave is called, which removes it.
func scratchIn(parent string) (dir string, leave func() error, err error) {
	if dir, err = filepath.Abs(filepath.Join(parent, scratchName)); err != nil {
		return "", nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", nil, &scratchError{parent, err}
	}
	held, err := holdDirectory(dir)
	if err != nil {
		return "", nil, &scratchError{parent, err}
	}
	leave = func() error {
		defer held.Close() // the lock ends with it
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		return "", nil, errors.Join(&scratchError{parent, err}, held.Close())
	}
	return dir, leave, nil
}

// errScratchInUse says that another process checks a backup there.
var errScratchInUse = errors.New("another agent verify works there")

// holdDirectory locks a directory that is nobody else's.
func holdDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
			err = fmt.Errorf("%s belongs to user %d: %w", dir, owner.Uid, os.ErrPermission)
		}
	}
	if err == nil {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
			err = errScratchInUse
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// A scratchError says why nothing can be restored below --scratch.
type scratchError struct {
	parent string
	err    error
}

func (e *scratchError) Error() string {
	return fmt.Sprintf("scratch directory %s: %v", e.parent, e.err)
}
func (e *scratchError) Unwrap() error { return e.err }
func (e *scratchError) Hint() string {
	if errors.Is(e.err, errScratchInUse) {
		return "wait for it, or give another directory with --scratch"
	}
	return "give a directory with --scratch that is there, that this user may write to, and that has room for the data"
}
func (e *scratchError) ExitCode() int {
	switch {
	case errors.Is(e.err, errScratchInUse):
		return agent.ExitTemporary
	case errors.Is(e.err, os.ErrNotExist):
		return agent.ExitConfig
	case errors.Is(e.err, os.ErrPermission):
		return agent.ExitPermission
	}
	return agent.ExitCannotCreate
}
