package mysqlx_test

import (
	"crypto/tls"
	"errors"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// Passwords change three times, once back to where they were, and no login that was valid fails before the old ones are discarded.
func TestRotatePasswords(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	root := p.source.DB()
	executed := func() string { return p.source.QueryString(t, "SELECT @@GLOBAL.gtid_executed") }
	login := func(s mysqlx.AccountSpec) error {
		agent := agentAt(p.source.Socket)
		agent.Password = mysqlx.FixedPassword(s.AgentPassword)
		replica := mysqlx.Endpoint{
			Address:     p.source.Address,
			Credentials: mysqlx.Credentials{User: mysqlx.ReplicationAccount(clusterID), Password: mysqlx.FixedPassword(s.ReplicationPassword)},
			TLS:         &tls.Config{InsecureSkipVerify: true}, // the server has made its own certificate
		}
		for _, flush := range []bool{true, false} {
			if flush {
				p.source.Exec(t, "FLUSH PRIVILEGES") // the next login finds no cached password
			}
			if err := errors.Join(mysqlx.CheckLogin(t.Context(), agent), mysqlx.CheckLogin(t.Context(), replica)); err != nil {
				return err
			}
		}
		return nil
	}
	rotate := func(s mysqlx.AccountSpec, wantWrite bool) {
		t.Helper()
		before := executed()
		must(t, root.RotatePasswords(t.Context(), s))
		if wrote := executed() != before; wrote != wantWrite {
			t.Errorf("RotatePasswords() wrote a transaction: %t, want %t", wrote, wantWrite)
		}
	}
	next := mysqlx.AccountSpec{ClusterID: clusterID, AgentPassword: `n'e"xt\-aA1`, ReplicationPassword: `N'e"XT\-aA1`}

	rotate(spec, false) // CreateAccounts gave it
	rotate(next, true)
	rotate(next, false)
	must(t, errors.Join(login(spec), login(next)))
	rotate(spec, true) // the new one is taken back
	rotate(spec, false)
	must(t, errors.Join(login(spec), login(next)))
	rotate(next, true)
	must(t, errors.Join(login(spec), login(next)))

	// The channel has logged in with the former password and goes on; so does its next login, until that is discarded.
	p.source.Exec(t, "INSERT INTO d.t VALUES (1)")
	waitFor(t, p.replica, p.source)
	must(t, p.agent.RestartReceiver(t.Context()))
	mysqltest.Eventually(t, "login with the second password", func() bool { return status(t, p.agent).ReceiverState == "ON" })
	must(t, root.DiscardOldPasswords(t.Context()))
	before := executed()
	must(t, root.DiscardOldPasswords(t.Context()))
	if after := executed(); after != before {
		t.Errorf("DiscardOldPasswords() of nothing wrote a transaction: gtid_executed %s, then %s", before, after)
	}
	if err := login(spec); !mysqlx.IsAccessDenied(err) {
		t.Errorf("login with a discarded password = %v, want access denied", err)
	}
	must(t, login(next))
	p.source.Exec(t, "INSERT INTO d.t VALUES (2)")
	waitFor(t, p.replica, p.source)
	root2 := p.replica.DB() // the agent's own password has changed too
	must(t, root2.RestartReceiver(t.Context()))
	mysqltest.Eventually(t, "refused login", func() bool { return status(t, root2).ReceiverError.Class() == mysqlx.ClassAccessDenied })
	must(t, root2.SetSourcePassword(t.Context(), next.ReplicationPassword))
	mysqltest.Eventually(t, "login with the new password", func() bool { return status(t, root2).ReceiverState == "ON" })

	if err := root2.RotatePasswords(t.Context(), spec); !mysqlx.IsReadOnly(err) {
		t.Errorf("RotatePasswords() on a replica = %v, want a read-only error", err)
	}
	other := spec
	other.ClusterID = "ffffffffffffffff"
	if err := root.RotatePasswords(t.Context(), other); !errors.Is(err, mysqlx.ErrNoAccount) {
		t.Errorf("RotatePasswords() of accounts that are not there = %v, want ErrNoAccount", err)
	}
}
