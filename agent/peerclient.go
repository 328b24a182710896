package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"ordinal/internal/trust"
)

const (
	// maxStatusBytes bounds a peer's answer: five GTID sets of at most 1 MiB of text, two of its own and three of the archive, and room for the rest.
	maxStatusBytes = 5<<20 + 64<<10
	// DefaultPeerTimeout bounds one question to one peer, from look-up to the answer's last byte.
	DefaultPeerTimeout = 5 * time.Second
)

// PeerKind says what became of a question to a peer.
type PeerKind string

// The four outcomes. They are told apart because they mean different things to whoever must not lose data: only an answer
// says what a peer has, and only an absent peer may be taken for one that does not exist.
const (
	PeerAnswered PeerKind = "answered"
	PeerAbsent   PeerKind = "absent"   // DNS says that there is no such name
	PeerSilent   PeerKind = "silent"   // the name exists, but no usable answer came
	PeerStranger PeerKind = "stranger" // somebody answered who is not that pod of this cluster, or does not take us for one
)

// PeerAnswer is the outcome of a question to one peer.
type PeerAnswer struct {
	Pod     string
	Ordinal int
	Host    string // by the template, see [Peers.Host]
	Kind    PeerKind
	// Observed is when what the status says was true, by our own clock; zero if Kind is not PeerAnswered.
	Observed time.Time
	Status   Status // the peer's own words; only if Kind is PeerAnswered
	Why      string // one line for people; "" if Kind is PeerAnswered
	Err      error  // the cause, nil if Kind is PeerAnswered
}

// Reason returns the answer as a reason to report; only for answers that are none.
func (a PeerAnswer) Reason() Reason {
	code := CodePeerSilent
	switch a.Kind {
	case PeerAbsent:
		code = CodePeerAbsent
	case PeerStranger:
		code = CodePeerStranger
	}
	return Reason{Code: code, Message: a.Why}
}

// PeerTLS gives the TLS configuration with which self asks peer and verifies that it is peer, both pod names. *trust.Keys is one.
type PeerTLS interface {
	ClientTLS(self, peer string) *tls.Config
}

// PeerClient asks the siblings' data planes how they are, over mTLS. Each question is one try: callers ask again. Safe for
// concurrent use.
type PeerClient struct {
	Peers   *Peers
	TLS     PeerTLS
	Timeout time.Duration // of one question; 0: DefaultPeerTimeout
	Self    string        // the name in our certificate; "": the pod of Peers' identity
}

// Ask asks the pod with the given ordinal. It never returns later than the time-out allows.
func (c *PeerClient) Ask(ctx context.Context, ordinal int) PeerAnswer {
	self, pod, address := c.self(), c.Peers.PodName(ordinal), c.Peers.DataAddress(ordinal)
	ctx, cancel := withDefaultTimeout(ctx, c.Timeout)
	defer cancel()
	transport := &http.Transport{
		TLSClientConfig:   c.TLS.ClientTLS(self, pod),
		DisableKeepAlives: true, // the next question must resolve the name anew
	}
	a := PeerAnswer{Pod: pod, Ordinal: ordinal, Host: c.Peers.Host(ordinal)}
	asked := time.Now()
	a.Status, a.Err = fetchStatus(ctx, transport, "https://"+address+"/v1/peer")
	if a.Err == nil && (a.Status.Pod != pod || a.Status.Ordinal != ordinal) {
		a.Err = &notThatPodError{says: a.Status.Pod}
		a.Status = Status{}
	}
	if a.Err == nil {
		a.Observed = asked.Add(-a.Status.age())
	}
	a.Kind, a.Why = explain(a.Err, pod, address)
	return a
}

// self is the name in our certificate.
func (c *PeerClient) self() string { return cmp.Or(c.Self, c.Peers.Identity().Pod) }

// age is how old the words are. It comes over the network.
func (s Status) age() time.Duration {
	return time.Duration(min(max(s.AgeSeconds, 0), maxAge.Seconds()) * float64(time.Second))
}

// maxAge bounds what is believed of an answer's age.
const maxAge = 24 * time.Hour

// StatusClient asks pods' status planes, plain HTTP, as `agent status` does: it needs no secret and proves nothing about who
// answers. Never decide over data by it. Safe for concurrent use.
type StatusClient struct {
	Peers   *Peers
	Timeout time.Duration // of one question; 0: DefaultPeerTimeout
}

