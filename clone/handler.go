package clone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"ordinal/stream"
)

// Reason codes of answers on the data plane. They are an API: only ever added. See docs/reason-codes.md.
const (
	ReasonBusy          = "donor_busy"
	ReasonNoClonePlugin = "clone_plugin_inactive"
	ReasonUnsupported   = "unsupported_content"
	ReasonDonorFailed   = "donor_failed"
	ReasonNoSession     = "no_such_session"
	ReasonBadRequest    = "bad_request"
)

// sessionsPath is the root of the clone endpoint. See docs/formats/data-plane.md.
const sessionsPath = "/v1/clone/sessions"

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 64 << 10

// openRequest asks for a session.
type openRequest struct {
	Workers int `json:"workers,omitempty"` // at most; 0: the donor chooses; negative: none
}

// openAnswer grants one.
type openAnswer struct {
	Session string       `json:"session"`
	Hello   stream.Hello `json:"hello"`
}

// confirmRequest says that a stage is durable at the recipient.
type confirmRequest struct {
	Stage stream.Stage `json:"stage"`
}

// refusal is the body of every answer that is not a success.
type refusal struct {
	Reason    string   `json:"reason"`
	Message   string   `json:"message"`
	What      string   `json:"what,omitempty"` // with unsupported_content
	Names     []string `json:"names,omitempty"`
	Permanent bool     `json:"permanent,omitempty"`
}

// Handler serves the clone endpoint. peer returns the authenticated pod a request comes from; a request without one is
// refused. The server around it must not set a WriteTimeout: a copy takes as long as it takes.
func (d *Donor) Handler(peer func(*http.Request) (string, error)) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, serve func(w http.ResponseWriter, r *http.Request, recipient string)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			recipient, err := peer(r)
			if err != nil {
				refuse(w, http.StatusForbidden, refusal{Reason: ReasonBadRequest, Message: err.Error()})
				return
			}
			serve(w, r, recipient)
		})
	}
	withSession := func(serve func(http.ResponseWriter, *http.Request, *session)) func(http.ResponseWriter, *http.Request, string) {
		return func(w http.ResponseWriter, r *http.Request, recipient string) {
			s, ok := d.find(r.PathValue("id"), recipient)
			if !ok {
				refuse(w, http.StatusNotFound, refusal{Reason: ReasonNoSession, Message: "no such session: it has ended"})
				return
			}
			serve(w, r, s)
		}
	}
	handle("POST "+sessionsPath, d.serveOpen)
	handle("GET "+sessionsPath+"/{id}/stream", withSession(d.serveStream))
	handle("POST "+sessionsPath+"/{id}/confirm", withSession(d.serveConfirm))
	handle("DELETE "+sessionsPath+"/{id}", withSession(func(w http.ResponseWriter, _ *http.Request, s *session) {
		d.end(s, errAbandoned)
		w.WriteHeader(http.StatusNoContent)
	}))
	return mux
}

// RefuseAll is the endpoint of a pod that has nothing to copy yet: every request is told why, as a donor that is not fit does.
func RefuseAll(why func() Unfit) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		unfit := why()
		answerError(w, &RefusedError{Code: unfit.Code, Message: unfit.Message, RetryAfter: busyRetryAfter})
	})
}

