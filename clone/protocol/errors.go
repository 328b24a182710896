package protocol

import (
	"errors"
	"fmt"
)

// Errors to match with errors.Is.
var (
	// ErrCloneInProgress: the donor is busy with another clone; try later or elsewhere.
	ErrCloneInProgress = errors.New("donor is busy with another clone")
	// ErrInterrupted: the donor stopped the clone: shutdown or KILL. Start over.
	ErrInterrupted = errors.New("donor interrupted the clone")
	// ErrSnapshotGone: the donor no longer has the snapshot. Start over.
	ErrSnapshotGone = errors.New("donor no longer has the snapshot")
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
	// ErrClosed: the session was closed, or Run was called twice.
	ErrClosed = errors.New("clone session is closed")
)

// The server's error numbers with a meaning of their own here. See the Server Error
// Message Reference, dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html.
const (
	erSpecificAccessDenied    = 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
	erQueryInterrupted        = 1317 // ER_QUERY_INTERRUPTED
	erPluginIsNotLoaded       = 1524 // ER_PLUGIN_IS_NOT_LOADED
	erInternalError           = 1815 // ER_INTERNAL_ERROR: here, the snapshot does not exist
	erCloneTooManyConcurrent  = 3634 // ER_CLONE_TOO_MANY_CONCURRENT_CLONES
	erCloneEncryptionNeedsTLS = 3872 // ER_CLONE_ENCRYPTION
)

// A DonorError is an error that the donor reported.
type DonorError struct {
	Op      string // what was asked: "init", "attach", "execute", "ack", "exit", "enter"
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
