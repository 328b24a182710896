package stream_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"ordinal/stream"
)

func payload(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func BenchmarkWriter(b *testing.B) {
	data := payload(1 << 20)
	h := stream.DataHeader{Stage: stream.StageFileCopy}
	open := func(b *testing.B) *stream.Writer {
		w := stream.NewWriter(io.Discard)
		if err := first(w.Hello(stream.Hello{}), w.StageStart(stream.StageStart{Stage: stream.StageFileCopy})); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		return w
	}
	b.Run("one", func(b *testing.B) {
		w := open(b)
		for b.Loop() {
			if err := w.Data(h, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		w := open(b)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := w.Data(h, data); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// again repeats one Data frame for ever, with its number counted up.
type again struct {
	pre, frame []byte
	seq        uint64
	at         int
}

func (a *again) Read(p []byte) (int, error) {
	if len(a.pre) > 0 {
		n := copy(p, a.pre)
		a.pre = a.pre[n:]
		return n, nil
	}
	n := copy(p, a.frame[a.at:])
	if a.at += n; a.at == len(a.frame) {
		a.at = 0
		a.seq++
		copy(a.frame, seal(append(put64(a.frame[:8:8], a.seq), a.frame[16:20]...)))
	}
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	var pre bytes.Buffer
	w := stream.NewWriter(&pre)
	if err := first(w.Hello(stream.Hello{}), w.StageStart(stream.StageStart{Stage: stream.StageFileCopy})); err != nil {
		b.Fatal(err)
	}
	n := pre.Len()
	if err := w.Data(stream.DataHeader{Stage: stream.StageFileCopy}, payload(1<<20)); err != nil {
		b.Fatal(err)
	}
	r := stream.NewReader(&again{pre: pre.Bytes()[:n:n], frame: bytes.Clone(pre.Bytes()[n:]), seq: 2})
	buf := make([]byte, stream.MaxFrame)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(buf); err != nil {
			b.Fatal(err)
		}
	}
}
