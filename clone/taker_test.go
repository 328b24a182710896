package clone

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/mysqltest"
	"ordinal/stream"
)

// A spy is a Taker that asks before each call, and passes it on to another one.
type spy struct {
	Taker
	ask func(call string) error

	mu    sync.Mutex
	calls []string
}

func (s *spy) note(call string) error {
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	if s.ask == nil {
		return nil
	}
	return s.ask(call)
}

func (s *spy) StageStart(start stream.StageStart) error {
	if err := s.note("start of " + start.Stage.String()); err != nil {
		return err
	}
	return s.Taker.StageStart(start)
}

func (s *spy) File(meta stream.File) error {
	if err := s.note("file " + meta.Name); err != nil {
		return err
	}
	return s.Taker.File(meta)
}

func (s *spy) Data(h stream.DataHeader, data []byte) error {
	if err := s.note("data"); err != nil {
		return err
	}
	return s.Taker.Data(h, data)
}

func (s *spy) StageEnd(stage stream.Stage) error {
	if err := s.note("end of " + stage.String()); err != nil {
		return err
	}
	return s.Taker.StageEnd(stage)
}

// onDisk is a Taker that builds a directory.
func onDisk(t testing.TB) (d *Directory, dir string) {
	t.Helper()
	dir = scratch(t)
	must(t, os.Mkdir(filepath.Join(dir, cloneDir), 0o750))
	root, err := os.OpenRoot(dir)
	must(t, err)
	d = NewDirectory(root, nine)
	t.Cleanup(func() {
		_ = d.Close()
		_ = root.Close()
	})
	return d, dir
}

func relayFrom(t testing.TB, donor Peer, to Taker) (Summary, error) {
	t.Helper()
	offer, err := recipient("mysql-1").Ask(t.Context(), donor, Wants{})
	must(t, err)
	return offer.Relay(t.Context(), to, new(quiet))
}

