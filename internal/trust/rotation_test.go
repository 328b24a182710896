package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/internal/coalesce"
)

// ringOf returns a ring without files.
func ringOf(t testing.TB, values ...string) *Ring {
	t.Helper()
	r := &Ring{now: time.Now}
	for _, v := range values {
		r.held = append(r.held, &heldKeys{secret: Secret{func() string { return v }}, keys: keysOf(t, v)})
	}
	r.show("")
	return r
}

// orders returns every choice of at least one of the secrets, in every order.
func orders(of []string) (all [][]string) {
	for i, first := range of {
		all = append(all, []string{first})
		for _, rest := range orders(slices.Delete(slices.Clone(of), i, i+1)) {
			all = append(all, append([]string{first}, rest...))
		}
	}
	return all
}

// A plane is a server as the agent's data plane is one. It answers with the name of its peer.
func plane(t testing.TB, c *tls.Config) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			pod, err := PeerPod(r.TLS)
			if err != nil {
				pod = err.Error()
			}
			io.WriteString(w, pod+" by "+r.Proto)
		}),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		TLSConfig:         c.Clone(),
		ConnContext:       coalesce.ConnContext,
	}
	var done sync.WaitGroup
	done.Go(func() { _ = server.ServeTLS(coalesce.Listener(l), "", "") }) // http.ErrServerClosed
	t.Cleanup(func() { server.Close(); done.Wait() })
	return l.Addr().String()
}

// ask makes one request over a connection of its own, and no second try.
func ask(c *tls.Config, address string) error {
	got, err := get(c, "https://"+address)
	if err == nil && got != "mysql-1 by HTTP/1.1" {
		err = fmt.Errorf("the answer is %q", got)
	}
	return err
}

// All pairs of rings with up to three secrets: they connect if, and only if, they have a secret in common.
func TestRingsConnectIfTheyShareASecret(t *testing.T) {
	t.Parallel()
	rings := orders(secrets)
	if len(rings) != 15 {
		t.Fatalf("%d rings, want 15", len(rings))
	}
	for _, s := range rings {
		address := plane(t, ringOf(t, s...).ServerTLS("mysql-0"))
		for _, c := range rings {
			share := slices.ContainsFunc(c, func(v string) bool { return slices.Contains(s, v) })
			err := ask(ringOf(t, c...).ClientTLS("mysql-1", "mysql-0"), address)
			if (err == nil) != share {
				t.Errorf("server %.3q, client %.3q: %v", s, c, err)
			}
			if err != nil && !strings.Contains(Explain(err).Error(), "hold this cluster's secret") {
				t.Errorf("Explain(%v) = %v", err, Explain(err))
			}
		}
	}
}

// beforeNames returns the configuration of an agent from before peers named whom they trust.
func beforeNames(k *Keys, name string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(k.caCert)
	own := k.leaf(name)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, RootCAs: roots, ServerName: "mysql-0",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get() },
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get() },
		ClientCAs:            roots, ClientAuth: tls.RequireAndVerifyClientCert, SessionTicketsDisabled: true,
	}
}

