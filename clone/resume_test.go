package clone

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/mysqltest"
	"ordinal/stream"
)

// chunkBytes is what one task may have to send again after a break.
const chunkBytes = 4096 * pageSize

// inEachWay runs a test with a donor whose server sends the files, and with one that reads them itself.
func inEachWay(t *testing.T, test func(t *testing.T, prepare func(*realDonor))) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, func(*realDonor) {})
	})
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		test(t, (*realDonor).direct)
	})
}

// every calls what after each so many bytes, a few times.
func every(bytes uint64, times int, what func()) *quiet {
	var mu sync.Mutex
	var since uint64
	return &quiet{add: func(n uint64) {
		mu.Lock()
		defer mu.Unlock()
		if since += n; since >= bytes && times > 0 {
			since = 0
			times--
			what()
		}
	}}
}

// sent is how much a donor says it has sent for its latest session.
func (d *realDonor) sent() uint64 {
	events := d.seen()
	return events[len(events)-1].Bytes
}

func (d *realDonor) count(what string) (n int) {
	for _, e := range d.seen() {
		if e.What == what {
			n++
		}
	}
	return n
}

// A copy whose connections are cut again and again, while tables change and come and go, is whole in the end, and little was sent twice.
func TestGoesOnAfterCuts(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, prepare func(*realDonor)) {
		s := mysqltest.Start(t, mysqltest.Options{})
		everyKind(t, s)
		must(t, load.Fill(t.Context(), s.Root(), 64<<20, nil))
		l := load.New(load.Options{Endpoint: s.Root(), Connections: 2, DDL: true})
		must(t, l.Prepare(t.Context()))
		fixed := checksums(t, s, "kinds")
		d := newRealDonor(t, "mysql-0", s, 2)
		d.change(func(c *DonorConfig) { c.Streams = 3 })
		prepare(d)
		stop := startLoad(t, l)
		defer stop()
		progress := every(8<<20, 8, d.wires.cut)
		begun := time.Now()
		dir, hello := take(t, d, progress)
		took := time.Since(begun)
		stop()
		if n := d.count("interrupted"); n < 4 || d.count("resumed") < n || d.count("began") != 1 || d.count("ended") != 1 {
			t.Errorf("events are %+v, want one session with many attempts", d.seen())
		}
		cuts := uint64(d.count("interrupted"))
		if got, most := d.sent(), hello.EstimatedBytes+200<<20+cuts*4*chunkBytes; got > most {
			t.Errorf("%d bytes were sent with %d cuts, want at most %d", got, cuts, most)
		}
		t.Logf("%d cuts, %d MiB sent, %v", cuts, d.sent()>>20, took)
		c := startCopy(t, dir)
		if _, err := l.Check(t.Context(), c.DB()); err != nil {
			t.Error(err)
		}
		if got := checksums(t, c, "kinds"); !mapsEqual(got, fixed) {
			t.Errorf("checksums %v, want %v", got, fixed)
		}
		if err := load.CheckTables(t.Context(), c.DB()); err != nil {
			t.Error(err)
		}
		c.Stop(t)
		checkPages(t, s.Distribution, dir)
	})
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// generation is an empty generation as a volume makes it, and its root.
func generation(t testing.TB) (dir string, open func() *os.Root) {
	t.Helper()
	dir = scratch(t)
	must(t, os.Mkdir(filepath.Join(dir, cloneDir), 0o750))
	return dir, func() *os.Root {
		root, err := os.OpenRoot(dir)
		must(t, err)
		t.Cleanup(func() { _ = root.Close() })
		return root
	}
}

