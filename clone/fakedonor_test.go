package clone

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/internal/trust"
	"ordinal/stream"
)

// keys are those of a cluster secret; they take a moment to derive.
var keys = sync.OnceValue(func() *trust.Keys {
	secret, err := trust.NewSecret(strings.Repeat("not a secret ", 4))
	if err == nil {
		var k *trust.Keys
		if k, err = secret.Derive(); err == nil {
			return k
		}
	}
	panic(err)
})

// serve serves handler as the data plane of a pod does, and returns its address.
func serve(t testing.TB, pod string, handler http.Handler) (address string) {
	t.Helper()
	return serveWatched(t, pod, handler, nil)
}

// serveWatched also tells how connections come and go.
func serveWatched(t testing.TB, pod string, handler http.Handler, watch func(net.Conn, http.ConnState)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0), ConnState: watch}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(tls.NewListener(l, keys().ServerTLS(pod))) // http.ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().String()
}

// recipient returns the recipient in a pod.
func recipient(pod string) *Recipient {
	return &Recipient{TLS: func(peer string) *tls.Config { return keys().ClientTLS(pod, peer) }}
}

// A fakeDonor is a donor's HTTP endpoint without a server behind it: it grants every session and sends what it is told to, whether
// the recipient confirms or not.
type fakeDonor struct {
	Peer
	hello stream.Hello
	conns atomic.Int64 // open

	mu        sync.Mutex
	stream    func(w http.ResponseWriter, r *http.Request)
	grant     http.HandlerFunc // set between sessions; nil grants each one
	confirm   http.HandlerFunc
	abandon   http.HandlerFunc
	confirmed []stream.Stage
	abandoned int
}

func newFakeDonor(t testing.TB, pod string) *fakeDonor {
	t.Helper()
	d := &fakeDonor{hello: stream.Hello{DonorPod: pod, SessionID: "s1", ServerVersion: "9.7.4", PageSize: pageSize, ClusterID: "c0ffee"}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+sessionsPath, func(w http.ResponseWriter, r *http.Request) {
		if d.grant != nil {
			d.grant(w, r)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(openAnswer{Session: "s1", Hello: d.hello})
	})
	mux.HandleFunc("GET "+sessionsPath+"/s1/stream", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		send := d.stream
		d.mu.Unlock()
		send(w, r)
	})
	mux.HandleFunc("POST "+sessionsPath+"/s1/confirm", func(w http.ResponseWriter, r *http.Request) {
		var req confirmRequest
		if !readRequest(w, r, &req) {
			return
		}
		d.mu.Lock()
		d.confirmed = append(d.confirmed, req.Stage)
		own := d.confirm
		d.mu.Unlock()
		if own != nil {
			own(w, r)
		}
	})
	mux.HandleFunc("DELETE "+sessionsPath+"/s1", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.abandoned++
		own := d.abandon
		d.mu.Unlock()
		if own != nil {
			own(w, r)
		}
	})
	d.Peer = Peer{Pod: pod, Address: serveWatched(t, pod, mux, func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			d.conns.Add(1)
		case http.StateClosed:
			d.conns.Add(-1)
		}
	})}
	return d
}

// sends sets what the next stream is, and forgets what was confirmed.
func (d *fakeDonor) sends(send func(http.ResponseWriter, *http.Request)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stream, d.confirmed, d.abandoned = send, nil, 0
}

// heard returns the stages that the recipient has confirmed, and how often it gave up.
func (d *fakeDonor) heard() ([]stream.Stage, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.confirmed), d.abandoned
}

// receiveFrom takes one copy from a donor into a new directory.
func receiveFrom(t testing.TB, r *Recipient, donor Peer) (dir string, sum Summary, err error) {
	t.Helper()
	offer, err := r.Ask(t.Context(), donor, Wants{})
	if err != nil {
		return "", Summary{}, err
	}
	dir = scratch(t)
	sum, err = receiveInto(t, offer, dir)
	return dir, sum, err
}

func receiveInto(t testing.TB, offer *Offer, dir string) (Summary, error) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, cloneDir), 0o750))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	return offer.Receive(t.Context(), root, &quiet{})
}

// quiet is a Progress; its hooks may be nil.
type quiet struct {
	stage func(string)
	add   func(uint64)
}

func (q *quiet) Stage(name string, _ uint64) {
	if q.stage != nil {
		q.stage(name)
	}
}

func (q *quiet) Add(n uint64) {
	if q.add != nil {
		q.add(n)
	}
}
