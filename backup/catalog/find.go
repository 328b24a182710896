package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ordinal/backup"
)

// A Selector says which backup is meant.
type Selector struct {
	id   string
	time time.Time // zero: the latest
}

// latest means the newest backup that can be restored.
var latest = Selector{}

// ParseSelector reads an id, "@latest" or "@" and a time as of RFC 3339, such as @2026-11-21T12:00:00Z. Empty text means @latest.
func ParseSelector(text string) (Selector, error) {
	at, isAt := strings.CutPrefix(text, "@")
	switch {
	case text == "", at == "latest" && isAt:
		return latest, nil
	case isAt:
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return Selector{}, fmt.Errorf("%.100q is not @latest and no time such as @2026-11-21T12:00:00Z", text)
		}
		return Selector{time: t}, nil
	}
	if _, err := backup.ParseID(text); err != nil {
		return Selector{}, err
	}
	return Selector{id: text}, nil
}

// String returns the text that ParseSelector reads.
func (s Selector) String() string {
	switch {
	case s.id != "":
		return s.id
	case s.time.IsZero():
		return "@latest"
	}
	return "@" + s.time.Format(time.RFC3339)
}

// Find returns the backup that is meant, which is complete. Of several it is the newest, for a time the newest that holds nothing from after that time: whose job had
// finished by then. Those that have failed their last verification are passed over and returned too, the newest first, unless one is meant by its id.
// The error is a [*NoMatchError], or for an id why that backup is not complete.
func Find(entries []Entry, s Selector) (e Entry, passedOver []Entry, err error) {
	if s.id != "" {
		i := slices.IndexFunc(entries, func(e Entry) bool { return e.ID == s.id })
		switch {
		case i < 0 || entries[i].State == Unfinished:
			return Entry{}, nil, &backup.DamageError{Backup: s.id, Kind: backup.ErrNoBackup}
		case entries[i].Err != nil:
			return Entry{}, nil, entries[i].Err
		}
		return entries[i], nil, nil
	}
	none := &NoMatchError{Selector: s.String()}
	for _, e := range newestFirst(entries) {
		if e.State != Complete {
			continue
		}
		if !s.time.IsZero() && e.Manifest.Finished.After(s.time) {
			none.Oldest = e
			continue
		}
		if e.Verdict() == Failed {
			passedOver = append(passedOver, *e)
			continue
		}
		return *e, passedOver, nil
	}
	none.Failed = len(passedOver)
	return Entry{}, passedOver, none
}

// newestFirst returns pointers into entries.
func newestFirst(entries []Entry) []*Entry {
	all := make([]*Entry, len(entries))
	for i := range entries {
		all[i] = &entries[i]
	}
	slices.SortStableFunc(all, newerFirst)
	return all
}

// created returns when the job of a backup began.
func (e *Entry) created() time.Time {
	if e.Manifest != nil && e.State == Complete {
		return e.Manifest.Created
	}
	return e.Began
}

// NoMatchError says that no backup can be restored of those that were meant.
type NoMatchError struct {
	Selector string
	Oldest   *Entry // the oldest of the complete ones, all of which are too new; nil if there are none
	Failed   int    // how many would match and have failed their verification
}

func (e *NoMatchError) Error() string {
	switch {
	case e.Failed > 0:
		return fmt.Sprintf("no backup for %s: %d of the complete ones would match, and failed their last verification", e.Selector, e.Failed)
	case e.Oldest != nil:
		return fmt.Sprintf("no backup for %s: the oldest is %s, which was finished at %s", e.Selector, e.Oldest.ID, e.Oldest.Manifest.Finished.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("no backup for %s: there is no complete one", e.Selector)
}

// Hint says what an operator can do about it.
func (e *NoMatchError) Hint() string {
	switch {
	case e.Failed > 0:
		return "look at what failed (agent backups show), and name a backup by its id to take it all the same"
	case e.Oldest != nil:
		return "choose a later time, or a backup by its id (agent backups list)"
	}
	return "see what there is: agent backups list"
}

// ExitCode is 82: not restorable.
func (e *NoMatchError) ExitCode() int { return 82 }