// A recipient that is stopped in mid-copy leaves what has arrived; the next one goes on with it, in every stage.
func TestRecipientComesBack(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, prepare func(*realDonor)) {
		s := mysqltest.Start(t, mysqltest.Options{})
		everyKind(t, s)
		must(t, load.Fill(t.Context(), s.Root(), 48<<20, nil))
		fixed := checksums(t, s, "kinds")
		d := newRealDonor(t, "mysql-0", s, 1)
		prepare(d)
		offer, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{})
		must(t, err)
		dir, open := generation(t)
		// Stopped in the middle of FILE_COPY, then while each stage is confirmed.
		stops := 0
		const most = 4
		for ; ; stops++ {
			ctx, cancel := context.WithCancelCause(t.Context())
			leaving := errors.New("the pod is going")
			progress := every(16<<20, 1, func() { cancel(leaving) })
			d.set(func(d *realDonor) {
				d.onConfirm = func(stream.Stage) { cancel(leaving) }
				if stops >= most {
					d.onConfirm = nil
				}
			})
			if stops >= most {
				progress = new(quiet)
			}
			root := open()
			_, err = offer.Receive(ctx, root, progress)
			cancel(nil)
			if err == nil {
				break
			}
			if !errors.Is(err, leaving) {
				t.Fatalf("Receive() = %v after %d stops", err, stops)
			}
			donor, err := Interrupted(root)
			if err != nil || donor != "mysql-0" {
				t.Fatalf("Interrupted() = %q, %v", donor, err)
			}
			offer, err = recipient("mysql-1").Resume(d.Peer, root, Wants{PageSize: pageSize})
			must(t, err)
		}
		if stops < 3 || d.count("began") != 1 {
			t.Errorf("%d stops, events %+v", stops, d.seen())
		}
		t.Logf("%d stops, %d MiB sent", stops, d.sent()>>20)
		if _, err := Interrupted(open()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Interrupted() of a whole copy = %v, want fs.ErrNotExist", err)
		}
		c := startCopy(t, dir)
		if got := checksums(t, c, "kinds"); !mapsEqual(got, fixed) {
			t.Errorf("checksums %v, want %v", got, fixed)
		}
	})
}

// memory is a SessionStore.
type memory struct {
	mu   sync.Mutex
	data []byte
}

func (m *memory) Save(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = slices.Clone(b)
	return nil
}

func (m *memory) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(m.data), nil
}

func (m *memory) Remove() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = nil
	return nil
}

// The donor's agent dies in mid-copy, without a word and in every stage. Its successor has the session, and the copy goes on.
func TestDonorsAgentComesBack(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, prepare func(*realDonor)) {
		s := mysqltest.Start(t, mysqltest.Options{})
		everyKind(t, s)
		must(t, load.Fill(t.Context(), s.Root(), 48<<20, nil))
		fixed := checksums(t, s, "kinds")
		d := newRealDonor(t, "mysql-0", s, 1)
		store := new(memory)
		d.change(func(c *DonorConfig) { c.Sessions = store })
		prepare(d)
		deaths := 0
		die := func() {
			deaths++
			d.mu.Lock()
			old := d.Donor
			successor := NewDonor(d.cfg)
			d.Donor = successor
			d.mu.Unlock()
			// All that a dead process does: its connections end. The old donor must not get a word in.
			d.wires.cut()
			old.mu.Lock()
			session := old.current
			old.current = nil
			old.mu.Unlock()
			if session != nil {
				session.mu.Lock()
				a, side := session.attempt, session.side
				session.gone = true
				session.mu.Unlock()
				if a != nil {
					a.cancel(keep(errShutdown))
				}
				if side != nil {
					side.end(keep(errShutdown))
				}
			}
			must(t, successor.Recover())
		}
		d.set(func(d *realDonor) {
			d.onConfirm = func(stream.Stage) {
				if deaths < 3 { // a server notices each one only some seconds later
					die()
				}
			}
		})
		dir, _ := take(t, d, every(16<<20, 1, func() { go die() }))
		if deaths < 3 || d.count("began") != 1 {
			t.Errorf("%d deaths, events %+v", deaths, d.seen())
		}
		if _, err := store.Load(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after the copy the store holds a session: %v", err)
		}
		c := startCopy(t, dir)
		if got := checksums(t, c, "kinds"); !mapsEqual(got, fixed) {
			t.Errorf("checksums %v, want %v", got, fixed)
		}
	})
}

