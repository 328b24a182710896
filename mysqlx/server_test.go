package mysqlx_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

const (
	clusterID     = "0123456789abcdef"
	agentPassword = `a'g"e\nt-aA1`
	replPassword  = `r'e"p\l'-aA1` // each character that some quoting gets wrong
)

var spec = mysqlx.AccountSpec{ClusterID: clusterID, AgentPassword: agentPassword, ReplicationPassword: replPassword}

// TestReal holds the tests that share one server.
func TestReal(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"sql_mode": "ANSI_QUOTES"}})
	if err := s.DB().CreateAccounts(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Run("DialRaw", func(t *testing.T) { testDialRaw(t, s) })
	t.Run("WrongPassword", func(t *testing.T) { testWrongPassword(t, s) })
	t.Run("GTIDs", func(t *testing.T) { testGTIDs(t, s) })
	t.Run("Quoting", func(t *testing.T) { testQuoting(t, s) })
	t.Run("Accounts", func(t *testing.T) { testAccounts(t, s) })
	t.Run("AgentMethods", func(t *testing.T) { testAgentMethods(t, s) })
	t.Run("KillOwnClones", func(t *testing.T) { testKillOwnClones(t, s) })
	t.Run("ReadOnly", func(t *testing.T) { testReadOnly(t, s) })
	t.Run("LooksOnAFullVolume", func(t *testing.T) { testLooksOnAFullVolume(t, s) })
	t.Run("Inventory", func(t *testing.T) { testInventory(t, s) })
}

func agentAt(address string) mysqlx.Endpoint {
	return mysqlx.Endpoint{
		Address:     address,
		Credentials: mysqlx.Credentials{User: mysqlx.AgentAccount, Password: mysqlx.FixedPassword(agentPassword)},
	}
}

func open(t testing.TB, e mysqlx.Endpoint) *mysqlx.DB {
	t.Helper()
	db, err := mysqlx.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// command sends one command without an argument and returns the first byte of the answer's payload: 0 is OK, 255 an error.
func command(t *testing.T, conn net.Conn, b byte) byte {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte{1, 0, 0, 0, b}); err != nil {
		t.Fatal(err)
	}
	header := make([]byte, 5)
	if _, err := io.ReadFull(conn, header); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, int(header[0])+int(header[1])<<8-1)
	if _, err := io.ReadFull(conn, rest); err != nil {
		t.Fatal(err)
	}
	return header[4]
}

const (
	comPing  = 0x0e
	comClone = 0x20
)

// The first login after a restart or FLUSH PRIVILEGES finds no cached password and goes the long way: as it is over a socket, encrypted
// by the server's RSA key over TCP.
func testDialRaw(t *testing.T, s *mysqltest.Server) {
	for _, address := range []string{s.Socket, s.Address} {
		s.Exec(t, "FLUSH PRIVILEGES")
		ignore := goleak.IgnoreCurrent()
		for range 2 { // the second login uses the cache
			conn, err := mysqlx.DialRaw(t.Context(), agentAt(address))
			if err != nil {
				t.Fatalf("DialRaw(%s): %v", address, err)
			}
			if got := command(t, conn, comPing); got != 0 {
				t.Errorf("answer to COM_PING begins with %d, want 0", got)
			}
			if got := command(t, conn, comClone); got != 0 {
				t.Errorf("answer to COM_CLONE begins with %d, want 0", got)
			}
			if err := conn.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
			if err := conn.Close(); err == nil {
				t.Error("second Close() = nil, want an error as of any net.Conn")
			}
		}
		goleak.VerifyNone(t, ignore)
	}
}

// DialRaw's context and timeout end with it: the connection lives on.
func TestDialRawOutlivesContext(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{})
	e := s.Root()
	e.ConnectTimeout, e.ReadTimeout = 2*time.Second, 50*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := mysqlx.DialRaw(ctx, e)
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("Read() ended with %v, want it to wait", err)
	case <-time.After(200 * time.Millisecond): // four times ReadTimeout
	}
	_ = conn.Close()
	if err := <-read; err == nil {
		t.Error("Read() of a closed connection = nil")
	}
}

