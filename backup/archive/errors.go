package archive

import (
	"errors"
	"fmt"
	"time"

	"ordinal/mysqlx"
)

// What keeps an [Archiver] from going on, as [Status.Err] has it. All are looked at again by and by.
var (
	// ErrBehind: the server lacks transactions that are archived, and takes no writes: it may still get them.
	ErrBehind = errors.New("the server does not have all that is archived")
	// ErrReused: the server lost transactions of its own, and numbers new ones as it had numbered them. Nothing can be archived after those.
	ErrReused = errors.New("the server has lost transactions of its own that are archived")
	// ErrNoGTID: a transaction without a GTID.
	ErrNoGTID = errors.New("the binary log has a transaction without a gtid")
)

// A PositionError says that a server and the archive do not fit together. Kind is ErrBehind or ErrReused.
type PositionError struct {
	Kind    error
	Missing mysqlx.GTIDSet // archived, and not on the server
}

func (e *PositionError) Error() string { return fmt.Sprintf("%v: %v", e.Kind, shorten(e.Missing)) }
func (e *PositionError) Unwrap() error { return e.Kind }

// Hint says what an operator can do about it.
func (e *PositionError) Hint() string {
	if e.Kind == ErrReused {
		return "give the server a new server_uuid (remove auto.cnf) and clone its replicas anew; it was probably run with sync_binlog=0"
	}
	return "wait until the replica has caught up, or let the source's pod archive"
}

// ExitCode is 75, temporary, or 80, refused (docs/exit-codes.md).
func (e *PositionError) ExitCode() int {
	if e.Kind == ErrReused {
		return 80
	}
	return 75
}

// A Point is a place in the history of a server.
type Point struct {
	GTIDs mysqlx.GTIDSet `json:"gtid_set"`
	// Time is up to when all that was committed is in GTIDs, by the source's clock. Zero if not known.
	Time time.Time `json:"time,omitzero"`
}

// String is for people.
func (p Point) String() string {
	if p.Time.IsZero() {
		return "gtid set " + shorten(p.GTIDs)
	}
	return fmt.Sprintf("%s (gtid set %s)", p.Time.UTC().Format(time.RFC3339Nano), shorten(p.GTIDs))
}

// An UnreachableError says that a point in time cannot be restored from an archive.
type UnreachableError struct {
	Target  string         // what was asked for
	Last    Point          // the last one that can be reached
	Missing mysqlx.GTIDSet // what the archive is known to lack; empty if it just ends before
	Damaged []error        // objects that could not be read
}

func (e *UnreachableError) Error() string {
	text := fmt.Sprintf("%s cannot be reached; the last point that can is %v", e.Target, e.Last)
	if !e.Missing.IsEmpty() {
		text += "; after it are missing " + shorten(e.Missing)
	}
	for i, err := range e.Damaged {
		if i == 3 {
			text += fmt.Sprintf("; and %d more", len(e.Damaged)-i)
			break
		}
		text += "; " + err.Error()
	}
	return text
}

// Unwrap returns what is wrong with single objects.
func (e *UnreachableError) Unwrap() []error { return e.Damaged }

// Hint says what an operator can do about it.
func (e *UnreachableError) Hint() string {
	return "choose that point or an earlier one, or a later backup; " +
		"an object that was removed can be brought back, and a gap be filled from a pod that still has the binlogs"
}

// ExitCode is 82: not restorable (docs/exit-codes.md).
func (e *UnreachableError) ExitCode() int { return 82 }

// shorten keeps messages readable.
func shorten(set mysqlx.GTIDSet) string {
	const most = 300
	text := set.String()
	if text == "" {
		return "(empty)"
	}
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
