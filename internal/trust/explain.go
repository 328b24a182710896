package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// ErrUntrusted matches every error that [Explain] has explained.
var ErrUntrusted = errors.New("no mutual trust")

// A PeerError says in one line why two processes do not trust each other. Unwrap returns what crypto/tls said.
type PeerError struct {
	Addr string // of the peer; empty if not known
	what string
	hint string
	err  error
}

func (e *PeerError) Error() string {
	if e.Addr == "" {
		return "the peer " + e.what
	}
	return "the peer at " + e.Addr + " " + e.what
}

// ExitCode is 78: a mistake in the configuration (docs/exit-codes.md).
func (e *PeerError) ExitCode() int { return 78 }

// Hint says what to do.
func (e *PeerError) Hint() string { return e.hint }

func (e *PeerError) Unwrap() error { return e.err }

// Is makes every PeerError an ErrUntrusted.
func (e *PeerError) Is(target error) bool { return target == ErrUntrusted }

const (
	hintSecret = "give every pod of the set the same cluster secret (--secret-file); one that was replaced is accepted from FILE.previous"
	hintName   = "check the peers' addresses (--peer-host) and the pod's name (--pod-name): sets that share a secret do not mix"
	hintClock  = "set the clocks of both nodes: they are more than a day apart"
	hintPort   = "check the port (--data-port): the peer's data plane speaks TLS 1.3"
)

// Explain turns an error of a TLS handshake, or of the first read after it, into a [*PeerError] with a clear line and a remedy. Other errors, and nil, are returned as they are.
//
// With TLS 1.3 a client learns only when it reads that the server did not accept its certificate: pass the error of the whole request.
func Explain(err error) error {
	var already *PeerError
	if err == nil || errors.As(err, &already) {
		return err
	}
	e := &PeerError{err: err}
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		name      *NameError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	isOp := errors.As(err, &op)
	if isOp && op.Addr != nil {
		e.Addr = op.Addr.String()
	}
	switch {
	case errors.As(err, &authority):
		e.what, e.hint = "does not hold this cluster's secret", hintSecret
	case errors.As(err, &host):
		e.what, e.hint = fmt.Sprintf("is %q, not %q", strings.Join(host.Certificate.DNSNames, ", "), host.Host), hintName
	case errors.As(err, &name):
		e.what, e.hint = "is refused: "+name.Error(), hintName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.what, e.hint = "has a certificate that is expired or not yet valid by this pod's clock", hintClock
	case errors.As(err, &record):
		e.what, e.hint = "does not speak TLS", hintPort
	case isOp && op.Op == "remote error":
		e.what, e.hint = explainAlert(op.Err.Error())
	case strings.Contains(err.Error(), "unsupported protocol version"), strings.Contains(err.Error(), "unsupported versions"):
		e.what, e.hint = "does not speak TLS 1.3", hintPort
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // what net/http makes of a RecordHeaderError
		e.what, e.hint = "does not speak TLS", hintPort
	case strings.Contains(err.Error(), "client didn't provide a certificate"):
		e.what, e.hint = "has shown no certificate", hintSecret
	}
	if e.what == "" {
		return err
	}
	return e
}

// explainAlert explains what the peer said. crypto/tls does not export the type of an alert, so its text must do; a test notices when it changes.
func explainAlert(text string) (what, hint string) {
	switch {
	case strings.Contains(text, "unknown certificate authority"), strings.Contains(text, "certificate required"):
		return "says that this process does not hold its cluster's secret", hintSecret
	case strings.Contains(text, "expired certificate"):
		return "says that this process's certificate is expired or not yet valid by its clock", hintClock
	case strings.Contains(text, "bad certificate"):
		return "does not accept this process's name: it belongs to another set", hintName
	case strings.Contains(text, "protocol version not supported"):
		return "does not accept this version of TLS", hintPort
	}
	return "", ""
}
