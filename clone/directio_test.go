package clone

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ordinal/stream"
)

// TestDirectWrites: whatever way a piece takes to the disk, past the page cache or through it, the file is the same.
func TestDirectWrites(t *testing.T) {
	const piece, pieces = directBytes / pageSize, 3
	for _, direct := range []bool{true, false} {
		for _, shift := range []int{0, 8} { // bytes by which the memory is out of line
			t.Run(fmt.Sprintf("direct %t, memory shifted by %d", direct, shift), func(t *testing.T) {
				b := build(t)
				b.open.noDirect = !direct
				var want []byte
				steps := []step{begin(fileCopy), file(fileCopy, 0, "./d/t.ibd", pagesLong(pieces*piece+1))}
				for n := range uint32(pieces) {
					content := pageRun(0, n*piece, piece)
					want = append(want, content...)
					buf := directBuffer(len(content)+shift, shift)[shift:]
					copy(buf, content)
					steps = append(steps, data(fileCopy, 0, uint64(n)*directBytes, buf))
				}
				tail := pageRun(0, pieces*piece, 1) // too small for a way of its own
				want = append(want, tail...)
				b.do(append(steps, data(fileCopy, 0, pieces*directBytes, tail), end(fileCopy), begin(pageCopy))...)
				// A page that changed goes through the cache, onto what went past it.
				changed := page(spaceOf(0), 1, 'x')
				copy(want[pageSize:], changed)
				b.do(data(pageCopy, 0, pageSize, changed), end(pageCopy))
				got, err := os.ReadFile(filepath.Join(b.dir, "d", "t.ibd"))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("the file has %d bytes (%v), and not the %d that were written", len(got), err, len(want))
				}
			})
		}
	}
}

// pageRun is n pages of the file with that index, from number first on.
func pageRun(index, first, n uint32) (run []byte) {
	for no := first; no < first+n; no++ {
		run = append(run, page(spaceOf(index), no, byte(no))...)
	}
	return run
}

func TestDirectBuffer(t *testing.T) {
	for range 100 {
		b := directBuffer(1<<20+stream.DataOverhead, stream.DataOverhead)
		if len(b) != 1<<20+stream.DataOverhead || misaligned(b[stream.DataOverhead:]) != 0 {
			t.Fatalf("%d bytes, out of line by %d", len(b), misaligned(b[stream.DataOverhead:]))
		}
	}
}
