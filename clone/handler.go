package clone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/coalesce"
)

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
	handle("POST "+sessionsPath+"/{id}/attempts", withSession(d.serveAttempt))
	handle("GET "+sessionsPath+"/{id}/attempts/{attempt}/lanes/{lane}", withSession(d.serveLane))
	handle("POST "+sessionsPath+"/{id}/confirm", withSession(d.serveConfirm))
	handle("DELETE "+sessionsPath+"/{id}", withSession(func(w http.ResponseWriter, _ *http.Request, s *session) {
		d.release(s, errAbandoned)
		w.WriteHeader(http.StatusNoContent)
	}))
	return mux
}

// RefuseAll is the endpoint of a pod that has nothing to copy yet: every request is told why, as a donor that is not fit does. Whoever
// had a session with it has lost it.
func RefuseAll(why func() Unfit) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, sessionsPath+"/") {
			refuse(w, http.StatusNotFound, refusal{Reason: ReasonNoSession, Message: "no such session: this pod is being built itself"})
			return
		}
		unfit := why()
		answerError(w, &RefusedError{Code: unfit.Code, Message: unfit.Message, RetryAfter: busyRetryAfter})
	})
}

func (d *Donor) serveOpen(w http.ResponseWriter, r *http.Request, recipient string) {
	var req openRequest
	if !readRequest(w, r, &req, maxRequest) {
		return
	}
	s, err := d.begin(r.Context(), recipient, req)
	if err != nil {
		if d.cfg.Event != nil {
			d.cfg.Event(Event{Recipient: recipient, What: "refused", Err: err})
		}
		answerError(w, err)
		return
	}
	// A recipient that went away is noticed when nobody begins an attempt.
	answer(w, http.StatusCreated, openAnswer{Session: s.id, Hello: s.hello, LeaseSeconds: int(d.lease() / time.Second)})
}

func (d *Donor) serveAttempt(w http.ResponseWriter, r *http.Request, s *session) {
	var req attemptRequest
	if !readRequest(w, r, &req, maxAttemptRequest) {
		return
	}
	if err := req.Progress.Check(); err != nil {
		refuse(w, http.StatusBadRequest, refusal{Reason: ReasonBadRequest, Message: err.Error()})
		return
	}
	a, err := d.startAttempt(r.Context(), s, req.Progress)
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, http.StatusCreated, attemptAnswer{Attempt: a.number, Lanes: a.lanes})
}

// serveLane is the copy itself. Once a byte has been sent there is no other way to tell of an error than to cut the
// connection: a handler that returns would end the body in good order.
func (d *Donor) serveLane(w http.ResponseWriter, r *http.Request, s *session) {
	s.mu.Lock()
	a := s.attempt
	s.mu.Unlock()
	n, err := strconv.Atoi(r.PathValue("lane"))
	if err != nil || a == nil || strconv.Itoa(a.number) != r.PathValue("attempt") || !a.fetch(n) {
		refuse(w, http.StatusConflict, refusal{Reason: ReasonBadRequest, Message: "no such stream, or it has been fetched before"})
		return
	}
	w.Header().Set("Content-Type", "application/vnd.ordinal.stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // its write deadline is of no use to another request
	conn := coalesce.FromContext(r.Context())
	_ = conn.SetCoalescing(true) // an error comes back with the first write
	out := &deadlineWriter{w: w, control: http.NewResponseController(w), conn: conn}
	defer context.AfterFunc(a.ctx, out.hurry)()
	defer context.AfterFunc(r.Context(), func() { a.cancel(keep(context.Cause(r.Context()))) })()
	if n == 0 {
		err = d.run(s, a, out)
		d.endAttempt(s, a, err)
	} else if err = d.runLane(a.ctx, s, a, n, out); err != nil {
		a.cancel(kept(err))
	}
	if err != nil {
		out.hurry()
	}
	out.leave()
	if flushed := conn.SetCoalescing(false); err == nil {
		err = flushed
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (d *Donor) serveConfirm(w http.ResponseWriter, r *http.Request, s *session) {
	var req confirmRequest
	if !readRequest(w, r, &req, maxRequest) {
		return
	}
	s.mu.Lock()
	a := s.attempt
	s.mu.Unlock()
	err := errors.New("another attempt has begun")
	if a != nil && a.number == req.Attempt {
		err = a.confirm(req.Stage)
	}
	if err != nil {
		refuse(w, http.StatusConflict, refusal{Reason: ReasonBadRequest, Message: err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// readRequest decodes a JSON body of at most limit bytes, and answers for itself when it cannot.
func readRequest(w http.ResponseWriter, r *http.Request, into any, limit int64) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	if err := dec.Decode(into); err != nil {
		refuse(w, http.StatusBadRequest, refusal{Reason: ReasonBadRequest, Message: fmt.Sprintf("decode request: %v", err)})
		return false
	}
	return true
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked may be gone
}

// answerError maps an error before the first byte to an answer the recipient can act on.
func answerError(w http.ResponseWriter, err error) {
	var refused *RefusedError
	var unsupported *UnsupportedError
	switch {
	case errors.As(err, &refused):
		status := http.StatusServiceUnavailable
		switch {
		case refused.Code == ReasonBusy:
			status = http.StatusTooManyRequests
		case refused.Code == ReasonSnapshotGone:
			status = http.StatusGone
		case refused.Permanent:
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
	case errors.Is(err, context.Canceled) && !errors.Is(err, protocol.ErrKeep):
		panic(http.ErrAbortHandler) // nobody listens
	default:
		w.Header().Set("Retry-After", strconv.Itoa(int(busyRetryAfter/time.Second)))
		refuse(w, http.StatusServiceUnavailable, refusal{Reason: ReasonDonorFailed, Message: err.Error()})
	}
}

func refuse(w http.ResponseWriter, status int, why refusal) { answer(w, status, why) }
