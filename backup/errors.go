package backup

import (
	"errors"
	"fmt"
)

// What can be wrong with a backup in a store. A [*DamageError] matches exactly one of them with errors.Is.
var (
	ErrNoBackup  = errors.New("there is no such backup")                           // it has no manifest
	ErrManifest  = errors.New("the manifest is damaged")                           // no JSON, impossible values, not its own place
	ErrVersion   = errors.New("the manifest is of an unknown version")             //
	ErrEdited    = errors.New("the manifest was changed after it was sealed")      // the seal is by a key that we have, and does not fit
	ErrMissing   = errors.New("an object of the backup is missing")                //
	ErrTruncated = errors.New("an object of the backup is shorter than it was")    //
	ErrLonger    = errors.New("an object of the backup is longer than it was")     //
	ErrDigest    = errors.New("the content of an object has changed")              // right size, wrong digest
	ErrSwapped   = errors.New("an object of the backup lies in another's place")   // its digest is that of another one
	ErrSealed    = errors.New("the content of an object cannot be decrypted")      // by the right key: it was encrypted wrong, or changed before that
	ErrPacked    = errors.New("the content of an object cannot be unpacked")       //
	ErrBomb      = errors.New("an object unpacks to more than it should")          // more than the manifest says, or than this program takes
	ErrFrames    = errors.New("the events of the backup do not follow each other") // within a segment or from one to the next
)

// A DamageError says what is wrong with a backup: it cannot be restored as it is. Kind is one of the errors above.
type DamageError struct {
	Backup string // its id; "" if not known
	Object string // the object's name in the store; "" if it is about the whole
	Kind   error
	Err    error // the cause; may be nil if Kind says it all
}

func (e *DamageError) Error() string {
	text := e.Kind.Error()
	switch {
	case e.Object != "":
		text = e.Object + ": " + text
	case e.Backup != "":
		text = "backup " + e.Backup + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func damaged(kind error, format string, args ...any) error {
	return &DamageError{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Unwrap makes a DamageError match its kind and its cause.
func (e *DamageError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Hint says what an operator can do about it.
func (e *DamageError) Hint() string {
	switch e.Kind {
	case ErrNoBackup:
		return "see which there are: agent backups list"
	case ErrVersion:
		return "use the version of the agent that made the backup, or a later one"
	case ErrEdited:
		return "somebody has changed the manifest: bring it back from a copy of the store, or restore another backup; whoever can write to the store can do that"
	case ErrMissing:
		return "bring the object back from a copy of the store, or restore another backup; look for what removes objects there"
	}
	return "restore another backup (agent backups list), make a new one now, and look for what damages the store: its disks, or who can write to it"
}

// ExitCode is 82: not restorable (docs/exit-codes.md).
func (e *DamageError) ExitCode() int { return 82 }

// ErrWrongKey matches every [*WrongKeyError].
var ErrWrongKey = errors.New("none of the keys given fits")

// A WrongKeyError says that a backup is sealed or encrypted with a key that we were not given.
type WrongKeyError struct {
	Backup string // its id, or what else it is about; may be empty
	What   string // what the key is needed for
	Remedy string
}

func (e *WrongKeyError) Error() string {
	if e.Backup == "" {
		return fmt.Sprintf("%s: %v", e.What, ErrWrongKey)
	}
	return fmt.Sprintf("%s of %s: %v", e.What, e.Backup, ErrWrongKey)
}

// Unwrap makes every WrongKeyError an ErrWrongKey.
func (e *WrongKeyError) Unwrap() error { return ErrWrongKey }

// Hint says what an operator can do about it.
func (e *WrongKeyError) Hint() string { return e.Remedy }

// ExitCode is 84: wrong key (docs/exit-codes.md).
func (e *WrongKeyError) ExitCode() int { return 84 }
