package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// maxDiscovered bounds the pods taken from one DNS answer: it comes from the network.
const maxDiscovered = MaxReplicas

// Resolver looks up SRV records; *net.Resolver is one.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
}

// Reachability says how far an attempt to reach something by its name got.
type Reachability string

// What became of an attempt. Only NotFound says that the name does not exist; DNS servers cache that for up to 30 s.
const (
	Reached     Reachability = "reached"
	NotFound    Reachability = "nxdomain"    // the name server says that there is no such name
	TimedOut    Reachability = "timeout"     // nobody answered in time
	Refused     Reachability = "refused"     // somebody's kernel said that nobody listens
	Unreachable Reachability = "unreachable" // no route, network down, connection reset and all the rest
)

// Reach classifies an error of a look-up or a dial; nil is Reached.
func Reach(err error) Reachability {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return Reached
	case errors.As(err, &dns) && dns.IsNotFound:
		return NotFound
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	// net.DNSError keeps only the text of what went wrong with the name server.
	case dns != nil && strings.Contains(dns.Err, syscall.ECONNREFUSED.Error()):
		return Refused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	}
	return Unreachable
}

// DiscoveryError says why the pods of the set could not be listed. Reach tells NXDOMAIN from a name server that does not
// answer: only the first may mean that there are no other pods.
type DiscoveryError struct {
	Service string
	Reach   Reachability
	Err     error
}

func (e *DiscoveryError) Error() string {
	switch e.Reach {
	case NotFound:
		return fmt.Sprintf("find the pods of service %s: DNS knows no such name", e.Service)
	case TimedOut:
		return fmt.Sprintf("find the pods of service %s: the name server did not answer in time", e.Service)
	case Refused:
		return fmt.Sprintf("find the pods of service %s: the name server refused the connection", e.Service)
	}
	return fmt.Sprintf("find the pods of service %s: %v", e.Service, e.Err)
}

func (e *DiscoveryError) Unwrap() error { return e.Err }

// Hint tells the operator what to do.
func (e *DiscoveryError) Hint() string {
	return "the governing Service must be headless, with publishNotReadyAddresses: true; or give --replicas"
}

// ExitCode returns ExitUnavailable: it may be different next time.
func (e *DiscoveryError) ExitCode() int { return ExitUnavailable }

// ErrNoDiscovery says that neither --replicas nor --service was given, so that nobody can tell which pods there are.
var ErrNoDiscovery error = &OptionError{
	Flag: "replicas", Missing: true, Allowed: fmt.Sprintf("1 to %d where there is no --service to ask DNS about", MaxReplicas),
}

// Ordinals returns the ordinals of the set's pods, sorted, this pod's own always among them: the first --replicas ones if
// that was given, else those that DNS SRV of the governing Service names. SRV names only pods that exist at the moment and,
// without publishNotReadyAddresses, only those that are ready. The error is ErrNoDiscovery or a *DiscoveryError.
func (p *Peers) Ordinals(ctx context.Context, r Resolver) ([]int, error) {
	if p.replicas > 0 {
		ordinals := make([]int, 0, p.replicas+1)
		for i := range p.replicas {
			ordinals = append(ordinals, p.id.First+i)
		}
		return withOrdinal(ordinals, p.id.Ordinal), nil
	}
	if p.service == "" {
		return nil, ErrNoDiscovery
	}
	// With service and proto empty the name is looked up as it is; for a headless Service that answers with one record per
	// pod and port. Some records being malformed comes with an error beside the good ones.
	_, records, err := r.LookupSRV(ctx, "", "", p.service)
	if err != nil && len(records) == 0 {
		return nil, &DiscoveryError{Service: p.service, Reach: Reach(err), Err: err}
	}
	var ordinals []int
	for _, record := range records {
		if ordinal, ok := p.ordinalOf(record.Target); ok && len(ordinals) < maxDiscovered {
			ordinals = append(ordinals, ordinal)
		}
	}
	return withOrdinal(ordinals, p.id.Ordinal), nil
}

// Siblings is Ordinals without this pod's own.
func (p *Peers) Siblings(ctx context.Context, r Resolver) ([]int, error) {
	all, err := p.Ordinals(ctx, r)
	return slices.DeleteFunc(all, func(o int) bool { return o == p.id.Ordinal }), err
}

// ordinalOf returns the ordinal of the pod that an SRV target like "mysql-2.mysql.shop.svc.cluster.local." names. Other pods
// behind the same Service are none of our set.
func (p *Peers) ordinalOf(target string) (int, bool) {
	label, _, _ := strings.Cut(target, ".")
	base, ordinal, err := splitPodName(label)
	// DNS does not keep the case of names.
	if err != nil || !strings.EqualFold(base, p.id.Base) || ordinal < p.id.First {
		return 0, false
	}
	return ordinal, true
}

func withOrdinal(ordinals []int, own int) []int {
	ordinals = append(ordinals, own)
	slices.Sort(ordinals)
	return slices.Compact(ordinals)
}
