package clone

import (
	"encoding/binary"
	"fmt"
	"maps"

	"ordinal/internal/innodb"
)

// badPages holds, by page number, the pages whose last arrived content fails its own checksum.
type badPages map[uint64]struct{}

// maxBadPages bounds the bookkeeping per file. A copy of a busy server has a handful of torn pages at a time.
const maxBadPages = 4096

// check verifies every page in data, which begins at offset of the file, and returns those that are bad. It takes no lock:
// the parts of a file that arrive at one time do not overlap.
func (f *dataFile) check(offset uint64, data []byte) (badPages, error) {
	size := f.fsp.PhysicalSize()
	if offset%uint64(size) != 0 || len(data)%size != 0 {
		return nil, fmt.Errorf("file %q: %d bytes at offset %d are not whole pages of %d bytes", f.name, len(data), offset, size)
	}
	var bad badPages
	for no := offset / uint64(size); len(data) > 0; no, data = no+1, data[size:] {
		if err := innodb.CheckPage(data[:size], f.fsp); err != nil && !f.oldDoublewrite(no, data) {
			if bad == nil {
				bad = badPages{}
			}
			bad[no] = struct{}{}
		}
	}
	return bad, nil
}

// oldDoublewrite reports whether a page is one of the copies that servers before 8.0.20 kept in the second and third extent of
// the system tablespace: of other pages, in other sizes, some torn, and never read again. See refman/8.0 innodb-doublewrite-buffer.
func (f *dataFile) oldDoublewrite(no uint64, page []byte) bool {
	extent := uint64(innodb.ExtentBytes(f.fsp.LogicalSize()) / f.fsp.LogicalSize())
	return f.space == systemSpace && no >= extent && no < 3*extent &&
		(uint64(binary.BigEndian.Uint32(page[offPageNumber:])) != no || binary.BigEndian.Uint32(page[offPageSpace:]) != systemSpace)
}

// note replaces what was known of the pages in n bytes at offset by bad. The caller holds the directory's mutex.
func (f *dataFile) note(offset, n uint64, bad badPages) error {
	size := uint64(f.fsp.PhysicalSize())
	for no := offset / size; len(f.bad) > 0 && no*size < offset+n; no++ {
		delete(f.bad, no)
	}
	if len(f.bad)+len(bad) > maxBadPages {
		return &BadPagesError{File: f.path, Pages: bad.numbers()}
	}
	maps.Copy(f.bad, bad)
	return nil
}
