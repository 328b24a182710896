package mysqlx_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// CreateAccounts a second time must find nothing to do, and must mend what is half done.
func testAccounts(t *testing.T, s *mysqltest.Server) {
	db := s.DB()
	executed := func() string { return s.QueryString(t, "SELECT @@GLOBAL.gtid_executed") }
	before := executed()
	if err := db.CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if after := executed(); after != before {
		t.Errorf("CreateAccounts() of existing accounts wrote transactions: gtid_executed %s, then %s", before, after)
	}

	s.Exec(t, "REVOKE RELOAD, BACKUP_ADMIN ON *.* FROM ordinal_agent@'127.0.0.1'")
	s.Exec(t, "REVOKE SELECT ON performance_schema.* FROM ordinal_agent@localhost")
	s.Exec(t, "REVOKE SELECT (User) ON mysql.user FROM ordinal_agent@localhost")
	s.Exec(t, "DROP USER ordinal_agent@'::1'")
	s.Exec(t, "REVOKE REPLICATION SLAVE ON *.* FROM ordinal_repl_"+clusterID)
	if err := db.CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		grantee := fmt.Sprintf("`ordinal_agent`@`%s`", host)
		want := [][]string{
			{"GRANT RELOAD, SHUTDOWN, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT, SHOW VIEW ON *.* TO " + grantee},
			{"GRANT BACKUP_ADMIN,CONNECTION_ADMIN,REPLICATION_SLAVE_ADMIN,SYSTEM_VARIABLES_ADMIN ON *.* TO " + grantee},
			{"GRANT SELECT ON `performance_schema`.* TO " + grantee},
			{"GRANT SELECT (`Host`, `User`) ON `mysql`.`user` TO " + grantee},
		}
		if diff := cmp.Diff(want, s.Query(t, "SHOW GRANTS FOR ordinal_agent@'"+host+"'")); diff != "" {
			t.Errorf("grants (-want +got):\n%s", diff)
		}
	}
	account := mysqlx.ReplicationAccount(clusterID)
	if diff := cmp.Diff([][]string{{"GRANT REPLICATION SLAVE ON *.* TO `" + account + "`@`%`"}}, s.Query(t, "SHOW GRANTS FOR "+account)); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	if got := s.Query(t, "SELECT ssl_type, plugin, password_lifetime FROM mysql.user WHERE User = ?", account); !cmp.Equal(got, [][]string{{"ANY", "caching_sha2_password", "0"}}) {
		t.Errorf("replication account = %v", got)
	}

	other := spec
	other.ClusterID = "ffffffffffffffff"
	if err := db.CreateAccounts(t.Context(), other); !errors.Is(err, mysqlx.ErrSeveralClusters) {
		t.Errorf("CreateAccounts() of a second cluster = %v, want ErrSeveralClusters", err)
	}
	agent := open(t, agentAt(s.Socket))
	if id, err := agent.ClusterID(t.Context()); id != clusterID || err != nil {
		t.Errorf("ClusterID() = %q, %v", id, err)
	}
	if id, err := mysqltest.Start(t, mysqltest.Options{}).DB().ClusterID(t.Context()); id != "" || err != nil {
		t.Errorf("ClusterID() of a fresh server = %q, %v, want none", id, err)
	}
	s.Exec(t, "CREATE USER ordinal_repl_ffffffffffffffff, ordinal_repl_mine")
	if id, err := agent.ClusterID(t.Context()); !errors.Is(err, mysqlx.ErrSeveralClusters) {
		t.Errorf("ClusterID() = %q, %v, want ErrSeveralClusters", id, err)
	}
	s.Exec(t, "DROP USER ordinal_repl_ffffffffffffffff, ordinal_repl_mine")

	changed := spec
	changed.AgentPassword, changed.ResetPasswords = "another-aA1", true
	if err := db.CreateAccounts(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	e := agentAt(s.Socket)
	if err := open(t, e).Ping(t.Context()); !mysqlx.IsAccessDenied(err) {
		t.Errorf("Ping() with the old password = %v, want access denied", err)
	}
	e.Password = mysqlx.FixedPassword(changed.AgentPassword)
	if err := open(t, e).Ping(t.Context()); err != nil {
		t.Errorf("Ping() with the new password: %v", err)
	}
	changed.AgentPassword = agentPassword
	if err := db.CreateAccounts(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
}

// Each method that the agent uses works with exactly the privileges that CreateAccounts gives, over the socket and over TCP.
func testAgentMethods(t *testing.T, s *mysqltest.Server) {
	ctx := t.Context()
	for _, address := range []string{s.Socket, s.Address} {
		db := open(t, agentAt(address))
		facts, err := db.Facts(ctx)
		if err != nil {
			t.Fatalf("Facts() at %s: %v", address, err)
		}
		if facts.Port != s.Port || facts.PageSize != 16384 || facts.GTIDMode != "ON" || !facts.LogBin || !facts.ClonePluginActive ||
			facts.DataDir != s.DataDir+"/" || len(facts.ServerUUID) != 36 || facts.ServerID == 0 || facts.GTIDExecuted.IsEmpty() ||
			facts.ReadOnly || facts.SuperReadOnly || facts.OfflineMode || facts.SkipNetworking || facts.SkipReplicaStart {
			t.Errorf("Facts() = %+v", facts)
		}
		if v, err := mysqlx.ParseVersion(facts.Version); err != nil || v != s.Distribution.Version {
			t.Errorf("Facts().Version = %q, want %v", facts.Version, s.Distribution.Version)
		}
		for _, on := range []bool{true, false} {
			if err := db.SetSuperReadOnly(ctx, on); err != nil {
				t.Errorf("SetSuperReadOnly(%t): %v", on, err)
			}
			if err := db.SetOfflineMode(ctx, on); err != nil {
				t.Errorf("SetOfflineMode(%t): %v", on, err)
			}
			if facts, err := open(t, agentAt(address)).Facts(ctx); err != nil || facts.SuperReadOnly != on || facts.ReadOnly != on || facts.OfflineMode != on {
				t.Errorf("Facts() = %+v, %v, want super_read_only, read_only and offline_mode %t", facts, err, on)
			}
		}
		if status, err := db.ReplicaStatus(ctx); len(status) != 0 || err != nil {
			t.Errorf("ReplicaStatus() of no replica = %v, %v", status, err)
		}
		if n, err := db.KillOwnClones(ctx); n != 0 || err != nil {
			t.Errorf("KillOwnClones() = %d, %v", n, err)
		}
		for name, list := range map[string]func() ([]string, error){
			"NonInnoDBTables":      func() ([]string, error) { return db.NonInnoDBTables(ctx) },
			"EncryptedTablespaces": func() ([]string, error) { return db.EncryptedTablespaces(ctx) },
			"ExternalTablespaces":  func() ([]string, error) { return db.ExternalTablespaces(ctx) },
		} {
			if got, err := list(); len(got) != 0 || err != nil {
				t.Errorf("%s() = %v, %v, want none", name, got, err)
			}
		}
		if d, err := db.Durability(ctx); err != nil || !d.Commits() || d.Received() {
			t.Errorf("Durability() = %+v, %v, want the server's defaults", d, err)
		}
		if n, err := db.UserTables(ctx); n != 0 || err != nil {
			t.Errorf("UserTables() = %d, %v, want 0", n, err)
		}
		if err := db.CreateAccounts(ctx, spec); err == nil {
			t.Error("CreateAccounts() by the agent itself = nil")
		}
		if err := db.Exec(ctx, "SELECT * FROM mysql.user"); !mysqlx.IsMissingPrivilege(err) {
			t.Errorf("the agent reads mysql.user: %v", err)
		}
	}
}

func testKillOwnClones(t *testing.T, s *mysqltest.Server) {
	const left = 2
	for range left {
		conn, err := mysqlx.DialRaw(t.Context(), agentAt(s.Socket))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := command(t, conn, comClone); got != 0 {
			t.Fatalf("answer to COM_CLONE begins with %d", got)
		}
	}
	root, err := mysqlx.DialRaw(t.Context(), s.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	command(t, root, comClone)
	const clones = "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_COMMAND = 'Clone'"
	mysqltest.Eventually(t, "clone sessions", func() bool { return s.QueryString(t, clones) == "3" })
	n, err := open(t, agentAt(s.Socket)).KillOwnClones(t.Context())
	if n != left || err != nil {
		t.Errorf("KillOwnClones() = %d, %v, want %d", n, err, left)
	}
	mysqltest.Eventually(t, "end of the agent's clone sessions", func() bool { return s.QueryString(t, clones) == "1" })
}

// A write that the server refuses because it is read-only must be told apart from a broken one.
func testReadOnly(t *testing.T, s *mysqltest.Server) {
	s.Exec(t, "DROP USER ordinal_agent@'::1'")
	s.Exec(t, "SET GLOBAL super_read_only = ON")
	err := s.DB().CreateAccounts(t.Context(), spec)
	if !mysqlx.IsReadOnly(err) || !strings.Contains(err.Error(), "super_read_only") {
		t.Errorf("CreateAccounts() = %v, want a read-only error", err)
	}
	if err := s.DB().Exec(t.Context(), "CREATE DATABASE x"); !mysqlx.IsReadOnly(err) {
		t.Errorf("CREATE DATABASE = %v, want a read-only error", err)
	}
	s.Exec(t, "SET GLOBAL super_read_only = OFF") // read_only stays, which does not bind root
	if err := s.DB().CreateAccounts(t.Context(), spec); !mysqlx.IsReadOnly(err) {
		t.Errorf("CreateAccounts() under read_only = %v, want a read-only error", err)
	}
	s.Exec(t, "SET GLOBAL read_only = OFF")
	if err := s.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Error(err)
	}
	if err := s.DB().Exec(t.Context(), "SET GLOBAL clone_valid_donor_list = 'x'"); err == nil || mysqlx.IsReadOnly(err) {
		t.Errorf("another error = %v, must not look like a read-only one", err)
	}
}

func testInventory(t *testing.T, s *mysqltest.Server) {
	outside, err := os.MkdirTemp("", "mysqlx")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(outside)
	server := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"innodb_directories": outside}})
	if err := server.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"CREATE DATABASE shop",
		"CREATE DATABASE `d-x`",
		"CREATE TABLE shop.a (i INT PRIMARY KEY)",
		"CREATE TABLE shop.notes (i INT) ENGINE=MyISAM",
		"CREATE TABLE shop.old (i INT) ENGINE=ARCHIVE",
		"CREATE TABLE `d-x`.`t é#` (i INT PRIMARY KEY) DATA DIRECTORY='" + outside + "' PARTITION BY HASH (i) PARTITIONS 2",
		"CREATE TABLE shop.far (i INT PRIMARY KEY) DATA DIRECTORY='" + outside + "'",
		"CREATE TABLESPACE faraway ADD DATAFILE '" + outside + "/faraway.ibd'",
		"CREATE TABLESPACE near ADD DATAFILE 'near.ibd'",
		"CREATE VIEW shop.v AS SELECT * FROM shop.a",
	} {
		server.Exec(t, query)
	}
	db := open(t, agentAt(server.Socket))
	if n, err := db.UserTables(t.Context()); n != 5 || err != nil {
		t.Errorf("UserTables() = %d, %v, want 5", n, err)
	}
	other, err := db.NonInnoDBTables(t.Context())
	if want := []string{"shop.notes", "shop.old"}; !cmp.Equal(other, want) || err != nil {
		t.Errorf("NonInnoDBTables() = %v, %v, want %v", other, err, want)
	}
	external, err := db.ExternalTablespaces(t.Context())
	if want := []string{"d-x.t é#", "faraway", "shop.far"}; !cmp.Equal(external, want) || err != nil {
		t.Errorf("ExternalTablespaces() = %v, %v, want %v", external, err, want)
	}
}

