package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"ordinal/agent"
	"ordinal/internal/trust"
)

// policy lets the pods of a set reach each other.
const policy = `kubectl get networkpolicy # one that selects these pods has to allow, in both directions:
ingress:
- from: [{podSelector: {matchLabels: {app.kubernetes.io/name: mysql}}}]
  ports: [{port: 3306}, {port: 3307}, {port: 8080}]
egress:
- to: [{podSelector: {matchLabels: {app.kubernetes.io/name: mysql}}}]
  ports: [{port: 3306}, {port: 3307}, {port: 8080}]`

// networkChecks are about this pod's own ports.
func networkChecks() []Check {
	return []Check{
		{
			ID: "ports", Title: "what the agent listens on is where the others look for it",
			Why:    "the other pods, probes and monitoring knock at a port where nobody is",
			Remedy: "Give `--data-listen` and `--data-port` the same port, `--status-listen` and `--status-port` too, and listen on all addresses (`:3307`, `:8080`).",
			judge:  judgePorts,
		},
		{
			ID: "status-port", Title: "this pod's agent answers at its status port",
			Why:    "probes and `agent status` ask there; without an agent nobody replicates, heals or opens the source",
			Remedy: "End the other program or move one of the two with `--status-listen` and `--status-port`; look at the agent's log if none runs. The probes' port is this one.",
			after:  []string{"pod-name"},
			judge:  judgeStatusPort,
		},
	}
}

// peerChecks are about the other pods, seen from here.
func peerChecks() []Check {
	return []Check{
		{
			ID: "peer-agents", Title: "the other pods' agents run",
			Why:    "copies come from them, and a source waits for what they have",
			Remedy: "Look at those pods: `kubectl get pods`, `kubectl logs POD -c agent`.",
			judge:  judgePeerAgents,
		},
		{
			ID: "data-port", Title: "the other pods' data planes can be reached",
			Why:    "copies travel there, and a source asks there before it takes writes",
			Remedy: "Let a NetworkPolicy allow port 3307 between the set's pods; `--data-port` is the port on which they listen.",
			judge:  judgeDataPort,
		},
		{
			ID: "source-port", Title: "the source's mysqld can be reached",
			Why:    "a replica that cannot connect falls behind until the source has purged what it needs",
			Remedy: "Let a NetworkPolicy allow port 3306 between the set's pods; `--mysql-port` is the port of every mysqld.",
			after:  []string{"pod-name"},
			judge:  judgeSourcePort,
		},
		{
			ID: "identity", Title: "every pod is one pod, and only one",
			Why:    "two that take themselves for the same pod disconnect each other, or overwrite what the other one has",
			Remedy: "Give each pod its own name (`metadata.name`) and its own volume; one Service selects the pods of one set.",
			after:  []string{"pod-name"},
			judge:  judgeIdentity,
		},
		{
			ID: "cluster-identity", Title: "the pods' data is of one cluster",
			Why:    "a replica does not follow a source of another history, and nothing of it is lost by that",
			Remedy: "Decide whose data is the right one, keep every volume until then; docs/what-if.md#siblings_are_strangers.",
			judge:  judgeClusterIdentity,
		},
		{
			ID: "clock", Title: "the pods' clocks agree",
			Why:    "lag and points in time are measured with them; from 15 minutes on S3 refuses requests, from a day on pods do not trust each other",
			Remedy: "Run an NTP client (chrony, systemd-timesyncd) on every node.",
			judge:  judgeClock,
		},
	}
}

func judgePorts(e *exam) finding {
	c := e.cfg
	for _, p := range []struct {
		listen string
		port   int
		name   string
	}{{c.DataListen, c.DataPort, "data"}, {c.StatusListen, c.StatusPort, "status"}} {
		host, port, err := net.SplitHostPort(p.listen)
		if err != nil {
			return unseen(err.Error())
		}
		if port != strconv.Itoa(p.port) {
			return fault(fmt.Sprintf("the agent listens on %s (--%s-listen), and the other pods ask at port %d (--%s-port)", p.listen, p.name, p.port, p.name),
				fmt.Sprintf("give both the same port: --%s-listen=:%d --%s-port=%d", p.name, p.port, p.name, p.port))
		}
		if ip, err := netip.ParseAddr(host); (host == "localhost" || err == nil && ip.IsLoopback()) && !e.local() {
			return fault(fmt.Sprintf("the agent listens on %s (--%s-listen), where only this machine can reach it", p.listen, p.name),
				fmt.Sprintf("--%s-listen=:%d", p.name, p.port))
		}
	}
	if c.DataPort == c.StatusPort || c.DataPort == c.MySQLPort || c.StatusPort == c.MySQLPort {
		return fault(fmt.Sprintf("two of --mysql-port=%d, --data-port=%d and --status-port=%d are the same", c.MySQLPort, c.DataPort, c.StatusPort), "give each a port of its own: 3306, 3307, 8080")
	}
	return ok()
}

