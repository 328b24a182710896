package trust

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Changing any of these locks every existing cluster out: see TestDerivationNeverChanges.
const (
	stretchSalt   = "ordinal cluster secret v1"
	stretchRounds = 150_000
	stretchedSize = 64

	purposeAuthority   = "ordinal v1 certificate authority"
	purposeAgent       = "ordinal v1 account agent"
	purposeReplication = "ordinal v1 account replication "
	purposeBackup      = "ordinal v1 backup seal"

	passwordBytes  = 20
	passwordSuffix = "-aA1"

	fingerprintBytes = 8
	backupKeyBytes   = 32
)

// Keys are what a cluster secret stands for. They are safe for concurrent use and print as "[redacted]".
type Keys struct {
	stretched   func() []byte // functions for the reason given at Secret
	caKey       func() ed25519.PrivateKey
	caCert      *x509.Certificate
	caNamed     *x509.Certificate // the same authority under a name of its own, see circle
	fingerprint string
	now         func() time.Time

	mu     sync.Mutex
	leaves map[string]*leaf // by name
}

// Derive computes the keys. It takes some 0.1 s of CPU time on purpose, so that a secret that somebody made up cannot be
// guessed cheaply: call it once per secret.
func (s Secret) Derive() (*Keys, error) {
	if s.reveal == nil {
		return nil, errors.New("derive keys: no cluster secret")
	}
	stretched, err := pbkdf2.Key(sha512.New, s.reveal(), []byte(stretchSalt), stretchRounds, stretchedSize)
	if err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	k := &Keys{stretched: func() []byte { return stretched }, now: time.Now, leaves: make(map[string]*leaf)}
	seed, err := k.expand(purposeAuthority, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	caKey := ed25519.NewKeyFromSeed(seed)
	k.caKey = func() ed25519.PrivateKey { return caKey }
	sum := sha256.Sum256(caKey[ed25519.SeedSize:]) // of the public half
	k.fingerprint = hex.EncodeToString(sum[:fingerprintBytes])
	if k.caCert, err = newAuthority(caKey, subject); err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	named := subject
	named.CommonName = k.fingerprint
	if k.caNamed, err = newAuthority(caKey, named); err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	// Anything wrong with these (crypto/hkdf refuses short keys in FIPS mode) must show now and not in the accessors.
	if _, err := k.expand(purposeAgent, passwordBytes); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Keys) expand(purpose string, size int) ([]byte, error) {
	b, err := hkdf.Expand(sha512.New, k.stretched(), purpose, size)
	if err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	return b, nil
}

// Fingerprint returns 16 hexadecimal digits by which people and processes tell secrets apart. It is computed from the authority's public key, which
// every server shows: whoever has it can test a guess at the secret, at the price of [Secret.Derive] for each, and learns nothing else.
func (k *Keys) Fingerprint() string { return k.fingerprint }

// AgentPassword returns the password of the agent's own MySQL account.
func (k *Keys) AgentPassword() string { return k.password(purposeAgent) }

// ReplicationPassword returns the password of the replication account of one cluster, so that a server of another lineage cannot be logged
// in to. An empty clusterID is a mistake of the caller that would take this fence away: it panics.
func (k *Keys) ReplicationPassword(clusterID string) string {
	if clusterID == "" {
		panic("trust: replication password without a cluster id")
	}
	return k.password(purposeReplication + clusterID)
}

// BackupKey returns the key, 32 bytes, that backups are sealed with.
func (k *Keys) BackupKey() []byte {
	b, err := k.expand(purposeBackup, backupKeyBytes)
	if err != nil {
		panic(err) // a call like it succeeded in Derive
	}
	return b
}

func (k *Keys) password(purpose string) string {
	b, err := k.expand(purpose, passwordBytes)
	if err != nil {
		panic(err) // the same call succeeded in Derive
	}
	return base64.RawURLEncoding.EncodeToString(b) + passwordSuffix
}

// Format implements fmt.Formatter: every verb prints "[redacted]".
func (*Keys) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns "[redacted]", for encoding/json and others.
func (*Keys) MarshalText() ([]byte, error) { return []byte(redacted), nil }
