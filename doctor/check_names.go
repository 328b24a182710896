package doctor

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"ordinal/agent"
)

// downward is how a pod learns its name.
const downward = "env:\n- {name: AGENT_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}"

// headless is the Service that gives the pods their names.
func headless(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  clusterIP: None\n  publishNotReadyAddresses: true\n  selector: {app.kubernetes.io/name: mysql} # the labels of the pods", name)
}

// nameChecks are about who this pod is and how the others find it.
func nameChecks() []Check {
	return []Check{
		{
			ID: "pod-name", Title: "the pod's name says which pod of the set it is",
			Why:    "role, server_id and certificate follow from the number at the end of the name",
			Remedy: "Set `AGENT_POD_NAME` from `metadata.name` by the downward API; outside of Kubernetes give `--pod-name mysql-0`, a different number in each.",
			judge:  judgePodName,
		},
		{
			ID: "service-name", Title: "--service is the set's governing Service",
			Why:    "the pods' names are made with it; with another one nobody finds anybody",
			Remedy: "Set `.spec.serviceName` of the StatefulSet, and `AGENT_SERVICE` to the same name.",
			after:  []string{"pod-name"},
			judge:  judgeServiceName,
		},
		{
			ID: "peer-list", Title: "it is known which pods there are",
			Why:    "a pod that the others do not know of is asked by nobody and asks nobody",
			Remedy: "Give `--service`, or `--replicas` with the number of pods, the same in all of them.",
			after:  []string{"pod-name"},
			judge:  judgePeerList,
		},
		{
			ID: "name-server", Title: "the name server answers",
			Why:    "pods find each other by name only, and wait while names cannot be looked up",
			Remedy: "Let the pods send UDP and TCP to port 53 of cluster DNS (NetworkPolicy), see whether CoreDNS runs, or give addresses with `--peer-host`.",
			after:  []string{"pod-name"},
			judge:  judgeNameServer,
		},
		{
			ID: "headless-service", Title: "the governing Service is headless",
			Why:    "only a headless Service gives each pod a name; another one spreads connections over all pods",
			Remedy: "Make the Service anew with `clusterIP: None`: that field cannot be changed.",
			after:  []string{"pod-name", "service-name", "name-server"},
			judge:  judgeHeadless,
		},
		{
			ID: "own-name", Title: "this pod's own name resolves",
			Why:    "the other pods look for it under that name, also before it is ready",
			Remedy: "Give the governing Service `publishNotReadyAddresses: true` and a selector that fits the pods.",
			after:  []string{"pod-name", "service-name", "name-server", "headless-service"},
			judge:  judgeOwnName,
		},
		{
			ID: "own-address", Title: "this pod's name leads to this pod",
			Why:    "who looks for this pod finds another one, or nobody",
			Remedy: "Wait for DNS to forget a former address (30 s); if it stays, see who else has the name: a second pod, an entry made by hand, `hostNetwork`, a wrong `--peer-host`.",
			after:  []string{"pod-name", "service-name", "name-server", "headless-service", "own-name"},
			judge:  judgeOwnAddress,
		},
		{
			ID: "peer-names", Title: "the other pods' names resolve",
			Why:    "a pod without a name cannot be asked, and an empty source does not start while one may have data",
			Remedy: "See that the pod exists (`kubectl get pods`), and that `--replicas` is not more than there are.",
			after:  []string{"pod-name", "service-name", "name-server", "headless-service", "own-name"},
			judge:  judgePeerNames,
		},
	}
}

func judgePodName(e *exam) finding {
	if e.nameErr != nil {
		fix := downward
		var bad *agent.PodNameError
		if errors.As(e.nameErr, &bad) && bad.Remedy != "" {
			fix = bad.Remedy
		}
		return fault(e.nameErr.Error(), fix)
	}
	m := e.machine
	if !m.known() || !agent.EndsInOrdinal(m.it.hostname) || m.it.hostname == e.id.Pod {
		return ok()
	}
	what := fmt.Sprintf("this pod was told that it is %s, and its host name is %s", e.id.Pod, m.it.hostname)
	if m.it.hosts.kubelet {
		return fault(what, downward)
	}
	return risk(what, "give each pod its own --pod-name; if the host's name ends in a number by chance, all is well")
}

