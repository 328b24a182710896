package clone

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
	"ordinal/stream"
)

// A donor that has failed says why, and the reason reaches the recipient.
func TestAbort(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	donor.sends(func(w http.ResponseWriter, _ *http.Request) {
		out := stream.NewWriter(w)
		_ = out.Hello(donor.hello)
		_ = out.StageStart(stream.StageStart{Stage: fileCopy})
		_ = out.Abort(ReasonDonorFailed, "the server went away")
		panic(http.ErrAbortHandler)
	})
	err := receiveBroken(t, recipient("mysql-1"), donor.Peer)
	var abort *stream.AbortError
	if !errors.As(err, &abort) || abort.Reason != ReasonDonorFailed || !strings.Contains(err.Error(), "the server went away") {
		t.Errorf("the attempt ended with %v, want the donor's reason", err)
	}
}

// A donor that is connected and silent is given up after the time set, wherever it falls silent. Go's client would wait for ever.
func TestSilentDonor(t *testing.T) {
	t.Parallel()
	const stall = 150 * time.Millisecond
	silence := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, send := range map[string]http.HandlerFunc{
		"before the answer": silence,
		"after the greeting": func(w http.ResponseWriter, r *http.Request) {
			_ = stream.NewWriter(w).Hello(stream.Hello{})
			silence(w, r)
		},
		"in a frame": func(w http.ResponseWriter, r *http.Request) {
			raw, borders := encode(t, stream.Hello{}, smallCopy())
			_, _ = w.Write(raw[:borders[12]-1000])
			_ = http.NewResponseController(w).Flush()
			silence(w, r)
		},
	} {
		donor := newFakeDonor(t, "mysql-0")
		donor.sends(send)
		r := recipient("mysql-1")
		r.Stall = stall
		begun := time.Now()
		err := receiveBroken(t, r, donor.Peer)
		var stalled *StalledError
		if !errors.As(err, &stalled) || stalled.Donor != "mysql-0" || stalled.After != stall {
			t.Errorf("%s: the attempt ended with %v, want a StalledError", name, err)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}

// Heartbeats keep a stream alive that has nothing to say for longer than a stall.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	const stall = time.Second
	donor := newFakeDonor(t, "mysql-0")
	donor.sends(func(w http.ResponseWriter, _ *http.Request) {
		out := streamTarget{stream.NewWriter(w)}
		_ = out.Hello(donor.hello)
		for i, s := range smallCopy() {
			if i == 8 { // in the middle of a stage
				tick := time.NewTicker(stall / 10)
				defer tick.Stop()
				for range 12 {
					<-tick.C
					_ = out.Heartbeat()
				}
			}
			_ = s(out)
		}
		_ = out.End()
	})
	r := recipient("mysql-1")
	r.Stall = stall
	begun := time.Now()
	dir, _, err := receiveFrom(t, r, donor.Peer)
	must(t, err)
	if took := time.Since(begun); took < stall {
		t.Errorf("it took only %v: the stream was never quiet for long enough", took)
	}
	if err := checkSmallCopy(dir); err != nil {
		t.Error(err)
	}
}

// The end of the context ends everything within a second, whatever the donor does: also when it does not even listen any more.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	silence := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	raw, borders := encode(t, stream.Hello{}, smallCopy())
	for name, set := range map[string]func(*fakeDonor, chan struct{}){
		"before the answer": func(d *fakeDonor, reached chan struct{}) {
			d.sends(func(w http.ResponseWriter, r *http.Request) { close(reached); silence(w, r) })
		},
		"in a frame": func(d *fakeDonor, reached chan struct{}) {
			d.sends(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(raw[:borders[10]-1000])
				_ = http.NewResponseController(w).Flush()
				close(reached)
				silence(w, r)
			})
		},
		"while confirming": func(d *fakeDonor, reached chan struct{}) {
			d.sends(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(raw) })
			d.confirm = func(w http.ResponseWriter, r *http.Request) { close(reached); silence(w, r) }
		},
	} {
		donor := newFakeDonor(t, "mysql-0")
		donor.abandon = silence
		reached := make(chan struct{})
		set(donor, reached)
		offer, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, Wants{})
		must(t, err)
		dir := scratch(t)
		must(t, os.Mkdir(filepath.Join(dir, cloneDir), 0o750))
		root, err := os.OpenRoot(dir)
		must(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the pod is going")
		ended := make(chan error, 1)
		go func() {
			_, err := offer.Receive(ctx, root, &quiet{})
			ended <- err
		}()
		<-reached
		begun := time.Now()
		cancel(why)
		if err := <-ended; !errors.Is(err, why) {
			t.Errorf("%s: Receive() = %v, want the cause of the context's end", name, err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
		_ = root.Close()
	}
}

// A confirmation that the donor does not take ends the attempt: the donor may have forgotten the session.
func TestConfirmationRefused(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	raw, _ := encode(t, donor.hello, smallCopy())
	donor.sends(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
	donor.confirm = func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, refusal{Reason: ReasonNoSession, Message: "no such session: it has ended"})
	}
	err := receiveBroken(t, recipient("mysql-1"), donor.Peer)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != ReasonNoSession {
		t.Errorf("the attempt ended with %v, want a RefusedError with %s", err, ReasonNoSession)
	}
}

