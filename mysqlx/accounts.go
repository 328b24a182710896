package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// AgentAccount is the agent's user name. It may log in from the server's own machine only.
const AgentAccount = "ordinal_agent"

const replicationPrefix = "ordinal_repl_"

// ErrSeveralClusters says that a server holds replication accounts of more than one cluster, so that its identity is unknown.
var ErrSeveralClusters = errors.New("replication accounts of several clusters")

var clusterIDForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// ReplicationAccount returns the user name that replicas of a cluster log in with. The cluster's identity is part of it, so a server
// of another origin does not have it. clusterID is 16 lower-case hexadecimal digits.
func ReplicationAccount(clusterID string) string { return replicationPrefix + clusterID }

// agentHosts: the socket counts as localhost; 127.0.0.1 is localhost too, unless skip_name_resolve is set. See refman/8.4 account-names.
var agentHosts = []string{"localhost", "127.0.0.1", "::1"}

// agentPrivileges are the agent's privileges on *.*, least first. None of them reads or writes a row of a user.
var agentPrivileges = []string{
	"BACKUP_ADMIN",            // COM_CLONE
	"CONNECTION_ADMIN",        // works under offline_mode and super_read_only, has a connection when there are too many
	"PROCESS",                 // INFORMATION_SCHEMA.INNODB_TABLESPACES and FILES
	"RELOAD",                  // RESET REPLICA ALL
	"REPLICATION CLIENT",      // SHOW REPLICA STATUS, SHOW BINARY LOGS
	"REPLICATION SLAVE",       // COM_BINLOG_DUMP_GTID: the archive of the binlogs; SHOW BINLOG EVENTS
	"REPLICATION_SLAVE_ADMIN", // CHANGE REPLICATION SOURCE, START and STOP REPLICA
	"SHOW VIEW",               // names of all tables, rows of none
	"SHUTDOWN",                // a new mysqld on a new generation; the account logs in from this machine only
	"SYSTEM_VARIABLES_ADMIN",  // super_read_only, offline_mode
}

// An AccountSpec says which accounts a cluster has.
type AccountSpec struct {
	ClusterID           string // 16 lower-case hexadecimal digits
	AgentPassword       string
	ReplicationPassword string // at most 32 bytes, see Source
	// ResetPasswords gives accounts that exist these passwords too. Otherwise they keep theirs: the server tells no one what it is.
	ResetPasswords bool
}

// String returns the cluster's identity only.
func (s AccountSpec) String() string { return "accounts of cluster " + s.ClusterID }

// GoString is String.
func (s AccountSpec) GoString() string { return s.String() }

// account is one account as it should be.
type account struct {
	user, host, password string
	require              string // REQUIRE clause
	global               []string
	agent                bool // has the grants on single objects
}

func (a account) grantee() string { return quoteString(a.user) + "@" + quoteString(a.host) }

func (s AccountSpec) accounts() []account {
	all := make([]account, 0, len(agentHosts)+1)
	for _, host := range agentHosts {
		all = append(all, account{AgentAccount, host, s.AgentPassword, "NONE", agentPrivileges, true})
	}
	return append(all, account{ReplicationAccount(s.ClusterID), "%", s.ReplicationPassword, "SSL", []string{"REPLICATION SLAVE"}, false})
}

func (s AccountSpec) validate() error {
	switch {
	case !clusterIDForm.MatchString(s.ClusterID):
		return fmt.Errorf("cluster id %q: want 16 hexadecimal digits", s.ClusterID)
	case s.AgentPassword == "" || s.ReplicationPassword == "":
		return errors.New("empty password")
	case len(s.ReplicationPassword) > maxSourcePassword:
		return fmt.Errorf("replication password longer than %d characters", maxSourcePassword)
	}
	return nil
}