func judgeServiceName(e *exam) finding {
	if !e.machine.known() {
		return e.machine.unseen()
	}
	h, told := e.machine.it.hosts, e.cfg.Service
	if !h.kubelet {
		return unseen("no kubelet has written this machine's file of host names")
	}
	if own := e.peers.Host(e.id.Ordinal); net.ParseIP(own) != nil {
		return unseen("--peer-host is a template of addresses")
	}
	real := h.service(e.id.Pod)
	name, _, _ := strings.Cut(real, ".")
	switch {
	case real == "" && !slices.Contains(h.names, e.id.Pod):
		return unseen("the kubelet's file of host names does not name " + e.id.Pod)
	case real == "":
		return fault(fmt.Sprintf("the kubelet gives this pod no name but %s: its StatefulSet has no serviceName, or no Service was meant (--service=%q)", e.id.Pod, told),
			"spec:\n  serviceName: mysql # of the StatefulSet, which has to be made anew: kubectl delete statefulset --cascade=orphan, then apply\nand, in the agent's containers: {name: AGENT_SERVICE, value: mysql}\n"+headless("mysql"))
	case told == "" && e.cfg.PeerHost == "":
		return fault(fmt.Sprintf("--service is not given, and the set's governing Service is %s: names like %s do not resolve in Kubernetes", name, e.peers.Host(e.id.Ordinal)),
			"env:\n- {name: AGENT_SERVICE, value: "+name+"}")
	case told != "" && !isService(told, real):
		return fault(fmt.Sprintf("--service is %s, and the set's governing Service is %s", told, name), "env:\n- {name: AGENT_SERVICE, value: "+name+"}")
	}
	return ok()
}

// isService reports whether told is the Service real, which is a full name, or the beginning of it, label by label.
func isService(told, real string) bool {
	told = strings.TrimSuffix(told, ".")
	return strings.HasPrefix(real+".", told+".")
}

func judgePeerList(e *exam) finding {
	replicas, first := e.cfg.Replicas, e.id.First
	if replicas > 0 && e.id.Ordinal >= first+replicas {
		return fault(fmt.Sprintf("this pod is %s, and --replicas=%d says that the last one is %s", e.id.Pod, replicas, e.peers.PodName(first+replicas-1)),
			fmt.Sprintf("give --replicas=%d (AGENT_REPLICAS) to all pods, or leave it out and give --service", e.id.Ordinal-first+1))
	}
	if !e.names.known() {
		return e.names.unseen()
	}
	n := e.names.it
	if errors.Is(n.err, agent.ErrNoDiscovery) {
		return fault("neither --service nor --replicas is given", "env:\n- {name: AGENT_SERVICE, value: mysql} # .spec.serviceName of the StatefulSet\nor, outside of Kubernetes, the number of pods: --replicas=3")
	}
	if replicas > 0 {
		for ordinal := first + replicas; ordinal < first+replicas+maxAsked; ordinal++ {
			if pod := e.peers.PodName(ordinal); n.lists(pod) {
				return risk(fmt.Sprintf("DNS knows %s, and --replicas=%d says that the last pod is %s", pod, replicas, e.peers.PodName(first+replicas-1)),
					fmt.Sprintf("give --replicas=%d or more (AGENT_REPLICAS) to all pods, or leave it out", ordinal-first+1))
			}
		}
	}
	return ok()
}

func judgeNameServer(e *exam) finding {
	if !e.names.known() {
		return e.names.unseen()
	}
	n := e.names.it
	for _, a := range []answer{n.own, n.service} {
		if a.host == "" || !a.silent() {
			continue
		}
		what := fmt.Sprintf("the name server gives no answer about %s: %s", a.host, plainDNS(a.err))
		switch a.reach {
		case agent.TimedOut:
			what = fmt.Sprintf("the name server does not answer about %s in time", a.host)
		case agent.Refused:
			what = fmt.Sprintf("nothing listens where the name server should be (asked about %s)", a.host)
		}
		return fault(what, "kubectl -n kube-system get pods -l k8s-app=kube-dns\nand let a NetworkPolicy of these pods allow egress to port 53, UDP and TCP")
	}
	if n.own.literal && n.service.host == "" {
		return unseen("--peer-host is a template of addresses: no name server is needed")
	}
	return ok()
}

// plainDNS is what a name server's error says, without the name.
func plainDNS(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.Err
	}
	return err.Error()
}

func judgeHeadless(e *exam) finding {
	if !e.names.known() {
		return e.names.unseen()
	}
	n := e.names.it
	switch {
	case n.service.host == "":
		return unseen("--service is not given")
	case len(n.targets) == 0 && n.service.err != nil:
		return unseen("DNS knows nothing of " + n.service.host + ": see own-name")
	case len(n.targets) == 0:
		return unseen("DNS has no SRV records for " + n.service.host)
	}
	for _, target := range n.targets {
		if !e.isServiceTarget(target) {
			return ok()
		}
	}
	return fault(fmt.Sprintf("%s is one address (%s) and names no pod: its SRV record leads to %s itself", n.service.host, n.service.list(), strings.TrimSuffix(n.targets[0], ".")),
		"kubectl delete service "+short(n.service.host)+"\nand make it anew:\n"+headless(short(n.service.host)))
}

