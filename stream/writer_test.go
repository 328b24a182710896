package stream_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"testing"

	"ordinal/stream"
)

func TestConcurrentData(t *testing.T) {
	const writers, each = 4, 50
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	if err := first(w.Hello(stream.Hello{}), w.StageStart(stream.StageStart{Stage: stream.StageFileCopy})); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			data := make([]byte, 3000)
			for i := range each {
				for j := 0; j < len(data); j += 8 { // every 8 bytes say which frame they belong to
					binary.BigEndian.PutUint64(data[j:], uint64(g*each+i))
				}
				h := stream.DataHeader{Stage: stream.StageFileCopy, File: uint32(g), Chunk: uint32(i), Offset: uint64(g*each + i)}
				if err := first(w.Data(h, data[:(i+1)*8]), w.Heartbeat()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := w.StageEnd(stream.StageFileCopy)
	if want := (stream.StageEnd{Stage: stream.StageFileCopy, DataBytes: writers * 8 * each * (each + 1) / 2, DataFrames: writers * each}); err != nil || got != want {
		t.Fatalf("StageEnd() = %+v, %v, want %+v", got, err, want)
	}
	for s := stream.StagePageCopy; s <= stream.StageRedoCopy; s++ {
		if err := first(w.StageStart(stream.StageStart{Stage: s}), end(w, s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	frames, err := readAll(t, &b)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, f := range frames {
		if f.Kind != stream.KindData {
			continue
		}
		d := f.Data
		if seen[d.Offset] || uint64(d.File*each+d.Chunk) != d.Offset || len(d.Bytes) != int(d.Chunk+1)*8 {
			t.Fatalf("Data %+v with %d bytes: repeated or mixed up", d.DataHeader, len(d.Bytes))
		}
		for j := 0; j < len(d.Bytes); j += 8 {
			if binary.BigEndian.Uint64(d.Bytes[j:]) != d.Offset {
				t.Fatalf("Data %+v carries another frame's bytes", d.DataHeader)
			}
		}
		seen[d.Offset] = true
	}
	if len(seen) != writers*each {
		t.Fatalf("%d Data frames, want %d", len(seen), writers*each)
	}
}

// A Writer refuses whatever a Reader would, before a byte of it is written.
func TestWriterRefuses(t *testing.T) {
	start := func(w *stream.Writer, s stream.Stage) error { return w.StageStart(stream.StageStart{Stage: s}) }
	data := func(w *stream.Writer, s stream.Stage) error { return w.Data(stream.DataHeader{Stage: s}, []byte("x")) }
	file := func(w *stream.Writer, s stream.Stage) error { return w.File(stream.File{Stage: s}) }
	none := func(*stream.Writer) error { return nil }
	hello := func(w *stream.Writer) error { return w.Hello(stream.Hello{}) }
	inFileCopy := func(w *stream.Writer) error { return first(hello(w), start(w, stream.StageFileCopy)) }
	for name, tt := range map[string]struct{ before, bad func(w *stream.Writer) error }{
		"heartbeat first": {none, (*stream.Writer).Heartbeat},
		"data first":      {none, func(w *stream.Writer) error { return data(w, stream.StageFileCopy) }},
		"two hellos":      {hello, hello},
		"hello too long": {none, func(w *stream.Writer) error {
			return w.Hello(stream.Hello{Warnings: []string{strings.Repeat("x", 1<<20)}})
		}},
		"no stage":            {hello, func(w *stream.Writer) error { return data(w, stream.StageFileCopy) }},
		"other stage":         {inFileCopy, func(w *stream.Writer) error { return data(w, stream.StagePageCopy) }},
		"stage 0":             {inFileCopy, func(w *stream.Writer) error { return data(w, 0) }},
		"file of other stage": {inFileCopy, func(w *stream.Writer) error { return file(w, stream.StagePageCopy) }},
		"nested stage":        {inFileCopy, func(w *stream.Writer) error { return start(w, stream.StagePageCopy) }},
		"skipped stage":       {hello, func(w *stream.Writer) error { return start(w, stream.StagePageCopy) }},
		"end of other stage":  {inFileCopy, func(w *stream.Writer) error { return end(w, stream.StageInit) }},
		"end within a stage":  {inFileCopy, (*stream.Writer).End},
		"end without stages":  {hello, (*stream.Writer).End},
		"data too long": {inFileCopy, func(w *stream.Writer) error {
			return w.Data(stream.DataHeader{Stage: 2}, make([]byte, stream.MaxData+1))
		}},
		"offset too large": {inFileCopy, func(w *stream.Writer) error { return w.Data(stream.DataHeader{Stage: 2, Offset: 1 << 63}, nil) }},
		"end of data too far": {inFileCopy, func(w *stream.Writer) error {
			return w.Data(stream.DataHeader{Stage: 2, Offset: math.MaxInt64}, []byte("x"))
		}},
		"name with NUL":        {inFileCopy, func(w *stream.Writer) error { return w.File(stream.File{Stage: 2, Name: "a\x00b"}) }},
		"name too long":        {inFileCopy, func(w *stream.Writer) error { return w.File(stream.File{Stage: 2, Name: strings.Repeat("n", 4097)}) }},
		"file size too large":  {inFileCopy, func(w *stream.Writer) error { return w.File(stream.File{Stage: 2, Size: 1 << 63}) }},
		"stage size too large": {hello, func(w *stream.Writer) error { return w.StageStart(stream.StageStart{Stage: 2, Bytes: 1 << 63}) }},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := stream.NewWriter(&b)
			if err := tt.before(w); err != nil {
				t.Fatal(err)
			}
			n := b.Len()
			err := tt.bad(w)
			if err == nil {
				t.Fatal("accepted")
			}
			if b.Len() != n {
				t.Errorf("%d bytes of it were written", b.Len()-n)
			}
			if again := w.Heartbeat(); again != err {
				t.Errorf("the next call = %v, want the same error as before: %v", again, err)
			}
		})
	}
	// The limits themselves are allowed.
	w := stream.NewWriter(io.Discard)
	if err := first(inFileCopy(w), w.File(stream.File{Stage: 2, Name: strings.Repeat("n", 4096), Size: math.MaxInt64}),
		w.Data(stream.DataHeader{Stage: 2}, make([]byte, stream.MaxData))); err != nil {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	for name := range samples {
		var b bytes.Buffer
		w := stream.NewWriter(&b)
		if err := samples[name](w); err != nil {
			t.Fatal(err)
		}
		n := b.Len()
		for _, err := range []error{w.Heartbeat(), w.End(), w.Abort("a", "b"), w.Flush(), w.Data(stream.DataHeader{Stage: 2}, nil)} {
			if !errors.Is(err, stream.ErrClosed) {
				t.Errorf("%s: a call after the last frame = %v, want ErrClosed", name, err)
			}
		}
		if b.Len() != n {
			t.Errorf("%s: %d bytes after the last frame", name, b.Len()-n)
		}
	}
}

// A long or odd message must not keep the reason from being told, even as the very first frame.
func TestAbortAlwaysFits(t *testing.T) {
	var b bytes.Buffer
	if err := stream.NewWriter(&b).Abort("no_space", strings.Repeat("\xff\x01ü", 1<<20)); err != nil {
		t.Fatal(err)
	}
	_, err := readAll(t, &b)
	if abort := (*stream.AbortError)(nil); !errors.As(err, &abort) || abort.Reason != "no_space" {
		t.Fatalf("%.100v, want an AbortError", err)
	}
}

// limited takes n bytes and then fails.
type limited struct{ n int }

var errFull = errors.New("connection reset")

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		n := l.n
		l.n = 0
		return n, errFull
	}
	l.n -= len(p)
	return len(p), nil
}

func TestWriteErrorStays(t *testing.T) {
	whole := len(sample(t, "v2-full.bin"))
	for n := range whole {
		w := stream.NewWriter(&limited{n: n})
		err := samples["v2-full.bin"](w)
		if !errors.Is(err, errFull) || w.Heartbeat() != err || w.Abort("a", "b") != err {
			t.Fatalf("broken after %d of %d bytes: %v, then %v", n, whole, err, w.Heartbeat())
		}
	}
	if err := samples["v2-full.bin"](stream.NewWriter(&limited{n: whole})); err != nil {
		t.Fatal(err)
	}
	if err := stream.NewWriter(shortWriter{}).Abort("a", "b"); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a short write without an error: %v, want io.ErrShortWrite", err)
	}
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) - 1, nil }