func TestEncryptedTablespaces(t *testing.T) {
	server := mysqltest.Start(t, mysqltest.Options{Distribution: mysqltest.WithKeyring(t)})
	if err := server.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"CREATE DATABASE shop",
		"CREATE TABLE shop.plain (i INT PRIMARY KEY)",
		"CREATE TABLE shop.secret (i INT PRIMARY KEY) ENCRYPTION='Y' PARTITION BY HASH (i) PARTITIONS 3",
		"CREATE TABLESPACE vault ADD DATAFILE 'vault.ibd' ENCRYPTION='Y'",
	} {
		server.Exec(t, query)
	}
	db := open(t, agentAt(server.Socket))
	got, err := db.EncryptedTablespaces(t.Context())
	if want := []string{"shop.secret", "vault"}; !cmp.Equal(got, want) || err != nil {
		t.Errorf("EncryptedTablespaces() = %v, %v, want %v", got, err, want)
	}
	server.Exec(t, "SET GLOBAL innodb_redo_log_encrypt = ON")
	server.Exec(t, "SET GLOBAL innodb_undo_log_encrypt = ON")
	got, err = db.EncryptedTablespaces(t.Context())
	for _, want := range []string{"shop.secret", "vault", "redo log", "undo log"} {
		if err != nil || !slices.Contains(got, want) {
			t.Errorf("EncryptedTablespaces() = %v, %v, want %s in it", got, err, want)
		}
	}
}