// ClusterID returns the identity that travels with the data: the one in the name of the replication account. It is "" if there is no
// such account, and an error wrapping ErrSeveralClusters if there are several.
func (db *DB) ClusterID(ctx context.Context) (string, error) {
	users, err := db.strings(ctx, "SELECT DISTINCT User FROM mysql.user WHERE LEFT(User, ?) = ? ORDER BY User",
		len(replicationPrefix), replicationPrefix)
	if err != nil {
		return "", fmt.Errorf("read cluster id: %w", err)
	}
	var ids []string
	for _, user := range users {
		if id := strings.TrimPrefix(user, replicationPrefix); clusterIDForm.MatchString(id) {
			ids = append(ids, id)
		}
	}
	switch len(ids) {
	case 0:
		return "", nil
	case 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("read cluster id: %w: %s", ErrSeveralClusters, strings.Join(ids, ", "))
}

// CreateAccounts creates the accounts of a cluster and grants what they lack; it takes nothing away. The statements go to the binary
// log, so that replicas and copies have the accounts as well; where nothing is missing there is no statement and no transaction. It needs
// root's privileges. Errors: IsReadOnly if something is missing and the server takes no writes, ErrNobodyAcknowledges if the statements would wait
// for a replica while none is connected, ErrSeveralClusters if there is an account of another cluster. No error shows a password.
func (db *DB) CreateAccounts(ctx context.Context, spec AccountSpec) error {
	err := spec.validate()
	if err == nil {
		err = db.createAccounts(ctx, spec)
	}
	if err != nil {
		return fmt.Errorf("create accounts: %w", withoutSecrets(err, spec.AgentPassword, spec.ReplicationPassword))
	}
	return nil
}

func (db *DB) createAccounts(ctx context.Context, spec AccountSpec) error {
	id, err := db.ClusterID(ctx)
	if err != nil {
		return err
	}
	if id != "" && id != spec.ClusterID {
		return fmt.Errorf("%w: the server has %s, asked for %s", ErrSeveralClusters, id, spec.ClusterID)
	}
	var missing []string
	for _, a := range spec.accounts() {
		statements, err := db.missing(ctx, a, spec.ResetPasswords)
		if err != nil {
			return err
		}
		missing = append(missing, statements...)
	}
	if len(missing) == 0 {
		return nil
	}
	if err := db.changesAccounts(ctx); err != nil {
		return err
	}
	for _, statement := range missing {
		if err := db.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// changesAccounts returns an ErrReadOnly for a replica, and an ErrNobodyAcknowledges where a change would lock everybody out. root is
// above read_only: without this check it would write to a replica.
func (db *DB) changesAccounts(ctx context.Context) error {
	var readOnly bool
	if err := db.db.QueryRowContext(ctx, "SELECT @@GLOBAL.read_only OR @@GLOBAL.super_read_only").Scan(&readOnly); err != nil {
		return err
	}
	if readOnly {
		return fmt.Errorf("%w: turn super_read_only off on the source first", ErrReadOnly)
	}
	return db.checkAcknowledged(ctx)
}

// missing returns the statements that turn what the server has into a.
func (db *DB) missing(ctx context.Context, a account, resetPassword bool) ([]string, error) {
	found, err := db.strings(ctx, "SELECT User FROM mysql.user WHERE User = ? AND Host = ?", a.user, a.host)
	if err != nil {
		return nil, err
	}
	var statements []string
	// The administrator's default_password_lifetime must not lock the agent out.
	identified := a.grantee() + " IDENTIFIED WITH caching_sha2_password BY " + quoteString(a.password) +
		" REQUIRE " + a.require + " PASSWORD EXPIRE NEVER"
	switch {
	case len(found) == 0:
		statements = append(statements, "CREATE USER "+identified)
	case resetPassword:
		statements = append(statements, "ALTER USER "+identified)
	}
	lacks := func(query string, want []string) ([]string, error) {
		has, err := db.strings(ctx, query, a.grantee())
		var lacking []string
		for _, w := range want {
			if !slices.Contains(has, w) {
				lacking = append(lacking, w)
			}
		}
		return lacking, err
	}
	global, err := lacks("SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = ?", a.global)
	if err != nil {
		return nil, err
	}
	if len(global) > 0 {
		statements = append(statements, "GRANT "+strings.Join(global, ", ")+" ON *.* TO "+a.grantee())
	}
	if !a.agent {
		return statements, nil
	}
	schema, err := lacks(`SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES
		WHERE GRANTEE = ? AND TABLE_SCHEMA = 'performance_schema'`, []string{"SELECT"})
	if err != nil {
		return nil, err
	}
	if len(schema) > 0 {
		statements = append(statements, "GRANT SELECT ON performance_schema.* TO "+a.grantee())
	}
	columns, err := lacks(`SELECT COLUMN_NAME FROM information_schema.COLUMN_PRIVILEGES
		WHERE GRANTEE = ? AND TABLE_SCHEMA = 'mysql' AND TABLE_NAME = 'user' AND PRIVILEGE_TYPE = 'SELECT'`, []string{"User", "Host"})
	if err != nil {
		return nil, err
	}
	if len(columns) > 0 {
		statements = append(statements, "GRANT SELECT ("+strings.Join(columns, ", ")+") ON mysql.user TO "+a.grantee())
	}
	return statements, nil
}
