package mysqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func TestErrorKinds(t *testing.T) {
	server := func(number uint16, message string) error {
		return fmt.Errorf("step: %w", &mysql.MySQLError{Number: number, Message: message})
	}
	for _, test := range []struct {
		err                                           error
		denied, privilege, readOnly, offline, unreach bool
	}{
		{err: nil},
		{err: errors.New("other")},
		{err: context.Canceled},
		{err: server(1045, "Access denied for user"), denied: true},
		{err: server(3118, "Account is locked"), denied: true},
		{err: server(1227, "Access denied; you need SUPER"), privilege: true},
		{err: server(1142, "SELECT command denied"), privilege: true},
		{err: server(1290, "running with the --super-read-only option"), readOnly: true},
		{err: server(1290, "running with the --skip-grant-tables option")},
		{err: server(1836, "Running in read-only mode"), readOnly: true},
		{err: fmt.Errorf("step: %w", ErrReadOnly), readOnly: true},
		{err: server(3032, "The server is currently in offline mode"), offline: true},
		{err: server(1053, "Server shutdown in progress"), unreach: true},
		{err: driver.ErrBadConn, unreach: true},
		{err: fmt.Errorf("step: %w", io.ErrUnexpectedEOF), unreach: true},
		{err: context.DeadlineExceeded, unreach: true},
	} {
		got := [5]bool{IsAccessDenied(test.err), IsMissingPrivilege(test.err), IsReadOnly(test.err), IsOfflineMode(test.err), IsUnreachable(test.err)}
		if want := [5]bool{test.denied, test.privilege, test.readOnly, test.offline, test.unreach}; got != want {
			t.Errorf("%v: denied, privilege, read-only, offline, unreachable = %v, want %v", test.err, got, want)
		}
	}
}

// Part of a statement with a password in it comes back in the text of some errors.
func TestWithoutSecrets(t *testing.T) {
	const secret = `s'ecret-word`
	for _, original := range []*mysql.MySQLError{
		{Number: erParse, Message: "You have an error in your SQL syntax; check the manual near 'cret-word' REQUIRE SSL' at line 1"},
		{Number: 1396, Message: `Operation CREATE USER failed for IDENTIFIED BY 's''ecret-word'`},
		{Number: 1819, Message: "Your password s'ecret-word does not satisfy the current policy"},
	} {
		err := withoutSecrets(fmt.Errorf("step: %w", original), secret, "")
		if strings.Contains(err.Error(), "cret-word") || ErrorNumber(err) != int(original.Number) {
			t.Errorf("withoutSecrets(%v) = %v", original, err)
		}
	}
	if err := withoutSecrets(io.EOF, secret); err != io.EOF {
		t.Errorf("withoutSecrets(EOF) = %v", err)
	}
}

// None of the types that hold a password shows it, however it is printed.
func TestPrintingShowsNoPassword(t *testing.T) {
	const secret = "secret-word"
	for _, v := range []any{
		Source{Host: "h", Port: 1, User: "u", Password: secret},
		&Source{Password: secret},
		AccountSpec{ClusterID: "c", AgentPassword: secret, ReplicationPassword: secret},
		Endpoint{Address: "/s", Credentials: Credentials{User: "u", Password: FixedPassword(secret)}},
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if got := fmt.Sprintf(format, v); strings.Contains(got, secret) {
				t.Errorf("Sprintf(%q) of a %T = %s", format, v, got)
			}
		}
	}
}
