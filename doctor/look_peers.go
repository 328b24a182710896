package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"ordinal/agent"
	"ordinal/internal/trust"
	"ordinal/mysqlx"
)

const (
	askWithin = 2500 * time.Millisecond // for each question to a pod
	// maxAsked bounds the pods that are asked: what is wrong with a set shows in the first ones.
	maxAsked = 32
)

// An endpoint is a pod, seen from here.
type endpoint struct {
	ordinal int
	pod     string
	name    answer
	data    error             // of a connection to its data plane
	mysql   error             // of a login to its mysqld; nil: it answers, whatever it says
	status  agent.PeerAnswer  // of its status plane, which proves nothing about who answers
	peer    *agent.PeerAnswer // of its data plane; nil: there is no secret to ask with
	skew    time.Duration     // how far its clock is ahead of ours
	within  time.Duration     // how exactly that is known
}

// timed reports whether the pod has told its time.
func (e endpoint) timed() bool { return e.status.Kind == agent.PeerAnswered && e.within > 0 }

// asker asks pods.
type asker struct {
	peers    *agent.Peers
	resolver *net.Resolver
	ring     func() seen[*trust.Ring]
}

// self asks this pod by its name.
func (a asker) self(ctx context.Context) (endpoint, error) {
	if a.peers == nil {
		return endpoint{}, errNoPod
	}
	return a.ask(ctx, a.peers.Identity().Ordinal), nil
}

// others asks all other pods at once.
func (a asker) others(ctx context.Context, n seen[names]) ([]endpoint, error) {
	switch {
	case !n.known():
		return nil, n.err
	case n.it.err != nil:
		return nil, n.it.err
	}
	var all []endpoint
	for _, ordinal := range n.it.ordinals {
		if ordinal != a.peers.Identity().Ordinal && len(all) < maxAsked {
			all = append(all, endpoint{ordinal: ordinal})
		}
	}
	var g sync.WaitGroup
	for i := range all {
		g.Go(func() { all[i] = a.ask(ctx, all[i].ordinal) })
	}
	g.Wait()
	return all, nil
}

func (a asker) ask(ctx context.Context, ordinal int) endpoint {
	e := endpoint{ordinal: ordinal, pod: a.peers.PodName(ordinal)}
	e.name = resolve(ctx, a.resolver, a.peers.Host(ordinal))
	if e.name.err != nil {
		e.data, e.mysql = e.name.err, e.name.err
		e.status = agent.PeerAnswer{Kind: agent.PeerSilent, Err: e.name.err}
		return e
	}
	var g sync.WaitGroup
	g.Go(func() { e.data = a.dial(ctx, a.peers.DataAddress(ordinal)) })
	g.Go(func() {
		asked := time.Now()
		e.status = (&agent.StatusClient{Peers: a.peers, Timeout: askWithin}).Ask(ctx, ordinal)
		if e.status.Kind == agent.PeerAnswered && !e.status.Status.ObservedAt.IsZero() {
			took := time.Since(asked)
			theirs := e.status.Status.ObservedAt.Add(time.Duration(e.status.Status.AgeSeconds * float64(time.Second)))
			e.skew, e.within = theirs.Sub(asked.Add(took/2)), took/2+time.Millisecond
		}
		e.mysql = a.login(ctx, net.JoinHostPort(e.name.addresses[0].String(), strconv.Itoa(a.peers.MySQLPort())), e.status.Status.ClusterID)
	})
	g.Go(func() {
		if ring := a.ring(); ring.known() {
			answer := (&agent.PeerClient{Peers: a.peers, TLS: ring.it, Timeout: askWithin}).Ask(ctx, ordinal)
			e.peer = &answer
		}
	})
	g.Wait()
	return e
}

// login finds out whether a mysqld answers. A connection that is given up before the login is one of those for which a server blocks a host after a hundred
// (max_connect_errors), so it logs in as a replica does, or is refused. See refman/8.4 host-cache.
func (a asker) login(ctx context.Context, address, clusterID string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	began := time.Now()
	who := mysqlx.Credentials{User: mysqlx.AgentAccount} // which is not let in from elsewhere
	if ring := a.ring(); ring.known() && isClusterID.MatchString(clusterID) {
		who = mysqlx.Credentials{User: mysqlx.ReplicationAccount(clusterID), Password: mysqlx.FixedPassword(ring.it.Current().ReplicationPassword(clusterID))}
	}
	err := mysqlx.CheckLogin(ctx, mysqlx.Endpoint{
		Address: address, Credentials: who, ConnectTimeout: askWithin, ReadTimeout: askWithin,
		TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, // as the replication channel does
	})
	if err == nil || mysqlx.ErrorNumber(err) != 0 || !mysqlx.IsUnreachable(err) {
		return nil
	}
	if agent.Reach(err) == agent.Unreachable && time.Since(began) > askWithin*9/10 {
		return context.DeadlineExceeded // the driver does not keep why it has hung up
	}
	return err
}

// isClusterID is what a cluster's identity looks like; the one that a pod tells comes from the network.
var isClusterID = regexp.MustCompile("^[0-9a-f]{16}$")

// dial connects and hangs up.
func (a asker) dial(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	conn, err := (&net.Dialer{Resolver: a.resolver}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// ownPlane is what listens where this pod's agent would serve its status.
type ownPlane struct {
	address string
	err     error // nobody answers there
	agent   bool  // an agent does
	status  agent.Status
	said    string // what answers instead of an agent
}

func lookAtOwnPlane(ctx context.Context, peers *agent.Peers, cfg agent.Config) (ownPlane, error) {
	var o ownPlane
	if peers == nil {
		return o, errNoPod
	}
	host, port, err := net.SplitHostPort(cfg.StatusListen)
	if err != nil {
		return o, err
	}
	switch host {
	case "", "0.0.0.0", "::":
		host = "localhost"
	}
	o.address = net.JoinHostPort(host, port)
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.address+"/v1/status", nil)
	if err != nil {
		return o, err
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		if agent.Reach(err) == agent.Unreachable && ctx.Err() == nil {
			o.said = "something that does not speak HTTP"
		}
		o.err = err
		return o, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 6<<20))
	if err == nil {
		err = json.Unmarshal(body, &o.status)
	}
	o.agent = err == nil && res.StatusCode == http.StatusOK && o.status.Pod != ""
	if !o.agent {
		o.said = "an HTTP server that answers " + res.Status
		if server := res.Header.Get("Server"); server != "" {
			o.said += " (" + strings.ToValidUTF8(server[:min(len(server), 60)], "?") + ")"
		}
	}
	return o, nil
}
