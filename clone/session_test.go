package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/load"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
	"ordinal/stream"
)

// held is a Progress that holds the copy at the first data, until it is let go.
type held struct {
	reached, release chan struct{}
}

func hold() *held { return &held{make(chan struct{}), make(chan struct{})} }

func (h *held) Stage(string, uint64) {}

func (h *held) Resumed(string, uint64, uint64) {}

func (h *held) Broke(error) {}

func (h *held) Add(uint64) {
	select {
	case h.reached <- struct{}{}:
		<-h.release
	case <-h.release:
	}
}

// receiving takes a copy in the background.
func receiving(t testing.TB, ctx context.Context, offer *Offer, p Progress) <-chan error {
	t.Helper()
	dir := scratch(t)
	must(t, os.Mkdir(filepath.Join(dir, cloneDir), 0o750))
	root, err := os.OpenRoot(dir)
	must(t, err)
	ended := make(chan error, 1)
	go func() {
		defer root.Close()
		_, err := offer.Receive(ctx, root, p)
		ended <- err
	}()
	return ended
}

// A donor serves one recipient at a time and says so; it is free again soon after the recipient is gone, however it went.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	must(t, load.Fill(t.Context(), s.Root(), 16<<20, nil))
	d := newRealDonor(t, "mysql-0", s, 1)
	d.change(func(c *DonorConfig) { c.Lease = 2 * time.Second })
	ask := func(pod string) (*Offer, error) { return recipient(pod).Ask(t.Context(), d.Peer, Wants{}) }
	wantRefusal := func(pod, code string, most time.Duration) {
		t.Helper()
		_, err := ask(pod)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != code || refused.RetryAfter <= 0 || refused.RetryAfter > most || refused.Donor != "mysql-0" || refused.Permanent {
			t.Errorf("Ask() from %s = %+v, want it refused with %s and a time to come back", pod, err, code)
		}
	}
	// wantFree asks until the donor grants a session, and lets go of it.
	wantFree := func(pod string) {
		t.Helper()
		begun := time.Now()
		for {
			offer, err := ask(pod)
			if err == nil {
				offer.Abandon(t.Context())
				break
			}
			if time.Since(begun) > 20*time.Second {
				t.Fatalf("Ask() = %v after %v", err, time.Since(begun))
			}
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("the donor was free only after %v", took)
		}
	}

	d.set(func(d *realDonor) { d.unfit = &Unfit{Code: "catching_up", Message: "it lags by 300 s"} })
	wantRefusal("mysql-1", "catching_up", time.Minute)
	d.set(func(d *realDonor) { d.unfit = nil })

	// Offered and not fetched yet; then in mid-copy.
	first, err := ask("mysql-1")
	must(t, err)
	wantRefusal("mysql-2", ReasonBusy, time.Minute)
	stopped, p := context.WithCancel(t.Context())
	h := hold()
	ended := receiving(t, stopped, first, h)
	<-h.reached
	wantRefusal("mysql-2", ReasonBusy, time.Minute)

	// The recipient is gone without a word: nobody tells the donor, the connection just ends.
	d.set(func(d *realDonor) { d.deaf = true })
	close(h.release)
	p()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Receive() = %v, want the context's end", err)
	}
	d.set(func(d *realDonor) { d.deaf = false })
	wantFree("mysql-2")

	// It is gone while the donor waits for a confirmation and has nothing to send.
	confirming, cut := make(chan struct{}), make(chan struct{})
	d.set(func(d *realDonor) {
		d.deaf = true
		d.onConfirm = func(stream.Stage) {
			close(confirming)
			<-cut
			panic(http.ErrAbortHandler)
		}
	})
	silent, err := ask("mysql-1")
	must(t, err)
	gone, leave := context.WithCancel(t.Context())
	ended = receiving(t, gone, silent, &quiet{})
	<-confirming
	leave()
	<-ended
	close(cut)
	d.set(func(d *realDonor) { d.deaf, d.onConfirm = false, nil })
	wantFree("mysql-2")

	// The same recipient asks again, after a crash that the donor has not noticed: its old session ends.
	h = hold()
	offer, err := ask("mysql-1")
	must(t, err)
	ended = receiving(t, t.Context(), offer, h)
	<-h.reached
	second, err := ask("mysql-1")
	must(t, err)
	close(h.release)
	if err := <-ended; err == nil {
		t.Error("Receive() of a session that was superseded = nil")
	}
	if _, err := receiveInto(t, second, scratch(t)); err != nil {
		t.Errorf("Receive() of the new session = %v", err)
	}
	// And a session that it never fetched.
	_, err = ask("mysql-1")
	must(t, err)
	third, err := ask("mysql-1")
	must(t, err)
	// What belongs to another recipient is not even known to exist.
	stranger := *third
	stranger.client = recipient("mysql-2").client("mysql-0")
	if _, err := receiveInto(t, &stranger, scratch(t)); !errors.Is(err, ErrSnapshotGone) {
		t.Errorf("Receive() of another's session = %v, want ErrSnapshotGone", err)
	}
	if _, err := receiveInto(t, third, scratch(t)); err != nil {
		t.Errorf("Receive() = %v", err)
	}
	if _, err := receiveInto(t, third, scratch(t)); !errors.Is(err, ErrSnapshotGone) {
		t.Errorf("Receive() of a session that is over = %v, want ErrSnapshotGone", err)
	}
	var said []string
	for _, e := range d.seen() {
		said = append(said, e.What)
	}
	for _, what := range []string{"refused", "began", "interrupted", "failed", "ended"} {
		if !slices.Contains(said, what) {
			t.Errorf("events are %v, want %s among them", said, what)
		}
	}
}

