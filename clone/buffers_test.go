package clone

import (
	"bytes"
	"context"
	"testing"

	"ordinal/stream"
)

// Every buffer has its data aligned, room for a whole frame, and memory of its own.
func TestBuffers(t *testing.T) {
	for _, pageSize := range []uint32{4 << 10, 16 << 10, 64 << 10} {
		b, err := newBuffers(pageSize, 3)
		must(t, err)
		var all [][]byte
		for range cap(b.free) {
			buf, err := b.get(t.Context())
			must(t, err)
			all = append(all, buf)
		}
		for range writers {
			all = append(all, b.scratch())
		}
		for i, buf := range all {
			data := buf
			if i < cap(b.free) {
				data = buf[stream.DataOverhead:]
			}
			if misaligned(data) != 0 || len(data) < 64*int(pageSize) {
				t.Fatalf("page size %d, buffer %d: %d bytes, out of line by %d", pageSize, i, len(data), misaligned(data))
			}
			for j := range buf {
				buf[j] = byte(i)
			}
		}
		for i, buf := range all {
			if !bytes.Equal(buf, bytes.Repeat([]byte{byte(i)}, len(buf))) {
				t.Fatalf("buffer %d shares memory with another", i)
			}
		}
		b.put(all[0])
		if again, err := b.get(t.Context()); err != nil || &again[0] != &all[0][0] {
			t.Errorf("get() after put() = another buffer, %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.get(ended); err == nil {
			t.Error("get() without a free buffer and with its context ended = nil")
		}
		b.close()
	}
}

// directBuffer returns n bytes of which those from offset at on are aligned.
func directBuffer(n, at int) []byte {
	b := make([]byte, n+directAlign)
	skip := (directAlign - (misaligned(b)+at)%directAlign) % directAlign
	return b[skip : skip+n : skip+n]
}
