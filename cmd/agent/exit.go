package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"ordinal/agent"
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
	{agent.ExitOK, "ok", false, "Done. `agent run`: ended by a signal, as it should. `agent status`: every pod is ready."},
	{agent.ExitUnexpected, "unexpected", false, "A failure that nobody thought of; please report it."},
	{agent.ExitUsage, "usage", false, "Unknown command or flag, or an option's value outside its range."},
	{agent.ExitDataCorrupt, "data corrupt", false, "Pages with a bad checksum, or a volume whose records contradict each other."},
	{agent.ExitUnavailable, "unavailable", true, "A peer or the name server does not answer. `agent status`: no pod answers."},
	{agent.ExitCannotCreate, "cannot create", false, "No space left, or a file or directory cannot be made where it should be."},
	{agent.ExitIO, "input/output error", false, "The disk or the kernel reported an error."},
	{agent.ExitTemporary, "temporary", true, "A port or the volume is still in use, a donor is busy. `agent status`: some pod is not ready."},
	{agent.ExitPermission, "permission", false, "File modes, user id, or privileges in MySQL."},
	{agent.ExitConfig, "configuration", false, "Secret, pod name, a volume that is not there, or a server that is not MySQL 8.0.17 or later."},
	{agent.ExitRefused, "refused", false, "A guard says no, because going on could lose data. A human has to decide; nothing was changed."},
	{agent.ExitVerification, "verification failed", false, "Something was checked and is not what it claims to be."},
	{82, "reserved", false, "Not restorable (later)."},
	{83, "reserved", false, "Asks for a new init (later)."},
	{agent.ExitTerminated, "terminated", true, "`agent init` was ended by a signal before it was done. The next one goes on or starts over by itself."},
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

// terminatedError is how init ends when a signal came first.
type terminatedError struct{ cause error }

func (e *terminatedError) Error() string { return "ended by a signal before the volume was ready" }
func (e *terminatedError) Unwrap() error { return e.cause }
func (e *terminatedError) ExitCode() int { return agent.ExitTerminated }
func (e *terminatedError) Hint() string {
	return "run it again: it goes on or starts over by itself"
}
