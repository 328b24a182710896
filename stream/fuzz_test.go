package stream_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"ordinal/stream"
)

// repair puts right numbers and checksums into whatever looks like frames, so that fuzzing gets past them.
func repair(data []byte) []byte {
	data = bytes.Clone(data)
	if len(data) < 8 {
		return data
	}
	copy(data, "ORDSTR\x00\x01")
	var chain uint32
	for rest, seq := data[8:], uint64(0); len(rest) >= 24; seq++ {
		n := min(int(be32(rest[4:])), len(rest)-24)
		payload := rest[24 : 24+n]
		if rest[0] == byte(stream.KindEnd) && n == 20 {
			copy(payload, put64(nil, seq))
			copy(payload[16:], put32(nil, chain))
		}
		head := append(rest[:4:4], put32(nil, uint32(n))...)
		copy(rest, seal(put32(put64(head, seq), crc(payload))))
		chain = crc32.Update(chain, castagnoli, rest[20:24])
		rest = rest[24+n:]
	}
	return data
}

// FuzzReader: a Reader ends with one of its errors, or with a stream that a Writer writes again.
func FuzzReader(f *testing.F) {
	files, err := filepath.Glob("testdata/v2-*.bin")
	if err != nil || len(files) == 0 {
		f.Fatal("no testdata", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
		frames := split(f, data)
		f.Add(join(append(frames[:len(frames)-1:len(frames)-1], frames...)))
	}
	f.Add([]byte("ORDSTR\x00\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, data := range [][]byte{in, repair(in)} {
			frames, err := readAll(t, bytes.NewReader(data))
			abort := (*stream.AbortError)(nil)
			if err != nil && !errors.Is(err, stream.ErrCorrupt) && !errors.Is(err, stream.ErrTruncated) && !errors.Is(err, stream.ErrVersion) && !errors.As(err, &abort) {
				t.Fatalf("Next() = %v, want one of the package's errors", err)
			}
			var b bytes.Buffer
			if werr := rewrite(stream.NewWriter(&b), frames); werr != nil {
				t.Fatalf("what a Reader accepts a Writer refuses: %v", werr)
			}
			again, err2 := readAll(t, bytes.NewReader(b.Bytes()))
			if len(again) != len(frames) || err == nil && err2 != nil {
				t.Fatalf("written again: %d frames, %v, want %d", len(again), err2, len(frames))
			}
		}
	})
}
