package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"
)

const (
	// backdate is how far a peer's clock may be behind ours.
	backdate = 24 * time.Hour
	// lifetime of a certificate from now on. The last third is for peers whose clock is ahead, and for a renewal that comes late.
	lifetime = 9 * 24 * time.Hour
)

var subject = pkix.Name{Organization: []string{"Ordinal cluster"}}

// newAuthority returns a self-signed certificate of the cluster. Everything in it is fixed, so it is the same in every pod.
func newAuthority(key ed25519.PrivateKey, subject pkix.Name) (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               subject,
		NotBefore:             time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: no expiry
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	return x509.ParseCertificate(der)
}

// A leaf is the certificate of one name in this process, renewed when a third of its life is left.
type leaf struct {
	keys *Keys
	name string

	mu   sync.Mutex
	cert *tls.Certificate
}

// leaf returns the one leaf of name.
func (k *Keys) leaf(name string) *leaf {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.leaves[name]
	if l == nil {
		l = &leaf{keys: k, name: name}
		k.leaves[name] = l
	}
	return l
}

func (l *leaf) get() (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.keys.now()
	if l.cert != nil && !now.Before(l.cert.Leaf.NotBefore) && now.Before(l.cert.Leaf.NotAfter.Add(-lifetime/3)) {
		return l.cert, nil
	}
	cert, err := l.keys.sign(l.name, now)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %q: %w", l.name, err)
	}
	l.cert = cert
	return cert, nil
}

func (k *Keys) sign(name string, now time.Time) (*tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{ // without a serial number: CreateCertificate takes a random one
		Subject:     subject,
		DNSNames:    []string{name},
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.caCert, public, k.caKey())
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: parsed}, nil
}