// Packed data arrives as it was, and less of it travels.
func TestCompressed(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, prepare func(*realDonor)) {
		s := mysqltest.Start(t, mysqltest.Options{})
		everyKind(t, s)
		fixed := checksums(t, s, "kinds")
		d := newRealDonor(t, "mysql-0", s, 1)
		prepare(d)
		offer, err := recipient("mysql-1").Ask(t.Context(), d.Peer, Wants{Compress: CompressOn, Streams: 2})
		must(t, err)
		dir := scratch(t)
		sum, err := receiveInto(t, offer, dir)
		must(t, err)
		if sent := d.sent(); sent > sum.Bytes/2 {
			t.Errorf("%d bytes were sent for %d", sent, sum.Bytes)
		}
		c := startCopy(t, dir)
		if got := checksums(t, c, "kinds"); !mapsEqual(got, fixed) {
			t.Errorf("checksums %v, want %v", got, fixed)
		}
	})
}

// A file that can no longer be read makes the donor's server send what is missing: the copy goes on, it does not begin again.
func TestFallsBackToTheServer(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	everyKind(t, s)
	must(t, load.Fill(t.Context(), s.Root(), 32<<20, nil))
	fixed := checksums(t, s, "kinds")
	for _, streams := range []int{1, 3} {
		d := newRealDonor(t, "mysql-0", s, 1)
		d.change(func(c *DonorConfig) { c.Streams = streams })
		d.direct()
		dir, _ := take(t, d, every(4<<20, 1, func() {
			donor := d.donor()
			donor.mu.Lock()
			session := donor.current
			donor.mu.Unlock()
			session.mu.Lock()
			defer session.mu.Unlock()
			_ = session.files.Close() // under the producers
		}))
		if d.count("fallback") == 0 || d.count("began") != 1 || d.count("resumed") == 0 {
			t.Errorf("%d streams: events are %+v", streams, d.seen())
		}
		c := startCopy(t, dir)
		if got := checksums(t, c, "kinds"); !mapsEqual(got, fixed) {
			t.Errorf("%d streams: checksums %v, want %v", streams, got, fixed)
		}
		c.Stop(t)
	}
}

// A stage whose list is empty does not end when a producer has failed with what it took from it.
func TestSpoiltStageDoesNotEnd(t *testing.T) {
	t.Parallel()
	a := &attempt{ready: make(chan struct{}), produced: make(chan struct{}), filesEnd: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancelCause(t.Context())
	if !a.beginProducing() {
		t.Fatal("too late to produce")
	}
	why := errors.New("the disk")
	go func() {
		a.spoil(why)
		a.producers.Done()
	}()
	close(a.produced)
	if err := a.endFiles(t.Context()); !errors.Is(err, why) {
		t.Errorf("endFiles() = %v, want the producer's error", err)
	}
	select {
	case <-a.filesEnd:
		t.Error("the stage has ended")
	default:
	}
}

// Whoever ranks first is served next, however long the others have asked; one that does not come back is not waited for.
func TestQueue(t *testing.T) {
	rank := func(pod string) int { return int(pod[len(pod)-1] - '0') }
	now := time.Now()
	q := newQueue(rank)
	if other, waits := q.before("mysql-3", now); waits {
		t.Errorf("before() with nobody else = %s", other)
	}
	q.note("mysql-3", now)
	q.note("mysql-2", now)
	for _, c := range []struct {
		who   string
		after time.Duration
		want  string
	}{
		{"mysql-3", 0, "mysql-2"}, {"mysql-4", 0, "mysql-2"}, {"mysql-2", 0, ""}, {"mysql-1", 0, ""},
		{"mysql-3", waitsFor, "mysql-2"}, {"mysql-3", waitsFor + time.Second, ""},
	} {
		if got, _ := q.before(c.who, now.Add(c.after)); got != c.want {
			t.Errorf("before(%s) after %v = %q, want %q", c.who, c.after, got, c.want)
		}
	}
	q.served("mysql-2")
	if other, waits := q.before("mysql-3", now); waits {
		t.Errorf("before() = %s, which has been served", other)
	}
	fifo := newQueue(nil)
	fifo.note("mysql-1", now)
	if _, waits := fifo.before("mysql-2", now); waits {
		t.Error("without ranks somebody is first")
	}
	for range 1000 {
		q.note("mysql-9", now)
		now = now.Add(time.Minute)
	}
	if len(q.seen) > 1 {
		t.Errorf("%d are remembered", len(q.seen))
	}
}