// A peer that is not who it should be gets nothing, and is not asked again and again.
func TestWrongPeer(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	_, err := recipient("mysql-2").Ask(t.Context(), Peer{Pod: "mysql-1", Address: donor.Address}, Wants{})
	if err == nil || !strings.Contains(err.Error(), "mysql-1") {
		t.Errorf("Ask() of another pod = %v, want an error", err)
	}
	if _, err := recipient("other-1").Ask(t.Context(), donor.Peer, Wants{}); err == nil {
		t.Error("Ask() from another set = nil")
	}
}

// What has not arrived whole never becomes a copy, however orderly the stage's end is. It shows when the next stage starts: until then
// the donor may say that the file has been dropped.
func TestIncompleteStage(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	raw, _ := encode(t, donor.hello, []step{begin(fileCopy), file(fileCopy, 0, "ibdata1"), put(fileCopy, 0, 0, 'a', 'b', 'c'), end(fileCopy),
		begin(pageCopy), end(pageCopy), begin(redoCopy), end(redoCopy)})
	donor.sends(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
	_, _, err := receiveFrom(t, recipient("mysql-1"), donor.Peer)
	if confirmed, _ := donor.heard(); !errors.Is(err, ErrIncomplete) || len(confirmed) > 1 {
		t.Errorf("Receive() = %v and %v were confirmed, want ErrIncomplete in PAGE_COPY", err, confirmed)
	}
}

// A donor is asked every few seconds until it is ready. Its connections are few: none stays open for longer than it is used.
func TestConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	raw, _ := encode(t, donor.hello, smallCopy())
	donor.sends(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
	wantClosed := func(after string) {
		t.Helper()
		begun := time.Now()
		mysqltest.Eventually(t, "connections closed after "+after, func() bool { return donor.conns.Load() == 0 })
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("after %s connections were closed by being idle for %v", after, took)
		}
	}
	_, _, err := receiveFrom(t, recipient("mysql-1"), donor.Peer)
	must(t, err)
	wantClosed("a copy")
	if _, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, Wants{PageSize: 4096}); err == nil {
		t.Error("Ask() = nil, want a mismatch")
	}
	wantClosed("a mismatch")
	offer, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, Wants{})
	must(t, err)
	offer.Abandon(t.Context())
	wantClosed("an offer was abandoned")
	donor.grant = func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusServiceUnavailable, refusal{Reason: "no", Message: "no"})
	}
	if _, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, Wants{}); err == nil {
		t.Error("Ask() = nil, want it refused")
	}
	wantClosed("a refusal")
}
