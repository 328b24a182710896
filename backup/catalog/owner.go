package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ordinal/backup"
	"ordinal/backup/store"
)

const (
	// BeatEvery is how often a job says that it still works on its backup.
	BeatEvery = time.Minute
	// maxSilence is how long a job goes on without having been able to say so. It is less than what others take for its end.
	maxSilence = 5 * time.Minute
)

// An Owner is what a job last said of itself, beside the backup that it makes.
type Owner struct {
	By    string    `json:"by"`       // who it is, for people
	Began time.Time `json:"began_at"` // by its own clock
	Beats uint64    `json:"beats"`    // how often it has said since that it is alive
}

// The job's claim is written once and never again, so that somebody who removes it is noticed. Its signs of life are an object of their own.
const (
	claimFormat = "ordinal backup owner"
	aliveFormat = "ordinal backup sign of life"
)

type claimFile struct {
	header
	By    string    `json:"by"`
	Began time.Time `json:"began_at"`
}

type aliveFile struct {
	header
	Beats uint64 `json:"beats"`
}

// readOwner returns what jobs have said of themselves. What cannot be read says nothing.
func readOwner(ctx context.Context, s store.Reader, f found) (*Owner, error) {
	owner := new(Owner)
	if f.claim {
		var claim claimFile
		if err := readNote(ctx, s, backup.Dir(f.id)+claimObject, claimFormat, &claim); err != nil {
			return nil, err
		}
		owner.By, owner.Began = clip(claim.By, maxText), claim.Began
	}
	if f.alive {
		var alive aliveFile
		if err := readNote(ctx, s, backup.Dir(f.id)+aliveObject, aliveFormat, &alive); err != nil {
			return nil, err
		}
		owner.Beats = alive.Beats
	}
	return owner, nil
}

// readNote reads a note into a value, which stays as it is if there is none that makes sense. Errors are those of the store.
func readNote(ctx context.Context, s store.Reader, name, format string, into any) error {
	data, err := store.ReadSmall(ctx, s, name, maxNote)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrSize) {
		return nil
	}
	if err == nil {
		_ = decodeNote(data, format, into)
	}
	return err
}

// An Ownership is a job's hold on the backup that it makes. Others do not remove what it has stored so far, as long as it says now and then that it is alive.
type Ownership struct {
	store store.Store
	id    string
	beats uint64 // for Run alone
}

// Own says that a job works on a new backup; by is for people. A job calls it before it stores anything else of that backup, lets [Ownership.Run] go on with it, calls
// [Ownership.Confirm] once the manifest is there, and [Ownership.Release] in any case. [store.ErrExists] if another job has this id.
func Own(ctx context.Context, s store.Store, id, by string) (*Ownership, error) {
	if _, err := backup.ParseID(id); err != nil {
		return nil, err
	}
	claim := claimFile{header{claimFormat, version1}, clip(by, maxText), time.Now().UTC().Truncate(time.Second)}
	data, err := json.Marshal(claim)
	if err == nil {
		err = s.PutIfAbsent(ctx, backup.Dir(id)+claimObject, append(data, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("begin backup %s: %w", id, err)
	}
	return &Ownership{store: s, id: id}, nil
}

// Run says every minute that the job is alive, until ctx ends; then it returns nil. It returns a [*SilentError] when the store has not taken it for five
// minutes: others may soon take the job for dead, so it must end.
func (o *Ownership) Run(ctx context.Context) error {
	tick := time.NewTicker(BeatEvery)
	defer tick.Stop()
	heard := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		o.beats++
		beating, cancel := context.WithDeadline(ctx, heard.Add(maxSilence))
		began := time.Now()
		err := put(beating, o.store, backup.Dir(o.id)+aliveObject, aliveFile{header{aliveFormat, version1}, o.beats})
		cancel()
		switch {
		case err == nil:
			heard = began
		case ctx.Err() != nil:
			return nil
		case time.Since(heard) >= maxSilence:
			return &SilentError{ID: o.id, For: maxSilence, Err: err}
		}
	}
}

// Confirm makes sure, after the manifest was written, that nobody who took the job for dead has begun to clean up: then the manifest is removed again, and the error
// is a [*TakenError]. After nil the backup is complete, and nobody cleans up what has a manifest.
//
// It is one half of an agreement. Who cleans up removes the job's claim, and then looks whether there is a manifest after all; the job writes the manifest, and then looks
// whether its claim is there. So at least one of them sees the other, and gives way.
func (o *Ownership) Confirm(ctx context.Context) error {
	_, err := o.store.Stat(ctx, backup.Dir(o.id)+claimObject)
	if err == nil {
		return nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("confirm backup %s: %w", o.id, err)
	}
	return &TakenError{ID: o.id, Err: o.store.Delete(ctx, backup.ManifestName(o.id))}
}

// Release takes back what was said: no job works on the backup any more, finished or not. Run has returned.
func (o *Ownership) Release(ctx context.Context) error {
	for _, name := range []string{aliveObject, claimObject} {
		if err := o.store.Delete(ctx, backup.Dir(o.id)+name); err != nil {
			return fmt.Errorf("end backup %s: %w", o.id, err)
		}
	}
	return nil
}

// SilentError is a job that could not tell the store for too long that it is alive.
type SilentError struct {
	ID  string
	For time.Duration
	Err error
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("backup %s: the store has taken no sign of life for %v: %v", e.ID, e.For, e.Err)
}

func (e *SilentError) Unwrap() error { return e.Err }

// Hint says what an operator can do about it.
func (e *SilentError) Hint() string {
	return "look at the store and the way to it; then start the backup again"
}

// ExitCode is 69: unavailable.
func (e *SilentError) ExitCode() int { return 69 }

// TakenError is a backup that was cleaned up by somebody who took its job for dead.
type TakenError struct {
	ID  string
	Err error // why its manifest could not be removed; nil if it was
}

func (e *TakenError) Error() string {
	text := fmt.Sprintf("backup %s was removed by somebody who took its job for dead", e.ID)
	if e.Err != nil {
		text += fmt.Sprintf("; its manifest is still there (%v)", e.Err)
	}
	return text
}

func (e *TakenError) Unwrap() error { return e.Err }

// Hint says what an operator can do about it.
func (e *TakenError) Hint() string {
	return "start the backup again; the job was cut off from its store for long"
}

// ExitCode is 75: temporary.
func (e *TakenError) ExitCode() int { return 75 }