// httpLike buffers like an http.ResponseWriter does.
type httpLike struct {
	bytes.Buffer
	flushed int // bytes
}

func (h *httpLike) Flush() { h.flushed = h.Len() }

// What the other side waits for must not stay in a buffer.
func TestFlush(t *testing.T) {
	var h httpLike
	w := stream.NewWriter(&h)
	flushed := func(what string, want bool, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := h.flushed == h.Len(); got != want {
			t.Errorf("flushed after %s: %v, want %v", what, got, want)
		}
	}
	flushed("Hello", true, w.Hello(stream.Hello{}))
	flushed("StageStart", true, w.StageStart(stream.StageStart{Stage: 2}))
	flushed("File", false, w.File(stream.File{Stage: 2}))
	flushed("Data", false, w.Data(stream.DataHeader{Stage: 2}, []byte("x")))
	flushed("Heartbeat", true, w.Heartbeat())
	flushed("Data", false, w.Data(stream.DataHeader{Stage: 2}, []byte("x")))
	flushed("Flush", true, w.Flush())
	flushed("StageEnd", true, end(w, 2))
	flushed("Abort", true, w.Abort("a", "b"))

	var b bytes.Buffer
	if err := samples["v2-full.bin"](stream.NewWriter(bufio.NewWriterSize(&b, 1<<20))); err != nil || !bytes.Equal(b.Bytes(), sample(t, "v2-full.bin")) {
		t.Errorf("%d bytes came through a bufio.Writer, %v", b.Len(), err)
	}
	lost := stream.NewWriter(bufio.NewWriter(&limited{}))
	if err := lost.Hello(stream.Hello{}); !errors.Is(err, errFull) {
		t.Errorf("Hello() = %v, want the error of Flush", err)
	}
}
