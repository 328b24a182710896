package mysqlx_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// The agent's option file says one thing; an administrator's file, SET PERSIST, the command line and SET GLOBAL another.
func TestOverrides(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "zzz.cnf")
	must(t, os.WriteFile(users, []byte("[mysqld]\nsync_binlog = 0\nread-only = OFF\n"), 0o644))
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"skip_replica_start": "ON"}, Args: []string{"--relay-log=other"}})
	include, err := os.OpenFile(s.ConfigFile, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = include.WriteString("!include " + users + "\n")
	must(t, err)
	must(t, include.Close())
	must(t, s.DB().CreateAccounts(t.Context(), spec))
	s.Exec(t, "SET PERSIST_ONLY innodb_flush_log_at_trx_commit = 2")
	s.Restart(t)
	agent := open(t, agentAt(s.Socket))
	want := map[string]string{
		"datadir": s.DataDir, "log-bin": "binlog", "gtid_mode": "on", "enforce_gtid_consistency": "1", "server_id": s.QueryString(t, "SELECT @@server_id"),
		"relay_log": "relay", "relay_log_recovery": "", "loose_skip_replica_start": "ON", "loose_skip_slave_start": "ON",
		"sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1", "report_host": "pod-0", "read_only": "ON",
	}
	persisted := filepath.Join(s.DataDir, "mysqld-auto.cnf")
	overrides := []mysqlx.Override{
		{Name: "innodb_flush_log_at_trx_commit", Want: "1", Have: "2", Source: "PERSISTED", Path: persisted, SetBy: "root@localhost"},
		{Name: "read_only", Want: "ON", Have: "OFF", Source: "EXPLICIT", Path: users},
		{Name: "relay_log", Want: "relay", Have: "other", Source: "COMMAND_LINE"},
		{Name: "report_host", Want: "pod-0", Have: "", Source: "COMPILED"},
		{Name: "sync_binlog", Want: "1", Have: "0", Source: "EXPLICIT", Path: users},
	}
	check := func(when string, overrides []mysqlx.Override) {
		t.Helper()
		got, err := agent.Overrides(t.Context(), want)
		if diff := cmp.Diff(overrides, got); diff != "" || err != nil {
			t.Errorf("Overrides() %s: %v (-want +got):\n%s", when, err, diff)
		}
	}
	check("after the start", overrides)

	// What the agent does itself is no override, whoever it logs in as; what somebody else does is one.
	must(t, agent.SetServerID(t.Context(), 4_000_000_000))
	must(t, agent.SetSuperReadOnly(t.Context(), true))
	must(t, s.DB().SetSuperReadOnly(t.Context(), false))
	s.Exec(t, "SET GLOBAL sync_binlog = 100")
	overrides = append(overrides[:1], overrides[2:]...) // read_only has been changed: nobody can know any more what a file said
	overrides[3] = mysqlx.Override{Name: "sync_binlog", Want: "1", Have: "100", Source: "DYNAMIC", SetBy: "root@localhost"}
	check("after changes", overrides)

	const text = "innodb_flush_log_at_trx_commit is 2 instead of 1: set by PERSISTED "
	if got := overrides[0].String(); !strings.HasPrefix(got, text) || !strings.Contains(got, persisted) {
		t.Errorf("String() = %q", got)
	}
	if got, err := agent.Overrides(t.Context(), nil); got != nil || err != nil {
		t.Errorf("Overrides() of nothing = %v, %v", got, err)
	}
}
