package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
)

// What is negotiated, and what stands before a fingerprint among the protocols that a client offers. Servers never choose the latter.
const (
	protocolHTTP    = "http/1.1" // one stream per connection; HTTP/2 would add its own windows
	protocolTrusted = "ordinal-ca/"
)

// A circle is whom a process trusts at one moment: whoever holds one of its keys. It does not change and is safe for concurrent use.
//
// Two circles with a key in common connect at the first attempt, because either side says whom it trusts before the other one shows a certificate:
//
//	client → server   fingerprints, among the protocols of the hello (ALPN); TLS has an extension for this, crypto/tls has not
//	server → client   the authorities' names, in the request for a certificate; the name is that of caNamed, for the authorities
//	                  that sign are all called the same
//
// A peer that names none is an agent from before these names. It reads its secret once, at its start: the oldest is its most likely one.
type circle struct {
	keys   []*Keys // the current one first
	oldest *Keys
	roots  *x509.CertPool
}

func newCircle(keys []*Keys, oldest *Keys) *circle {
	c := &circle{keys: keys, oldest: oldest, roots: x509.NewCertPool()}
	for _, k := range keys {
		c.roots.AddCert(k.caCert)
		c.roots.AddCert(k.caNamed)
	}
	return c
}

// pick returns the first key that the peer has named. If there is none, a peer of today shares none.
func (c *circle) pick(named func(*Keys) bool) *Keys {
	if len(c.keys) == 1 {
		return c.keys[0]
	}
	if i := slices.IndexFunc(c.keys, named); i >= 0 {
		return c.keys[i]
	}
	return c.oldest
}

// serverTLS is what [Keys.ServerTLS] says, for all keys of the circle.
func (c *circle) serverTLS(pod string) *tls.Config {
	base, _ := setOf(pod)
	t := c.config()
	t.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return c.pick(func(k *Keys) bool {
			return slices.Contains(hello.SupportedProtos, protocolTrusted+k.fingerprint)
		}).leaf(pod).get()
	}
	t.ClientAuth = tls.RequireAndVerifyClientCert
	t.ClientCAs = c.roots
	t.SessionTicketsDisabled = true // every connection proves itself, with a certificate that is valid now
	t.VerifyConnection = func(s tls.ConnectionState) error {
		name, err := PeerPod(&s)
		if err != nil {
			return err
		}
		if peer, ok := setOf(name); !ok || peer != base {
			return &NameError{Peer: name, Own: pod}
		}
		return nil
	}
	return t
}

// clientTLS is what [Keys.ClientTLS] says, for all keys of the circle.
func (c *circle) clientTLS(self, peer string) *tls.Config {
	t := c.config()
	for _, k := range c.keys {
		t.NextProtos = append(t.NextProtos, protocolTrusted+k.fingerprint)
	}
	t.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return c.pick(func(k *Keys) bool {
			return slices.ContainsFunc(asked.AcceptableCAs, func(name []byte) bool { return bytes.Equal(name, k.caNamed.RawSubject) })
		}).leaf(self).get()
	}
	t.RootCAs = c.roots
	t.ServerName = peer // what the certificate is compared with
	if peer == "" {
		// crypto/tls users such as net/http would put the dialled host in its place.
		t.VerifyConnection = func(tls.ConnectionState) error { return errors.New("trust: no peer name to verify") }
	}
	return t
}

func (c *circle) config() *tls.Config {
	return &tls.Config{
		Time:                        c.keys[0].now,
		MinVersion:                  tls.VersionTLS13,
		NextProtos:                  []string{protocolHTTP},
		DynamicRecordSizingDisabled: true, // small records serve a page that is to be shown early; these connections carry copies
	}
}
