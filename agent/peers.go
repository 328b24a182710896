package agent

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Templates of a peer's host when none is given: with and without a governing Service.
const (
	DefaultPeerHost          = "{base}-{ordinal}.{service}"
	DefaultPeerHostNoService = "{base}-{ordinal}"
)

// maxHost is the longest host name MySQL takes for a source. See refman/8.4 change-replication-source-to.
const maxHost = 255

// Peers is the set's address book: it makes names and addresses from ordinals, anew each time. It never holds an IP that a
// name resolved to. Immutable and safe for concurrent use.
type Peers struct {
	id       Identity
	template string
	service  string
	replicas int

	dataPort, statusPort, mysqlPort int
}

// NewPeers returns the address book of id's set. The error is an *OptionError about the template.
func NewPeers(id Identity, cfg Config) (*Peers, error) {
	p := &Peers{
		id: id, template: cfg.PeerHost, service: cfg.Service, replicas: cfg.Replicas,
		dataPort: cfg.DataPort, statusPort: cfg.StatusPort, mysqlPort: cfg.MySQLPort,
	}
	if p.service != "" && !isHost(p.service) {
		return nil, &OptionError{Flag: "service", Value: p.service, Allowed: `the name of a Service, like "mysql" or "mysql.shop.svc.cluster.local"`}
	}
	if p.template == "" {
		p.template = DefaultPeerHostNoService
		if p.service != "" {
			p.template = DefaultPeerHost
		}
	}
	// IPv6 literals may come in brackets, as in URLs; JoinHostPort puts them back.
	if t, ok := strings.CutPrefix(p.template, "["); ok {
		p.template = strings.TrimSuffix(t, "]")
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// check refuses a template that cannot name each pod of the set.
func (p *Peers) check() error {
	bad := func(format string, args ...any) error {
		return &OptionError{
			Flag: "peer-host", Value: p.template, Allowed: "a host name with {ordinal} in it (" + fmt.Sprintf(format, args...) + ")",
			Remedy: `known are {base}, {ordinal} and {service}; examples: "{base}-{ordinal}.{service}", "127.0.1.{ordinal}", "fd00::{ordinal}"`,
		}
	}
	for _, name := range placeholder.FindAllString(p.template, -1) {
		switch name {
		case "{base}", "{ordinal}":
		case "{service}":
			if p.service == "" {
				return bad("it uses {service}, but --service is not given")
			}
		default:
			return bad("%s is not known", name)
		}
	}
	if !strings.Contains(p.template, "{ordinal}") {
		return bad("without it all pods would have the same address")
	}
	for _, ordinal := range []int{p.id.First, p.id.Ordinal, p.id.First + max(p.replicas, 1) - 1} {
		host := p.Host(ordinal)
		switch {
		case isHost(host):
			continue
		case strings.Count(host, ":") == 1:
			return bad("ports have options of their own, --data-port and --status-port")
		default:
			return bad("for ordinal %d it gives %.80q, which is no host name and no address", ordinal, host)
		}
	}
	return nil
}

// isHost reports whether host is an IP address or could be a DNS name. A final dot is fine: it stops search domains.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > maxHost {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isHostByte(c) {
				return false
			}
		}
	}
	// 127.0.1.300 is a mistake, not a name: no top level domain is a number.
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// Identity returns whose address book this is.
func (p *Peers) Identity() Identity { return p.id }

// Host returns the host of the pod with the given ordinal: a name, or an address if the template is one. No brackets.
func (p *Peers) Host(ordinal int) string {
	return strings.NewReplacer("{base}", p.id.Base, "{ordinal}", strconv.Itoa(ordinal), "{service}", p.service).Replace(p.template)
}

// PodName returns the pod's name, which is also the name in its certificate.
func (p *Peers) PodName(ordinal int) string { return p.id.PodName(ordinal) }

// DataAddress returns host:port of the pod's data plane (mTLS).
func (p *Peers) DataAddress(ordinal int) string { return p.address(ordinal, p.dataPort) }

// StatusAddress returns host:port of the pod's status plane (plain HTTP).
func (p *Peers) StatusAddress(ordinal int) string { return p.address(ordinal, p.statusPort) }

// MySQLAddress returns host:port of the pod's mysqld.
func (p *Peers) MySQLAddress(ordinal int) string { return p.address(ordinal, p.mysqlPort) }

// MySQLPort returns the port of every mysqld of the set.
func (p *Peers) MySQLPort() int { return p.mysqlPort }

func (p *Peers) address(ordinal, port int) string {
	return net.JoinHostPort(p.Host(ordinal), strconv.Itoa(port))
}
