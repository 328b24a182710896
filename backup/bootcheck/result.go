package bootcheck

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ordinal/mysqlx"
)

const (
	maxFailures = 100
	maxDetail   = 1000 // bytes
	maxOther    = 100
)

// A Result is what became of a check, in the form in which it is kept beside the backup. Fields are only ever added.
type Result struct {
	OK       bool      `json:"ok"` // nothing failed
	Began    time.Time `json:"began_at"`
	Finished time.Time `json:"finished_at"`

	ServerVersion string  `json:"server_version"` // of the mysqld that was started
	StartSeconds  float64 `json:"start_seconds"`  // from its start to its first answer: with crash recovery
	// GTIDExecuted is exactly what a server that starts on this backup has executed; "" if it did not start, or if that is nothing.
	GTIDExecuted string `json:"gtid_executed"`

	Tables   int    `json:"tables"`           // InnoDB tables of all schemas, the server's own included
	Checked  int    `json:"tables_checked"`   // of these, by CHECK TABLE
	Compared int    `json:"tables_compared"`  // of these, by their checksum on the donor
	FullText int    `json:"fulltext_indexes"` // that were searched
	Bytes    uint64 `json:"bytes"`            // of the tables that were checked, about

	// Not compared, as the backup's record says.
	ChangedDuringBackup int `json:"changed_during_backup"`
	WithoutChecksum     int `json:"without_checksum"` // left out for lack of time and the like; all of them if the backup has no checksums

	// OtherEngines are tables that no copy carries, such as those of MyISAM; at most 100. They are not checked.
	OtherEngines []mysqlx.TableName `json:"other_engines,omitempty"`

	// Failures are what is wrong, at most 100; Failed is how many there are.
	Failures []Failure `json:"failures,omitempty"`
	Failed   int       `json:"failed"`
}

// A Failure is one thing that is wrong.
type Failure struct {
	mysqlx.TableName        // empty if it is about the whole
	Kind             Kind   `json:"kind"`
	Detail           string `json:"detail"` // what the server says, or what differs
}

// Kind says what is wrong.
type Kind string

// Kinds of failures.
const (
	FailedStart    Kind = "start"    // mysqld does not start on the data
	FailedCrash    Kind = "crash"    // it ended in the middle; Detail names the tables that it read at that moment
	FailedStop     Kind = "stop"     // it did not shut down in order
	FailedTables   Kind = "tables"   // there are none, not even the server's own
	FailedCheck    Kind = "check"    // CHECK TABLE
	FailedMissing  Kind = "missing"  // the donor had the table all the time, and the copy has not
	FailedChecksum Kind = "checksum" // other content than on the donor
	FailedFullText Kind = "fulltext" // a full-text index cannot be searched
	FailedGTID     Kind = "gtid"     // other transactions than the backup says
)

func (f Failure) String() string {
	if f.TableName == (mysqlx.TableName{}) {
		return fmt.Sprintf("%s: %s", f.Kind, f.Detail)
	}
	return fmt.Sprintf("%v: %s: %s", f.TableName, f.Kind, f.Detail)
}

// fail adds a failure.
func (r *Result) fail(kind Kind, table mysqlx.TableName, detail string) {
	r.Failed++
	if len(r.Failures) < maxFailures {
		if len(detail) > maxDetail {
			detail = strings.ToValidUTF8(detail[:maxDetail], "") + "…"
		}
		r.Failures = append(r.Failures, Failure{table, kind, detail})
	}
}

// close says when it was over and what came of it.
func (r *Result) close(now time.Time) {
	r.Finished = now.UTC()
	r.OK = r.Failed == 0
	slices.SortStableFunc(r.Failures, func(a, b Failure) int { return a.Compare(b.TableName) })
	slices.SortFunc(r.OtherEngines, mysqlx.TableName.Compare)
	r.OtherEngines = r.OtherEngines[:min(len(r.OtherEngines), maxOther)]
}

// Err returns nil for a result that is well, and else a [*FailedError].
func (r Result) Err() error {
	if r.OK {
		return nil
	}
	return &FailedError{Result: r}
}

// ErrFailed matches every FailedError.
var ErrFailed = errors.New("the backup is not what it claims to be")

// FailedError is a backup that a server does not start on, or that holds something else than it should.
type FailedError struct {
	Result Result
}

func (e *FailedError) Error() string {
	shown := make([]string, min(len(e.Result.Failures), 3))
	for i := range shown {
		shown[i] = e.Result.Failures[i].String()
	}
	text := ErrFailed.Error()
	if len(shown) > 0 {
		text += ": " + strings.Join(shown, "; ")
	}
	if more := e.Result.Failed - len(shown); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// Unwrap makes every FailedError an ErrFailed.
func (e *FailedError) Unwrap() error { return ErrFailed }

// Hint says what an operator can do about it.
func (e *FailedError) Hint() string {
	return "do not rely on this backup: make a new one and verify that; if it fails as well, look at the donor: CHECK TABLE there, its disk, its memory"
}

// ExitCode is 81: verification failed.
func (e *FailedError) ExitCode() int { return 81 }

// VersionError says that the mysqld that is there cannot start on a backup of another version.
type VersionError struct {
	Backup, Server string
	Err            error
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the backup is of MySQL %s, the mysqld here is %s: %v", e.Backup, e.Server, e.Err)
}

func (e *VersionError) Unwrap() error { return e.Err }

// Hint says what an operator can do about it.
func (e *VersionError) Hint() string {
	return "use a mysqld of the version that the backup was made from, or name one with --mysqld"
}

// ExitCode is 78: configuration.
func (e *VersionError) ExitCode() int { return 78 }