// Ask asks the pod with the given ordinal.
func (c *StatusClient) Ask(ctx context.Context, ordinal int) PeerAnswer {
	pod, address := c.Peers.PodName(ordinal), c.Peers.StatusAddress(ordinal)
	ctx, cancel := withDefaultTimeout(ctx, c.Timeout)
	defer cancel()
	a := PeerAnswer{Pod: pod, Ordinal: ordinal, Host: c.Peers.Host(ordinal)}
	a.Status, a.Err = fetchStatus(ctx, &http.Transport{DisableKeepAlives: true}, "http://"+address+"/v1/status")
	a.Kind, a.Why = explain(a.Err, pod, address)
	return a
}

func withDefaultTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		timeout = DefaultPeerTimeout
	}
	return context.WithTimeout(ctx, timeout)
}

// Plan asks the pod with the given ordinal what its agent is about to do. The error says what to do about it.
func (c *StatusClient) Plan(ctx context.Context, ordinal int) (*Plan, error) {
	pod, address := c.Peers.PodName(ordinal), c.Peers.StatusAddress(ordinal)
	ctx, cancel := withDefaultTimeout(ctx, c.Timeout)
	defer cancel()
	var p Plan
	if err := fetch(ctx, &http.Transport{DisableKeepAlives: true}, "http://"+address+"/v1/plan", &p); err != nil {
		_, why := explain(err, pod, address)
		return nil, &NoPlanError{Why: why}
	}
	return &p, nil
}

// NoPlanError says that a pod's agent did not tell its plan.
type NoPlanError struct{ Why string }

func (e *NoPlanError) Error() string { return "ask for the plan: " + e.Why }

// Hint tells the operator what to do.
func (e *NoPlanError) Hint() string {
	return "is an agent running there? What agent init would do is told by: agent init --plan"
}

// ExitCode returns ExitUnavailable.
func (e *NoPlanError) ExitCode() int { return ExitUnavailable }

// fetchStatus gets one Status.
func fetchStatus(ctx context.Context, transport *http.Transport, from string) (Status, error) {
	var s Status
	if err := fetch(ctx, transport, from, &s); err != nil {
		return Status{}, err
	}
	return s.clone(), nil
}

// fetch gets one JSON object. No proxy, no redirect, no second try.
func fetch(ctx context.Context, transport *http.Transport, from string, into any) error {
	defer transport.CloseIdleConnections()
	transport.MaxResponseHeaderBytes = 16 << 10
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxStatusBytes+1))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxStatusBytes {
		return fmt.Errorf("answer is longer than %d bytes", maxStatusBytes)
	}
	if err := json.Unmarshal(body, into); err != nil { // unknown fields are a newer agent's
		return fmt.Errorf("answer makes no sense: %w", err)
	}
	return nil
}

// notThatPodError: the certificate fits the pod but the answer names another, so its identity is misconfigured.
type notThatPodError struct{ says string }

func (e *notThatPodError) Error() string {
	return fmt.Sprintf("the one that answers says that it is %.80q", e.says)
}

// explain classifies the error of a question and says in one line what happened.
func explain(err error, pod, address string) (PeerKind, string) {
	if err == nil {
		return PeerAnswered, ""
	}
	at := fmt.Sprintf("%s (%s)", pod, address)
	if why, ok := strange(err); ok {
		return PeerStranger, pod + ": " + why
	}
	host, _, _ := net.SplitHostPort(address)
	switch Reach(err) {
	case NotFound:
		return PeerAbsent, fmt.Sprintf("%s: DNS knows no name %s", pod, host)
	case TimedOut:
		return PeerSilent, at + " did not answer in time"
	case Refused:
		return PeerSilent, at + " refused the connection: no agent listens there"
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // without the method and the URL
	}
	return PeerSilent, fmt.Sprintf("%s cannot be asked: %v", at, err)
}

// strange tells errors that say who answered from those that say that nobody did.
func strange(err error) (why string, ok bool) {
	var other *notThatPodError
	if errors.As(err, &other) {
		return other.Error(), true
	}
	var untrusted *trust.PeerError
	if errors.As(trust.Explain(err), &untrusted) {
		return untrusted.Error(), true
	}
	return "", false
}