// local reports whether the set's pods are processes of one machine, or that is not known.
func (e *exam) local() bool {
	if e.peers == nil {
		return true
	}
	ip, err := netip.ParseAddr(e.peers.Host(e.id.Ordinal))
	return err == nil && ip.IsLoopback()
}

func judgeStatusPort(e *exam) finding {
	if !e.own.known() {
		return e.own.unseen()
	}
	o := e.own.it
	switch {
	case o.agent && o.status.Pod != e.id.Pod:
		return fault(fmt.Sprintf("the agent of %q answers at %s: two pods share one network, or this one was told another name", o.status.Pod, o.address), "give each agent a port of its own, or leave out hostNetwork: true; "+strings.ReplaceAll(downward, "\n", " "))
	case o.agent:
		return ok()
	case o.said != "":
		return fault(fmt.Sprintf("at %s answers %s, and no agent", o.address, o.said), "end that program, or give the agent another port in all pods: --status-listen=:8081 --status-port=8081, and to the probes as well")
	case agent.Reach(o.err) == agent.TimedOut:
		return fault("something listens at "+o.address+" and does not answer: an agent that hangs, or another program", "kubectl logs "+e.id.Pod+" -c agent # is the process stopped, or the node out of processor time? The liveness probe restarts it")
	case agent.Reach(o.err) != agent.Refused:
		return unseen(fmt.Sprintf("%s does not answer: %v", o.address, rootDial(o.err)))
	case e.server.known() && e.server.it.up && e.complete():
		return fault("mysqld runs, and no agent answers at "+o.address, "kubectl logs "+e.id.Pod+" -c agent # is it there? args: [run], restartPolicy: Always")
	}
	return unseen("no agent runs here at the moment")
}

