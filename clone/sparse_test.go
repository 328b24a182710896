package clone

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"ordinal/stream"
)

// compressed is a page of page compression: used bytes count, the rest is padding.
func compressed(space, no uint32, used int) []byte {
	p := make([]byte, pageSize)
	be := binary.BigEndian
	be.PutUint32(p[4:], no)
	be.PutUint16(p[24:], pageCompressed)
	be.PutUint16(p[32:], uint16(used-compressedHeaderSize))
	be.PutUint32(p[34:], space)
	for i := compressedHeaderSize; i < used; i++ {
		p[i] = byte(i)
	}
	return p
}

// Files take no more room on the recipient's disk than on the donor's.
func TestHoles(t *testing.T) {
	t.Parallel()
	const n = 32
	packed := func(used int) []byte {
		b := page(100, 0, 'a') // the first page is never compressed
		for no := uint32(1); no < n; no++ {
			b = append(b, compressed(100, no, used)...)
		}
		return b
	}
	zeros := append(page(100, 0, 'a'), make([]byte, (n-2)*pageSize)...)
	zeros = append(zeros, page(100, n-1, 'z')...)
	full := bytes.Repeat(page(100, 3, 'f'), n)
	torn := compressed(100, 9, 4000)
	binary.BigEndian.PutUint16(torn[32:], 0xFFFF)

	for name, c := range map[string]struct {
		change    func(*stream.File)
		copied    []byte
		again     []byte // sent in PAGE_COPY from page 1 on
		most      int64  // bytes on disk
		least     int64
		wantBytes []byte // nil: what was sent
	}{
		"page compression":           {flagged(stream.FlagZlib), packed(3000), nil, pageSize + (n-1)*4096, 0, nil},
		"page compression, lz4":      {flagged(stream.FlagLZ4), packed(5000), nil, pageSize + (n-1)*8192, 0, nil},
		"compresses better later":    {flagged(stream.FlagZlib), full, packed(3000)[pageSize:], pageSize + (n-1)*4096, 0, append(page(100, 3, 'f'), packed(3000)[pageSize:]...)},
		"compresses worse later":     {flagged(stream.FlagZlib), packed(3000), full[pageSize:], n * pageSize, n * pageSize, append(page(100, 0, 'a'), full[pageSize:]...)},
		"pages that do not compress": {flagged(stream.FlagZlib), full, nil, n * pageSize, n * pageSize, nil},
		"header of a torn page":      {flagged(stream.FlagZlib), packed(3000), torn, pageSize*2 + (n-2)*4096, pageSize * 2, nil},
		"sparse":                     {allocated(2 * pageSize), zeros, nil, 2 * pageSize, 0, nil},
		"emptied later":              {allocated(2 * pageSize), full, zeros[pageSize:], 2 * pageSize, 0, append(page(100, 3, 'f'), zeros[pageSize:]...)},
		"not sparse on the donor":    {allocated(n * pageSize), zeros, nil, n * pageSize, n * pageSize, nil},
		"block as large as a page":   {func(f *stream.File) { f.Flags, f.BlockSize = stream.FlagZlib, pageSize }, packed(3000), nil, n * pageSize, n * pageSize, nil},
		"block size of nonsense":     {func(f *stream.File) { f.Flags, f.BlockSize = stream.FlagZlib, 0 }, packed(3000), nil, n * pageSize, n * pageSize, nil},
	} {
		b := build(t)
		b.do(begin(fileCopy), file(fileCopy, 0, "x/a.ibd", pagesLong(n), c.change), data(fileCopy, 0, 0, c.copied), end(fileCopy), begin(pageCopy))
		want := bytes.Clone(c.copied)
		if c.again != nil {
			b.do(data(pageCopy, 0, pageSize, c.again))
			copy(want[pageSize:], c.again)
		}
		b.do(end(pageCopy))
		if len(c.again) == pageSize { // the torn one: it stays bad, on purpose; this is about its bytes
			clear(b.files[0].bad)
		}
		_, err := b.finish()
		must(t, err)
		if c.wantBytes != nil {
			want = c.wantBytes
		}
		path := filepath.Join(b.dir, "x/a.ibd")
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the file's %d bytes are not what was sent: %v", name, len(got), err)
		}
		// A file system may need a block or two more for a file with many holes.
		if got := blocks(t, path); got > c.most+2*4096 || got < c.least {
			t.Errorf("%s: %d bytes on disk, want %d to %d", name, got, c.least, c.most)
		}
	}
}
