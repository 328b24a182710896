package trust

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// ServerTLS returns the configuration of the data plane's server in the pod named pod. It admits pods of the same set and its tools ([ToolName]), nobody else:
// TLS 1.3, a certificate of this cluster's authority is required, and the name in it must belong to the set. The name of an admitted peer is [PeerPod].
// If pod is not a name with an ordinal, nobody is admitted. The certificate is renewed by itself.
func (k *Keys) ServerTLS(pod string) *tls.Config { return k.alone().serverTLS(pod) }

// ClientTLS returns the configuration for connections from self (the own pod's name, or a [ToolName]) to the data plane of the pod named peer. Whatever
// address is dialled, the server must prove to be that pod. It is for one peer only. The certificate is renewed by itself.
func (k *Keys) ClientTLS(self, peer string) *tls.Config { return k.alone().clientTLS(self, peer) }

func (k *Keys) alone() *circle { return newCircle([]*Keys{k}, k) }

const toolPrefix = "tool."

// ToolName returns the name under which a program that is no pod of the set base (a backup job, `agent status`) connects to its pods.
func ToolName(base string) string { return toolPrefix + base }

// setOf returns the set to which a pod or tool belongs.
func setOf(name string) (base string, ok bool) {
	if base, ok := strings.CutPrefix(name, toolPrefix); ok {
		return base, base != ""
	}
	i := strings.LastIndexByte(name, '-')
	if i < 1 || i == len(name)-1 || strings.Trim(name[i+1:], "0123456789") != "" {
		return "", false
	}
	return name[:i], true
}

// PeerPod returns the name of the peer of a connection whose certificate was verified: a pod's name, or a [ToolName].
// It is an error if there is no verified certificate or if it has not exactly one name.
func PeerPod(s *tls.ConnectionState) (string, error) {
	if s == nil || len(s.VerifiedChains) == 0 {
		return "", errors.New("the peer has no verified certificate")
	}
	cert := s.VerifiedChains[0][0]
	if len(cert.DNSNames) != 1 {
		return "", fmt.Errorf("the peer's certificate has %d names, want 1", len(cert.DNSNames))
	}
	return cert.DNSNames[0], nil
}

// A NameError says that a peer holds the cluster secret but belongs to another set.
type NameError struct {
	Peer string // the name that it proved
	Own  string // the pod that refused it
}

func (e *NameError) Error() string {
	if _, ok := setOf(e.Own); !ok {
		return fmt.Sprintf("%q is not the name of a pod of a StatefulSet: cannot tell whether %q belongs to the same set", e.Own, e.Peer)
	}
	return fmt.Sprintf("%q does not belong to the same set as %q", e.Peer, e.Own)
}
