package clone

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"ordinal/clone/protocol"
	"ordinal/stream"
)

// Bounds on a donor's answers other than the stream.
const (
	answerWithin  = 6 * time.Minute // opening a session waits for DDL and opens every tablespace
	attemptWithin = 2 * time.Minute // the server waits up to 30 s until it has noticed that the last attempt is over
	confirmWithin = 30 * time.Second
	abandonWithin = 5 * time.Second
	abandonHurry  = 500 * time.Millisecond
	maxAnswer     = 2 << 20
)

// begin opens the next attempt.
func (o *Offer) begin(ctx context.Context, held protocol.Progress) (attemptAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptWithin)
	defer cancel()
	var a attemptAnswer
	err := o.call(ctx, http.MethodPost, o.url+"/attempts", attemptRequest{Progress: held}, &a)
	if err == nil && (a.Lanes < 1 || a.Lanes > maxStreams) {
		err = fmt.Errorf("%s offers %d streams", o.donor.Pod, a.Lanes)
	}
	var refused *RefusedError
	if errors.As(err, &refused) && (refused.Code == ReasonNoSession || refused.Code == ReasonSnapshotGone) {
		err = fmt.Errorf("%w: %s", ErrSnapshotGone, refused.Message)
	}
	return a, err
}

// confirm tells the donor that stage is durable here.
func (o *Offer) confirm(ctx context.Context, attempt int, stage stream.Stage) error {
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	if err := o.call(ctx, http.MethodPost, o.url+"/confirm", confirmRequest{Attempt: attempt, Stage: stage}, nil); err != nil {
		return fmt.Errorf("confirm %v to %s: %w", stage, o.donor.Pod, err)
	}
	return nil
}

// fetch begins a stream. The caller closes the body. A donor begins to answer at once, so that silence is a stall here, too.
func (o *Offer) fetch(ctx context.Context, attempt, lane int) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	watch := time.AfterFunc(o.stall, cancel)
	body, err := o.get(ctx, fmt.Sprintf("%s/attempts/%d/lanes/%d", o.url, attempt, lane))
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

func (o *Offer) get(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, url, nil)
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
	dialer := &net.Dialer{Timeout: dialWithin, KeepAlive: keepAlive}
	c := retryablehttp.NewClient()
	c.HTTPClient = &http.Client{Transport: &http.Transport{
		// Each connection has a configuration of its own: the cluster secret may be replaced while a copy is under way.
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&tls.Dialer{NetDialer: dialer, Config: r.TLS(peer)}).DialContext(ctx, network, address)
		},
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

// A peer whose machine is gone answers nothing, not even with a refusal.
const (
	dialWithin = 10 * time.Second
	keepAlive  = 15 * time.Second
)