// An agent that was killed leaves a session behind in its server, which notices only when it next writes. Its successor ends it.
func TestLeftOverSession(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	d := newRealDonor(t, "mysql-0", s, 0)
	left, err := protocol.Open(t.Context(), d.Donor.cfg.Dial, protocol.Options{})
	must(t, err)
	defer left.Close()
	offer, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
	must(t, err)
	if _, err := receiveInto(t, offer, scratch(t)); err != nil {
		t.Error(err)
	}

	// Another account's clone is not ours to end.
	s.Exec(t, "CREATE USER other@localhost IDENTIFIED BY 'x'")
	s.Exec(t, "GRANT BACKUP_ADMIN ON *.* TO other@localhost")
	e := s.Root()
	e.Credentials = mysqlx.Credentials{User: "other", Password: mysqlx.FixedPassword("x")}
	others, err := protocol.Open(t.Context(), dialer(e), protocol.Options{})
	must(t, err)
	defer others.Close()
	_, err = recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != ReasonBusy {
		t.Errorf("Ask() = %v, want %s", err, ReasonBusy)
	}
}

// An attempt that is being fetched goes on, however long it takes: only one that nobody fetches ends after a while.
func TestLongAttempt(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	must(t, load.Fill(t.Context(), s.Root(), 16<<20, nil))
	d := newRealDonor(t, "mysql-0", s, 1)
	d.Donor.cfg.FetchWithin = 200 * time.Millisecond
	offer, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
	must(t, err)
	h := hold()
	ended := receiving(t, t.Context(), offer, h)
	<-h.reached
	late := time.After(5 * d.Donor.cfg.FetchWithin)
	<-late
	close(h.release)
	must(t, <-ended)
	for _, e := range d.seen() {
		if e.What == "interrupted" || e.What == "resumed" {
			t.Errorf("the copy was %s: %v", e.What, e.Err)
		}
	}
}