func (d *Donor) serveOpen(w http.ResponseWriter, r *http.Request, recipient string) {
	var req openRequest
	if !readRequest(w, r, &req) {
		return
	}
	s, err := d.begin(r.Context(), recipient, req.Workers)
	if err != nil {
		if d.cfg.Event != nil {
			d.cfg.Event(Event{Recipient: recipient, What: "refused", Err: err})
		}
		answerError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	// A recipient that went away is noticed when nobody fetches the stream.
	_ = json.NewEncoder(w).Encode(openAnswer{Session: s.id, Hello: s.hello})
}

// serveStream is the copy itself. Once a byte has been sent there is no other way to tell of an error than to cut the
// connection: a handler that returns would end the body in good order.
func (d *Donor) serveStream(w http.ResponseWriter, r *http.Request, s *session) {
	if !s.take() {
		refuse(w, http.StatusConflict, refusal{Reason: ReasonNoSession, Message: "the stream of this session has been fetched before"})
		return
	}
	w.Header().Set("Content-Type", "application/vnd.ordinal.stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // its write deadline is of no use to another request
	d.event(s, "began", nil)
	out := &deadlineWriter{w: w, control: http.NewResponseController(w)}
	defer context.AfterFunc(s.ctx, out.hurry)()
	err := d.relay(r.Context(), s, out)
	d.release(s, err)
	if err != nil {
		d.event(s, "failed", err)
		panic(http.ErrAbortHandler)
	}
	d.event(s, "ended", nil)
}

func (d *Donor) serveConfirm(w http.ResponseWriter, r *http.Request, s *session) {
	var req confirmRequest
	if !readRequest(w, r, &req) {
		return
	}
	if err := s.confirm(req.Stage); err != nil {
		refuse(w, http.StatusConflict, refusal{Reason: ReasonBadRequest, Message: err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// readRequest decodes a small JSON body, and answers for itself when it cannot.
func readRequest(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	if err := dec.Decode(into); err != nil {
		refuse(w, http.StatusBadRequest, refusal{Reason: ReasonBadRequest, Message: fmt.Sprintf("decode request: %v", err)})
		return false
	}
	return true
}

// answerError maps an error before the first byte to an answer the recipient can act on.
func answerError(w http.ResponseWriter, err error) {
	var refused *RefusedError
	var unsupported *UnsupportedError
	switch {
	case errors.As(err, &refused):
		status := http.StatusServiceUnavailable
		if refused.Code == ReasonBusy {
			status = http.StatusTooManyRequests
		} else if refused.Permanent {
			status = http.StatusConflict
		}
		if refused.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(refused.RetryAfter/time.Second)))
		}
		refuse(w, status, refusal{Reason: refused.Code, Message: refused.Message, Permanent: refused.Permanent})
	case errors.As(err, &unsupported):
		refuse(w, http.StatusConflict, refusal{
			Reason: ReasonUnsupported, Message: err.Error(), What: unsupported.What, Names: unsupported.Names, Permanent: true,
		})
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // nobody listens
	default:
		w.Header().Set("Retry-After", strconv.Itoa(int(busyRetryAfter/time.Second)))
		refuse(w, http.StatusServiceUnavailable, refusal{Reason: ReasonDonorFailed, Message: err.Error()})
	}
}

func refuse(w http.ResponseWriter, status int, why refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(why) // whoever asked may be gone
}

// deadlineWriter gives up on a recipient that takes nothing for writeStall. A deadline for the whole response would kill a
// healthy copy that is merely large.
type deadlineWriter struct {
	w       io.Writer
	control *http.ResponseController

	mu    sync.Mutex
	until time.Time
	final bool // the deadline moves no more
}

// lastWords is how long an ended session may take to tell its recipient why.
const lastWords = time.Second

// Write moves the deadline ahead of the write.
func (d *deadlineWriter) Write(p []byte) (int, error) {
	if err := d.extend(); err != nil {
		return 0, fmt.Errorf("set write deadline: %w", err)
	}
	return d.w.Write(p)
}

// extend moves the deadline; not at every write, because that costs a timer each.
func (d *deadlineWriter) extend() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.final || d.until.Sub(now) >= writeStall-time.Second {
		return nil
	}
	d.until = now.Add(writeStall)
	return d.control.SetWriteDeadline(d.until)
}

// hurry ends a write that a recipient does not take: the session is over.
func (d *deadlineWriter) hurry() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.final = true
	_ = d.control.SetWriteDeadline(time.Now().Add(lastWords)) // the connection may be gone
}

// FlushError sends what is buffered. The stream's Writer calls it after every frame that somebody waits for.
func (d *deadlineWriter) FlushError() error { return d.control.Flush() }
