package clone

import (
	"math"
	"runtime"
	"testing"

	"ordinal/stream"
)

// Numbers from the network are bounded before anything is sized by them: no panic, and memory only for what has really arrived.
func TestHostileNumbers(t *testing.T) {
	const tib = uint64(1) << 40
	onePage := func(offset, fileSize uint64) step { return sized(fileCopy, 0, offset, fileSize, page(100, 0, 'x')) }
	zipped := func(f *stream.File) { f.FSPFlags, f.Size = 1<<1, 64*tib } // pages of 1 KiB: the most units
	for name, c := range map[string]struct {
		steps []step
		ok    bool
	}{
		"file of 64 TiB, first page": {[]step{file(fileCopy, 0, "a.ibd", bytesLong(64*tib)), onePage(0, 0)}, true},
		"file of 64 TiB, last page":  {[]step{file(fileCopy, 0, "a.ibd", bytesLong(64*tib)), onePage(64*tib-pageSize, 0)}, true},
		"64 TiB of small pages":      {[]step{file(fileCopy, 0, "a.ibd", zipped), data(fileCopy, 0, 64*tib-1024, make([]byte, 1024))}, true},
		"size said with the data":    {[]step{file(fileCopy, 0, "a.ibd"), onePage(64*tib-pageSize, 64*tib)}, true},
		"64 TiB and nothing":         {[]step{file(fileCopy, 0, "a.ibd", zipped), end(fileCopy), begin(pageCopy)}, false},
		"beyond 64 TiB":              {[]step{file(fileCopy, 0, "a.ibd", bytesLong(64*tib)), onePage(64*tib, 0)}, false},
		"larger than 64 TiB":         {[]step{file(fileCopy, 0, "a.ibd", bytesLong(64*tib+1))}, false},
		"grows beyond 64 TiB":        {[]step{file(fileCopy, 0, "a.ibd"), onePage(0, 64*tib+1)}, false},
		"size of all ones":           {[]step{file(fileCopy, 0, "a.ibd", bytesLong(math.MaxUint64))}, false},
		"offset of all ones":         {[]step{file(fileCopy, 0, "a.ibd"), data(fileCopy, 0, math.MaxUint64-pageSize+1, page(100, 0, 'x'))}, false},
		"offset that wraps":          {[]step{file(fileCopy, 0, "a.ibd", noTablespace), data(fileCopy, 0, math.MaxUint64, make([]byte, 10))}, false},
		"index of all ones":          {[]step{file(fileCopy, math.MaxUint32, "a.ibd")}, false},
		"data for index of all ones": {[]step{data(fileCopy, math.MaxUint32, 0, page(100, 0, 'x'))}, false},
		"pages of 16 MiB":            {[]step{file(fileCopy, 0, "a.ibd", fspFlags(15<<6))}, false},
		"pages in larger pages":      {[]step{file(fileCopy, 0, "a.ibd", fspFlags(15<<1))}, false},
		"block of all ones": {[]step{
			file(fileCopy, 0, "a.ibd", func(f *stream.File) { f.Flags, f.BlockSize = stream.FlagZlib, math.MaxUint32 }), onePage(0, 0),
		}, true},
	} {
		b := build(t)
		b.do(begin(fileCopy))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := b.try(c.steps...)
		runtime.ReadMemStats(&after)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: %d bytes were allocated for one frame", name, got)
		}
	}
}

// More bad pages than any sound copy has end it at once.
func TestManyBadPages(t *testing.T) {
	t.Parallel()
	b := build(t)
	const n = maxBadPages / 64
	b.do(begin(fileCopy), file(fileCopy, 0, "a.ibd", pagesLong(64*(n+1))))
	rot := make([]byte, 64*pageSize)
	for i := range 64 {
		rot[i*pageSize+100] = 1
	}
	for i := range uint64(n) {
		b.do(data(fileCopy, 0, i*64*pageSize, rot))
	}
	if err := b.try(data(fileCopy, 0, n*64*pageSize, rot)); err == nil {
		t.Errorf("%d bad pages: no error", maxBadPages+64)
	}
}
