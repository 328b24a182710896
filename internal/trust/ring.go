package trust

import (
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Ring holds the keys of the current cluster secret and of those that are accepted besides, and follows the files that they come from. A secret is
// accepted as long as it stands in the file of the previous one, and for an hour after this process saw it being replaced. Any two processes whose rings have
// a secret in common connect at the first attempt. Connections that exist do not notice a change.
//
// A Ring is safe for concurrent use and prints as "[redacted]".
type Ring struct {
	// Changed, if not nil, is called by Run after every change of the state. Set it before Run.
	Changed func(RingState)

	path   string
	every  time.Duration
	now    func() time.Time
	derive func(Secret) (*Keys, error)
	view   atomic.Pointer[ringView]

	mu    sync.Mutex // of what follows: one reader of the files at a time
	seen  secretFiles
	taken secretFiles
	held  []*heldKeys // the current one, the previous one, then those that were current, the latest first
}

// A ringView is what a ring shows of itself at one moment. It does not change.
type ringView struct {
	*circle
	state RingState
}

// A RingState says which secrets a ring holds, without the secrets.
type RingState struct {
	Current  RingKey   `json:"current"`
	Accepted []RingKey `json:"accepted,omitempty"`
	Problem  string    `json:"problem,omitempty"` // why the files are not followed, in one line
}

// A RingKey is a secret in a ring.
type RingKey struct {
	Fingerprint string    `json:"fingerprint"`    // see Keys.Fingerprint
	Since       time.Time `json:"since"`          // when this process began to accept it
	Until       time.Time `json:"until,omitzero"` // to which it is accepted; zero: as long as it stands in a file
}

func (s RingState) same(other RingState) bool {
	return s.Current == other.Current && slices.Equal(s.Accepted, other.Accepted) && s.Problem == other.Problem
}

// LoadRing reads the secret in the file path, and the previous one from the file beside it whose name ends in [PreviousSuffix], if there is one. It derives
// the keys, which takes some 0.1 s of CPU time for each. An error about a file is a [*SecretError]. The ring follows the files while [Ring.Run] runs.
func LoadRing(path string) (*Ring, error) {
	return (&Ring{path: path, every: lookEvery, now: time.Now, derive: Secret.Derive}).load()
}

func (r *Ring) load() (*Ring, error) {
	files, err := r.read()
	if err == nil {
		err = r.take(files)
	}
	if err != nil {
		return nil, err
	}
	r.show("")
	return r, nil
}

// ServerTLS returns the configuration of the data plane's server, as [Keys.ServerTLS] does, for the secrets that the ring holds at each handshake.
// Changes to what is returned have no effect: handshakes use configurations of their own.
func (r *Ring) ServerTLS(pod string) *tls.Config {
	t := r.view.Load().serverTLS(pod)
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.view.Load().serverTLS(pod), nil }
	return t
}

// ClientTLS returns the configuration for connections to one peer, as [Keys.ClientTLS] does, for the secrets that the ring holds now. A hello has no hook that
// could look again: take a new configuration for every connection.
func (r *Ring) ClientTLS(self, peer string) *tls.Config { return r.view.Load().clientTLS(self, peer) }

// Current returns the keys of the current secret: the same pointer until it is replaced.
func (r *Ring) Current() *Keys { return r.view.Load().keys[0] }

// All returns the keys of every secret that is held, the current one first.
func (r *Ring) All() []*Keys { return slices.Clone(r.view.Load().keys) }

// AgentPasswords returns the passwords to try for the agent's own MySQL account, the current one first.
func (r *Ring) AgentPasswords() []string { return r.passwords((*Keys).AgentPassword) }

// ReplicationPasswords returns the passwords to try for the replication account of one cluster, the current one first. An empty clusterID panics, see
// [Keys.ReplicationPassword].
func (r *Ring) ReplicationPasswords(clusterID string) []string {
	return r.passwords(func(k *Keys) string { return k.ReplicationPassword(clusterID) })
}

// BackupKeys returns the keys that backups may have been sealed with, the current one first: see [Keys.BackupKey].
func (r *Ring) BackupKeys() [][]byte {
	var all [][]byte
	for _, k := range r.view.Load().keys {
		all = append(all, k.BackupKey())
	}
	return all
}

func (r *Ring) passwords(of func(*Keys) string) []string {
	var all []string
	for _, k := range r.view.Load().keys {
		all = append(all, of(k))
	}
	return all
}

// State returns what is held now, for people.
func (r *Ring) State() RingState {
	s := r.view.Load().state
	s.Accepted = slices.Clone(s.Accepted)
	return s
}

// Format implements fmt.Formatter: every verb prints "[redacted]".
func (*Ring) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns "[redacted]", for encoding/json and others.
func (*Ring) MarshalText() ([]byte, error) { return []byte(redacted), nil }
