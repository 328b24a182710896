package clone

import (
	"fmt"

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

// A dataFile is one file of the copy, as far as it has arrived. The directory's mutex guards it; what data is checked and written by
// (path, pages, fsp, punch, sparse) changes only while no data is on its way.
type dataFile struct {
	id     fileID
	name   string // as the donor sent it last
	path   string // below the data directory, now; "" when the content is dropped on purpose
	space  uint32
	fsp    innodb.Flags
	pages  bool   // consists of InnoDB pages, which are checked
	punch  uint32 // file-system block size to punch compressed pages' tails with; 0 = write whole pages
	sparse bool   // the donor's file has holes: so may ours

	firstChunk, lastChunk uint32 // of FILE_COPY; 0 when the file is newer

	deleted  bool
	size     uint64 // the largest size the donor has named
	reaches  uint64 // our file must be at least that long, in bytes
	arrived  coverage
	bad      badPages
	unsynced bool // written since the last sync
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

// makeRoom checks that n bytes lie within the file, which may have grown.
func (f *dataFile) makeRoom(h stream.DataHeader, n uint64) error {
	if h.FileSize > maxFileSize || h.Offset > maxFileSize {
		return fmt.Errorf("file %q: a size of %d bytes or offset %d is beyond any server's", f.name, h.FileSize, h.Offset)
	}
	f.size = max(f.size, h.FileSize)
	if h.Stage == stream.StagePageCopy {
		// With several connections a page may come before the one that tells that the file has grown.
		f.size = max(f.size, h.Offset+n)
	}
	if h.Offset+n > f.size {
		return fmt.Errorf("file %q: %d bytes at offset %d lie beyond its end at %d", f.name, n, h.Offset, f.size)
	}
	return nil
}
