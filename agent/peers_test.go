package agent

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newTestPeers(t *testing.T, change func(*Config)) (*Peers, error) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.PodName = "mysql-2"
	change(&cfg)
	id, err := cfg.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return NewPeers(id, cfg)
}

func TestPeerAddresses(t *testing.T) {
	for _, tt := range []struct {
		template, service string
		host, data        string
	}{
		{"", "mysql", "mysql-1.mysql", "mysql-1.mysql:3307"},
		{"", "", "mysql-1", "mysql-1:3307"},
		{"", "mysql.shop.svc.cluster.local.", "mysql-1.mysql.shop.svc.cluster.local.", "mysql-1.mysql.shop.svc.cluster.local.:3307"},
		{"127.0.1.{ordinal}", "", "127.0.1.1", "127.0.1.1:3307"},
		{"fd00::{ordinal}", "", "fd00::1", "[fd00::1]:3307"},
		{"[fd00::{ordinal}]", "", "fd00::1", "[fd00::1]:3307"},
		{"db{ordinal}.{service}.{base}", "s", "db1.s.mysql", "db1.s.mysql:3307"},
	} {
		p, err := newTestPeers(t, func(c *Config) { c.PeerHost, c.Service = tt.template, tt.service })
		if err != nil {
			t.Errorf("%q: %v", tt.template, err)
			continue
		}
		if host, data := p.Host(1), p.DataAddress(1); host != tt.host || data != tt.data {
			t.Errorf("%q: Host(1) = %q, DataAddress(1) = %q, want %q, %q", tt.template, host, data, tt.host, tt.data)
		}
		if status := p.StatusAddress(1); !strings.HasSuffix(status, ":8080") {
			t.Errorf("StatusAddress(1) = %q", status)
		}
		if p.PodName(1) != "mysql-1" {
			t.Errorf("PodName(1) = %q", p.PodName(1))
		}
	}
}

func TestPeerHostRefuses(t *testing.T) {
	for _, tt := range []struct {
		template string
		replicas int
		why      string
	}{
		{"mysql.svc", 0, "same address"},
		{"{pod}-{ordinal}", 0, "{pod} is not known"},
		{"{ordinal", 0, "same address"},
		{"mysql-{ordinal}.{service}", 0, "--service is not given"},
		{"127.0.1.{ordinal}:3307", 0, "--data-port"},
		{"http://mysql-{ordinal}", 0, "--data-port"},
		{"mysql {ordinal}", 0, "no host name"},
		{"mysql-{ordinal}/x", 0, "no host name"},
		{"127.0.1.{ordinal}", 300, "127.0.1.299"},
		{"-{ordinal}", 0, "no host name"},
		{"a..{ordinal}", 0, "no host name"},
		{strings.Repeat("a.", 200) + "x{ordinal}", 0, "no host name"},
	} {
		_, err := newTestPeers(t, func(c *Config) { c.PeerHost, c.Replicas = tt.template, tt.replicas })
		var bad *OptionError
		if !errors.As(err, &bad) || bad.Flag != "peer-host" || !strings.Contains(err.Error(), tt.why) || bad.Hint() == "" {
			t.Errorf("template %q: error = %v, want one about --peer-host with %q and a hint", tt.template, err, tt.why)
		}
	}
}

type fakeDNS struct {
	targets []string
	err     error
	asked   string
}

func (f *fakeDNS) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	f.asked = service + proto + name
	var records []*net.SRV
	for _, target := range f.targets {
		records = append(records, &net.SRV{Target: target, Port: 3306})
	}
	return "", records, f.err
}

