package clone

import (
	"bytes"
	"crypto/tls"
	"errors"
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

	"ordinal/clone/protocol"
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
// the recipient confirms or not. After a session's first attempt it knows nothing of it any more.
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
	attempts  int            // of the present session
	copy      []stream.Frame // what every attempt sends, as far as it is lacking; nil: stream is sent once
	held      protocol.Progress
	resumed   int // attempts of recipients that held something
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
		d.mu.Lock()
		d.attempts = 0
		d.mu.Unlock()
		answer(w, http.StatusCreated, openAnswer{Session: "s1", Hello: d.hello})
	})
	mux.HandleFunc("POST "+sessionsPath+"/s1/attempts", func(w http.ResponseWriter, r *http.Request) {
		var req attemptRequest
		if !readRequest(w, r, &req, maxAttemptRequest) {
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.attempts++; d.attempts > 1 && d.copy == nil {
			refuse(w, http.StatusNotFound, refusal{Reason: ReasonNoSession, Message: "a stream is all there is"})
			return
		}
		d.held = req.Progress
		if d.held.State > 0 {
			d.resumed++
		}
		answer(w, http.StatusCreated, attemptAnswer{Attempt: d.attempts, Lanes: 1})
	})
	mux.HandleFunc("GET "+sessionsPath+"/s1/attempts/{n}/lanes/0", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		send, frames, held := d.stream, d.copy, d.held
		d.mu.Unlock()
		if frames != nil {
			_ = goOn(stream.NewWriter(w), d.hello, frames, held)
			return
		}
		send(w, r)
	})
	mux.HandleFunc("POST "+sessionsPath+"/s1/confirm", func(w http.ResponseWriter, r *http.Request) {
		var req confirmRequest
		if !readRequest(w, r, &req, maxRequest) {
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

// goOn sends what a recipient lacks: all of the stage that it is in, but for the files it knows, and what comes after.
func goOn(w *stream.Writer, hello stream.Hello, frames []stream.Frame, held protocol.Progress) error {
	at := stream.Stage(held.State)
	hello.Resumes, hello.ResumesEnded = at, held.Ended
	if err := w.Hello(hello); err != nil {
		return err
	}
	stageOf := func(f stream.Frame) stream.Stage {
		return max(f.StageStart.Stage, f.File.Stage, f.Data.Stage, f.StageEnd.Stage)
	}
	for _, f := range frames {
		known := f.Kind == stream.KindStageStart ||
			f.Kind == stream.KindFile && (f.File.Stage == redoCopy && f.File.Index < held.RedoFiles || f.File.Stage != redoCopy && (f.File.Index < held.Files || at > fileCopy))
		if s := stageOf(f); s < at || s == at && (held.Ended || known) {
			continue
		}
		var err error
		switch f.Kind {
		case stream.KindStageStart:
			err = w.StageStart(f.StageStart)
		case stream.KindFile:
			err = w.File(f.File)
		case stream.KindData:
			err = w.Data(f.Data.DataHeader, f.Data.Bytes)
		case stream.KindStageEnd:
			_, err = w.StageEnd(f.StageEnd.Stage)
		}
		if err != nil {
			return err
		}
	}
	return w.End()
}

// framesOf takes a stream apart.
func framesOf(t testing.TB, raw []byte) (frames []stream.Frame) {
	t.Helper()
	reader := stream.NewReader(bytes.NewReader(raw))
	for {
		f, err := reader.Next(nil)
		if err == io.EOF {
			return frames
		}
		must(t, err)
		if f.Kind != stream.KindHello && f.Kind != stream.KindEnd {
			frames = append(frames, f)
		}
	}
}

// sends sets what the next stream is, and forgets what was confirmed.
func (d *fakeDonor) sends(send func(http.ResponseWriter, *http.Request)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stream, d.confirmed, d.abandoned, d.attempts = send, nil, 0, 0
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

// receiveBroken takes a copy that must not be whole, and returns why its only attempt ended.
func receiveBroken(t testing.TB, r *Recipient, donor Peer) (broke error) {
	t.Helper()
	offer, err := r.Ask(t.Context(), donor, Wants{})
	must(t, err)
	q := new(quiet)
	if _, err = receiveWith(t, offer, scratch(t), q); !errors.Is(err, ErrSnapshotGone) {
		t.Errorf("Receive() = %v, want ErrSnapshotGone", err)
	}
	return q.last()
}

func receiveInto(t testing.TB, offer *Offer, dir string) (Summary, error) {
	t.Helper()
	return receiveWith(t, offer, dir, new(quiet))
}

func receiveWith(t testing.TB, offer *Offer, dir string, p Progress) (Summary, error) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, cloneDir), 0o750))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	return offer.Receive(t.Context(), root, p)
}

// quiet is a Progress; its hooks may be nil. It keeps why attempts have broken.
type quiet struct {
	stage func(string)
	add   func(uint64)

	mu      sync.Mutex
	broke   []error
	resumed uint64
}

func (q *quiet) Resumed(_ string, _, done uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resumed = done
}

func (q *quiet) Broke(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broke = append(q.broke, err)
}

// last is why the latest attempt has broken.
func (q *quiet) last() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.broke) == 0 {
		return nil
	}
	return q.broke[len(q.broke)-1]
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