// rootDial is what the kernel said, without what was dialled.
func rootDial(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

// siblings returns the other pods whose names resolve, or why there is nothing to say of them.
func (e *exam) siblings() ([]endpoint, finding) {
	if found, skip := e.after("pod-name"); skip {
		return nil, found
	}
	if !e.others.known() {
		return nil, unseen("it is not known which pods there are: " + e.others.err.Error())
	}
	var all []endpoint
	for _, p := range e.others.it {
		if p.name.err == nil {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, unseen("no other pod has a name")
	}
	return all, ok()
}

// gone reports whether nobody listens on any of a pod's ports: it is not there, or just starting.
func (e endpoint) gone() bool {
	return agent.Reach(e.data) == agent.Refused && e.status.Kind != agent.PeerAnswered && agent.Reach(e.status.Err) != agent.TimedOut
}

func judgePeerAgents(e *exam) finding {
	all, found := e.siblings()
	if all == nil {
		return found
	}
	var gone, hung []string
	for _, p := range all {
		switch {
		case p.gone():
			gone = append(gone, fmt.Sprintf("%s (%s)", p.pod, p.name.list()))
		case p.data == nil && agent.Reach(p.status.Err) == agent.TimedOut && (p.peer == nil || agent.Reach(p.peer.Err) == agent.TimedOut):
			hung = append(hung, fmt.Sprintf("%s (%s)", p.pod, p.name.list()))
		}
	}
	switch {
	case len(hung) > 0:
		return risk("the agent takes connections and does not answer in "+strings.Join(hung, ", "), "kubectl logs "+strings.Fields(hung[0])[0]+" -c agent # is the node out of memory or processor time, or the process stopped?")
	case len(gone) == 0:
		return ok()
	}
	return risk("nothing listens on the agent's ports of "+strings.Join(gone, ", "), "kubectl get pods; kubectl logs "+strings.Fields(gone[0])[0]+" -c agent --previous")
}

func judgeDataPort(e *exam) finding {
	all, found := e.siblings()
	if all == nil {
		return found
	}
	var silent, refused, other []string
	for _, p := range all {
		switch reach := agent.Reach(p.data); {
		case p.data == nil && p.peer != nil && p.peer.Kind == agent.PeerStranger && notTLS(*p.peer):
			other = append(other, p.pod)
		case p.data == nil || p.gone() || reach == agent.NotFound: // a name that has just gone
		case reach == agent.Refused:
			refused = append(refused, p.pod)
		default:
			silent = append(silent, fmt.Sprintf("%s (%s: %v)", p.pod, p.name.list(), reach))
		}
	}
	port := e.cfg.DataPort
	switch {
	case len(silent) > 0:
		return fault(fmt.Sprintf("port %d cannot be reached on %s: a NetworkPolicy or firewall drops it, or the node is gone", port, strings.Join(silent, ", ")), policy)
	case len(refused) > 0:
		return fault(fmt.Sprintf("%s: the agent runs there, and nothing listens on port %d", strings.Join(refused, ", "), port), fmt.Sprintf("give all pods the same: --data-listen=:%d --data-port=%d", port, port))
	case len(other) > 0:
		return fault(fmt.Sprintf("%s: what listens on port %d does not speak TLS 1.3", strings.Join(other, ", "), port), "see what listens there; --data-port is the port of the agents' data planes")
	}
	return ok()
}

func notTLS(a agent.PeerAnswer) bool { return strings.Contains(a.Why, "does not speak TLS") }

func judgeSourcePort(e *exam) finding {
	if e.id.Role() == agent.RoleSource {
		return unseen("this pod is the source")
	}
	all, found := e.siblings()
	if all == nil {
		return found
	}
	for _, p := range all {
		if p.ordinal != e.id.First {
			continue
		}
		what := fmt.Sprintf("%s, %s (%s)", p.pod, e.peers.MySQLAddress(p.ordinal), p.name.list())
		switch reach := agent.Reach(p.mysql); {
		case p.mysql == nil:
			return ok()
		case reach == agent.NotFound:
			return unseen("the source has no name any more")
		case reach != agent.Refused && agent.Reach(p.data) == reach && e.wrong["data-port"]:
			return unseen("see data-port: no port of the source can be reached")
		case reach != agent.Refused:
			return fault(fmt.Sprintf("the mysqld of the source, %s, cannot be reached (%v)", what, reach), "in the source: agent doctor # does its mysqld answer there, or does it hang?\n"+policy)
		case p.status.Kind == agent.PeerAnswered && p.status.Status.ServerUUID != "" && (p.status.Status.State == agent.StateSource || p.status.Status.State == agent.StateGateClosed):
			return fault(fmt.Sprintf("the source's mysqld runs, and nothing listens at its port: %s", what), "in the source: agent doctor # see mysqld-listens; --mysql-port is the port of every mysqld")
		}
		return risk("the mysqld of the source does not run: "+what+" refuses the connection", "kubectl logs "+p.pod+" -c mysql; kubectl logs "+p.pod+" -c agent")
	}
	return unseen("the source has no name")
}

func judgePeerSecret(e *exam) finding {
	all, found := e.siblings()
	if all == nil {
		return found
	}
	if !e.ring.known() {
		return e.ring.unseen()
	}
	asked := 0
	var strangers []string
	for _, p := range all {
		if p.peer == nil || p.peer.Kind == agent.PeerSilent {
			continue
		}
		asked++
		var untrusted *trust.PeerError
		if p.peer.Kind == agent.PeerStranger && errors.As(trust.Explain(p.peer.Err), &untrusted) && strings.Contains(untrusted.Error(), "secret") {
			who := p.pod
			if theirs := p.status.Status.Secret; p.status.Kind == agent.PeerAnswered && theirs != nil {
				who += " (its secret's fingerprint is " + quoteShort(theirs.Current.Fingerprint) + ")"
			}
			strangers = append(strangers, who)
		}
	}
	switch {
	case len(strangers) > 0:
		return fault(fmt.Sprintf("another cluster secret than this pod's (fingerprint %s): %s", e.ring.it.State().Current.Fingerprint, strings.Join(strangers, ", ")),
			"mount the same Secret into every pod; a secret that was just replaced is accepted for an hour by those that saw the change: restart the pods that did not")
	case asked == 0:
		return unseen("no other pod's data plane answers")
	}
	return ok()
}

// quoteShort makes a word from the network fit to be shown.
func quoteShort(s string) string { return fmt.Sprintf("%.20q", s) }

func judgeIdentity(e *exam) finding {
	uuids := map[string]string{}
	if uuid := e.serverUUID(); uuid != "" {
		uuids[uuid] = e.id.Pod
	}
	known := false
	if s := e.self; s.known() && s.it.status.Kind == agent.PeerAnswered {
		known = true
		if says := s.it.status.Status.Pod; says != e.id.Pod {
			return fault(fmt.Sprintf("under this pod's name %s answers the agent of %.60q", s.it.name.host, says), downward)
		}
		if theirs := s.it.status.Status.ServerUUID; theirs != "" && e.serverUUID() != "" && theirs != e.serverUUID() {
			return fault(fmt.Sprintf("under this pod's name %s answers an agent whose mysqld has server_uuid %.40q, and this pod's has %s: two pods have the name %s", s.it.name.host, theirs, e.serverUUID(), e.id.Pod), downward)
		}
	}
	if e.others.known() {
		for _, p := range e.others.it {
			if p.status.Kind != agent.PeerAnswered {
				continue
			}
			known = true
			if p.status.Status.Pod != p.pod {
				return fault(fmt.Sprintf("under the name of %s (%s) answers the agent of %.60q", p.pod, p.name.list(), p.status.Status.Pod), downward+"\nand let the Service's selector fit the pods of one set only")
			}
			uuid := p.status.Status.ServerUUID
			if other := uuids[uuid]; uuid != "" && other != "" {
				return fault(fmt.Sprintf("%s and %s have the same server_uuid %.40q: a volume was copied with its auto.cnf", other, p.pod, uuid), "restart the pod with the copied volume: agent init gives its mysqld a new one")
			}
			uuids[uuid] = p.pod
		}
	}
	if !known {
		return unseen("no agent answers")
	}
	return ok()
}

// serverUUID is what is known of the own server's.
func (e *exam) serverUUID() string {
	if e.server.known() && e.server.it.up {
		return e.server.it.facts.ServerUUID
	}
	if e.volume.known() {
		return e.volume.it.serverUUID
	}
	return ""
}

// clusterID is what is known of the own data's.
func (e *exam) clusterID() string {
	if e.server.known() && e.server.it.clusterID != "" {
		return e.server.it.clusterID
	}
	if e.complete() && e.volume.it.content.Record != nil {
		return e.volume.it.content.Record.ClusterID
	}
	return ""
}

func judgeClusterIdentity(e *exam) finding {
	all, found := e.siblings()
	if all == nil {
		return found
	}
	own := e.clusterID()
	if own == "" {
		return unseen("this pod's data carries no cluster identity yet, or cannot be asked")
	}
	known := false
	var strangers []string
	for _, p := range all {
		if id := p.status.Status.ClusterID; p.status.Kind == agent.PeerAnswered && id != "" {
			known = true
			if id != own {
				strangers = append(strangers, fmt.Sprintf("%s's is %s", p.pod, quoteShort(id)))
			}
		}
	}
	switch {
	case len(strangers) > 0:
		return fault(fmt.Sprintf("the data here is of cluster %s, and %s", own, strings.Join(strangers, ", ")),
			"keep every volume. If another pod's data is the right one, in this pod: agent rebuild # its own data goes to quarantine\nelse the same there; see docs/what-if.md#siblings_are_strangers")
	case !known:
		return unseen("no other pod says what its data is")
	}
	return ok()
}

// How far clocks may be apart before somebody is told, and before something breaks.
const (
	skewSeen = 2.0  // seconds
	skewBad  = 60.0 // seconds
)

func judgeClock(e *exam) finding {
	if e.machine.known() && !e.built.IsZero() && e.machine.it.now.Before(e.built) {
		return fault(fmt.Sprintf("it is %s by this machine's clock, and this program was made on %s", e.machine.it.now.UTC().Format("2006-01-02"), e.built.UTC().Format("2006-01-02")), "timedatectl set-ntp true # on the node")
	}
	all, found := e.siblings()
	if all == nil {
		return found
	}
	timed, worst := 0, 0.0
	var off []string
	for _, p := range all {
		if p.peer != nil && strings.Contains(p.peer.Why, "expired or not yet valid") {
			worst = skewBad
			off = append(off, p.pod+"'s is more than a day away: "+p.peer.Why)
			timed++
			continue
		}
		if !p.timed() {
			continue
		}
		timed++
		seconds := max(p.skew.Abs()-p.within, 0).Seconds()
		if seconds >= skewSeen {
			direction := "ahead of"
			if p.skew < 0 {
				direction = "behind"
			}
			off = append(off, fmt.Sprintf("%s's is %.0f s %s this pod's", p.pod, p.skew.Abs().Seconds(), direction))
			worst = max(worst, seconds)
		}
	}
	fix := "timedatectl set-ntp true; chronyc tracking # on the nodes of these pods"
	switch {
	case timed == 0:
		return unseen("no other pod has told its time")
	case worst >= skewBad:
		return fault("clocks differ: "+strings.Join(off, ", "), fix)
	case worst > 0:
		return risk("clocks differ: "+strings.Join(off, ", "), fix)
	}
	return ok()
}
