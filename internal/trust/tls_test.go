package trust

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// twin returns other keys of the same secret, as another process has them, with its own clock.
func twin(k *Keys, now func() time.Time) *Keys {
	return &Keys{stretched: k.stretched, caKey: k.caKey, caCert: k.caCert, caNamed: k.caNamed, fingerprint: k.fingerprint, now: now, leaves: make(map[string]*leaf)}
}

// serve starts an HTTPS server that answers with the name of its peer. reached says whether any handler ever ran.
func serve(t *testing.T, c *tls.Config) (url string, reached func() bool) {
	t.Helper()
	ran := make(chan struct{}, 100)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ran <- struct{}{}
		pod, err := PeerPod(r.TLS)
		if err != nil {
			pod = err.Error()
		}
		io.WriteString(w, pod+" by "+r.Proto)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	// Not StartTLS: it would put its own certificate into the configuration.
	s.Listener = tls.NewListener(s.Listener, c)
	s.Start()
	t.Cleanup(s.Close)
	return "https://" + s.Listener.Addr().String(), func() bool { return len(ran) > 0 }
}

func get(c *tls.Config, url string) (string, error) {
	transport := &http.Transport{TLSClientConfig: c}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func TestPodsOfASetTrustEachOther(t *testing.T) {
	// Two derivations, as in two processes.
	s, err := NewSecret(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	server, err := s.Derive()
	if err != nil {
		t.Fatal(err)
	}
	client := keysOf(t, testSecret)
	if string(server.caCert.Raw) != string(client.caCert.Raw) {
		t.Error("two derivations have different authorities")
	}
	url, _ := serve(t, server.ServerTLS("mysql-2"))
	for _, self := range []string{"mysql-0", "mysql-17", "mysql-2", ToolName("mysql")} {
		got, err := get(client.ClientTLS(self, "mysql-2"), url)
		if want := self + " by HTTP/1.1"; err != nil || got != want {
			t.Errorf("as %s: %q, %v, want %q", self, got, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	ours, theirs := keysOf(t, testSecret), keysOf(t, strings.Repeat("another secret ", 3))
	good := func() *tls.Config { return ours.ClientTLS("mysql-1", "mysql-0") }
	with := func(change func(c *tls.Config)) *tls.Config {
		c := good()
		change(c)
		return c
	}
	// A certificate that says the right things and that somebody else signed.
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	template := &x509.Certificate{Subject: subject, DNSNames: []string{"mysql-1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	selfSigned := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	own, err := ours.leaf("mysql-1").get()
	if err != nil {
		t.Fatal(err)
	}
	noUsage, multi := *own.Leaf, *own.Leaf
	noUsage.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	multi.DNSNames = []string{"mysql-1", "postgres-1"}
	signed := func(template *x509.Certificate) *tls.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, ours.caCert, public, ours.caKey())
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	}
	show := func(cert *tls.Certificate) *tls.Config {
		return with(func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		})
	}

	for name, tt := range map[string]struct {
		client *tls.Config
		want   string // in what Explain says
	}{
		"no certificate":              {with(func(c *tls.Config) { c.GetClientCertificate = nil }), "does not hold its cluster's secret"},
		"no certificate, no checks":   {&tls.Config{InsecureSkipVerify: true}, "does not hold its cluster's secret"},
		"another secret":              {theirs.ClientTLS("mysql-1", "mysql-0"), "does not hold this cluster's secret"},
		"another secret, no checks":   {with(func(c *tls.Config) { *c = *theirs.ClientTLS("mysql-1", "mysql-0"); c.InsecureSkipVerify = true }), "does not hold its cluster's secret"},
		"self-signed":                 {show(selfSigned), "does not hold its cluster's secret"},
		"no client usage":             {show(signed(&noUsage)), ""},
		"two names":                   {show(signed(&multi)), "belongs to another set"},
		"the pod of another set":      {ours.ClientTLS("postgres-1", "mysql-0"), "belongs to another set"},
		"a longer set name":           {ours.ClientTLS("my-mysql-1", "mysql-0"), "belongs to another set"},
		"no ordinal":                  {ours.ClientTLS("mysql", "mysql-0"), "belongs to another set"},
		"another set's tool":          {ours.ClientTLS(ToolName("postgres"), "mysql-0"), "belongs to another set"},
		"expecting another pod":       {ours.ClientTLS("mysql-1", "mysql-3"), `is "mysql-0", not "mysql-3"`},
		"expecting another set's pod": {ours.ClientTLS("mysql-1", "postgres-0"), `is "mysql-0", not "postgres-0"`},
		"expecting nobody":            {ours.ClientTLS("mysql-1", ""), ""},
		// What net/http does with the address when no name is given.
		"expecting whoever answers": {func() *tls.Config { c := ours.ClientTLS("mysql-1", ""); c.ServerName = "mysql-0"; return c }(), ""},
		"TLS 1.2":                   {with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), "does not accept this version of TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			url, reached := serve(t, ours.ServerTLS("mysql-0"))
			got, err := get(tt.client, url)
			if err == nil {
				t.Fatalf("got %q, want nothing", got)
			}
			if reached() {
				t.Error("the handler ran")
			}
			explained := Explain(err)
			if tt.want != "" && (!errors.Is(explained, ErrUntrusted) || !strings.Contains(explained.Error(), tt.want)) {
				t.Errorf("Explain(%v) = %v, want %q in it", err, explained, tt.want)
			}
			if strings.Contains(explained.Error(), "\n") {
				t.Errorf("Explain() = %q, want one line", explained)
			}
			var hint interface{ Hint() string }
			if tt.want != "" && (!errors.As(explained, &hint) || hint.Hint() == "") {
				t.Errorf("%v has no hint", explained)
			}
		})
	}
	t.Run("the pod's own name has no ordinal", func(t *testing.T) {
		for _, own := range []string{"", "mysql", "mysql-", "-0"} {
			c := good()
			c.ServerName = "mysql-0"
			s := ours.ServerTLS(own)
			s.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return ours.leaf("mysql-0").get() }
			url, reached := serve(t, s)
			if _, err := get(c, url); err == nil || reached() {
				t.Errorf("the server of pod %q admitted mysql-1", own)
			}
		}
	})
	t.Run("not TLS at all", func(t *testing.T) {
		plain := httptest.NewServer(http.NotFoundHandler())
		defer plain.Close()
		_, err := get(good(), "https://"+plain.Listener.Addr().String())
		if got := Explain(err); !errors.Is(got, ErrUntrusted) || !strings.Contains(got.Error(), "does not speak TLS") {
			t.Errorf("Explain(%v) = %v", err, got)
		}
	})
	t.Run("old server", func(t *testing.T) {
		s := ours.ServerTLS("mysql-0")
		s.MinVersion, s.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		url, _ := serve(t, s)
		_, err := get(good(), url)
		if got := Explain(err); !errors.Is(got, ErrUntrusted) || !strings.Contains(got.Error(), "TLS") {
			t.Errorf("Explain(%v) = %v", err, got)
		}
	})
}

// What the server says about a peer that it refused, for its log.
func TestServerExplains(t *testing.T) {
	ours, theirs := keysOf(t, testSecret), keysOf(t, strings.Repeat("another secret ", 3))
	insecure := func(c *tls.Config) *tls.Config { c.InsecureSkipVerify = true; return c }
	for want, client := range map[string]*tls.Config{
		"does not hold this cluster's secret":                  insecure(theirs.ClientTLS("mysql-1", "mysql-0")),
		"has shown no certificate":                             {InsecureSkipVerify: true},
		`"postgres-1" does not belong to the same set as "mys`: ours.ClientTLS("postgres-1", "mysql-0"),
		"expired or not yet valid":                             twin(ours, func() time.Time { return time.Now().Add(-20 * 24 * time.Hour) }).ClientTLS("mysql-1", "mysql-0"),
	} {
		c, s := net.Pipe()
		go func() {
			conn := tls.Client(c, insecure(client))
			conn.Handshake()
			conn.Read(make([]byte, 1))
			conn.Close()
		}()
		err := tls.Server(s, ours.ServerTLS("mysql-0")).Handshake()
		s.Close()
		if got := Explain(err); !errors.Is(got, ErrUntrusted) || !strings.Contains(got.Error(), want) {
			t.Errorf("Explain(%v) = %v, want %q in it", err, got, want)
		}
	}
}

func TestClocks(t *testing.T) {
	k := keysOf(t, testSecret)
	const day = 24 * time.Hour
	for _, tt := range []struct {
		skew time.Duration // of the client against the server
		ok   bool
	}{
		{0, true}, {-23 * time.Hour, true}, {23 * time.Hour, true}, {-25 * time.Hour, false}, {25 * time.Hour, false}, {-30 * day, false}, {30 * day, false},
	} {
		// Fresh certificates on both sides: whose clock is ahead makes one that is not valid yet for the other.
		client := twin(k, func() time.Time { return time.Now().Add(tt.skew) })
		url, reached := serve(t, twin(k, time.Now).ServerTLS("mysql-0"))
		_, err := get(client.ClientTLS("mysql-1", "mysql-0"), url)
		if (err == nil) != tt.ok || reached() != tt.ok {
			t.Errorf("with a skew of %v: %v", tt.skew, err)
		}
		if err != nil && !strings.Contains(Explain(err).Error(), "expired or not yet valid") {
			t.Errorf("Explain(%v) = %v", err, Explain(err))
		}
	}
}

func TestRenewal(t *testing.T) {
	start := time.Now()
	now := start
	k := twin(keysOf(t, testSecret), func() time.Time { return now })
	server, client := k.ServerTLS("mysql-0"), k.ClientTLS("mysql-0", "mysql-1")
	at := func(d time.Duration) *tls.Certificate {
		t.Helper()
		now = start.Add(d)
		s, err := server.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.GetClientCertificate(nil)
		if err != nil || c != s {
			t.Fatalf("client and server of one process have different certificates, %v", err)
		}
		if now.Before(s.Leaf.NotBefore) || now.After(s.Leaf.NotAfter) {
			t.Fatalf("at %v the certificate is not valid", d)
		}
		return s
	}
	first := at(0)
	if at(lifetime*2/3-time.Second) != first {
		t.Error("renewed before a third of its life was left")
	}
	second := at(lifetime * 2 / 3)
	if second == first || string(second.Leaf.Raw) == string(first.Leaf.Raw) {
		t.Error("not renewed when a third of its life was left")
	}
	if second.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 || second.Leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("serial numbers %v, %v: want random ones", first.Leaf.SerialNumber, second.Leaf.SerialNumber)
	}
	if string(second.Leaf.RawSubjectPublicKeyInfo) == string(first.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("renewed with the same key")
	}
	if at(-30*24*time.Hour) == second {
		t.Error("a certificate of the future is kept when the clock was set back")
	}
	if second.Leaf.Subject.CommonName != "" {
		t.Error("the certificate has a Common Name")
	}
}

