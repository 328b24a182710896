package clone

import (
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"ordinal/internal/innodb"
	"ordinal/stream"
)

// Space ids and flags with a meaning of their own.
const (
	notATablespace = 0xFFFFFFFF // both as flags and as space id
	systemSpace    = 0
	maxUndoSpace   = 0xFFFFFFF0 // undo tablespaces take the 127 × 400 000 ids below the redo log's
	minUndoSpace   = maxUndoSpace - 127*400_000
)

// fileID names a file of the copy. The server numbers data files and redo files independently.
type fileID struct {
	redo  bool
	index uint32
}

// A dataFile is one file of the copy, as far as it has arrived.
//
// Data for it may arrive on several goroutines at once; everything else happens while none does.
type dataFile struct {
	id      fileID
	name    string // as the donor sent it last
	path    string // below the data directory, now; "" when the content is dropped on purpose
	next    string // the path it gets when the batch of DDL changes is over; "" when it keeps its path
	space   uint32
	fsp     innodb.Flags
	pages   bool   // consists of InnoDB pages, which are checked
	punch   uint32 // file-system block size to punch compressed pages' tails with; 0 = write whole pages
	sparse  bool   // the donor's file has holes: so may ours
	deleted atomic.Bool

	mu      sync.Mutex
	size    uint64 // the largest size the donor has named
	arrived coverage
	bad     badPages
	dirty   bool // written since the last sync
}

// newDataFile takes the donor's description of a file; path is where it is kept.
func newDataFile(id fileID, meta stream.File, path string) (*dataFile, error) {
	f := &dataFile{id: id, path: path, space: meta.SpaceID, bad: badPages{}}
	f.pages = !id.redo && meta.FSPFlags != notATablespace
	return f, f.update(meta)
}

// update takes over what a later description of the same file says: attributes and size, not its path.
func (f *dataFile) update(meta stream.File) error {
	if meta.Flags&(stream.FlagEncrypted|stream.FlagKey) != 0 {
		return &UnsupportedError{What: "encrypted tablespaces", Names: []string{meta.Name}}
	}
	f.name = meta.Name
	f.fsp = innodb.Flags(meta.FSPFlags)
	if f.pages {
		if err := f.fsp.Check(); err != nil {
			return fmt.Errorf("file %q: %w", meta.Name, err)
		}
	}
	f.size = max(f.size, meta.Size)
	f.sparse = meta.Alloc > 0 && meta.Alloc < meta.Size
	f.punch = 0
	if f.pages && meta.Flags&(stream.FlagZlib|stream.FlagLZ4) != 0 && !f.fsp.Zip() && int(meta.BlockSize)*2 <= f.fsp.PhysicalSize() {
		f.punch = meta.BlockSize
	}
	if f.pages {
		f.arrived.unit = uint64(f.fsp.PhysicalSize())
	} else {
		f.arrived.unit = defaultUnit
	}
	return nil
}

// final is the path that f has when the batch of DDL changes under way is over.
func (f *dataFile) final() string {
	if f.next != "" {
		return f.next
	}
	return f.path
}

func (f *dataFile) undo() bool { return f.space >= minUndoSpace && f.space < maxUndoSpace }

// finalSize is the size the file has on the donor: what was announced, rounded up to the extent for a tablespace that has
// more than one, because the server extends by whole extents.
func (f *dataFile) finalSize() uint64 {
	if !f.pages {
		return f.size
	}
	extent := uint64(innodb.ExtentBytes(f.fsp.LogicalSize()))
	if f.size <= extent || f.size%extent == 0 {
		return f.size
	}
	return (f.size/extent + 1) * extent
}

// defaultUnit is the granularity, in bytes, in which the arrival of a file without pages is recorded.
const defaultUnit = 16 << 10

// coverage records which parts of a file have arrived, in units of a page. It takes memory for what has arrived, not for what
// a donor says there is: sizes and offsets come from the network.
type coverage struct {
	unit   uint64 // bytes
	size   uint64 // bytes that have to arrive; what lies beyond is not recorded
	blocks map[uint64]*coverageBlock
	n      uint64 // units that have arrived
}

// A coverageBlock is 4096 units, a bit each.
type coverageBlock [64]uint64

const blockUnits = uint64(len(coverageBlock{})) * 64

// add records n bytes at offset. A unit counts when its first byte is in the range: a file's last unit may be short.
func (c *coverage) add(offset, n uint64) {
	end := min(offset+n, c.size)
	for u := (offset + c.unit - 1) / c.unit; u*c.unit < end; u++ {
		block := c.blocks[u/blockUnits]
		if block == nil {
			if c.blocks == nil {
				c.blocks = make(map[uint64]*coverageBlock)
			}
			block = new(coverageBlock)
			c.blocks[u/blockUnits] = block
		}
		word, bit := u%blockUnits/64, uint64(1)<<(u%64)
		if block[word]&bit == 0 {
			block[word] |= bit
			c.n++
		}
	}
}

// missing is the first offset that has not arrived; ok is false when everything has.
func (c *coverage) missing() (offset uint64, ok bool) {
	if c.n >= (c.size+c.unit-1)/c.unit {
		return 0, false
	}
	for u := uint64(0); ; u++ {
		block := c.blocks[u/blockUnits]
		if block == nil || block[u%blockUnits/64]&(1<<(u%64)) == 0 {
			return u * c.unit, true
		}
	}
}

// badPages holds, by page number, the pages whose last arrived content fails its own checksum.
type badPages map[uint64]error

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
			bad[no] = err
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

// note replaces what was known of the pages in n bytes at offset by bad. The caller holds f.mu.
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
