package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// Errors to match with errors.Is.
var (
	// ErrCloneInProgress: the donor is busy with another clone; try later or elsewhere.
	ErrCloneInProgress = errors.New("donor is busy with another clone")
	// ErrInterrupted: the donor stopped the clone: shutdown or KILL. Start over.
	ErrInterrupted = errors.New("donor interrupted the clone")
	// ErrSnapshotGone: the donor no longer has the snapshot. Start over.
	ErrSnapshotGone = errors.New("donor no longer has the snapshot")
	// ErrStillActive: the donor has not noticed yet that the connections of the session to be resumed broke. Try again.
	ErrStillActive = errors.New("donor has not noticed that the old connections broke")
	// ErrDenied: the account lacks BACKUP_ADMIN.
	ErrDenied = errors.New("account lacks the BACKUP_ADMIN privilege")
	// ErrNoPlugin: the clone plugin is not active on the donor.
	ErrNoPlugin = errors.New("clone plugin is not active on the donor")
	// ErrEncrypted: the snapshot contains encrypted files, which this client refuses.
	ErrEncrypted = errors.New("encrypted data cannot be cloned")
	// ErrProtocol: the donor sent something that the protocol does not allow.
	ErrProtocol = errors.New("unexpected message from donor")
	// ErrStalled: the donor sent nothing on any connection for Options.StallTimeout.
	ErrStalled = errors.New("donor went silent")
	// ErrKeep, as the cause of a context's end or in a sink's error, ends Run as a broken connection does: the donor keeps the
	// snapshot for Resume.
	ErrKeep = errors.New("clone session is kept to be resumed")
	// ErrClosed: the session was closed, or Run was called twice.
	ErrClosed = errors.New("clone session is closed")
)

// The server's error numbers with a meaning of their own here. See the Server Error
// Message Reference, dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html.
const (
	erSpecificAccessDenied    = 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
	erQueryInterrupted        = 1317 // ER_QUERY_INTERRUPTED
	erPluginIsNotLoaded       = 1524 // ER_PLUGIN_IS_NOT_LOADED
	erInternalError           = 1815 // ER_INTERNAL_ERROR: here, the snapshot does not exist, or its session is active
	erCloneTooManyConcurrent  = 3634 // ER_CLONE_TOO_MANY_CONCURRENT_CLONES
	erCloneEncryptionNeedsTLS = 3872 // ER_CLONE_ENCRYPTION
)

// A DonorError is an error that the donor reported.
type DonorError struct {
	Op      string // what was asked: "enter", "init", "reinit", "attach", "execute", "ack", "exit"
	Code    int32  // the server's error number
	Message string // the server's text, bounded, without control characters
}

// Error returns operation, number and text.
func (e *DonorError) Error() string {
	return fmt.Sprintf("%s: donor error %d: %s", e.Op, e.Code, e.Message)
}

// Is matches the package's errors by the server's number.
func (e *DonorError) Is(target error) bool {
	switch e.Code {
	case erCloneTooManyConcurrent:
		return target == ErrCloneInProgress
	case erQueryInterrupted:
		return target == ErrInterrupted
	case erInternalError:
		// The number does not tell the two apart.
		if e.Op == opReinit && strings.Contains(e.Message, "timed out") {
			return target == ErrStillActive
		}
		return target == ErrSnapshotGone
	case erSpecificAccessDenied:
		return target == ErrDenied
	case erPluginIsNotLoaded:
		return target == ErrNoPlugin
	case erCloneEncryptionNeedsTLS:
		return target == ErrEncrypted
	}
	return false
}

// Hint tells the operator what to do, where the number tells.
func (e *DonorError) Hint() string {
	switch e.Code {
	case erSpecificAccessDenied:
		return "grant BACKUP_ADMIN on *.* to the account"
	case erPluginIsNotLoaded:
		return "start the donor with plugin-load-add=mysql_clone.so"
	case erCloneEncryptionNeedsTLS:
		return "turn off tablespace, undo and redo log encryption on the donor"
	}
	return ""
}

// An EncryptedError names an encrypted file. It matches ErrEncrypted.
type EncryptedError struct{ Name string }

// Error names the file.
func (e *EncryptedError) Error() string { return fmt.Sprintf("%v: %q", ErrEncrypted, e.Name) }

// Unwrap returns ErrEncrypted.
func (e *EncryptedError) Unwrap() error { return ErrEncrypted }

// Hint says how to make the donor clonable.
func (e *EncryptedError) Hint() string {
	return "decrypt it on the donor (ALTER … ENCRYPTION='N') before cloning"
}

// protocolError says what was wrong with a message; it matches ErrProtocol.
func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// A brokenError is a connection to the donor that broke or was not to be had, rather than something that one side decided. The
// donor keeps the snapshot.
type brokenError struct {
	op  string
	err error
}

func (e *brokenError) Error() string { return e.op + ": " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// IsBroken reports whether err is a connection to the donor that broke or was not to be had, rather than something that one side
// decided. The donor's snapshot may still be there: Resume tells.
func IsBroken(err error) bool {
	var broken *brokenError
	return errors.As(err, &broken)
}

// keeps reports whether a session that ended with err is to be resumed: the donor is then not told to release the snapshot.
func keeps(err error) bool { return IsBroken(err) || errors.Is(err, ErrKeep) }
