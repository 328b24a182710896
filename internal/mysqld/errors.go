package mysqld

import (
	"fmt"
	"strings"
)

// NotFoundError says that there is no mysqld.
type NotFoundError struct {
	Tried []string // paths, and "PATH"
}

func (e *NotFoundError) Error() string { return "no mysqld in " + strings.Join(e.Tried, ", ") }

// Hint says what an operator can do about it.
func (e *NotFoundError) Hint() string {
	return "run this where the MySQL server is installed, such as in the mysql image with the agent copied into it, or name the program with --mysqld"
}

// ExitCode is 78: configuration.
func (e *NotFoundError) ExitCode() int { return 78 }

// UnusableError is a mysqld that is there and cannot be run.
type UnusableError struct {
	Path string
	Err  error
	Log  []string // the end of what it said
}

func (e *UnusableError) Error() string {
	return quote(fmt.Sprintf("%s cannot be run: %v", e.Path, e.Err), e.Log)
}
func (e *UnusableError) Unwrap() error { return e.Err }

// Hint says what an operator can do about it.
func (e *UnusableError) Hint() string {
	return "it has to be the server of this machine's architecture, with its libraries, and this user must be allowed to run it"
}

// ExitCode is 78: configuration.
func (e *UnusableError) ExitCode() int { return 78 }

// OwnerError says that a data directory belongs to a user as whom we may not run a server.
type OwnerError struct {
	DataDir    string
	Owner, Own int // user ids: of the directory, and ours
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("data directory %s belongs to user %d, and this is user %d", e.DataDir, e.Owner, e.Own)
}

// Hint says what an operator can do about it.
func (e *OwnerError) Hint() string {
	return fmt.Sprintf("run this as user %d or as root, or let it make the directory itself", e.Owner)
}

// ExitCode is 77: permission.
func (e *OwnerError) ExitCode() int { return 77 }

// Phase is what a server was about when it ended.
type Phase string

// The phases of a server's life.
const (
	Starting Phase = "starting" // before it answered for the first time
	Running  Phase = "running"
	Stopping Phase = "stopping" // after it was told to
)

// Trouble is why a server ended, as far as its exit and its log tell.
type Trouble string

// Kinds of trouble. All but TroubleData come from the machine, not from the data.
const (
	TroubleData       Trouble = "data"       // none of the others: it does not like its data directory or its options, or it crashed
	TroubleKilled     Trouble = "killed"     // by SIGKILL, as when memory is short
	TroubleMemory     Trouble = "memory"     // it did not get the memory it wanted
	TroubleSpace      Trouble = "space"      // no space left on a disk
	TroublePermission Trouble = "permission" // it may not open what it has to
	TroubleInUse      Trouble = "in use"     // another server has the data directory
)

// EndedError is a mysqld that ended by itself.
type EndedError struct {
	Phase   Phase
	Trouble Trouble
	Status  string   // exit code or signal, in words
	Log     []string // the end of what it said: errors if there are any
	Err     error    // what somebody who used it came to; may be nil

	whole string // as much of what it said as was kept
}

// Unwrap returns the error of whoever used the server, nil if there is none.
func (e *EndedError) Unwrap() error { return e.Err }

func (e *EndedError) Error() string {
	return quote(fmt.Sprintf("mysqld ended while %s (%s)", e.Phase, e.Status), e.Log)
}

// Hint says what an operator can do about it.
func (e *EndedError) Hint() string {
	switch e.Trouble {
	case TroubleKilled, TroubleMemory:
		return "give it more memory, or a smaller buffer pool"
	case TroubleSpace:
		return "make room on the disk of the data directory and on that of temporary files"
	case TroublePermission:
		return "the server runs as the owner of the data directory: that user must be able to read and write everything in it"
	case TroubleInUse:
		return "another mysqld works on that data directory: end it first"
	}
	return "what the server says above is the reason; it runs with no option file, so options that shape the data have to be given"
}

// ExitCode says 75 for what passes, 73 for a full disk, 77 for what it may not do and 65 for the rest: what the server says of its data.
func (e *EndedError) ExitCode() int {
	switch e.Trouble {
	case TroubleKilled, TroubleMemory, TroubleInUse:
		return 75
	case TroubleSpace:
		return 73
	case TroublePermission:
		return 77
	}
	return 65
}

// quote adds lines of a log to a message.
func quote(message string, log []string) string {
	if len(log) == 0 {
		return message
	}
	return message + "; it said:\n  " + strings.Join(log, "\n  ")
}
