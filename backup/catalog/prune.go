package catalog

import (
	"context"
	"errors"
	"fmt"

	"ordinal/backup"
	"ordinal/backup/store"
)

// A Check proves that a backup can be restored. It returns nil, or why not.
type Check func(ctx context.Context, id string) error

// Prune carries out a plan, the oldest backup first. Before it removes anything check has to find the newest backup well; before each removal it looks whether the last
// good one is still there, and whether somebody has marked the backup meanwhile, which is then kept. removed, if not nil, is told of each that is gone. An
// error ends it; what was removed until then is gone for good, and the rest is as it was. The same plan may be carried out again.
func Prune(ctx context.Context, s store.Store, plan Plan, check Check, removed func(Decision)) error {
	if plan.Refused != "" {
		return &RefusedError{Reason: plan.Refused}
	}
	if len(plan.Remove) == 0 {
		return nil
	}
	for _, d := range plan.Remove {
		if d.State != Complete || d.ID == plan.Newest || d.ID == plan.Good || plan.Newest == "" || plan.Good == "" {
			return &RefusedError{Reason: "the plan contradicts itself"}
		}
	}
	if err := check(ctx, plan.Newest); err != nil {
		return &UnprovedError{ID: plan.Newest, Err: err}
	}
	for _, d := range plan.Remove {
		gone, err := pruneOne(ctx, s, plan, d.ID)
		if err != nil {
			return fmt.Errorf("prune backups: %w", err)
		}
		if gone && removed != nil {
			removed(d)
		}
	}
	return nil
}

func pruneOne(ctx context.Context, s store.Store, plan Plan, id string) (gone bool, err error) {
	for _, kept := range []string{plan.Newest, plan.Good} {
		if there, err := hasManifest(ctx, s, kept); err != nil {
			return false, err
		} else if !there {
			return false, &RefusedError{Reason: fmt.Sprintf("backup %s, which was to be kept, is gone", kept)}
		}
	}
	mark, err := readMark(ctx, s, id)
	if err != nil || mark != nil && mark.Keep {
		return false, err
	}
	return true, Remove(ctx, s, id)
}

// CheckSizes is a [Check] that reads the manifest, with its seal, and asks the store for the names and sizes of all objects. It reads no segment.
func (p Place) CheckSizes(ctx context.Context, id string) error {
	m, err := backup.Open(ctx, p.Store, id, p.Keys)
	if err != nil {
		return err
	}
	lacking := make(map[string]int64, len(m.Segments)+len(m.Attachments))
	for _, s := range m.Segments {
		lacking[backup.SegmentName(id, s.Index)] = s.Size
	}
	for _, a := range m.Attachments {
		lacking[backup.Dir(id)+a.Name] = a.Size
	}
	for info, err := range p.Store.List(ctx, backup.Dir(id), "") {
		if err != nil {
			return fmt.Errorf("list backup %s: %w", id, err)
		}
		size, ours := lacking[info.Name]
		switch {
		case !ours:
			continue
		case info.Size < size:
			return &backup.DamageError{Backup: id, Object: info.Name, Kind: backup.ErrTruncated, Err: fmt.Errorf("%d bytes of %d", info.Size, size)}
		case info.Size > size:
			return &backup.DamageError{Backup: id, Object: info.Name, Kind: backup.ErrLonger, Err: fmt.Errorf("%d bytes instead of %d", info.Size, size)}
		}
		delete(lacking, info.Name)
	}
	for name := range lacking {
		return &backup.DamageError{Backup: id, Object: name, Kind: backup.ErrMissing}
	}
	return nil
}

// ErrRefused matches every RefusedError.
var ErrRefused = errors.New("nothing is removed")

// RefusedError is a plan that is not carried out.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return fmt.Sprintf("%v: %s", ErrRefused, e.Reason) }

// Unwrap makes every RefusedError an ErrRefused.
func (e *RefusedError) Unwrap() error { return ErrRefused }

// Hint says what an operator can do about it.
func (e *RefusedError) Hint() string {
	return "see what there is (agent backups list), make a new backup, and prune again"
}

// ExitCode is 80: refused by a guard.
func (e *RefusedError) ExitCode() int { return 80 }

// UnprovedError says that nothing is removed because the newest backup is not well.
type UnprovedError struct {
	ID  string
	Err error
}

func (e *UnprovedError) Error() string {
	return fmt.Sprintf("%v, because the newest backup %s is not known to be well: %v", ErrRefused, e.ID, e.Err)
}

// Unwrap makes every UnprovedError an ErrRefused, with the cause in its chain.
func (e *UnprovedError) Unwrap() []error { return []error{ErrRefused, e.Err} }

// Hint says what an operator can do about it.
func (e *UnprovedError) Hint() string {
	return "make a new backup and verify it, then prune again: older ones may be all there is"
}

// ExitCode is that of a cause which passes, else 81: verification failed.
func (e *UnprovedError) ExitCode() int {
	if errors.Is(e.Err, store.ErrUnavailable) {
		return 69
	}
	return 81
}
