package mysqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"
)

// The server's error numbers that mean something to us. See refman/8.4 error-reference (mysql-errors).
const (
	erDBAccessDenied          = 1044 // ER_DBACCESS_DENIED_ERROR
	erAccessDenied            = 1045 // ER_ACCESS_DENIED_ERROR
	erServerShutdown          = 1053 // ER_SERVER_SHUTDOWN
	erParse                   = 1064 // ER_PARSE_ERROR
	erNoSuchThread            = 1094 // ER_NO_SUCH_THREAD
	erTableAccessDenied       = 1142 // ER_TABLEACCESS_DENIED_ERROR
	erColumnAccessDenied      = 1143 // ER_COLUMNACCESS_DENIED_ERROR
	erUnknownSystemVariable   = 1193 // ER_UNKNOWN_SYSTEM_VARIABLE
	erSpecificAccessDenied    = 1227 // ER_SPECIFIC_ACCESS_DENIED_ERROR
	erOptionPreventsStatement = 1290 // ER_OPTION_PREVENTS_STATEMENT
	erAccessDeniedNoPassword  = 1698 // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	erReadOnlyMode            = 1836 // ER_READ_ONLY_MODE
	erServerOfflineMode       = 3032 // ER_SERVER_OFFLINE_MODE
	erAccountLocked           = 3118 // ER_ACCOUNT_HAS_BEEN_LOCKED
)

// ErrorNumber returns the server's number of the error in err's chain, or 0 when the server did not answer with an error.
func ErrorNumber(err error) int {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return int(e.Number)
	}
	return 0
}

// ErrReadOnly says that something is missing on a server that takes no writes. IsReadOnly knows it.
var ErrReadOnly = errors.New("server is read-only")

func hasNumber(err error, numbers ...int) bool {
	n := ErrorNumber(err)
	for _, want := range numbers {
		if n == want {
			return true
		}
	}
	return false
}

// IsAccessDenied says that the server refused the login: wrong account or password, or a locked account.
func IsAccessDenied(err error) bool {
	return hasNumber(err, erAccessDenied, erAccessDeniedNoPassword, erDBAccessDenied, erAccountLocked)
}

// IsMissingPrivilege says that the login worked but the account lacks a privilege that the statement needs.
func IsMissingPrivilege(err error) bool {
	return hasNumber(err, erSpecificAccessDenied, erTableAccessDenied, erColumnAccessDenied)
}

// IsReadOnly says that the server refused a write because of read_only or super_read_only.
func IsReadOnly(err error) bool {
	if errors.Is(err, ErrReadOnly) || hasNumber(err, erReadOnlyMode) {
		return true
	}
	// 1290 is raised for many options. The option's own name is in the text in every language.
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && e.Number == erOptionPreventsStatement && strings.Contains(e.Message, "read-only")
}

// IsOfflineMode says that offline_mode keeps this account out.
func IsOfflineMode(err error) bool { return hasNumber(err, erServerOfflineMode) }

// IsConnRefused says that nothing listens: the port is closed, or the socket file is missing or nobody's.
func IsConnRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

// IsUnreachable says that no answer came from the server, for whatever reason of the network or because it is going away. Asking again
// later may help; what the server did with a statement under way is unknown.
func IsUnreachable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, target := range []error{driver.ErrBadConn, mysql.ErrInvalidConn, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded} {
		if errors.Is(err, target) {
			return true
		}
	}
	return IsConnRefused(err) || hasNumber(err, erServerShutdown)
}

// withoutSecrets returns the error of a statement that contained secrets in a form that can be shown. A syntax error quotes the
// statement from some point on, perhaps from the middle of a secret, so its text goes; other messages lose the secrets only.
func withoutSecrets(err error, secrets ...string) error {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return err // from the network: it knows nothing of the statement
	}
	redacted := *e
	if e.Number == erParse {
		redacted.Message = "syntax error (text not shown, the statement has a password)"
	}
	for _, secret := range secrets {
		if secret != "" {
			redacted.Message = strings.ReplaceAll(redacted.Message, secret, "***")
			redacted.Message = strings.ReplaceAll(redacted.Message, strings.Trim(quoteString(secret), "'"), "***")
		}
	}
	if redacted.Message == e.Message {
		return err
	}
	return &redacted
}
