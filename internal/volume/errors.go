package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

var (
	// ErrNoVolume means that there is no directory at the path given.
	ErrNoVolume = errors.New("no volume")
	// ErrLocked means that another process holds the volume.
	ErrLocked = errors.New("the volume is in use by another agent")
	// ErrNotWritable means that this process may not change the volume.
	ErrNotWritable = errors.New("the volume is not writable")
	// ErrDamaged means that the layout is not one that this package leaves behind. Nothing was changed.
	ErrDamaged = errors.New("damaged volume layout")
	// ErrForeign means that entries of the volume are not the agent's, so it will not touch them.
	ErrForeign = errors.New("the volume holds what is not the agent's")
	// ErrInUse means that a mysqld has the data directory open.
	ErrInUse = errors.New("a mysqld has the data directory open")
	// ErrState means that the volume's content does not allow the operation. Nothing was changed.
	ErrState = errors.New("not possible in the volume's state")
)

// refusal is one of the errors above with what was found and what an operator can do.
type refusal struct {
	kind error
	msg  string
	hint string
}

func (e *refusal) Error() string { return fmt.Sprintf("%v: %s", e.kind, e.msg) }
func (e *refusal) Unwrap() error { return e.kind }

// Hint says what an operator can do.
func (e *refusal) Hint() string { return e.hint }

func damaged(hint, format string, args ...any) error {
	return &refusal{ErrDamaged, fmt.Sprintf(format, args...), hint}
}

func state(format string, args ...any) error {
	return &refusal{ErrState, fmt.Sprintf(format, args...), ""}
}

// notWritable turns a refusal of the kernel to let us write into ErrNotWritable, which says who we are and who may.
// Other errors pass as they are.
func notWritable(path string, err error) error {
	if err == nil || !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return err
	}
	owner := "its owner is unknown"
	if st, statErr := os.Stat(path); statErr == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			owner = fmt.Sprintf("it belongs to uid %d, gid %d, mode %v", sys.Uid, sys.Gid, st.Mode().Perm())
		}
	}
	hint := fmt.Sprintf("run agent and mysqld as the same uid and let it write here: securityContext.fsGroup in Kubernetes (not for hostPath, which it does not apply to), or `chown %d %s`", os.Getuid(), path)
	if errors.Is(err, syscall.EROFS) {
		hint = "the file system is mounted read-only: mount it writable, and look into the kernel's log if it was"
	}
	return &refusal{ErrNotWritable, fmt.Sprintf("%s as uid %d, gid %d; %s (%v)", path, os.Getuid(), os.Getgid(), owner, err), hint}
}