// The donor's server is killed in mid-copy: its snapshot is gone with it, the recipient is told so, and nothing is left running.
func TestServerKilled(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{})
	must(t, load.Fill(t.Context(), s.Root(), 16<<20, nil))
	d := newRealDonor(t, "mysql-0", s, 2)
	first, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
	must(t, err)
	first.Abandon(t.Context())
	d.db.CloseIdle()
	before := goleak.IgnoreCurrent()
	h := hold()
	offer, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
	must(t, err)
	ended := receiving(t, t.Context(), offer, h)
	<-h.reached
	s.Kill9(t)
	close(h.release)
	mysqltest.Eventually(t, "the donor to notice", func() bool {
		return slices.ContainsFunc(d.seen(), func(e Event) bool { return e.What == "interrupted" })
	})
	_, err = recipient("mysql-2").Ask(t.Context(), d.Peer, Wants{})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != ReasonBusy || refused.RetryAfter <= 0 {
		t.Errorf("Ask() while the first recipient may come back = %v, want %s", err, ReasonBusy)
	}
	s.Restart(t)
	if err = <-ended; !errors.Is(err, ErrSnapshotGone) {
		t.Errorf("Receive() = %v, want ErrSnapshotGone", err)
	}
	d.db.CloseIdle()
	restarted := []goleak.Option{ // the server's new process, and connections of ours to it
		goleak.IgnoreAnyFunction("ordinal/internal/testing/mysqltest.startProcess.func1"),
		goleak.IgnoreAnyFunction("github.com/go-sql-driver/mysql.(*mysqlConn).startWatcher.func1"),
	}
	if err := goleak.Find(append(restarted, before)...); err != nil {
		t.Error(err)
	}
	if _, _, err := receiveFrom(t, recipient("mysql-1"), d.Peer); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// The endpoint takes nothing from whoever is nobody, and no nonsense.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	d := NewDonor(DonorConfig{Pod: "mysql-0", Fit: func(string) *Unfit { return &Unfit{Code: "no", Message: "no"} }})
	nobody := serve(t, "mysql-0", d.Handler(func(*http.Request) (string, error) { return "", errors.New("no certificate") }))
	_, err := recipient("mysql-1").Ask(t.Context(), Peer{Pod: "mysql-0", Address: nobody}, Wants{})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != ReasonBadRequest {
		t.Errorf("Ask() from nobody = %v, want %s", err, ReasonBadRequest)
	}
	address := serve(t, "mysql-0", d.Handler(func(*http.Request) (string, error) { return "mysql-1", nil }))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: keys().ClientTLS("mysql-1", "mysql-0"), DisableKeepAlives: true}}
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", sessionsPath, "not JSON", http.StatusBadRequest},
		{"POST", sessionsPath, `{"workers":"` + strings.Repeat("9", maxRequest) + `"}`, http.StatusBadRequest},
		{"POST", sessionsPath, "", http.StatusBadRequest},
		{"GET", sessionsPath, "", http.StatusMethodNotAllowed},
		{"POST", sessionsPath + "/x/attempts", "{}", http.StatusNotFound},
		{"GET", sessionsPath + "/x/attempts/1/lanes/0", "", http.StatusNotFound},
		{"POST", sessionsPath + "/x/confirm", `{"stage":2}`, http.StatusNotFound},
		{"DELETE", sessionsPath + "/x", "", http.StatusNotFound},
		{"GET", "/v1/clone/else", "", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+address+c.path, strings.NewReader(c.body))
		must(t, err)
		resp, err := client.Do(req)
		must(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s = %s, want %d", c.method, c.path, resp.Status, c.want)
		}
	}
}

// A stage is confirmed when it has ended, and may be confirmed again: the answer may have got lost.
func TestConfirm(t *testing.T) {
	t.Parallel()
	s := new(attempt)
	if s.confirm(fileCopy) == nil {
		t.Error("confirmation before any stage: no error")
	}
	ch := s.await(fileCopy)
	for _, stage := range []stream.Stage{pageCopy, 0, 200} {
		if s.confirm(stage) == nil {
			t.Errorf("confirmation of %v while FILE_COPY is waited for: no error", stage)
		}
	}
	select {
	case <-ch:
		t.Error("a confirmation of another stage counted")
	default:
	}
	for range 2 {
		must(t, s.confirm(fileCopy))
		<-ch
	}
	ch = s.await(pageCopy)
	must(t, s.confirm(fileCopy))
	select {
	case <-ch:
		t.Error("a confirmation of the stage before counted")
	default:
	}
	if got := fmt.Sprint(s.stage); got != "PAGE_COPY" {
		t.Errorf("waiting for %s", got)
	}
}

// The server hears that a stage has arrived only after the recipient has said so: what it has forgotten cannot be asked for again.
func TestAcknowledgementWaits(t *testing.T) {
	t.Parallel()
	a := &attempt{lanes: 1, joined: []*lane{newLane(io.Discard)}, side: &serverSide{session: new(protocol.Session)}}
	a.ctx, a.cancel = context.WithCancelCause(t.Context())
	r := newRelaySink(NewDonor(DonorConfig{}), newSession("mysql-1"))
	r.attach(a)
	must(t, a.main().Hello(stream.Hello{Resumes: fileCopy, ResumesEnded: true}))
	must(t, r.StageStart(t.Context(), protocol.Stage{State: protocol.StatePageCopy}))
	why := errors.New("the recipient went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := r.StageEnd(ctx, protocol.Stage{State: protocol.StatePageCopy}); !errors.Is(err, why) {
		t.Errorf("StageEnd() without a confirmation = %v, want it to wait until the end of the context", err)
	}
	must(t, r.StageStart(t.Context(), protocol.Stage{State: protocol.StateRedoCopy}))
	ended := make(chan error, 1)
	go func() { ended <- r.StageEnd(t.Context(), protocol.Stage{State: protocol.StateRedoCopy}) }()
	mysqltest.Eventually(t, "the stage's confirmation to be taken", func() bool { return a.confirm(redoCopy) == nil })
	must(t, <-ended)
}
