package clone

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"ordinal/stream"
)

// Large pieces are written past the page cache (O_DIRECT). Through it each byte would be copied once more and take a page of
// memory, which counts against a container's limit, although the server that starts on the copy does not read it from there.
// See open(2) and refman/8.4 sysvar_innodb_flush_method. A sync is needed as before: the size and the disk's own cache are not
// durable.

// directAlign is what offset, length and memory of such a write are multiples of, in bytes: the largest block of a disk.
const directAlign = 4096

// directBytes is the size from which on a piece is worth a trip to the disk of its own.
const directBytes = 256 << 10

func misaligned(b []byte) int { return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % directAlign) }

// writeDirect writes data past the page cache, if that is possible. If not, nothing that counts was written.
func (d *Directory) writeDirect(f *dataFile, out *openFile, at string, h stream.DataHeader, data []byte) (done bool, err error) {
	if f.holes() || len(data) < directBytes || len(data)%directAlign != 0 || h.Offset%directAlign != 0 || misaligned(data) != 0 {
		return false, nil
	}
	file := d.open.direct(out, at)
	if file == nil {
		return false, nil
	}
	_, err = file.WriteAt(data, int64(h.Offset))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		// This file system has other ideas about alignment, or it was a short write whose rest is not aligned.
		return false, nil
	}
	return true, err
}

// direct returns f opened for writing past the page cache, nil where the file system has no such thing.
func (o *openFiles) direct(f *openFile, path string) diskFile {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.bypass == nil && !o.noDirect {
		var err error
		if f.bypass, err = o.disk.open(path, true); err != nil {
			f.bypass, o.noDirect = nil, true // the page cache always works
		}
	}
	return f.bypass
}
