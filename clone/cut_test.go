package clone

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"ordinal/stream"
)

// A damage is what happens to a stream on its way.
type damage struct {
	at    int  // byte
	flip  byte // bits that change there; 0: the stream ends before it
	clean bool // it ends in good order, as when a handler returns
}

func (d damage) String() string {
	if d.flip != 0 {
		return fmt.Sprintf("byte %d changed by %#x", d.at, d.flip)
	}
	return fmt.Sprintf("cut at byte %d, clean: %v", d.at, d.clean)
}

// send sends raw with the damage.
func (d damage) send(w http.ResponseWriter, raw []byte) {
	if d.flip != 0 {
		_, _ = w.Write(raw[:d.at])
		_, _ = w.Write([]byte{raw[d.at] ^ d.flip})
		_, _ = w.Write(raw[d.at+1:])
		return
	}
	_, _ = w.Write(raw[:d.at])
	if !d.clean {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// A recording is a complete stream and where its frames end.
type recording struct {
	hello   stream.Hello
	raw     []byte
	borders []int
	kinds   []stream.Kind        // of the frame that ends at the border
	stages  map[int]stream.Stage // where the end of a stage ends
}

// index finds the frames of a stream.
func index(t testing.TB, raw []byte) *recording {
	t.Helper()
	rec := &recording{raw: raw, stages: make(map[int]stream.Stage)}
	src := &counter{r: bytes.NewReader(raw)}
	reader := stream.NewReader(src)
	buf := make([]byte, stream.MaxFrame)
	for {
		f, err := reader.Next(buf)
		if err == io.EOF {
			return rec
		}
		must(t, err)
		switch f.Kind {
		case stream.KindHello:
			rec.hello = *f.Hello
		case stream.KindStageEnd:
			rec.stages[src.n] = f.StageEnd.Stage
		}
		rec.borders, rec.kinds = append(rec.borders, src.n), append(rec.kinds, f.Kind)
	}
}

// counter counts what was read.
type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// arrived are the stages whose ends lie before byte at.
func (r *recording) arrived(at int) []stream.Stage {
	var whole []stream.Stage
	for border, stage := range r.stages {
		if border <= at {
			whole = append(whole, stage)
		}
	}
	slices.Sort(whole)
	return whole
}

// try sends the recording with a damage over the whole path, and reports what should not have happened.
func (r *recording) try(t testing.TB, donor *fakeDonor, d damage) error {
	donor.sends(func(w http.ResponseWriter, _ *http.Request) { d.send(w, r.raw) })
	dir := scratch(t)
	defer os.RemoveAll(dir)
	offer, err := recipient("mysql-1").Ask(t.Context(), donor.Peer, Wants{})
	if err != nil {
		return err
	}
	q := new(quiet)
	_, err = receiveWith(t, offer, dir, q)
	if slices.Contains(r.arrived(d.at), redoCopy) {
		// All stages have arrived whole: there is nothing that the end frame could add.
		if err != nil {
			return fmt.Errorf("Receive() = %w, want nil: every stage has arrived whole", err)
		}
		return nil
	}
	if !errors.Is(err, ErrSnapshotGone) {
		return fmt.Errorf("Receive() = %w, want ErrSnapshotGone", err)
	}
	if d.flip == 0 && d.clean && !errors.Is(q.last(), stream.ErrTruncated) {
		return fmt.Errorf("the attempt ended with %w, want ErrTruncated", q.last())
	}
	if _, err := os.Lstat(filepath.Join(dir, fixMarker)); err == nil {
		return errors.New("Finish was reached")
	}
	confirmed, _ := donor.heard()
	if whole := r.arrived(d.at); !slices.Equal(confirmed, whole[:min(len(whole), len(confirmed))]) {
		return fmt.Errorf("confirmed were %v, arrived whole %v", confirmed, whole)
	}
	return nil
}

// apply applies a stream without a network between, and returns the stages that would have been confirmed.
func apply(t testing.TB, raw io.Reader) (confirmed []stream.Stage, err error) {
	dir := scratch(t)
	defer os.RemoveAll(dir)
	must(t, os.Mkdir(filepath.Join(dir, cloneDir), 0o750))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	d := NewDirectory(root, nine)
	defer d.Close()
	reader, buf := stream.NewReader(raw), make([]byte, 2<<20)
	for {
		f, err := reader.Next(buf)
		if err != nil {
			return confirmed, err
		}
		switch f.Kind {
		case stream.KindStageStart:
			err = d.StageStart(f.StageStart)
		case stream.KindFile:
			err = d.File(f.File)
		case stream.KindData:
			d.Expect(f.Data.DataHeader)
			err = d.Data(f.Data.DataHeader, f.Data.Bytes)
		case stream.KindStageEnd:
			if err = d.StageEnd(f.StageEnd.Stage); err == nil {
				confirmed = append(confirmed, f.StageEnd.Stage)
			}
		case stream.KindEnd:
			_, err = d.Finish("donor", begunAt)
			return confirmed, err
		}
		if err != nil {
			return confirmed, err
		}
	}
}

// tryQuick is try without the network.
func (r *recording) tryQuick(t testing.TB, d damage) error {
	raw := io.Reader(bytes.NewReader(r.raw[:d.at]))
	if d.flip != 0 {
		raw = io.MultiReader(raw, bytes.NewReader([]byte{r.raw[d.at] ^ d.flip}), bytes.NewReader(r.raw[d.at+1:]))
	}
	confirmed, err := apply(t, raw)
	if !errors.Is(err, stream.ErrTruncated) && !errors.Is(err, stream.ErrCorrupt) && !errors.Is(err, stream.ErrVersion) {
		return fmt.Errorf("%w, want the stream's own error", err)
	}
	if whole := r.arrived(d.at); !slices.Equal(confirmed, whole) {
		return fmt.Errorf("%v would be confirmed, arrived whole %v", confirmed, whole)
	}
	return nil
}

// tryAll tries every damage, a few at a time.
func (r *recording) tryAll(t *testing.T, all []damage) {
	t.Helper()
	next := make(chan damage)
	var g sync.WaitGroup
	for range 4 {
		donor := newFakeDonor(t, "mysql-0")
		donor.hello = r.hello
		g.Go(func() {
			for d := range next {
				if err := r.try(t, donor, d); err != nil {
					t.Errorf("%v: %v", d, err)
				}
			}
		})
	}
	for _, d := range all {
		if t.Failed() {
			break
		}
		next <- d
	}
	close(next)
	g.Wait()
}

// A stream that is cut or changed anywhere never becomes a copy, and no stage is confirmed that did not arrive whole.
func TestCutAndFlip(t *testing.T) {
	t.Parallel()
	hello := stream.Hello{DonorPod: "mysql-0", SessionID: "s1", ServerVersion: "9.7.4", PageSize: pageSize}
	raw, borders := encode(t, hello, smallCopy())
	r := index(t, raw)
	if !slices.Equal(borders, r.borders) {
		t.Fatalf("frames end at %v, the reader found %v", borders, r.borders)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var all []damage
	for _, border := range append([]int{0, 8}, borders[:len(borders)-1]...) {
		all = append(all, damage{at: border, clean: true}, damage{at: border})
	}
	for i := range 300 {
		all = append(all, damage{at: random.IntN(len(raw)), clean: i%2 == 0})
	}
	start := 0
	for i, border := range borders {
		upTo := border // header and payload of a frame that controls
		if r.kinds[i] == stream.KindData {
			upTo = start + 24 + stream.DataOverhead
		}
		for at := start; at < upTo; at++ {
			all = append(all, damage{at: at, flip: 1 << random.IntN(8)})
		}
		start = border
	}
	for range 300 {
		all = append(all, damage{at: random.IntN(len(raw)), flip: byte(1 + random.IntN(255))})
	}
	for _, d := range all {
		if err := r.tryQuick(t, d); err != nil {
			t.Fatalf("without the network, %v: %v", d, err)
		}
	}
	// All cuts and a part of the flips once more over the whole path: a connection of its own for each costs the most.
	sample := slices.DeleteFunc(slices.Clone(all), func(d damage) bool { return d.flip != 0 && random.IntN(8) > 0 })
	r.tryAll(t, sample)
	t.Logf("%d bytes in %d frames, %d cuts and flips, %d of them over the network", len(raw), len(borders), len(all), len(sample))

	// Unharmed it is taken, so nothing above failed for another reason.
	donor := newFakeDonor(t, "mysql-0")
	donor.sends(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) })
	dir, sum, err := receiveFrom(t, recipient("mysql-1"), donor.Peer)
	must(t, err)
	if err := checkSmallCopy(dir); err != nil || sum.Files != len(smallCopyFiles) {
		t.Errorf("unharmed: %+v, %v", sum, err)
	}
	if confirmed, abandoned := donor.heard(); !slices.Equal(confirmed, []stream.Stage{fileCopy, pageCopy, redoCopy}) || abandoned != 0 {
		t.Errorf("unharmed: %v were confirmed, %d times given up", confirmed, abandoned)
	}
}
