package store

import (
	"errors"
	"fmt"
)

// What a caller can act on. Every error of a store is an [*Error], and matches at most one of these with [errors.Is].
var (
	ErrNotFound    = errors.New("no such object")
	ErrExists      = errors.New("the object exists already")
	ErrPermission  = errors.New("not permitted")
	ErrNoSpace     = errors.New("no space left in the store")
	ErrUnavailable = errors.New("the store is not available")  // worth a retry
	ErrNoPlace     = errors.New("there is no such place")      // the directory or bucket itself is missing; never the same as an empty one
	ErrSize        = errors.New("not the size it should have") // more or fewer bytes than were announced, or than are allowed
	ErrName        = errors.New("not a name for an object")    // see CheckName
)

// An Error says what a store could not do. It contains no credentials, and no text of a server that was not checked for length and characters.
type Error struct {
	Op     string // put, open, list...
	Name   string // of the object, or of the place where it is about none; may be empty
	Kind   error  // one of the Err… of this package; nil if it is none of them
	Err    error  // the cause; may be nil if Kind says it all
	Remedy string // what to do about it; may be empty
}

func (e *Error) Error() string {
	text := e.Op
	if e.Name != "" {
		text += " " + e.Name
	}
	if e.Kind != nil {
		text += ": " + e.Kind.Error()
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() []error {
	var all []error
	if e.Kind != nil {
		all = append(all, e.Kind)
	}
	if e.Err != nil {
		all = append(all, e.Err)
	}
	return all
}

// Hint returns what to do about it: the store's own words, or what is right for every store.
func (e *Error) Hint() string {
	switch {
	case e.Remedy != "":
		return e.Remedy
	case e.Kind == ErrNoSpace:
		return "make room: `agent backups prune`, a larger volume, or a larger quota"
	case e.Kind == ErrUnavailable:
		return "it is worth a retry; if it stays, look at the network and at the store itself"
	}
	return ""
}

func tooLarge(op, name string, limit int64) error {
	return &Error{Op: op, Name: name, Kind: ErrSize, Err: fmt.Errorf("it has more than %d bytes", limit)}
}

// CheckSmall is for those who implement [Writer.PutIfAbsent]: [ErrSize] if data has more than [MaxSmall] bytes.
func CheckSmall(name string, data []byte) error {
	if len(data) > MaxSmall {
		return tooLarge("put", name, MaxSmall)
	}
	return nil
}
