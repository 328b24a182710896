package clone

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ordinal/stream"
)

// Offsets and types within an InnoDB page.
const (
	offPageNumber        = 4
	offPageType          = 24
	offCompressedSize    = 32
	offPageSpace         = 34
	compressedHeaderSize = 38
	pageCompressed       = 14
	pageCompressedRTree  = 16
)

// write writes data of f, which is at that path.
func (d *Directory) write(f *dataFile, at string, h stream.DataHeader, data []byte) error {
	out, err := d.open.acquire(f.id, at)
	if err != nil {
		return err
	}
	done, err := d.writeDirect(f, out, at, h, data)
	if err == nil && !done {
		err = f.write(out, h, data)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", at, err), d.open.release(out))
	}
	if err := d.open.release(out); err != nil {
		return fmt.Errorf("close a file of the clone: %w", err)
	}
	return nil
}

// write puts data at its offset, leaving holes where the donor's file has them, and starts writing it back at once: a sync
// of a whole large file at the end would leave the disk idle now and the network idle then.
func (f *dataFile) write(out diskFile, h stream.DataHeader, data []byte) error {
	if !f.holes() {
		if _, err := out.WriteAt(data, int64(h.Offset)); err != nil {
			return err
		}
	} else if err := f.writeSparse(out, h, data); err != nil {
		return err
	}
	if len(data) >= writebackBytes {
		out.writeBack(h.Offset, uint64(len(data)))
	}
	return nil
}

// holes reports whether the file may have some.
func (f *dataFile) holes() bool { return f.punch != 0 || f.sparse }

// writebackBytes is the size from which on a write is worth a hint of its own.
const writebackBytes = 256 << 10

// writeSparse writes page by page: of a compressed page what is used, of an empty page of a file with holes nothing, and
// frees the rest. In FILE_COPY there is nothing to free yet.
func (f *dataFile) writeSparse(out diskFile, h stream.DataHeader, data []byte) error {
	size := uint64(defaultUnit)
	if f.pages {
		size = uint64(f.fsp.PhysicalSize())
	}
	for offset := h.Offset; len(data) > 0; {
		n := min(size, uint64(len(data)))
		used := f.used(offset, data[:n])
		if used > 0 {
			if _, err := out.WriteAt(data[:used], int64(offset)); err != nil {
				return err
			}
		}
		if used < n && h.Stage != stream.StageFileCopy {
			if err := out.free(offset+used, n-used); err != nil {
				return err
			}
		}
		offset, data = offset+n, data[n:]
	}
	return nil
}

// used is how many bytes of the page at offset have to be on disk. The first page always is there whole.
func (f *dataFile) used(offset uint64, page []byte) uint64 {
	whole := uint64(len(page))
	if offset == 0 {
		return whole
	}
	if f.sparse && allZero(page) {
		return 0
	}
	if f.punch == 0 || len(page) < compressedHeaderSize {
		return whole
	}
	if kind := binary.BigEndian.Uint16(page[offPageType:]); kind != pageCompressed && kind != pageCompressedRTree {
		return whole
	}
	used := uint64(binary.BigEndian.Uint16(page[offCompressedSize:])) + compressedHeaderSize
	block := uint64(f.punch)
	return min(whole, (used+block-1)/block*block) // a torn page may name any size: then all of it is kept
}

func allZero(page []byte) bool {
	for ; len(page) >= 8; page = page[8:] {
		if binary.LittleEndian.Uint64(page) != 0 {
			return false
		}
	}
	for _, b := range page {
		if b != 0 {
			return false
		}
	}
	return true
}
