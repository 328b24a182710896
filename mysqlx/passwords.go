package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrNoAccount says that an account which should have a new password does not exist.
var ErrNoAccount = errors.New("no such account")

// RotatePasswords makes the passwords of spec the first ones of the agent's and the replication account, and leaves the passwords that
// were first until then valid beside them: no login fails, whichever of the two it uses. All accounts change in one statement, which
// goes to the binary log: it is for the source, and replicas get it from there. Where the passwords are the first ones already
// there is no statement, so that the former ones stay valid however often it is called. spec.ResetPasswords means nothing here.
//
// An account has two passwords at most: the second one before the call, if there was one, is no longer valid after it. It needs root's
// privileges. Errors: IsReadOnly if something must change and the server takes no writes, ErrNobodyAcknowledges as CreateAccounts, ErrNoAccount if
// that has to be called first. No error shows a password. See refman/8.4 password-management.
func (db *DB) RotatePasswords(ctx context.Context, spec AccountSpec) error {
	err := spec.validate()
	if err == nil {
		err = db.rotatePasswords(ctx, spec)
	}
	if err != nil {
		return fmt.Errorf("rotate passwords: %w", withoutSecrets(err, spec.AgentPassword, spec.ReplicationPassword))
	}
	return nil
}

func (db *DB) rotatePasswords(ctx context.Context, spec AccountSpec) error {
	var changes []string
	for _, a := range spec.accounts() {
		stored, err := db.strings(ctx, "SELECT authentication_string FROM mysql.user WHERE User = ? AND Host = ?", a.user, a.host)
		if err != nil {
			return err
		}
		if len(stored) == 0 {
			return fmt.Errorf("%w: %s", ErrNoAccount, a.grantee())
		}
		if !isPasswordOf(stored[0], a.password) {
			changes = append(changes, a.grantee()+" IDENTIFIED WITH caching_sha2_password BY "+quoteString(a.password)+" RETAIN CURRENT PASSWORD")
		}
	}
	return db.alterUsers(ctx, changes)
}

// DiscardOldPasswords ends the validity of the passwords that RotatePasswords left, in one statement for the source, as there. Sessions
// and channels that logged in with them go on; their next login needs the new one. Where no account has a second password there is no
// statement. It needs root's privileges. Errors: IsReadOnly if something must change and the server takes no writes, ErrNobodyAcknowledges as
// CreateAccounts.
func (db *DB) DiscardOldPasswords(ctx context.Context) error {
	accounts, err := db.Query(ctx, `SELECT User, Host FROM mysql.user
		WHERE (User = ? OR LEFT(User, ?) = ?) AND User_attributes->'$.additional_password' IS NOT NULL ORDER BY User, Host`,
		AgentAccount, len(replicationPrefix), replicationPrefix)
	var changes []string
	for _, a := range accounts {
		changes = append(changes, account{user: a[0], host: a[1]}.grantee()+" DISCARD OLD PASSWORD")
	}
	if err == nil {
		err = db.alterUsers(ctx, changes)
	}
	if err != nil {
		return fmt.Errorf("discard old passwords: %w", err)
	}
	return nil
}

// alterUsers is one statement: all accounts change or none.
func (db *DB) alterUsers(ctx context.Context, changes []string) error {
	if len(changes) == 0 {
		return nil
	}
	if err := db.changesAccounts(ctx); err != nil {
		return err
	}
	return db.Exec(ctx, "ALTER USER "+strings.Join(changes, ", "))
}

// CheckLogin logs in once, to learn whether a password is valid, and hangs up. An IsAccessDenied error says that it is not; any other
// says nothing about it.
func CheckLogin(ctx context.Context, e Endpoint) error {
	db, err := Open(e)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Ping(ctx)
}