// A server that accepts and says nothing must not hold a caller for longer than ConnectTimeout.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := agentAt(l.Addr().String())
	e.ConnectTimeout = 100 * time.Millisecond
	if _, err := mysqlx.DialRaw(t.Context(), e); !mysqlx.IsUnreachable(err) {
		t.Errorf("DialRaw() = %v, want unreachable", err)
	}
	if err := open(t, e).Ping(t.Context()); !mysqlx.IsUnreachable(err) {
		t.Errorf("Ping() = %v, want unreachable", err)
	}
}

func TestNobodyListens(t *testing.T) {
	for _, address := range []string{"127.0.0.1:1", t.TempDir() + "/none.sock"} {
		err := open(t, agentAt(address)).Ping(t.Context())
		if !mysqlx.IsConnRefused(err) || !mysqlx.IsUnreachable(err) || mysqlx.IsAccessDenied(err) {
			t.Errorf("Ping(%s) = %v, want refused", address, err)
		}
		if !strings.Contains(err.Error(), address) {
			t.Errorf("Ping(%s) = %v, want the address named", address, err)
		}
	}
}

func TestBadAddress(t *testing.T) {
	for _, address := range []string{"", "mysqld.sock", "127.0.0.1"} {
		if _, err := mysqlx.Open(agentAt(address)); err == nil {
			t.Errorf("Open(%q) = nil", address)
		}
	}
}

// The password must not leave the machine in the clear, nor by a scheme that trusts whatever RSA key the peer sends.
func TestPlaintextStaysHome(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.To4() == nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip.IP.String(), "0"))
		if err != nil {
			continue
		}
		defer l.Close()
		if _, err := mysqlx.DialRaw(t.Context(), agentAt(l.Addr().String())); err == nil || !strings.Contains(err.Error(), "without tls") {
			t.Errorf("DialRaw(%s) = %v, want ErrPlaintext", l.Addr(), err)
		}
		return
	}
	t.Skip("this machine has loopback addresses only")
}

func testWrongPassword(t *testing.T, s *mysqltest.Server) {
	const wrong = "not-the-password"
	e := agentAt(s.Socket)
	e.Password = mysqlx.FixedPassword(wrong)
	_, rawErr := mysqlx.DialRaw(t.Context(), e)
	for name, err := range map[string]error{"Ping": open(t, e).Ping(t.Context()), "DialRaw": rawErr} {
		if !mysqlx.IsAccessDenied(err) || mysqlx.IsUnreachable(err) || mysqlx.ErrorNumber(err) != 1045 {
			t.Errorf("%s() = %v, want access denied", name, err)
		}
		if strings.Contains(err.Error(), wrong) {
			t.Errorf("%s() = %v shows the password", name, err)
		}
	}
}

func testGTIDs(t *testing.T, s *mysqltest.Server) {
	rapid.Check(t, func(rt *rapid.T) {
		textA, textB := mysqlx.GTIDText().Draw(rt, "a"), mysqlx.GTIDText().Draw(rt, "b")
		a, err := mysqlx.ParseGTIDSet(textA)
		if err != nil {
			rt.Fatal(err)
		}
		b, err := mysqlx.ParseGTIDSet(textB)
		if err != nil {
			rt.Fatal(err)
		}
		row := s.Query(t, "SELECT GTID_SUBTRACT(?, ''), GTID_SUBTRACT(?, ?), GTID_SUBSET(?, ?), GTID_SUBTRACT(CONCAT(?, ',', ?), '')",
			textA, textA, textB, textB, textA, textA, textB)[0]
		want := [4]string{}
		for i, s := range row {
			want[i] = strings.ReplaceAll(s, "\n", "")
		}
		got := [4]string{a.String(), a.Subtract(b).String(), map[bool]string{false: "0", true: "1"}[a.Contains(b)], a.Union(b).String()}
		if got != want {
			rt.Errorf("a = %q, b = %q: text, difference, a contains b, union\n got %q\nwant %q", textA, textB, got, want)
		}
	})
}

func testQuoting(t *testing.T, s *mysqltest.Server) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune(`'"\%_`+"`\n")), rapid.Rune())).Draw(rt, "s")
		want = strings.ToValidUTF8(want, "")
		if got := s.QueryString(t, "SELECT "+mysqlx.QuoteString(want)); got != want {
			rt.Errorf("SELECT %s = %q, want %q", mysqlx.QuoteString(want), got, want)
		}
	})
}
