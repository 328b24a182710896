package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"ordinal/agent"
)

// names is what name servers say of the set.
type names struct {
	own      answer   // this pod's own name
	service  answer   // the governing Service's; nothing was asked if there is none
	targets  []string // of the Service's SRV records
	srvErr   error
	ordinals []int // the set's pods, this one among them; nil: ordinalsErr says why
	err      error
}

// answer is what came of a look-up.
type answer struct {
	host      string
	literal   bool // an address: nobody was asked
	addresses []netip.Addr
	reach     agent.Reachability
	err       error
}

func lookAtNames(ctx context.Context, peers *agent.Peers, cfg agent.Config, r *net.Resolver) (names, error) {
	var n names
	if peers == nil {
		return n, errNoPod
	}
	var g sync.WaitGroup
	g.Go(func() { n.own = resolve(ctx, r, peers.Host(peers.Identity().Ordinal)) })
	if cfg.Service != "" {
		g.Go(func() { n.service = resolve(ctx, r, cfg.Service) })
		g.Go(func() {
			_, records, err := r.LookupSRV(ctx, "", "", cfg.Service)
			for _, record := range records {
				n.targets = append(n.targets, record.Target)
			}
			if len(records) == 0 {
				n.srvErr = err
			}
		})
	}
	g.Go(func() { n.ordinals, n.err = peers.Ordinals(ctx, r) })
	g.Wait()
	return n, nil
}

func resolve(ctx context.Context, r *net.Resolver, host string) answer {
	a := answer{host: host, reach: agent.Reached}
	if ip, err := netip.ParseAddr(host); err == nil {
		a.literal, a.addresses = true, []netip.Addr{ip.Unmap()}
		return a
	}
	a.addresses, a.err = r.LookupNetIP(ctx, "ip", host)
	for i, ip := range a.addresses {
		a.addresses[i] = ip.Unmap()
	}
	slices.SortFunc(a.addresses, netip.Addr.Compare)
	a.addresses, a.reach = slices.Compact(a.addresses), agent.Reach(a.err)
	return a
}

// list names the addresses for people.
func (a answer) list() string {
	var all []string
	for _, ip := range a.addresses {
		all = append(all, ip.String())
	}
	return strings.Join(all, ", ")
}

// silent reports whether the name server has not said anything about the name.
func (a answer) silent() bool { return a.err != nil && a.reach != agent.NotFound }

// lists reports whether the Service's records name a pod.
func (n names) lists(pod string) bool {
	return slices.ContainsFunc(n.targets, func(target string) bool {
		label, _, _ := strings.Cut(target, ".")
		return strings.EqualFold(label, pod)
	})
}

var errNoPod = errors.New("see pod-name")
