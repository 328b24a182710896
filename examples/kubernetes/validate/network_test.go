package validate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// A party is a Pod that talks, with the labels of its namespace.
type party struct {
	name      string
	own       bool // in the set's namespace
	pod       labels.Set
	namespace labels.Set
}

// allowed says whether policies let from reach a port of to, by Kubernetes' documentation: a Pod that no policy selects for a direction is
// open, one that is selected takes what any of them lists. Both sides are asked; a Pod outside the set's namespace has no policies here.
func allowed(policies []*networkingv1.NetworkPolicy, from, to party, port int32) bool {
	out, in := !from.own, !to.own
	outIsolated, inIsolated := false, false
	for _, p := range policies {
		if from.own && matches(&p.Spec.PodSelector, from.pod) && has(p, networkingv1.PolicyTypeEgress) {
			outIsolated = true
			for _, rule := range p.Spec.Egress {
				out = out || lets(rule.Ports, rule.To, to, port)
			}
		}
		if to.own && matches(&p.Spec.PodSelector, to.pod) && has(p, networkingv1.PolicyTypeIngress) {
			inIsolated = true
			for _, rule := range p.Spec.Ingress {
				in = in || lets(rule.Ports, rule.From, from, port)
			}
		}
	}
	return (out || !outIsolated) && (in || !inIsolated)
}

func has(p *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	for _, d := range p.Spec.PolicyTypes {
		if d == direction {
			return true
		}
	}
	return false
}

func lets(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, other party, port int32) bool {
	open := len(ports) == 0
	for _, p := range ports {
		open = open || p.Port != nil && p.Port.IntVal == port && (p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP)
	}
	if !open || len(peers) == 0 {
		return open
	}
	for _, peer := range peers {
		here := other.own
		if peer.NamespaceSelector != nil {
			here = matches(peer.NamespaceSelector, other.namespace)
		}
		if here && (peer.PodSelector == nil || matches(peer.PodSelector, other.pod)) {
			return true
		}
	}
	return false
}

func matches(selector *metav1.LabelSelector, set labels.Set) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(set)
}

// Who may reach what, in the variants that have policies. Clones (3307) are for the set and its backups, whoever asks.
func TestNetworkPolicies(t *testing.T) {
	own := labels.Set{"kubernetes.io/metadata.name": "mysql"}
	other := labels.Set{"kubernetes.io/metadata.name": "shop"}
	monitoring := labels.Set{"kubernetes.io/metadata.name": "monitoring"}
	for name, client := range map[string]string{
		"kubernetes/overlays/production": "mysql-client", "kubernetes/overlays/restore": "mysql-client", "chart: closed": "db-mysql-client", "chart: defaults": "",
	} {
		t.Run(name, func(t *testing.T) {
			o := find(t, name)
			source := party{"the source", true, podLabels(o, 0), own}
			replica := party{"a replica", true, podLabels(o, 1), own}
			stranger := party{"another Pod of the namespace", true, labels.Set{"app": "x"}, own}
			foreign := party{"a Pod elsewhere", false, labels.Set{"app": "x"}, other}
			prometheus := party{"Prometheus", false, labels.Set{"app": "prometheus"}, monitoring}
			clients := []party{{"a client", true, labels.Set{client: "true"}, own}, {"a client elsewhere", false, labels.Set{client: "true"}, other}}
			if client == "" { // open to everybody
				clients = []party{stranger, foreign}
			}

			check := func(from, to party, port int32, want bool) {
				t.Helper()
				if got := allowed(o.policies, from, to, port); got != want {
					t.Errorf("%s reaches port %d of %s: %v, want %v", from.name, port, to.name, got, want)
				}
			}
			for _, port := range []int32{3306, 3307, 8080} {
				check(source, replica, port, true)
				check(replica, source, port, true)
				if port != 3306 || client != "" {
					check(stranger, source, port, false)
					check(foreign, source, port, false)
				}
				check(prometheus, source, port, port == 8080 || port == 3306 && client == "")
			}
			for _, c := range clients {
				check(c, source, 3306, true)
				check(c, source, 3307, false)
				check(c, source, 8080, false)
			}
			for _, w := range o.workloads()[1:] {
				job := party{w.name, true, w.pod.Labels, own}
				check(job, source, 3307, w.job != nil) // a backup
				check(job, source, 8080, w.job == nil) // helm test
				check(job, source, 3306, client == "")
				if w.job != nil && client == "mysql-client" {
					check(source, job, 22, false)
					check(stranger, job, 443, false)
				}
				if w.job != nil {
					check(job, foreign, 443, true) // a store
				}
			}
			check(source, foreign, 443, true) // a store
			if client != "" {
				check(source, foreign, 3306, false)
				check(source, stranger, 8080, false)
			}
		})
	}
}

// Where the set has a policy, the backup's Pods are named in it: one without the other would cut them off.
func TestPoliciesComeTogether(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		isolated := false
		for _, p := range o.policies {
			isolated = isolated || matches(&p.Spec.PodSelector, podLabels(o, 0))
		}
		if !isolated {
			return
		}
		for _, port := range []int32{3306, 3307, 8080} {
			from, to := party{"0", true, podLabels(o, 0), nil}, party{"1", true, podLabels(o, 1), nil}
			if !allowed(o.policies, from, to, port) || !allowed(o.policies, to, from, port) {
				t.Errorf("the set's own Pods do not reach each other's port %d", port)
			}
		}
		for _, w := range o.workloads()[1:] {
			port := int32(8080)
			if w.job != nil {
				port = 3307
			}
			if !allowed(o.policies, party{w.name, true, w.pod.Labels, nil}, party{"0", true, podLabels(o, 0), nil}, port) {
				t.Errorf("%s does not reach the agents", w.name)
			}
		}
	})
}
