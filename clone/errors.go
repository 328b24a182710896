package clone

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrSnapshotGone: the donor no longer holds what a copy was made from, because it or its server was restarted, or because the recipient
// was away for too long. What has arrived is of no use: start over.
var ErrSnapshotGone = errors.New("the donor no longer has the snapshot")

// ErrIncomplete marks a copy that ended before everything had arrived. The recipient starts over.
var ErrIncomplete = errors.New("copy is incomplete")

// BadPagesError names pages that fail their own checksum on the donor's disk. A copy with one is never put to use.
type BadPagesError struct {
	Donor string   // pod, "" if not known
	File  string   // below the data directory
	Pages []uint64 // page numbers, ascending; at least one
}

func (e *BadPagesError) Error() string {
	shown := e.Pages[:min(len(e.Pages), 8)]
	numbers := make([]string, len(shown))
	for i, no := range shown {
		numbers[i] = strconv.FormatUint(no, 10)
	}
	more := ""
	if rest := len(e.Pages) - len(shown); rest > 0 {
		more = fmt.Sprintf(" and %d more", rest)
	}
	donor := e.Donor
	if donor == "" {
		donor = "the donor"
	}
	return fmt.Sprintf("bad pages on the disk of %s: %s page %s%s fails its checksum", donor, e.File, strings.Join(numbers, ", "), more)
}

// Hint says what an operator can do about it.
func (e *BadPagesError) Hint() string {
	return "the donor's disk or memory corrupted the file: check that table there with CHECK TABLE, and rebuild that pod from another one"
}

// ExitCode is 65: data corrupt (docs/exit-codes.md).
func (e *BadPagesError) ExitCode() int { return 65 }

// numbers lists the bad pages in ascending order.
func (b badPages) numbers() []uint64 { return slices.Sorted(maps.Keys(b)) }

// UnsupportedError names what the donor has and a clone cannot carry. It is found before the first byte, or, when someone
// creates such a thing meanwhile, in mid-copy.
type UnsupportedError struct {
	What  string   // plural: "encrypted tablespaces"
	Names []string // at least one
}

func (e *UnsupportedError) Error() string {
	shown := e.Names[:min(len(e.Names), 8)]
	more := ""
	if rest := len(e.Names) - len(shown); rest > 0 {
		more = fmt.Sprintf(" and %d more", rest)
	}
	return fmt.Sprintf("%s cannot be cloned: %s%s", e.What, strings.Join(shown, ", "), more)
}

// Hint says what an operator can do about it.
func (e *UnsupportedError) Hint() string {
	return "move them into plain InnoDB tablespaces inside the data directory, or drop them, then the clone goes on by itself"
}

// ExitCode is 80: refused by a guard.
func (e *UnsupportedError) ExitCode() int { return 80 }

// MismatchError says that the copy would not fit the server that is to start on it.
type MismatchError struct {
	What             string // "innodb_page_size", "server version"
	Donor, Recipient string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s does not fit: the donor has %s, this pod %s", e.What, e.Donor, e.Recipient)
}

// Hint says what an operator can do about it.
func (e *MismatchError) Hint() string {
	return "run the same server version and innodb_page_size on every pod of the set"
}

// ExitCode is 80: refused by a guard.
func (e *MismatchError) ExitCode() int { return 80 }

// NoSpaceError says how much the recipient's volume lacks. Sizes are in bytes.
type NoSpaceError struct {
	Need, Have uint64
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("no space for the copy: need %d bytes, have %d, %d are missing", e.Need, e.Have, e.Need-e.Have)
}

// Hint says what an operator can do about it.
func (e *NoSpaceError) Hint() string {
	return "enlarge the volume or free space on it; the clone is tried again by itself when there is room"
}

// ExitCode is 75: temporary.
func (e *NoSpaceError) ExitCode() int { return 75 }

// StalledError is a donor that is connected and sends nothing, not even a heartbeat.
type StalledError struct {
	Donor string
	After time.Duration
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("no byte for %v from %s", e.After, e.Donor)
}

// ExitCode is 69: peer unavailable.
func (e *StalledError) ExitCode() int { return 69 }

// SilentError is a donor that has not been reached for so long, in mid-copy, that it does not hold the snapshot any more.
type SilentError struct {
	Donor string
	For   time.Duration
	Err   error // of the last try
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("%s has not been reached for %v: %v", e.Donor, e.For.Round(time.Second), e.Err)
}

func (e *SilentError) Unwrap() error { return e.Err }

// ExitCode is 69: peer unavailable.
func (e *SilentError) ExitCode() int { return 69 }

// diskFullError is a volume that filled up in mid-copy, in spite of the check before.
type diskFullError struct{ err error }

func (e *diskFullError) Error() string { return fmt.Sprintf("the volume is full: %v", e.err) }
func (e *diskFullError) Unwrap() error { return e.err }
func (e *diskFullError) ExitCode() int { return 75 }
func (e *diskFullError) Hint() string {
	return "enlarge the volume or free space on it; what was copied is removed, and the clone is tried again by itself"
}

// RefusedError is a donor that answers and will not serve a clone now.
type RefusedError struct {
	Donor      string
	Code       string // reason code, docs/reason-codes.md
	Message    string
	RetryAfter time.Duration // 0 when the donor did not say
	Permanent  bool          // asking again changes nothing until somebody changes the donor
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s serves no clone now: %s (%s)", e.Donor, e.Message, e.Code)
}

// ExitCode is 80 for what needs somebody's hand, 75 for what passes.
func (e *RefusedError) ExitCode() int {
	if e.Permanent {
		return 80
	}
	return 75
}
