package trust

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// MinSecret is the smallest length of a cluster secret in bytes.
const MinSecret = 32

// maxSecret keeps a wrong path (a log, a device) from being read to its end.
const maxSecret = 64 << 10

const redacted = "[redacted]"

// A Secret is the cluster secret. It does not show itself: fmt, encoding/json and log packages get "[redacted]". The zero Secret is not valid.
type Secret struct {
	// A function, because fmt prints unexported fields of other people's structs without asking their methods; of a function it prints the
	// address, whatever the verb.
	reveal func() string
}

// A SecretError says why a cluster secret cannot be used. It never contains the secret, nor its length.
type SecretError struct {
	Path string // of the secret's file; empty if it came from elsewhere
	Err  error
}

// ErrShortSecret is the cause when a secret has fewer than [MinSecret] bytes.
var ErrShortSecret = fmt.Errorf("it is too short: at least %d random bytes are needed", MinSecret)

var errLongSecret = errors.New("it is too long to be a secret: 64 KiB at most")

func (e *SecretError) Error() string {
	if e.Path == "" {
		return "cluster secret: " + e.Err.Error()
	}
	return fmt.Sprintf("cluster secret %s: %v", e.Path, e.Err)
}

func (e *SecretError) Unwrap() error { return e.Err }

// Hint returns the command that makes a good secret, or how to let this process read one that is there.
func (e *SecretError) Hint() string {
	path := e.Path
	if errors.Is(e.Err, fs.ErrPermission) {
		return fmt.Sprintf("let uid %d read it: securityContext.fsGroup in Kubernetes, or `chown %d` and `chmod 0400`", os.Getuid(), os.Getuid())
	}
	if path == "" {
		path = "FILE"
	} else if strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+:@%,", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return "make one, and give the same to every pod: head -c 32 /dev/urandom | base64 > " + path
}

// LoadSecret reads the cluster secret from a file: its content without one trailing newline. Every error is a [*SecretError].
func LoadSecret(path string) (Secret, error) {
	b, err := readSecret(path)
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the path is named once
		}
		return Secret{}, &SecretError{Path: path, Err: err}
	}
	s, err := NewSecret(strings.TrimSuffix(string(b), "\n"))
	var secretErr *SecretError
	if errors.As(err, &secretErr) {
		secretErr.Path = path
	}
	return s, err
}

func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = errLongSecret
	}
	return b, err
}

// NewSecret returns value as a Secret, or a [*SecretError] if it is too short.
func NewSecret(value string) (Secret, error) {
	if len(value) < MinSecret {
		return Secret{}, &SecretError{Err: ErrShortSecret}
	}
	return Secret{func() string { return value }}, nil
}

// Format implements fmt.Formatter: every verb prints "[redacted]".
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// MarshalText returns "[redacted]", for encoding/json and others.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
