package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ordinal/mysqlx"
)

// Exit codes, see docs/exit-codes.md.
const (
	exitDataCorrupt    = 65
	exitIO             = 74
	exitTemporary      = 75
	exitConfig         = 78
	exitRefused        = 80
	exitVerification   = 81
	exitNotRestorable  = 82
	exitCannotCreate   = 73
	exitPermission     = 77
	maxListedInMessage = 300 // characters of a GTID set
)

// A Point is a place in an archive.
type Point struct {
	Executed  mysqlx.GTIDSet `json:"executed"`              // what a server has there
	GTID      string         `json:"gtid,omitempty"`        // of the last transaction before it; "" if the archive has none
	Committed time.Time      `json:"committed_at,omitzero"` // when that was first committed
}

// String is for people.
func (p Point) String() string {
	if p.GTID == "" {
		return "what the backup has: " + shorten(p.Executed.String())
	}
	return fmt.Sprintf("%s, committed %s (everything: %s)", p.GTID, p.Committed.UTC().Format(time.RFC3339Nano), shorten(p.Executed.String()))
}

// An UnreachableError says that a target cannot be reached with the transactions that the archive has. Nothing was touched.
type UnreachableError struct {
	Target Target
	Why    string
	// Missing is what the archive lacks between the last point and what it has next; empty if it merely ends.
	Missing mysqlx.GTIDSet
	Last    Point // the last one that can be reached
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s cannot be reached: %s; the last point that can be reached is %s", e.Target, e.Why, e.Last)
}

// Hint says what can be done.
func (e *UnreachableError) Hint() string {
	var hints []string
	if !e.Missing.IsEmpty() {
		hints = append(hints, "bring the missing segment back from a copy of the store, or let the archive fetch the transactions again from a pod that still has them")
	}
	if e.Last.GTID != "" {
		hints = append(hints, "restore up to the last point: --to-gtid "+shorten(e.Last.Executed.String()))
	}
	hints = append(hints, "or use a later backup")
	return strings.Join(hints, "; ")
}

// ExitCode is 82: not restorable.
func (e *UnreachableError) ExitCode() int { return exitNotRestorable }

// A PassedError says that the data is beyond the target already. Nothing was touched.
type PassedError struct {
	Target Target
	Beyond mysqlx.GTIDSet // what the data has and the target has not
}

func (e *PassedError) Error() string {
	return fmt.Sprintf("the backup is from after %s: it has %s already", e.Target, shorten(e.Beyond.String()))
}

// Hint says what can be done.
func (e *PassedError) Hint() string { return "use an older backup: agent backups list" }

// ExitCode is 82: not restorable.
func (e *PassedError) ExitCode() int { return exitNotRestorable }

// A SegmentError says that a segment is not what its header says, or cannot be read.
type SegmentError struct {
	Segment string
	Err     error
}

func (e *SegmentError) Error() string { return fmt.Sprintf("archive segment %s: %v", e.Segment, e.Err) }
func (e *SegmentError) Unwrap() error { return e.Err }

// Hint is that of the cause, if it has one.
func (e *SegmentError) Hint() string {
	if inner, ok := errors.AsType[interface {
		error
		Hint() string
	}](e.Err); ok {
		return inner.Hint()
	}
	return "bring the segment back from a copy of the store, or replay to a point before it; what was replayed until now stays, and the next run goes on there"
}

// ExitCode is that of the cause, if it has one; 75 if reading was interrupted; otherwise 82: not restorable.
func (e *SegmentError) ExitCode() int {
	if inner, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](e.Err); ok {
		return inner.ExitCode()
	}
	if errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded) {
		return exitTemporary
	}
	return exitNotRestorable
}

// An ApplierError says that the server could not execute a transaction, or stopped for another reason.
type ApplierError struct {
	mysqlx.ReplicaError
	Executed mysqlx.GTIDSet // when it stopped
}

func (e *ApplierError) Error() string {
	if e.Number == 0 {
		return "the applier was stopped by somebody"
	}
	return fmt.Sprintf("the applier stopped: error %d: %s", e.Number, e.Message)
}

// Hint says what can be done.
func (e *ApplierError) Hint() string {
	switch e.Class() {
	case mysqlx.ClassNone:
		return "run it again: it goes on where it was"
	case mysqlx.ClassDiskFull:
		return "give the volume more room and run it again: it goes on where it was"
	case mysqlx.ClassDataDrift:
		return "the data is not what the archived transactions were made on: use another backup, and see performance_schema.replication_applier_status_by_worker"
	}
	return "see the server's error log and performance_schema.replication_applier_status_by_worker; run it again and it goes on where it was"
}

// ExitCode is 75 for what may be different the next time, 73 for a full disk, 81 for data that does not fit.
func (e *ApplierError) ExitCode() int {
	switch e.Class() {
	case mysqlx.ClassDiskFull:
		return exitCannotCreate
	case mysqlx.ClassDataDrift, mysqlx.ClassAccount:
		return exitVerification
	}
	return exitTemporary
}

// A ResultError says that everything was executed and the server has not what it should have.
type ResultError struct{ Lacks, Extra mysqlx.GTIDSet }

func (e *ResultError) Error() string {
	var parts []string
	if !e.Lacks.IsEmpty() {
		parts = append(parts, "it lacks "+shorten(e.Lacks.String()))
	}
	if !e.Extra.IsEmpty() {
		parts = append(parts, "it has executed besides "+shorten(e.Extra.String()))
	}
	return "after the replay the server is not at the target: " + strings.Join(parts, "; ")
}

// Hint says what can be done.
func (e *ResultError) Hint() string {
	if e.Extra.IsEmpty() {
		return "look for what keeps the server from executing them: its server_id, filters, its error log"
	}
	return "somebody else writes to this server: it must take no writes until the replay is done. Restore the backup again"
}

// ExitCode is 81: verification failed.
func (e *ResultError) ExitCode() int { return exitVerification }

// A RefusedError says that a server or its directory is not fit for a replay. Nothing was touched.
type RefusedError struct {
	Why  string
	Help string
	Code int
}

func (e *RefusedError) Error() string { return "replay: " + e.Why }

// Hint says what can be done.
func (e *RefusedError) Hint() string { return e.Help }

// ExitCode says what kind of refusal it is.
func (e *RefusedError) ExitCode() int { return e.Code }

func shorten(s string) string {
	if len(s) > maxListedInMessage {
		return s[:maxListedInMessage] + "…"
	}
	if s == "" {
		return "nothing"
	}
	return s
}
