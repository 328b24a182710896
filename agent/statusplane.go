package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// Limits of the status plane. Answers are small and come from memory: whoever needs longer is no probe.
const (
	statusHeaderTimeout = 2 * time.Second
	statusWriteTimeout  = 10 * time.Second // for a whole answer; a GTID set can be a megabyte
	statusMaxHeader     = 8 << 10          // bytes
	statusMaxConns      = 128
	statusDrain         = 2 * time.Second // for answers under way when ctx ends

	// DefaultStaleAfter is how old an observation may be before /readyz and level=full no longer believe it.
	DefaultStaleAfter = 15 * time.Second
)

// StatusPlane answers probes and people over plain HTTP. It carries no data and no secret, never asks MySQL, and answers
// from the board alone.
//
//	/livez              200 while the loop turns, whatever MySQL does; else 503
//	/startupz           200 once the pod has served its role; before that 503 and how far it is
//	/readyz             200 while the pod serves its role within its bounds; else 503 and the reasons
//	/status             200 and "source" or "replica"
//	/status?level=full  200 and the number of user tables when data is really served; else 503 and the reasons
//	/v1/status          200 and the Status as JSON
//	/v1/plan            200 and the Plan as JSON: what the agent is about to do; 503 before it knows
//	/metrics            200 and figures for Prometheus: docs/metrics.md
//
// In agent init nothing is served, so /startupz and /readyz answer 503 there; Kubernetes runs no probes on init containers,
// and the answers are for people and siblings. /startupz belongs to mysqld's container: as the startup probe of a native
// sidecar it would wait for a mysqld that is started only after it.
type StatusPlane struct {
	Listener   net.Listener // Run closes it; see ListenStatus
	Board      *Board
	Heartbeat  *Heartbeat
	StaleAfter time.Duration // 0: DefaultStaleAfter
	Metrics    http.Handler  // must not block on MySQL; nil: there are none
}

// ListenStatus opens the status plane's listener, so that a port in use is known before anything else begins.
func ListenStatus(ctx context.Context, address string) (net.Listener, error) {
	return listen(ctx, "status-listen", address)
}

// ListenData is ListenStatus for the data plane; the caller adds TLS.
func ListenData(ctx context.Context, address string) (net.Listener, error) {
	return listen(ctx, "data-listen", address)
}

func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &ListenError{Flag: flag, Address: address, Err: err}
	}
	return l, nil
}

// ListenError says that an address could not be listened on.
type ListenError struct {
	Flag    string
	Address string
	Err     error
}

func (e *ListenError) Error() string {
	var op *net.OpError
	err := e.Err
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err // without "listen tcp :8080", which we say better
	}
	return fmt.Sprintf("listen on %s: %v", e.Address, err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// Hint tells the operator what to do.
func (e *ListenError) Hint() string {
	return "another process may use the port: end it or choose another address with --" + e.Flag
}

// ExitCode returns ExitTemporary: the former agent may be about to end.
func (e *ListenError) ExitCode() int { return ExitTemporary }

// Run serves until ctx ends and returns nil then, after the answers under way. It closes Listener.
func (p *StatusPlane) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           p.Handler(),
		ReadHeaderTimeout: statusHeaderTimeout,
		ReadTimeout:       statusHeaderTimeout, // there is no body to wait for
		WriteTimeout:      statusWriteTimeout,
		MaxHeaderBytes:    statusMaxHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // what strangers do to the port is no event for the operator
	}
	// Probes connect anew each time. Without keep-alive nobody holds a connection longer than the time-outs above.
	server.SetKeepAlivesEnabled(false)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusDrain)
		defer cancel()
		if server.Shutdown(drain) != nil {
			server.Close() // someone reads slowly; nothing is lost
		}
	})
	err := server.Serve(newLimitListener(p.Listener, statusMaxConns))
	if stop() { // ctx has not ended: Serve failed by itself
		server.Close()
		return fmt.Errorf("serve status: %w", err)
	}
	<-stopped
	return nil
}

// Handler returns the pages without a server.
func (p *StatusPlane) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", p.livez)
	mux.HandleFunc("/startupz", p.startupz)
	mux.HandleFunc("/readyz", p.readyz)
	mux.HandleFunc("/status", p.status)
	mux.HandleFunc("/v1/status", p.statusJSON)
	mux.HandleFunc("/v1/plan", p.planJSON)
	if p.Metrics != nil {
		mux.Handle("/metrics", p.Metrics)
	}
	return readOnly(mux)
}