// Agents of all versions connect while the secret stays, and, if they hold the oldest one, during a rotation.
func TestAgentsFromBeforeRings(t *testing.T) {
	t.Parallel()
	a, b, c := secrets[0], secrets[1], secrets[2]
	old := keysOf(t, a)
	rotated, promised := newRingFiles(t, a, ""), newRingFiles(t, a, "")
	rotated.write(b, a)
	promised.write(a, b) // to be the next one: this ring's oldest is its current one
	for _, f := range []*ringFiles{rotated, promised} {
		f.now = f.now.Add(time.Minute)
		f.settle()
	}
	for name, r := range map[string]*Ring{"one": ringOf(t, a), "restarted": ringOf(t, b, a), "restarted late": ringOf(t, c, b, a), "rotated": rotated.ring, "promised": promised.ring} {
		if err := ask(beforeNames(old, "mysql-1"), plane(t, r.ServerTLS("mysql-0"))); err != nil {
			t.Errorf("%s: an old client fails: %v", name, err)
		}
		if err := ask(r.ClientTLS("mysql-1", "mysql-0"), plane(t, beforeNames(old, "mysql-0"))); err != nil {
			t.Errorf("%s: an old server fails: %v", name, err)
		}
		// Keys of this version say whom they trust.
		if err := ask(old.ClientTLS("mysql-1", "mysql-0"), plane(t, r.ServerTLS("mysql-0"))); err != nil {
			t.Errorf("%s: keys as a client fail: %v", name, err)
		}
		if err := ask(r.ClientTLS("mysql-1", "mysql-0"), plane(t, old.ServerTLS("mysql-0"))); err != nil {
			t.Errorf("%s: keys as a server fail: %v", name, err)
		}
	}
	// The current one as well, if somebody says so.
	if err := ask(keysOf(t, b).ClientTLS("mysql-1", "mysql-0"), plane(t, rotated.ring.ServerTLS("mysql-0"))); err != nil {
		t.Error(err)
	}
}

// Whom a ring refuses, although it has a secret in common.
func TestRingsRefuse(t *testing.T) {
	t.Parallel()
	ours := ringOf(t, secrets[1], secrets[0])
	address := plane(t, ours.ServerTLS("mysql-0"))
	with := func(change func(c *tls.Config)) *tls.Config {
		c := ours.ClientTLS("mysql-1", "mysql-0")
		change(c)
		return c
	}
	for name, tt := range map[string]struct {
		client *tls.Config
		want   string // in what Explain says
	}{
		"the pod of another set":            {ours.ClientTLS("postgres-1", "mysql-0"), "belongs to another set"},
		"that of another, accepted secret":  {keysOf(t, secrets[0]).ClientTLS("postgres-1", "mysql-0"), "belongs to another set"},
		"no ordinal":                        {ours.ClientTLS("mysql", "mysql-0"), "belongs to another set"},
		"expecting another pod":             {ours.ClientTLS("mysql-1", "mysql-2"), `is "mysql-0", not "mysql-2"`},
		"expecting nobody":                  {with(func(c *tls.Config) { *c = *ours.ClientTLS("mysql-1", ""); c.ServerName = "mysql-0" }), ""},
		"no certificate":                    {with(func(c *tls.Config) { c.GetClientCertificate = nil }), "does not hold its cluster's secret"},
		"another secret":                    {ringOf(t, secrets[2]).ClientTLS("mysql-1", "mysql-0"), "does not hold this cluster's secret"},
		"another secret that claims it":     {claim(ringOf(t, secrets[2]), ours), "does not hold its cluster's secret"},
		"another secret, without any check": {insecure(ringOf(t, secrets[2]).ClientTLS("mysql-1", "mysql-0")), "does not hold its cluster's secret"},
		"TLS 1.2":                           {with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), "does not accept this version of TLS"},
	} {
		err := ask(tt.client, address)
		if err == nil {
			t.Errorf("%s: admitted", name)
		} else if !strings.Contains(Explain(err).Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", name, Explain(err), tt.want)
		}
	}
	// A client does not speak TLS 1.2 either.
	old := ours.ServerTLS("mysql-0")
	old.GetConfigForClient, old.MinVersion, old.MaxVersion = nil, tls.VersionTLS12, tls.VersionTLS12
	if err := ask(ours.ClientTLS("mysql-1", "mysql-0"), plane(t, old)); err == nil {
		t.Error("a server of TLS 1.2 was accepted")
	}
}

func insecure(c *tls.Config) *tls.Config {
	c.InsecureSkipVerify = true
	return c
}

// claim returns the configuration of a client that names the authorities of another ring, which it does not hold.
func claim(theirs, ours *Ring) *tls.Config {
	c := insecure(theirs.ClientTLS("mysql-1", "mysql-0"))
	c.NextProtos = ours.ClientTLS("mysql-1", "mysql-0").NextProtos
	return c
}

