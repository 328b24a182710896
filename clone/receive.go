package clone

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/mysqlx"
	"ordinal/stream"
)

// Progress hears how a copy comes along. Methods may be called concurrently.
type Progress interface {
	// Stage begins: total is the donor's estimate in bytes, 0 when it has none.
	Stage(name string, total uint64)
	// Resumed says, instead of Stage, that a copy goes on within a stage or after it; done bytes of the whole copy have arrived before.
	Resumed(name string, total, done uint64)
	// Add counts bytes received in the stage.
	Add(n uint64)
	// Broke says that an attempt has ended early. The copy goes on with the next one.
	Broke(err error)
}

// How an interrupted copy is tried again.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
	// maxBarren is how many attempts in a row may end in the same place for another reason than that the donor cannot be reached.
	maxBarren = 20
)

// Receive fetches the offered copy into root, which is empty but for the marker that keeps servers away, or holds what has arrived
// of it before, and makes it durable. Whatever breaks in between, it goes on from what has been written, as long as the donor holds the
// snapshot. When it returns nil the copy is complete in every respect but the marker.
//
// Errors: ErrSnapshotGone: start over; SilentError: the donor has not been reached for too long; NoSpaceError; BadPagesError;
// others when the copy cannot be used. After these, root holds a useless part of a copy and the donor holds nothing for us, if it
// could be told. When ctx ends, within a second, what has arrived is saved for Resume, the donor keeps the snapshot for a
// while, and the error is ctx's cause.
func (o *Offer) Receive(ctx context.Context, root *os.Root, progress Progress) (Summary, error) {
	defer o.client.HTTPClient.CloseIdleConnections()
	sum, err := o.receive(ctx, root, progress)
	if err == nil {
		return sum, nil
	}
	var bad *BadPagesError
	switch {
	case errors.As(err, &bad):
		bad.Donor = o.donor.Pod
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		err = &diskFullError{err}
	case ctx.Err() != nil:
		return Summary{}, fmt.Errorf("clone from %s: %w", o.donor.Pod, context.Cause(ctx))
	}
	if !errors.Is(err, ErrSnapshotGone) {
		o.Abandon(ctx)
	}
	return Summary{}, fmt.Errorf("clone from %s: %w", o.donor.Pod, err)
}

func (o *Offer) receive(ctx context.Context, root *os.Root, progress Progress) (sum Summary, err error) {
	dir := o.dir
	if dir == nil {
		server, err := mysqlx.ParseVersion(o.Hello.ServerVersion)
		if err != nil {
			return Summary{}, err
		}
		dir = NewDirectory(root, server)
	} else {
		stage, total, done := dir.Held()
		progress.Resumed(stage.String(), total, done)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	// From now on whatever is saved says where it comes from.
	if err := o.save(ctx, dir); err != nil {
		return Summary{}, err
	}
	if err := o.transfer(ctx, destination{dir: dir, to: dir, root: root}, progress); err != nil {
		return Summary{}, err
	}
	return dir.Finish(o.donor.Pod, o.begun)
}

// transfer makes attempts until everything has arrived. Only the copy itself, the disk and a donor that has nothing more to give end it.
func (o *Offer) transfer(ctx context.Context, to destination, progress Progress) error {
	barren, pause, heard := 0, firstPause, time.Now()
	dir := to.dir
	for {
		held := dir.Progress()
		t := newIntake(o, to, progress)
		err := t.run(ctx, held)
		to.to.Interrupt()
		if err == nil {
			return nil
		}
		var local *localError
		if refused := errors.As(err, &local) && to.root == nil; dir.Whole() && !refused { // after REDO_COPY's end there is nothing that the end frame could add
			if !o.tellEnd(ctx) {
				_ = o.tellEnd(ctx) // else the donor waits until its lease is over
			}
			return nil
		}
		if ctx.Err() != nil {
			if local == nil && to.root != nil {
				// Whatever cannot be saved any more is fetched again.
				_ = o.save(context.WithoutCancel(ctx), dir)
			}
			return context.Cause(ctx)
		}
		switch {
		case local != nil:
			return local.err
		case errors.Is(err, ErrSnapshotGone), isUntrusted(err), isUnsupported(err):
			return err
		}
		if t.written.Load() > 0 || errors.Is(err, errTooSlow) {
			barren, pause = 0, firstPause
		} else {
			barren++
		}
		if t.begun {
			heard = time.Now()
		}
		if silent := time.Since(heard); silent > o.silence {
			return &SilentError{Donor: o.donor.Pod, For: silent, Err: err}
		}
		if t.begun && barren >= maxBarren {
			return fmt.Errorf("no attempt gets any further: %w", err)
		}
		progress.Broke(err)
		o.client.HTTPClient.CloseIdleConnections() // what has broken one connection may have broken all, and nobody was told
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, longPause)
	}
}

// isUnsupported reports whether the donor has broken off because of something that no attempt could carry.
func isUnsupported(err error) bool {
	var abort *stream.AbortError
	return errors.As(err, &abort) && abort.Reason == ReasonUnsupported
}

// A localError is one that another attempt would meet again: of the disk, or in the copy itself.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func local(err error) error {
	if err == nil {
		return nil
	}
	return &localError{err}
}

// room refuses a copy that will not fit, before its first byte is written.
func room(root *os.Root, s stream.StageStart) error {
	if s.Stage != stream.StageFileCopy {
		return nil
	}
	have, err := FreeBytes(root)
	if err != nil {
		return err
	}
	if s.DiskBytes > have {
		return &NoSpaceError{Need: s.DiskBytes, Have: have}
	}
	return nil
}

// FreeBytes is what an unprivileged process may still write on root's file system.
func FreeBytes(root *os.Root) (uint64, error) {
	dir, err := root.Open(".")
	if err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	defer dir.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}
