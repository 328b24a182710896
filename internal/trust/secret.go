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
	s, err := readSecret(path)
	if err == nil && s.reveal == nil {
		err = ErrShortSecret
	}
	if err != nil {
		return Secret{}, &SecretError{Path: path, Err: err}
	}
	return s, nil
}

// loadPrevious reads the secret beside path that was there before. There need not be one, and then the zero Secret is returned: a file
// that is absent or empty, as templates leave it, says so. Every error is a [*SecretError].
func loadPrevious(path string) (Secret, error) {
	path += PreviousSuffix
	s, err := readSecret(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Secret{}, &SecretError{Path: path, Err: err}
	}
	return s, nil
}

// readSecret returns the zero Secret if the file is empty.
func readSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, cause(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return Secret{}, cause(err)
	}
	value := strings.TrimSuffix(string(b), "\n")
	switch {
	case value == "":
		return Secret{}, nil
	case len(b) > maxSecret:
		return Secret{}, errLongSecret
	case len(value) < MinSecret:
		return Secret{}, ErrShortSecret
	}
	return NewSecret(value)
}

// cause returns the error of a file's operation without its path, which a SecretError names.
func cause(err error) error {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// NewSecret returns value as a Secret, or a [*SecretError] if it is too short.
func NewSecret(value string) (Secret, error) {
	if len(value) < MinSecret {
		return Secret{}, &SecretError{Err: ErrShortSecret}
	}
	return Secret{func() string { return value }}, nil
}

// same reports whether both are the same secret, or both are none.
func (s Secret) same(other Secret) bool {
	if s.reveal == nil || other.reveal == nil {
		return s.reveal == nil && other.reveal == nil
	}
	return s.reveal() == other.reveal()
}

// Format implements fmt.Formatter: every verb prints "[redacted]".
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// MarshalText returns "[redacted]", for encoding/json and others.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
