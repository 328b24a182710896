package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"ordinal/agent"
	"ordinal/backup/store"
	"ordinal/internal/trust"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// exitDoc explains an exit code. docs/exit-codes.md is made of these.
type exitDoc struct {
	code    int
	name    string
	retry   bool // the same command may succeed later with nothing changed
	meaning string
}

var exitCodes = []exitDoc{
	{agent.ExitOK, "ok", false, "Done. `agent run`: ended by a signal, as it should. `agent status`: every pod is ready. `agent doctor`: no fault, perhaps warnings."},
	{agent.ExitUnexpected, "unexpected", false, "A failure that nobody thought of; please report it."},
	{agent.ExitUsage, "usage", false, "Unknown command or flag, or an option's value outside its range."},
	{agent.ExitDataCorrupt, "data corrupt", false, "Pages with a bad checksum, or a volume whose records contradict each other."},
	{agent.ExitUnavailable, "unavailable", true, "A peer, the name server or the store does not answer. `agent status`: no pod answers."},
	{agent.ExitCannotCreate, "cannot create", false, "No space left, also in a store, or a file or directory cannot be made where it should be."},
	{agent.ExitIO, "input/output error", false, "The disk or the kernel reported an error, or a store one that nobody knows."},
	{agent.ExitTemporary, "temporary", true, "A port or the volume is still in use, a donor is busy, no pod is fit to make a backup from. `agent status`: some pod is not ready."},
	{agent.ExitPermission, "permission", false, "File modes, user id, privileges in MySQL, or credentials of a store."},
	{agent.ExitConfig, "configuration", false, "Secret, pod name, a volume or store that is not there, files with keys, or a server that is not MySQL 8.0.17 or later. `agent doctor`: it found a fault."},
	{agent.ExitRefused, "refused", false, "A guard says no, because going on could lose data. A human has to decide; nothing was changed."},
	{agent.ExitVerification, "verification failed", false, "Something was checked and is not what it claims to be."},
	{agent.ExitNotRestorable, "not restorable", false, "A backup or archive is damaged or lacks something: what was asked for cannot be restored from it. The message says up to where it can."},
	{83, "reserved", false, "Asks for a new init (later)."},
	{agent.ExitWrongKey, "wrong key", false, "A backup is encrypted and no key that was given opens it, or it was sealed under another cluster secret."},
	{agent.ExitTerminated, "terminated", true, "`init`, `backup`, `verify` or `restore` was ended by a signal before it was done. The next one goes on or starts over by itself."},
}

// report prints err with its hint, a line each, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return agent.ExitOK
	}
	fmt.Fprintf(stderr, "agent: %s\n", oneLine(err.Error()))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", oneLine(hint))
	}
	return exitCode(err)
}

// oneLine keeps an error on one line: errors.Join and some libraries use several.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// exitCodeOf are the codes of errors of packages that know nothing of processes.
var exitCodeOf = []struct {
	err  error
	code int
}{
	{volume.ErrNoVolume, agent.ExitConfig},
	{volume.ErrLocked, agent.ExitTemporary},
	{volume.ErrInUse, agent.ExitTemporary},
	{volume.ErrNotWritable, agent.ExitPermission},
	{volume.ErrDamaged, agent.ExitDataCorrupt},
	{volume.ErrForeign, agent.ExitRefused},
	{volume.ErrState, agent.ExitRefused},
	{store.ErrForeign, agent.ExitRefused},
	{store.ErrPermission, agent.ExitPermission},
	{store.ErrNoSpace, agent.ExitCannotCreate},
	{store.ErrNoPlace, agent.ExitConfig},
	{store.ErrUnavailable, agent.ExitUnavailable},
}

// exitCode returns the code of the first error in the chain that has one, else what the sentinel or the kernel's error tells.
func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	for _, known := range exitCodeOf {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	var (
		secret      *trust.SecretError
		unsupported *mysqlx.UnsupportedError
	)
	if errors.As(err, &secret) || errors.As(err, &unsupported) {
		return agent.ExitConfig
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	switch errno {
	case syscall.EACCES, syscall.EPERM, syscall.EROFS:
		return agent.ExitPermission
	case syscall.ENOSPC, syscall.EDQUOT:
		return agent.ExitCannotCreate
	case syscall.EIO:
		return agent.ExitIO
	}
	if errors.Is(err, fs.ErrPermission) {
		return agent.ExitPermission
	}
	// What a store says that is none of the above: if somebody knows what to do about it, it is how the store was given.
	var failed *store.Error
	switch {
	case errors.As(err, &failed) && failed.Hint() != "":
		return agent.ExitConfig
	case failed != nil:
		return agent.ExitIO
	}
	return agent.ExitUnexpected
}

// hintOf returns the first hint in the chain that is not empty.
func hintOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		return h.Hint()
	}
	switch x := err.(type) {
	case interface{ Unwrap() error }:
		if inner := x.Unwrap(); inner != nil {
			return hintOf(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range x.Unwrap() {
			if hint := hintOf(inner); hint != "" {
				return hint
			}
		}
	}
	return ""
}

// terminatedError is how a command ends when a signal came first.
type terminatedError struct {
	before string // what did not come to pass
	remedy string
	cause  error
}

func (e *terminatedError) Error() string { return "ended by a signal before " + e.before }
func (e *terminatedError) Unwrap() error { return e.cause }
func (e *terminatedError) ExitCode() int { return agent.ExitTerminated }
func (e *terminatedError) Hint() string  { return e.remedy }

// orTerminated tells a signal from a failure: an error with an exit code of its own is one, whenever it came.
func orTerminated(ctx context.Context, err error, before, remedy string) error {
	var coded interface{ ExitCode() int }
	if err == nil || ctx.Err() == nil || errors.As(err, &coded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return &terminatedError{before, remedy, err}
}
