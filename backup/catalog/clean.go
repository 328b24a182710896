package catalog

import (
	"context"
	"errors"
	"time"

	"ordinal/backup/store"
)

// How long nothing may have happened to an unfinished backup before its job counts as dead.
const (
	// abandonedAge is for the newest object of a backup whose owner has said that it is alive: it would say so every minute, and ends itself after five without.
	abandonedAge = 10 * time.Minute
	// unownedAge is the same where nobody has ever said so.
	unownedAge = time.Hour
	// Quiet is how far apart the two looks are between which nothing may have changed.
	Quiet = 5 * BeatEvery / 2
)

// An Observation is how the unfinished backups of a place looked at some moment.
type Observation struct {
	at    time.Time
	looks map[string]look
}

type look struct {
	objects int
	bytes   int64
	newest  time.Time
	owner   Owner
}

func (e *Entry) look() look {
	l := look{objects: e.Objects, bytes: e.Bytes, newest: e.Newest}
	if e.Owner != nil {
		l.owner = *e.Owner
	}
	return l
}

// Observe remembers how unfinished backups look. now is what time.Now returned just before they were listed, as it is.
func Observe(entries []Entry, now time.Time) Observation {
	o := Observation{at: now, looks: map[string]look{}}
	for _, e := range entries {
		if e.State == Unfinished {
			o.looks[e.ID] = e.look()
		}
	}
	return o
}

// Abandoned returns those unfinished backups on which no job works any more: nothing about them has changed since they were observed, which is at least Quiet ago; and
// their newest object is older than ten minutes, or an hour if no job ever said that it owns them. others are the unfinished ones of which that is not known.
//
// The first is measured by a clock that does not jump, as long as both times come from time.Now in one process. So neither a wrong clock here nor one that
// differs from the store's makes a living job look dead.
func (o Observation) Abandoned(entries []Entry, now time.Time) (abandoned, others []Entry) {
	for _, e := range entries {
		if e.State != Unfinished {
			continue
		}
		before, seen := o.looks[e.ID]
		if seen && before == e.look() && now.Sub(o.at) >= Quiet && old(&e, now) {
			abandoned = append(abandoned, e)
		} else {
			others = append(others, e)
		}
	}
	return abandoned, others
}

// old says whether the newest object of an unfinished backup is so old that its job may be dead.
func old(e *Entry, now time.Time) bool {
	age := unownedAge
	if e.Owner != nil {
		age = abandonedAge
	}
	return now.Sub(e.Newest) > age
}

// Cleaned says what [Clean] did.
type Cleaned struct {
	Removed []Entry `json:"removed"` // what there was of them
	Left    []Entry `json:"left"`    // jobs may still work on them
}

// Clean removes what jobs have left in a place that did not finish, and never will. If something may be such, it waits for Quiet to see whether a job works on it;
// waiting, if not nil, is told of these before. With dryRun nothing is removed.
func Clean(ctx context.Context, p Place, s store.Store, dryRun bool, waiting func([]Entry)) (done Cleaned, err error) {
	began := time.Now()
	entries, err := p.List(ctx)
	if err != nil {
		return done, err
	}
	var candidates []Entry
	for _, e := range entries {
		if e.State == Unfinished && old(&e, time.Now()) {
			candidates = append(candidates, e)
		}
	}
	observed := Observe(entries, began)
	if len(candidates) > 0 {
		if waiting != nil {
			waiting(candidates)
		}
		timer := time.NewTimer(Quiet)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return done, context.Cause(ctx)
		case <-timer.C:
		}
		if entries, err = p.List(ctx); err != nil {
			return done, err
		}
	}
	abandoned, others := observed.Abandoned(entries, time.Now())
	done.Left = others
	if dryRun {
		done.Removed = abandoned
		return done, nil
	}
	err = RemoveAbandoned(ctx, s, abandoned, func(e Entry) { done.Removed = append(done.Removed, e) })
	return done, err
}

// RemoveAbandoned removes what [Observation.Abandoned] returned, and tells of each that is gone. One whose job has finished it in the meantime is a backup, and
// stays.
func RemoveAbandoned(ctx context.Context, s store.Store, abandoned []Entry, removed func(Entry)) error {
	for _, e := range abandoned {
		err := removeUnfinished(ctx, s, e.ID)
		if errors.Is(err, errFinished) {
			continue
		}
		if err != nil {
			return err
		}
		if removed != nil {
			removed(e)
		}
	}
	return nil
}