// isServiceTarget reports whether an SRV record's target is the Service and no pod of it.
func (e *exam) isServiceTarget(target string) bool {
	label, _, _ := strings.Cut(target, ".")
	return strings.EqualFold(label, short(e.cfg.Service))
}

// short is a Service's name without its namespace.
func short(service string) string {
	name, _, _ := strings.Cut(service, ".")
	return name
}

func judgeOwnName(e *exam) finding {
	if !e.names.known() {
		return e.names.unseen()
	}
	n := e.names.it
	if n.own.literal {
		return unseen("--peer-host is a template of addresses")
	}
	missing := n.own.reach == agent.NotFound
	if e.machine.known() && e.machine.it.hosts.kubelet && e.machine.it.hosts.has(n.own.host) {
		// The answer is from the pod's own file, which the others do not have.
		if len(n.targets) == 0 && n.service.reach != agent.NotFound {
			return unseen(n.own.host + " is in this pod's own file of host names, so no name server was asked about it")
		}
		missing = !n.lists(e.id.Pod)
	}
	if !missing {
		return ok()
	}
	what := fmt.Sprintf("DNS has no name %s, although this pod runs", n.own.host)
	service := short(e.cfg.Service)
	switch {
	case service == "":
		return fault(what, "give --service, or with --peer-host a template of names that exist")
	case n.service.reach == agent.NotFound && len(n.targets) == 0:
		return fault(fmt.Sprintf("%s, and none %s either: there is no such Service here, its selector fits no pod, or it lacks publishNotReadyAddresses and no pod is ready", what, n.service.host),
			"kubectl get service "+service+" -o yaml\nIf it is there: "+patch(service)+"\nelse:\n"+headless(service))
	}
	return fault(fmt.Sprintf("%s; %s resolves to %s. Without publishNotReadyAddresses only ready pods have a name", what, n.service.host, orElse(n.service.list(), "nothing")), patch(service))
}

// patch gives pods that are not ready a name.
func patch(service string) string {
	return `kubectl patch service ` + service + ` -p '{"spec":{"publishNotReadyAddresses":true}}'`
}

func judgeOwnAddress(e *exam) finding {
	if !e.names.known() || !e.machine.known() {
		return unseen("names or addresses are not known")
	}
	own := e.names.it.own
	if own.err != nil {
		return unseen("see own-name")
	}
	foreign := 0
	for _, ip := range own.addresses {
		if !e.machine.it.has(ip) {
			foreign++
		}
	}
	switch {
	case foreign == 0:
		return ok()
	case foreign < len(own.addresses):
		return fault(fmt.Sprintf("%s has several addresses, and some are not this machine's: %s. Two pods have one name, or DNS still has a former address", own.host, own.list()), e.nameFix(own))
	}
	return fault(fmt.Sprintf("%s leads to %s, which is no address of this machine", own.host, own.list()), e.nameFix(own))
}

func (e *exam) nameFix(own answer) string {
	if own.literal {
		return "give with --peer-host the template of the addresses that the pods have: this one has " + e.machine.it.list()
	}
	return "kubectl get endpointslices -l kubernetes.io/service-name=" + orElse(short(e.cfg.Service), "mysql") + " -o wide\nA former address goes by itself within 30 s. If it stays: is there a second set behind this Service, or an entry made by hand?"
}

// list names the machine's addresses that others can reach, for people.
func (m machine) list() string {
	var all []string
	for _, p := range m.addresses {
		if !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p.Addr().String())
		}
	}
	if len(all) == 0 {
		return "none but the loopback's"
	}
	return strings.Join(all, ", ")
}

func judgePeerNames(e *exam) finding {
	if !e.others.known() {
		return unseen("it is not known which pods there are: " + e.others.err.Error())
	}
	var missing []string
	for _, p := range e.others.it {
		if p.name.reach == agent.NotFound {
			missing = append(missing, p.pod)
		}
	}
	if len(missing) == 0 {
		if len(e.others.it) == 0 {
			return unseen("no other pod is known")
		}
		return ok()
	}
	return risk(fmt.Sprintf("DNS knows no %s, of %d pods that --replicas counts", strings.Join(missing, ", "), e.cfg.Replicas),
		"kubectl get pods # are they there? If the set is smaller now, give the pods --replicas="+fmt.Sprint(e.cfg.Replicas-len(missing))+", or leave it out and give --service")
}