// readOnly lets GET and HEAD without a body through and nothing else.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			text(w, http.StatusMethodNotAllowed, "only GET and HEAD")
		case r.ContentLength != 0: // -1 is a chunked body
			w.Header().Set("Connection", "close")
			text(w, http.StatusRequestEntityTooLarge, "a request has no body here")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (p *StatusPlane) livez(w http.ResponseWriter, _ *http.Request) {
	if age := p.Heartbeat.Age(); age > p.Heartbeat.Bound() {
		text(w, http.StatusServiceUnavailable, fmt.Sprintf("the loop has not turned for %v, bound %v", age.Round(time.Second), p.Heartbeat.Bound()))
		return
	}
	text(w, http.StatusOK, "ok")
}

func (p *StatusPlane) startupz(w http.ResponseWriter, _ *http.Request) {
	s := p.Board.Status()
	if p.Board.Started() {
		text(w, http.StatusOK, "ok")
		return
	}
	text(w, http.StatusServiceUnavailable, s.progress())
}

func (p *StatusPlane) readyz(w http.ResponseWriter, _ *http.Request) {
	s := p.current()
	if s.Ready {
		text(w, http.StatusOK, "ok")
		return
	}
	text(w, http.StatusServiceUnavailable, s.progress())
}

func (p *StatusPlane) status(w http.ResponseWriter, r *http.Request) {
	s := p.current()
	switch level := r.URL.Query().Get("level"); {
	case level == "":
		text(w, http.StatusOK, string(s.Role))
	case level != "full":
		text(w, http.StatusBadRequest, "level: only full is known")
	case !s.servesRole() || s.UserTables == nil || p.stale():
		text(w, http.StatusServiceUnavailable, s.progress())
	default:
		text(w, http.StatusOK, fmt.Sprint(*s.UserTables))
	}
}

func (p *StatusPlane) statusJSON(w http.ResponseWriter, _ *http.Request) {
	WriteStatus(w, p.current())
}

// WriteStatus answers with s as JSON. The data plane's /v1/peer uses it too.
func WriteStatus(w http.ResponseWriter, s Status) { writeJSON(w, s) }

func writeJSON(w http.ResponseWriter, v any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(v); err != nil { // a rate or lag that is no number
		text(w, http.StatusInternalServerError, "encode the answer: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(body.Len()))
	w.Write(body.Bytes()) // the reader's going away is its own affair
}

func (p *StatusPlane) planJSON(w http.ResponseWriter, _ *http.Request) {
	plan := p.Board.Plan()
	if plan == nil {
		text(w, http.StatusServiceUnavailable, "the agent has just started and has no plan yet")
		return
	}
	writeJSON(w, plan)
}

func (p *StatusPlane) stale() bool {
	bound := p.StaleAfter
	if bound == 0 {
		bound = DefaultStaleAfter
	}
	return p.Board.Age() > bound
}

// current returns the board's status; one that is too old is not ready any more and says so.
func (p *StatusPlane) current() Status {
	s := p.Board.Status()
	if p.stale() {
		s.Ready = false
		s.Reasons = append(s.Reasons, NewReason(CodeStatusStale, "observed %v ago", p.Board.Age().Round(time.Second)))
	}
	return s
}

// progress says in a few lines what the pod is doing and why it is no further.
func (s Status) progress() string {
	lines := []string{string(s.State)}
	if c := s.Clone; c != nil {
		lines = append(lines, fmt.Sprintf("clone from %s: %s", c.Donor, c.String()))
	}
	for _, r := range s.Reasons {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

// String says how far the clone is: stage, share, rate and time left, as far as known.
func (c CloneProgress) String() string {
	out := c.Stage
	if c.BytesTotal > 0 {
		// The total is an estimate: a growing source makes it too low, but nobody wants to read 104 %.
		out += fmt.Sprintf(" %d%%", min(100*c.BytesDone/c.BytesTotal, 100))
	}
	if c.RateBytesPerSecond > 0 {
		out += fmt.Sprintf(" %.1f MB/s", c.RateBytesPerSecond/1e6)
	}
	if c.ETASeconds != nil {
		out += " eta " + (time.Duration(*c.ETASeconds) * time.Second).String()
	}
	return strings.TrimSpace(out)
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)+1))
	w.WriteHeader(code)
	io.WriteString(w, body+"\n") // the reader's going away is its own affair
}
