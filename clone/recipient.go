package clone

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"ordinal/mysqlx"
	"ordinal/stream"
)

// DefaultStall is how long a donor may be silent. It sends a heartbeat every 5 s, so this is six of them.
const DefaultStall = 30 * time.Second

// Bounds on a donor's answers other than the stream.
const (
	answerWithin  = 6 * time.Minute // opening a session waits for DDL and opens every tablespace
	confirmWithin = 30 * time.Second
	abandonWithin = 5 * time.Second
	abandonHurry  = 500 * time.Millisecond
	maxAnswer     = 2 << 20
)

// A Recipient fetches copies. Its methods may be called concurrently.
type Recipient struct {
	// TLS returns the configuration with which peer's data plane is called: it proves who we are and that peer is peer.
	TLS func(peer string) *tls.Config
	// Stall is how long a donor may send nothing, heartbeats included; 0 means DefaultStall.
	Stall time.Duration
}

// Peer is a pod to fetch from.
type Peer struct {
	Pod     string
	Address string // host:port of its data plane
}

// Wants says what the copy is for.
type Wants struct {
	Workers       int    // at most; 0: the donor chooses; NoWorkers: none
	PageSize      uint32 // innodb_page_size of the server that will start on it, in bytes; 0: not known
	ServerVersion string // its version; "": not known
	ClusterID     string // the cluster this pod belongs to; "": not known yet
}

// NoWorkers in Wants.Workers asks for a clone over the main connection alone.
const NoWorkers = -1

// An Offer is a session that a donor has opened for us: it holds a snapshot until Receive or Abandon.
type Offer struct {
	Hello stream.Hello

	donor  Peer
	url    string
	client *retryablehttp.Client
	stall  time.Duration
}

// Ask opens a session at donor and checks that the copy would fit. Errors: RefusedError, UnsupportedError, MismatchError, or
// why the donor could not be reached. After an error the donor holds nothing for us.
func (r *Recipient) Ask(ctx context.Context, donor Peer, wants Wants) (*Offer, error) {
	o := &Offer{donor: donor, client: r.client(donor.Pod), url: "https://" + donor.Address + sessionsPath, stall: r.Stall}
	if o.stall == 0 {
		o.stall = DefaultStall
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var answer openAnswer
	if err := o.call(ctx, http.MethodPost, o.url, openRequest{Workers: wants.Workers}, &answer); err != nil {
		o.client.HTTPClient.CloseIdleConnections()
		return nil, fmt.Errorf("ask %s for a clone: %w", donor.Pod, err)
	}
	o.url += "/" + answer.Session
	o.Hello = answer.Hello
	if err := o.check(wants); err != nil {
		o.Abandon(ctx)
		return nil, fmt.Errorf("clone from %s: %w", donor.Pod, err)
	}
	return o, nil
}

// check compares what the donor is with what the copy has to fit.
func (o *Offer) check(wants Wants) error {
	h := o.Hello
	if wants.ClusterID != "" && h.ClusterID != wants.ClusterID {
		return &MismatchError{What: "cluster", Donor: h.ClusterID, Recipient: wants.ClusterID}
	}
	if wants.PageSize != 0 && h.PageSize != wants.PageSize {
		return &MismatchError{
			What: "innodb_page_size", Donor: strconv.Itoa(int(h.PageSize)), Recipient: strconv.Itoa(int(wants.PageSize)),
		}
	}
	if wants.ServerVersion != "" {
		if err := mysqlx.CheckCloneVersions(h.ServerVersion, wants.ServerVersion); err != nil {
			return &MismatchError{What: "server version", Donor: h.ServerVersion, Recipient: wants.ServerVersion}
		}
	}
	return nil
}

// Abandon tells the donor to let go of the snapshot. It does so by itself, later, when it cannot be told. Also when ctx has ended
// it is told, but then it has to listen at once.
func (o *Offer) Abandon(ctx context.Context) {
	within := abandonWithin
	if ctx.Err() != nil {
		within = abandonHurry
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	defer o.client.HTTPClient.CloseIdleConnections()
	_ = o.call(ctx, http.MethodDelete, o.url, nil, nil) // see above
}

// confirm tells the donor that stage is durable here.
func (o *Offer) confirm(ctx context.Context, stage stream.Stage) error {
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	if err := o.call(ctx, http.MethodPost, o.url+"/confirm", confirmRequest{Stage: stage}, nil); err != nil {
		return fmt.Errorf("confirm %v to %s: %w", stage, o.donor.Pod, err)
	}
	return nil
}

// fetch begins the stream. The caller closes the body. A donor begins to answer at once, so that silence is a stall here, too.
func (o *Offer) fetch(ctx context.Context) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	watch := time.AfterFunc(o.stall, cancel)
	body, err := o.get(ctx)
	if !watch.Stop() {
		if err == nil {
			_ = body.Close() // it ended with ctx
		}
		err = &StalledError{Donor: o.donor.Pod, After: o.stall}
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("fetch the copy from %s: %w", o.donor.Pod, err)
	}
	return &cancelBody{body, cancel}, nil
}

// A cancelBody is a body that ends its request's context when it is closed.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close closes the body.
func (b *cancelBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

func (o *Offer) get(ctx context.Context) (io.ReadCloser, error) {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, o.url+"/stream", nil)
	if err != nil {
		return nil, err
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, o.refused(resp)
	}
	return resp.Body, nil
}

// call sends one request with a JSON body and decodes a JSON answer into out, if out is not nil.
func (o *Offer) call(ctx context.Context, method, url string, in, out any) error {
	var body io.ReadSeeker
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return o.refused(resp)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}

// refused turns an answer that is no success into the error it tells of.
func (o *Offer) refused(resp *http.Response) error {
	var why refusal
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&why); err != nil {
		return fmt.Errorf("%s answered %s", o.donor.Pod, resp.Status)
	}
	if why.Reason == ReasonUnsupported && len(why.Names) > 0 {
		return &UnsupportedError{What: why.What, Names: why.Names}
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent or not a number: not said
	return &RefusedError{
		Donor: o.donor.Pod, Code: why.Reason, Message: why.Message,
		RetryAfter: time.Duration(seconds) * time.Second, Permanent: why.Permanent,
	}
}

// client makes requests to one peer. A connection that cannot be made is tried again a few times, because a pod that starts
// answers a little later than its name does; an answer is taken as it is, whoever waits for a donor decides what it means.
func (r *Recipient) client(peer string) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.HTTPClient = &http.Client{Transport: &http.Transport{
		TLSClientConfig:       r.TLS(peer),
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: answerWithin,
		DisableCompression:    true,
		ReadBufferSize:        64 << 10,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       time.Minute,
	}}
	c.Logger = nil
	c.RetryMax = 2
	c.RetryWaitMin, c.RetryWaitMax = 100*time.Millisecond, time.Second
	c.CheckRetry = func(ctx context.Context, _ *http.Response, err error) (bool, error) {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		var untrusted *tls.CertificateVerificationError
		return err != nil && !errors.As(err, &untrusted), nil
	}
	return c
}
