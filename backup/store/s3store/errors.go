package s3store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"ordinal/backup/store"
)

// Codes in a server's answers that decide what we do. See AmazonS3/latest/API/ErrorResponses; those of others are theirs.
const (
	codeNoSuchKey    = "NoSuchKey"
	codeNoSuchBucket = "NoSuchBucket"
	codeNoSuchUpload = "NoSuchUpload"
	codeNotThere     = "NotImplemented"
)

// error makes the error of a call. ctx is the caller's.
func (s *Store) error(ctx context.Context, op, name string, err error) error {
	var known *store.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	e := &store.Error{Op: op, Name: name, Err: plain(err)}
	if name == "" {
		e.Name = "bucket " + s.bucket
	}
	var answer minio.ErrorResponse
	var missing *credentialsError
	switch {
	case ctx.Err() != nil:
		e.Err = context.Cause(ctx)
	case errors.As(err, &missing):
		e.Kind = store.ErrPermission
		e.Remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from a Secret, mount a credentials file, or give the service account a role"
		if missing.retry {
			e.Kind, e.Remedy = store.ErrUnavailable, ""
		}
	case errors.As(err, &answer):
		s.classify(e, answer)
	case isCertificate(err):
		e.Remedy = "give the certificate of the authority that signed the server's: ca-file in the URL"
	case errors.As(err, new(tls.RecordHeaderError)) || strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		e.Remedy = "the server does not speak TLS on this port: use the right port, or endpoint=http://…"
	case isNetwork(err):
		e.Kind = store.ErrUnavailable
	}
	return e
}

// classify says what an answer of the server means.
func (s *Store) classify(e *store.Error, answer minio.ErrorResponse) {
	switch answer.Code {
	case codeNoSuchBucket:
		e.Kind, e.Name, e.Err = store.ErrNoPlace, "bucket "+s.bucket, nil
		e.Remedy = "make the bucket " + s.bucket + ", or check its name, the endpoint and the region"
		return
	case codeNoSuchKey:
		e.Kind, e.Err = store.ErrNotFound, nil
		return
	case "PreconditionFailed":
		e.Kind, e.Err = store.ErrExists, nil
		return
	case "RequestTimeTooSkewed":
		e.Kind, e.Remedy = store.ErrPermission, "set this machine's clock"
		return
	case "AuthorizationHeaderMalformed", "InvalidRegion", "PermanentRedirect", "IllegalLocationConstraintException":
		e.Remedy = "set the bucket's region: region in the URL"
		return
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "ServiceQuotaExceeded":
		e.Kind = store.ErrNoSpace
		return
	case "InternalError", "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite", "RequestTimeout", "Throttling", "ThrottlingException",
		"RequestLimitExceeded", "RequestThrottled", "TooManyRequests", "OperationAborted", "ConditionalRequestConflict",
		"IncompleteBody", "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidDigest",
		"ExpiredToken": // the next try takes a new one
		e.Kind = store.ErrUnavailable
		return
	}
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		e.Kind = store.ErrPermission
		e.Remedy = fmt.Sprintf("let these credentials get, put, list and delete in bucket %s, and list and abort its multipart uploads", s.bucket)
	case code == http.StatusPreconditionFailed:
		e.Kind = store.ErrExists
	case code == http.StatusInsufficientStorage:
		e.Kind = store.ErrNoSpace
	case code == http.StatusNotFound && answer.Code != codeNoSuchUpload:
		e.Kind = store.ErrNotFound
	case code == http.StatusNotImplemented:
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusConflict:
		e.Kind = store.ErrUnavailable
	}
}

// code is the code of a server's answer in err, if it is one.
func code(err error) string {
	var answer minio.ErrorResponse
	errors.As(err, &answer)
	return answer.Code
}

// plain is err in our own words: without URLs, which may have a token in them, and with what a server says only as far as it is short and printable.
func plain(err error) error {
	var answer minio.ErrorResponse
	var in *url.Error
	var credentialsErr *credentialsError
	switch {
	case errors.As(err, &credentialsErr):
		return credentialsErr
	case errors.As(err, &answer):
		return &answerError{code: printable(answer.Code, 64), message: printable(answer.Message, 200), status: answer.StatusCode}
	case errors.As(err, &in):
		if strings.HasPrefix(in.Err.Error(), "Connection closed by foreign host") {
			return errClosed // the library's words, with the URL again
		}
		return in.Err
	case isNetwork(err):
		return err
	}
	return errors.New(printable(err.Error(), 200))
}

var errClosed = fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)

// answerError is what a server answered.
type answerError struct {
	code, message string
	status        int
}

func (e *answerError) Error() string {
	text := "the server says " + e.code
	if e.message != "" && e.message != e.code {
		text += ": " + e.message
	}
	return text
}

func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return ' '
		}
		return r
	}, text[:min(len(text), most)])
	return strings.TrimSpace(text)
}

func isNetwork(err error) bool {
	var in *url.Error
	var network net.Error
	return errors.As(err, &in) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

func isCertificate(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError))
}