// A configuration that a server has had from its start follows the ring: what was dropped is refused at the next handshake, and who is
// connected stays.
func TestRotationAtNewHandshakesOnly(t *testing.T) {
	t.Parallel()
	f := newRingFiles(t, secrets[0], "")
	address := plane(t, f.ring.ServerTLS("mysql-0"))
	before, after := keysOf(t, secrets[0]).ClientTLS("mysql-1", "mysql-0"), keysOf(t, secrets[1]).ClientTLS("mysql-1", "mysql-0")

	kept := &http.Client{Transport: &http.Transport{TLSClientConfig: before}}
	defer kept.CloseIdleConnections()
	dials := 0
	kept.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	use := func() {
		t.Helper()
		resp, err := kept.Get("https://" + address)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	refused := func(c *tls.Config) {
		t.Helper()
		err := ask(c, address)
		var unknown x509.UnknownAuthorityError
		if err == nil || !errors.As(err, &unknown) {
			t.Errorf("got %v, want a refusal", err)
		}
		// Nor does it help not to check the server.
		if err := ask(insecure(c.Clone()), address); err == nil {
			t.Error("a client that checks nothing is admitted")
		}
	}
	use()
	refused(after)
	f.write(secrets[1], "")
	f.settle()
	for _, c := range []*tls.Config{before, after} {
		if err := ask(c, address); err != nil {
			t.Error(err)
		}
	}
	use()
	f.now = f.now.Add(grace)
	f.settle()
	refused(before)
	if err := ask(after, address); err != nil {
		t.Error(err)
	}
	use()
	if dials != 1 {
		t.Errorf("the connection was made %d times, want once", dials)
	}
}

// Two processes whose files change in any order, and that do not notice at the same time, ask each other without end. No request fails.
func TestNoConnectionFailsDuringRotations(t *testing.T) {
	t.Parallel()
	peers := [2]*ringFiles{newRingFiles(t, secrets[0], ""), newRingFiles(t, secrets[0], "")}
	var addresses [2]string
	for i, p := range peers {
		addresses[i] = plane(t, p.ring.ServerTLS("mysql-0"))
	}
	var (
		hour   sync.RWMutex // passes between connections: none takes so long to be made
		asking sync.WaitGroup
		stop   = make(chan struct{})
		made   = [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	)
	for i, p := range peers {
		asking.Go(func() {
			for {
				hour.RLock()
				err := ask(p.ring.ClientTLS("mysql-1", "mysql-0"), addresses[1-i])
				hour.RUnlock()
				if err != nil {
					t.Errorf("%s asks %s: %v", p.names(), peers[1-i].names(), err)
				}
				select {
				case <-stop:
					return
				case made[i] <- struct{}{}: // the rotation waits
				default:
				}
			}
		})
	}
	connections := 0
	// each lets one after the other take a step, and some requests be made after it.
	each := func(step func(p *ringFiles)) {
		for _, i := range rand.Perm(len(peers)) {
			step(peers[i])
			for range 5 {
				<-made[0]
				<-made[1]
				connections += 2
			}
		}
	}
	for n := 1; n <= 4; n++ {
		before, now := secrets[(n-1)%3], secrets[n%3]
		if n%2 == 0 {
			before = "" // is only remembered
		}
		each(func(p *ringFiles) { p.write(now, before); p.settle() })
		each(func(p *ringFiles) { p.write(now, ""); p.settle() })
		each(func(p *ringFiles) {
			hour.Lock()
			p.now = p.now.Add(grace)
			hour.Unlock()
			p.settle()
		})
		for _, p := range peers {
			p.holds(now)
		}
	}
	close(stop)
	asking.Wait()
	if connections < 200 {
		t.Errorf("%d connections, want 200 at least", connections)
	}
}