func TestOrdinals(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  func(*Config)
		dns  *fakeDNS
		want []int
	}{
		{"replicas", func(c *Config) { c.Replicas = 3 }, nil, []int{0, 1, 2}},
		{"replicas, scaled down below this pod", func(c *Config) { c.Replicas = 1 }, nil, []int{0, 2}},
		{"replicas from an ordinal on", func(c *Config) { c.Replicas, c.FirstOrdinal = 2, 1 }, nil, []int{1, 2}},
		{"srv, a record per port, strangers behind the same service", func(c *Config) { c.Service = "db" }, &fakeDNS{targets: []string{
			"mysql-1.db.shop.svc.cluster.local.", "mysql-0.db.shop.svc.cluster.local.", "MySQL-0.db.", "other-4.db.", "10-0-0-7.db.", "mysql-x.db.", "mysql-03.db.",
		}}, []int{0, 1, 2}},
		{"srv without this pod, not ready yet", func(c *Config) { c.Service = "db" }, &fakeDNS{}, []int{2}},
		{"srv with malformed records beside good ones", func(c *Config) { c.Service = "db" },
			&fakeDNS{targets: []string{"mysql-0.db."}, err: errors.New("SRV header name is invalid")}, []int{0, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newTestPeers(t, tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Ordinals(t.Context(), tt.dns)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Fatalf("Ordinals() = %v, %v, want %v", got, err, tt.want)
			}
			if tt.dns != nil && tt.dns.asked != "db" {
				t.Errorf("asked DNS for %q, want db", tt.dns.asked)
			}
			siblings, err := p.Siblings(t.Context(), tt.dns)
			if err != nil || slices.Contains(siblings, 2) || len(siblings) != len(tt.want)-1 {
				t.Errorf("Siblings() = %v, %v", siblings, err)
			}
		})
	}
}

func TestDiscoveryErrors(t *testing.T) {
	p, _ := newTestPeers(t, func(c *Config) { c.Service = "db" })
	for _, tt := range []struct {
		err  error
		want Reachability
	}{
		{&net.DNSError{Err: "no such host", IsNotFound: true}, NotFound},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, TimedOut},
		{&net.DNSError{Err: "read udp 127.0.0.1:53: read: connection refused"}, Refused},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, Unreachable},
		{context.DeadlineExceeded, TimedOut},
	} {
		_, err := p.Ordinals(t.Context(), &fakeDNS{err: tt.err})
		var failed *DiscoveryError
		if !errors.As(err, &failed) || failed.Reach != tt.want || failed.ExitCode() != ExitUnavailable {
			t.Errorf("Ordinals() with %v: error = %#v, want %s", tt.err, err, tt.want)
		}
	}
	p, _ = newTestPeers(t, func(*Config) {})
	if _, err := p.Ordinals(t.Context(), &fakeDNS{}); !errors.Is(err, ErrNoDiscovery) {
		t.Errorf("Ordinals() without replicas and service: error = %v, want ErrNoDiscovery", err)
	}
}

// The classification against a real resolver and a name server that refuses, stays silent, or says NXDOMAIN.
func TestReachWithRealResolver(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nxdomain, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nxdomain.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := nxdomain.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2], buf[3] = 0x84, 0x03 // an authoritative answer: name error (RFC 1035, 4.1.1)
			buf[10], buf[11] = 0, 0     // no additional section
			end := 12
			for buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			nxdomain.WriteTo(buf[:min(end+5, n)], from)
		}
	}()
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	p, _ := newTestPeers(t, func(c *Config) { c.Service = "db.example.invalid." })
	for _, tt := range []struct {
		server net.PacketConn
		want   Reachability
	}{{silent, TimedOut}, {nxdomain, NotFound}, {closed, Refused}} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", tt.server.LocalAddr().String())
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := p.Ordinals(ctx, resolver)
		cancel()
		var failed *DiscoveryError
		if !errors.As(err, &failed) || failed.Reach != tt.want {
			t.Errorf("error = %v (%#v), want %s", err, err, tt.want)
		}
	}
}

func TestReach(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Reachability
	}{
		{nil, Reached},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Refused},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, Unreachable},
		{&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}, TimedOut},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, NotFound},
	} {
		if got := Reach(tt.err); got != tt.want {
			t.Errorf("Reach(%v) = %s, want %s", tt.err, got, tt.want)
		}
	}
}
