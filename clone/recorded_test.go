package clone

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
	"ordinal/stream"
)

// record takes the stream of a real server as it goes over the network, with nothing at the other end but confirmations.
func record(t *testing.T) *recording {
	t.Helper()
	s := mysqltest.Start(t, mysqltest.Options{})
	everyKind(t, s)
	d := newRealDonor(t, "mysql-0", s, 2)
	session, err := d.begin(t.Context(), "mysql-1", openRequest{})
	must(t, err)
	a, err := d.startAttempt(t.Context(), session, protocol.Progress{})
	must(t, err)
	if !a.fetch(0) {
		t.Fatal("lane 0 has been fetched")
	}
	var raw bytes.Buffer
	err = d.run(session, a, &confirming{b: &raw, attempt: a})
	d.endAttempt(session, a, err)
	must(t, err)
	return index(t, raw.Bytes())
}

// confirming keeps a stream and confirms each stage as soon as its end has been written.
type confirming struct {
	mu      sync.Mutex
	b       *bytes.Buffer
	attempt *attempt
}

func (c *confirming) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

// FlushError is called after each frame that somebody waits for.
func (c *confirming) FlushError() error {
	c.attempt.mu.Lock()
	stage := c.attempt.stage
	c.attempt.mu.Unlock()
	_ = c.attempt.confirm(stage) // an error before the first stage
	return nil
}

// scissors end a stream on demand.
type scissors struct {
	r   io.Reader
	cut bool
}

func (s *scissors) Read(p []byte) (int, error) {
	if s.cut {
		return 0, io.EOF
	}
	return s.r.Read(p)
}

// A real server's copy is refused wherever its stream stops: at every border of frames, and, over the whole path, at some of them and
// at some bytes in between.
func TestCutRealStream(t *testing.T) {
	t.Parallel()
	rec := record(t)
	src := &scissors{r: bytes.NewReader(rec.raw)}
	reader, buf := stream.NewReader(src), make([]byte, stream.MaxFrame)
	for i := range rec.borders {
		src.cut = true
		probe := *reader // a reader that has come so far, and then finds the end
		if _, err := probe.Next(buf); !errors.Is(err, stream.ErrTruncated) {
			t.Errorf("cut before frame %d: %v, want ErrTruncated", i, err)
		}
		src.cut = false
		_, err := reader.Next(buf)
		must(t, err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	var all []damage
	for border := range rec.stages {
		all = append(all, damage{at: border, clean: true}, damage{at: border - 1, clean: true}, damage{at: border + 30})
	}
	last := rec.borders[len(rec.borders)-2] // before the end frame
	all = append(all, damage{at: last, clean: true}, damage{at: last}, damage{at: last + 10, clean: true}, damage{at: last + 5, flip: 1})
	for i := range 6 {
		all = append(all, damage{at: rec.borders[random.IntN(len(rec.borders)-1)], clean: i%2 == 0})
		all = append(all, damage{at: random.IntN(len(rec.raw)), flip: 1 << random.IntN(8)})
	}
	begun := time.Now()
	rec.tryAll(t, all)
	t.Logf("%d MiB in %d frames; %d cuts and flips over the network took %v", len(rec.raw)>>20, len(rec.borders), len(all), time.Since(begun))

	// Unharmed, it is a copy that a server starts on.
	donor := newFakeDonor(t, "mysql-0")
	donor.hello = rec.hello
	donor.sends(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(rec.raw) })
	dir, _, err := receiveFrom(t, recipient("mysql-1"), donor.Peer)
	must(t, err)
	if confirmed, _ := donor.heard(); !slices.Equal(confirmed, []stream.Stage{fileCopy, pageCopy, redoCopy}) {
		t.Errorf("confirmed were %v", confirmed)
	}
	startCopy(t, dir)
}
