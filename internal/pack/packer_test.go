package pack

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// rows returns n bytes that look like pages of a table: some structure, some text, some noise, and a part of each page empty.
func rows(n int) []byte {
	random := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 0, n+200)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "\x80\x00\x00\x10\x00%cuser_%08d@example.com\x00\x00%x", i%256, i, random.Uint64())
		if i%300 == 299 {
			b = append(b, make([]byte, 2000)...)
		}
	}
	return b[:n]
}

func noise(n int) []byte {
	random := rand.New(rand.NewPCG(2, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func TestPack(t *testing.T) {
	const most = 4 << 20
	p, u := NewPacker(), NewUnpacker(most, 1)
	defer u.Close()
	for _, test := range []struct {
		name string
		raw  []byte
		ok   bool
	}{
		{"page of rows", rows(16 << 10), true},
		{"block of rows", rows(1 << 20), true},
		{"largest block", rows(most), true},
		{"odd length", rows(100_003), true},
		{"zeros", make([]byte, 1<<20), true},
		{"noise", noise(1 << 20), false},
		{"one byte", []byte{1}, false},
		{"nothing", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			packed, ok := p.Pack(test.raw)
			if ok != test.ok {
				t.Fatalf("Pack() of %d bytes = %d bytes, %t", len(test.raw), len(packed), ok)
			}
			if len(test.raw) == 0 {
				return
			}
			dst := make([]byte, 0, most)
			got, err := u.Unpack(dst, packed, len(test.raw))
			if err != nil || !bytes.Equal(got, test.raw) {
				t.Fatalf("Unpack() = %d bytes, %v", len(got), err)
			}
			if &got[0] != &dst[:1][0] {
				t.Error("Unpack() did not use the memory that it was given")
			}
			if got, err := u.Unpack(nil, packed, len(test.raw)); err != nil || !bytes.Equal(got, test.raw) {
				t.Errorf("Unpack() without memory = %d bytes, %v", len(got), err)
			}
		})
	}
}

// allocated returns how many bytes a call allocates on average.
func allocated(call func()) uint64 {
	const calls = 20
	call()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		call()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / calls
}

// Neither side may allocate for each block.
func TestPackReusesMemory(t *testing.T) {
	p, u := NewPacker(), NewUnpacker(1<<20, 1)
	defer u.Close()
	raw, dst := rows(1<<20), make([]byte, 1<<20)
	packed, _ := p.Pack(raw)
	packed = bytes.Clone(packed)
	for _, test := range []struct {
		name string
		call func()
	}{
		{"Pack", func() { p.Pack(raw) }},
		{"Unpack", func() { _, _ = u.Unpack(dst, packed, len(raw)) }},
	} {
		if got := allocated(test.call); got > 32<<10 {
			t.Errorf("%s() allocates %d bytes", test.name, got)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	const most = 1 << 20
	u := NewUnpacker(most, 1)
	defer u.Close()
	pack := func(raw []byte, options ...zstd.EOption) []byte {
		t.Helper()
		e, err := zstd.NewWriter(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(raw, nil)
	}
	raw := rows(64 << 10)
	good := pack(raw)
	stream := func(n int) []byte { // without the length of its content at its head
		t.Helper()
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b, zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		for range n / (64 << 10) {
			if _, err := e.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, test := range []struct {
		name   string
		src    []byte
		rawLen int
		length bool // a LengthError
	}{
		{"shorter than announced", good, len(raw) + 1, true},
		{"longer than announced", good, len(raw) - 1, true},
		{"announced as nothing", good, 0, false},
		{"announced as negative", good, -1, false},
		{"announced as too much", pack(make([]byte, most+1)), most + 1, false},
		{"twice", append(bytes.Clone(good), good...), len(raw), true},
		{"truncated", good[:len(good)-1], len(raw), false},
		{"something behind it", append(bytes.Clone(good), 0), len(raw), false},
		{"empty", nil, len(raw), true},
		{"no zstd", raw, len(raw), false},
		{"bomb with its length", pack(make([]byte, 32<<20), zstd.WithWindowSize(most)), most, true},
		{"bomb with a large window", pack(make([]byte, 32<<20)), most, false},
		{"bomb without its length", stream(32 << 20), most, true},
		{"window larger than anything", []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0}, 1, false},
		{"skipped frame only", []byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}, 4, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			memory := make([]byte, most+16)
			for i := range memory {
				memory[i] = 0xa5
			}
			got, err := u.Unpack(memory, test.src, test.rawLen)
			if !errors.Is(err, ErrPacked) || got != nil {
				t.Errorf("Unpack() = %d bytes, %v, want ErrPacked", len(got), err)
			}
			if length := (*LengthError)(nil); errors.As(err, &length) != test.length {
				t.Errorf("Unpack() = %v, want a LengthError: %t", err, test.length)
			}
			if behind := memory[max(test.rawLen, 0):]; test.rawLen <= most && !bytes.Equal(behind, bytes.Repeat([]byte{0xa5}, len(behind))) {
				t.Error("Unpack() wrote behind the length announced")
			}
		})
	}
	bomb := stream(32 << 20)
	if got := allocated(func() { _, _ = u.Unpack(nil, bomb, 1000) }); got > 300<<10 {
		t.Errorf("a bomb for 1000 bytes allocates %d bytes", got)
	}
}

func TestUnpackConcurrently(t *testing.T) {
	u := NewUnpacker(1<<20, 2)
	defer u.Close()
	var g sync.WaitGroup
	for i := range 6 {
		g.Go(func() {
			p, raw := NewPacker(), rows(100_000+i)
			for range 30 {
				packed, _ := p.Pack(raw)
				if got, err := u.Unpack(nil, packed, len(raw)); err != nil || !bytes.Equal(got, raw) {
					t.Errorf("Unpack() = %d bytes, %v", len(got), err)
				}
			}
		})
	}
	g.Wait()
}

// Whatever comes, nothing but rawLen bytes comes out, into rawLen bytes of memory.
func FuzzUnpack(f *testing.F) {
	p := NewPacker()
	for _, raw := range [][]byte{rows(3000), make([]byte, 70_000), noise(500)} {
		packed, _ := p.Pack(raw)
		f.Add(bytes.Clone(packed), len(raw))
		f.Add(packed[:len(packed)/2], len(raw))
	}
	const most = 256 << 10
	u := NewUnpacker(most, 1)
	f.Cleanup(u.Close)
	f.Fuzz(func(t *testing.T, src []byte, rawLen int) {
		memory := make([]byte, most+1)
		n := min(max(rawLen, 0), most)
		clear(memory[n:])
		got, err := u.Unpack(memory, src, rawLen)
		if err == nil && (len(got) != rawLen || rawLen > most || &got[0] != &memory[0]) {
			t.Errorf("Unpack(%d) = %d bytes", rawLen, len(got))
		}
		if err != nil && (got != nil || !errors.Is(err, ErrPacked)) {
			t.Errorf("Unpack(%d) = %d bytes, %v", rawLen, len(got), err)
		}
		for _, b := range memory[n:] {
			if b != 0 {
				t.Fatalf("Unpack(%d) wrote behind", rawLen)
			}
		}
	})
}

func BenchmarkPack(b *testing.B) {
	for _, block := range []struct {
		name string
		raw  []byte
	}{{"rows", rows(1 << 20)}, {"zeros", make([]byte, 1<<20)}, {"noise", noise(1 << 20)}} {
		p, u := NewPacker(), NewUnpacker(1<<20, 1)
		packed, _ := p.Pack(block.raw)
		b.Run("pack/"+block.name, func(b *testing.B) {
			b.SetBytes(int64(len(block.raw)))
			for b.Loop() {
				p.Pack(block.raw)
			}
			b.ReportMetric(float64(len(packed))/float64(len(block.raw)), "ratio")
		})
		packed = bytes.Clone(packed)
		dst := make([]byte, len(block.raw))
		b.Run("unpack/"+block.name, func(b *testing.B) {
			b.SetBytes(int64(len(block.raw)))
			for b.Loop() {
				if _, err := u.Unpack(dst, packed, len(block.raw)); err != nil {
					b.Fatal(err)
				}
			}
		})
		u.Close()
	}
}
