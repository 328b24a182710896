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
func (k *Keys) ServerTLS(pod string) *tls.Config {
	own := k.leaf(pod)
	base, _ := setOf(pod)
	c := k.config()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get() }
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.ClientCAs = k.roots
	c.SessionTicketsDisabled = true // every connection proves itself, with a certificate that is valid now
	c.VerifyConnection = func(s tls.ConnectionState) error {
		name, err := PeerPod(&s)
		if err != nil {
			return err
		}
		if peer, ok := setOf(name); !ok || peer != base {
			return &NameError{Peer: name, Own: pod}
		}
		return nil
	}
	return c
}

// ClientTLS returns the configuration for connections from self (the own pod's name, or a [ToolName]) to the data plane of the pod named peer. Whatever
// address is dialled, the server must prove to be that pod. It is for one peer only. The certificate is renewed by itself.
func (k *Keys) ClientTLS(self, peer string) *tls.Config {
	own := k.leaf(self)
	c := k.config()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get() }
	c.RootCAs = k.roots
	c.ServerName = peer // what the certificate is compared with
	if peer == "" {
		// crypto/tls users such as net/http would put the dialled host in its place.
		c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("trust: no peer name to verify") }
	}
	return c
}

func (k *Keys) config() *tls.Config {
	return &tls.Config{
		Time:       k.now,
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"}, // one stream per connection; HTTP/2 would add its own windows
	}
}

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