func TestSetOf(t *testing.T) {
	for name, want := range map[string]string{
		"mysql-0": "mysql", "mysql-12": "mysql", "my-sql-3": "my-sql", "a-1-2": "a-1", "tool.mysql": "mysql", "tool.a-1": "a-1",
		"": "", "mysql": "", "mysql-": "", "-1": "", "mysql-x": "", "mysql-1x": "", "mysql-٣": "", "tool.": "",
	} {
		if got, ok := setOf(name); got != want || ok != (want != "") {
			t.Errorf("setOf(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
}

func TestPeerPodWantsAVerifiedPeer(t *testing.T) {
	cert, err := keysOf(t, testSecret).leaf("mysql-1").get()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*tls.ConnectionState{nil, {}, {PeerCertificates: []*x509.Certificate{cert.Leaf}}} {
		if name, err := PeerPod(s); err == nil {
			t.Errorf("PeerPod() = %q without a verified chain", name)
		}
	}
}

func TestExplainLeavesOtherErrorsAlone(t *testing.T) {
	for _, err := range []error{nil, io.EOF, &net.OpError{Op: "dial", Err: errors.New("connection refused")}} {
		if got := Explain(err); got != err {
			t.Errorf("Explain(%v) = %v", err, got)
		}
	}
	once := Explain(x509.UnknownAuthorityError{})
	if Explain(once) != once {
		t.Error("explained twice")
	}
}