// What a Taker gets makes the same copy as a directory would, also when the streams break off, wherever that is.
func TestRelay(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	raw, borders := encode(t, donor.hello, smallCopy())
	donor.copy = framesOf(t, raw)
	_, want, err := receiveFrom(t, recipient("mysql-1"), donor.Peer)
	must(t, err)
	check := func(name string) {
		t.Helper()
		d, dir := onDisk(t)
		s := &spy{Taker: d}
		sum, err := relayFrom(t, donor.Peer, s)
		if err != nil || sum.Files != want.Files || sum.Bytes < want.Bytes {
			t.Errorf("%s: Relay() = %+v, %v, want %+v", name, sum, err, want)
			return
		}
		if _, err := d.Finish("mysql-0", begunAt); err != nil {
			t.Errorf("%s: Finish() = %v", name, err)
		} else if err := checkSmallCopy(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("whole")
	frames := donor.copy
	for _, at := range borders[:len(borders)-1] {
		donor.copy = nil
		donor.sends(func(w http.ResponseWriter, _ *http.Request) {
			donor.mu.Lock()
			donor.copy = frames // for the attempts to come
			donor.mu.Unlock()
			damage{at: at}.send(w, raw)
		})
		check(fmt.Sprintf("cut at byte %d", at))
	}
}

// Whatever a Taker refuses ends the copy at once, with its own error: it is called no more, and the donor is free.
func TestTakerFails(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	raw, _ := encode(t, donor.hello, smallCopy())
	sentinel := errors.New("the store is on fire")
	for n := 1; ; n++ {
		donor.sends(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
		d, _ := onDisk(t)
		s := &spy{Taker: d}
		calls := 0
		s.ask = func(string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if calls++; calls >= n {
				return sentinel
			}
			return nil
		}
		_, err := relayFrom(t, donor.Peer, s)
		if err == nil {
			if calls >= n {
				t.Errorf("call %d failed, and Relay() = nil", n)
			}
			if n < 20 {
				t.Errorf("only %d calls", n)
			}
			return
		}
		if _, abandoned := donor.heard(); !errors.Is(err, sentinel) || abandoned != 1 {
			t.Errorf("call %d failed: Relay() = %v, want the Taker's error, and the donor was told %d times", n, err, abandoned)
		}
	}
}

// A copy with a bad page, or one that lacks something, is none, although the Taker has taken everything.
func TestRelayRefuses(t *testing.T) {
	t.Parallel()
	donor := newFakeDonor(t, "mysql-0")
	bad := page(spaceOf(0), 0, 'x')
	bad[100]++
	redoEnd := []step{begin(redoCopy), redo(0, 4096), redoData(0, make([]byte, 4096)), end(redoCopy)}
	for name, c := range map[string]struct {
		steps []step
		want  func(error) bool
	}{
		"bad page": {
			append([]step{begin(fileCopy), file(fileCopy, 0, "ibdata1", pagesLong(1)), data(fileCopy, 0, 0, bad), end(fileCopy), begin(pageCopy), end(pageCopy)}, redoEnd...),
			func(err error) bool {
				var pages *BadPagesError
				return errors.As(err, &pages) && pages.Donor == "mysql-0" && pages.File == "ibdata1"
			},
		},
		"a part is missing": {
			append([]step{begin(fileCopy), file(fileCopy, 0, "ibdata1", pagesLong(2)), put(fileCopy, 0, 0, 'a'), end(fileCopy), begin(pageCopy), end(pageCopy)}, redoEnd...),
			func(err error) bool { return errors.Is(err, ErrIncomplete) },
		},
		"a name that leads out": {
			[]step{begin(fileCopy), file(fileCopy, 0, "../evil.ibd")},
			func(err error) bool { return err != nil },
		},
	} {
		donor.sends(func(w http.ResponseWriter, _ *http.Request) {
			out := streamTarget{stream.NewWriter(w)}
			_ = out.Hello(donor.hello)
			for _, s := range c.steps {
				_ = s(out)
			}
			_ = out.End() // only of a copy that has all stages
		})
		s := &spy{Taker: nothing{}}
		if _, err := relayFrom(t, donor.Peer, s); !c.want(err) {
			t.Errorf("%s: Relay() = %v", name, err)
		}
		for _, call := range s.calls {
			if call == "file ../evil.ibd" {
				t.Errorf("%s: the Taker heard of it", name)
			}
		}
	}
}

// nothing is a Taker that takes everything.
type nothing struct{}

func (nothing) StageStart(stream.StageStart) error   { return nil }
func (nothing) File(stream.File) error               { return nil }
func (nothing) Data(stream.DataHeader, []byte) error { return nil }
func (nothing) StageEnd(stream.Stage) error          { return nil }
func (nothing) Interrupt()                           {}

// A Taker that takes nothing for many times as long as a donor waits for a recipient, or keeps a session, costs nobody anything: the session lives,
// and the copy goes on when it can. The times are a hundredth of the real ones.
func TestStalledTaker(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, prepare func(*realDonor)) {
		s := mysqltest.Start(t, mysqltest.Options{})
		must(t, load.Fill(t.Context(), s.Root(), 16<<20, nil))
		l := load.New(load.Options{Endpoint: s.Root(), Connections: 2, DDL: true, Pause: 5 * time.Millisecond})
		must(t, l.Prepare(t.Context()))
		d := newRealDonor(t, "mysql-0", s, 1)
		const lease = 2 * time.Second
		d.change(func(c *DonorConfig) { c.Lease, c.FetchWithin = lease, 300*time.Millisecond })
		prepare(d)
		stop := startLoad(t, l)
		defer stop()
		before := gtids(t, s.DB())
		offer, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
		must(t, err)
		offer.behind, offer.renew = 200*time.Millisecond, 450*time.Millisecond
		dir, path := onDisk(t)
		dir.server = s.Distribution.Version
		stall := func(call string) error {
			begun, n := time.Now(), d.count("resumed")
			for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
				// After a stage's end the donor is waiting for us, and nothing has to break.
				if time.Since(begun) > 2*lease && (call == "end of FILE_COPY" || d.count("resumed") > n+3) {
					tick.Stop()
					return nil
				}
				if time.Since(begun) > 20*lease {
					return fmt.Errorf("%s: %d attempts, and the session was not kept alive", call, d.count("resumed")-n)
				}
			}
		}
		stalls := map[string]func() error{ // once in each kind of call; calls beside it wait, too
			"data":               sync.OnceValue(func() error { return stall("data") }),
			"end of FILE_COPY":   sync.OnceValue(func() error { return stall("end of FILE_COPY") }),
			"start of REDO_COPY": sync.OnceValue(func() error { return stall("start of REDO_COPY") }),
		}
		spy := &spy{Taker: dir, ask: func(call string) error {
			if wait := stalls[call]; wait != nil {
				return wait()
			}
			return nil
		}}
		_, err = offer.Relay(context.WithoutCancel(t.Context()), spy, new(quiet))
		must(t, err)
		if got := d.count("began"); got != 1 || d.count("failed") != 0 {
			t.Errorf("%d sessions began and %d failed, want one that has not", got, d.count("failed"))
		}
		_, err = dir.Finish("mysql-0", begunAt)
		must(t, err)
		must(t, dir.Close())
		after := gtids(t, s.DB())
		stop()
		c := startCopy(t, path)
		if _, err := l.Check(t.Context(), c.DB()); err != nil {
			t.Error(err)
		}
		if got := gtids(t, c.DB()); !got.Contains(before) || !after.Contains(got) {
			t.Errorf("gtid_executed is %v, want it between %v and %v", got, before, after)
		}
	})
}
