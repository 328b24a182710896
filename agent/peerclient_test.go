package agent

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"ordinal/internal/trust"
)

func testKeys(t *testing.T, secret string) *trust.Keys {
	t.Helper()
	s, err := trust.NewSecret(strings.Repeat(secret, trust.MinSecret))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := s.Derive()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// dataPlane serves h at 127.0.0.1 with the TLS configuration given, nil for plain HTTP, and returns its port.
func dataPlane(t *testing.T, config *tls.Config, h http.HandlerFunc) int {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.TLS = config
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the point
	if config == nil {
		server.Start()
	} else {
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

func TestPeerClient(t *testing.T) {
	ours, theirs := testKeys(t, "a"), testKeys(t, "b")
	tables := 3
	peerStatus := Status{Pod: "mysql-1", Ordinal: 1, Role: RoleReplica, State: StateReplicating, HasData: DataYes, GTIDExecuted: "u:1-5", UserTables: &tables}
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/peer" {
			http.NotFound(w, r)
			return
		}
		WriteStatus(w, peerStatus)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	// Nobody listens at a port that a connection has taken, and nobody else can get it meanwhile.
	taken, err := net.Dial("tcp", silent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	withServer := func(config *tls.Config, h http.HandlerFunc) func(*Config) {
		port := dataPlane(t, config, h)
		return func(c *Config) { c.PeerHost, c.DataPort = "127.0.0.{ordinal}", port }
	}
	port := func(a net.Addr) int { return a.(*net.TCPAddr).Port }
	server := func() *tls.Config { return ours.ServerTLS("mysql-1") }

	for _, tt := range []struct {
		name string
		cfg  func(*Config)
		want PeerKind
		why  string
	}{
		{"answered", withServer(server(), answer), PeerAnswered, ""},
		{"another secret", withServer(theirs.ServerTLS("mysql-1"), answer), PeerStranger, "does not hold this cluster's secret"},
		{"another pod", withServer(ours.ServerTLS("mysql-2"), answer), PeerStranger, "mysql-2"},
		{"another set with the same secret", withServer(ours.ServerTLS("shop-1"), answer), PeerStranger, "shop-1"},
		{"no TLS", withServer(nil, answer), PeerStranger, "does not speak TLS"},
		{"says that it is another pod", withServer(server(), func(w http.ResponseWriter, _ *http.Request) {
			WriteStatus(w, Status{Pod: "mysql-3", Ordinal: 3})
		}), PeerStranger, "mysql-3"},
		{"refused", func(c *Config) { c.PeerHost, c.DataPort = "127.0.0.{ordinal}", port(taken.LocalAddr()) }, PeerSilent, "refused the connection"},
		{"silent", func(c *Config) { c.PeerHost, c.DataPort = "127.0.0.{ordinal}", port(silent.Addr()) }, PeerSilent, "did not answer in time"},
		{"server error", withServer(server(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), PeerSilent, "answered 500"},
		{"redirect", withServer(server(), func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v1/else", http.StatusFound) }), PeerSilent, "answered 302"},
		{"no JSON", withServer(server(), func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }), PeerSilent, "makes no sense"},
		{"endless", withServer(server(), func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}), PeerSilent, "longer than"},
		{"truncated", withServer(server(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"pod":"mysql-1"`)
		}), PeerSilent, "read answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peers, err := newTestPeers(t, tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			c := &PeerClient{Peers: peers, TLS: ours, Timeout: time.Second}
			start := time.Now()
			a := c.Ask(t.Context(), 1)
			if a.Kind != tt.want || !strings.Contains(a.Why, tt.why) || strings.Contains(a.Why, "\n") || a.Pod != "mysql-1" || a.Ordinal != 1 {
				t.Fatalf("Ask() = %s %q, want %s with %q", a.Kind, a.Why, tt.want, tt.why)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("Ask() took %v", took)
			}
			if tt.want == PeerAnswered {
				if a.Status.GTIDExecuted != "u:1-5" || a.Status.HasData != DataYes || a.Status.Reasons == nil {
					t.Errorf("Status = %+v", a.Status)
				}
				return
			}
			if a.Err == nil || a.Status.Pod != "" || a.Reason().Message != a.Why {
				t.Errorf("Ask() = %+v, want an error and no status", a)
			}
		})
	}
}

// The name a certificate is for must decide, whatever the network says: only a name that does not exist is absent.
func TestPeerAbsent(t *testing.T) {
	peers, err := newTestPeers(t, func(c *Config) { c.PeerHost = "mysql-{ordinal}.invalid." })
	if err != nil {
		t.Fatal(err)
	}
	a := (&PeerClient{Peers: peers, TLS: testKeys(t, "a"), Timeout: 10 * time.Second}).Ask(t.Context(), 1)
	if a.Kind == PeerSilent && Reach(a.Err) != NotFound {
		t.Skipf("no name server here that answers: %v", a.Err)
	}
	if a.Kind != PeerAbsent || a.Reason().Code != CodePeerAbsent || !strings.Contains(a.Why, "mysql-1.invalid.") {
		t.Errorf("Ask() = %s %q, want absent", a.Kind, a.Why)
	}
}

// A pod whose own certificate the peer refuses learns that only when it reads: TLS 1.3.
func TestPeerDoesNotAcceptUs(t *testing.T) {
	ours := testKeys(t, "a")
	port := dataPlane(t, ours.ServerTLS("mysql-1"), func(w http.ResponseWriter, _ *http.Request) { WriteStatus(w, Status{}) })
	cfg := DefaultConfig()
	cfg.PodName, cfg.PeerHost, cfg.DataPort = "mysql-2", "127.0.0.{ordinal}", port
	peers, err := cfg.Peers()
	if err != nil {
		t.Fatal(err)
	}
	strangers := noCertificate{ours}
	if a := (&PeerClient{Peers: peers, TLS: strangers, Timeout: 5 * time.Second}).Ask(t.Context(), 1); a.Kind != PeerStranger {
		t.Errorf("Ask() without a certificate = %s %q, want stranger", a.Kind, a.Why)
	}
}

type noCertificate struct{ *trust.Keys }

func (n noCertificate) ClientTLS(self, peer string) *tls.Config {
	c := n.Keys.ClientTLS(self, peer)
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	return c
}

func TestStatusClient(t *testing.T) {
	board := testBoard(t, "mysql-1", PhaseRun)
	_, port, _ := net.SplitHostPort(servePlane(t, &StatusPlane{Board: board, Heartbeat: NewHeartbeat(time.Minute)}))
	peers, err := newTestPeers(t, func(c *Config) {
		c.PeerHost = "127.0.0.{ordinal}"
		c.StatusPort, _ = strconv.Atoi(port)
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := (&StatusClient{Peers: peers}).Ask(t.Context(), 1); a.Kind != PeerAnswered || a.Status.Pod != "mysql-1" {
		t.Errorf("Ask() = %+v", a)
	}
}
