package livefiles

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Files are read past the page cache where the server writes past it: what was cached earlier could be stale, and the donor's
// memory has better uses. Where that is not possible, what is cached of a file is dropped before it is read. A server that writes
// through the page cache is read through it: what is there is current. What a read leaves there is dropped after it in either case.

// directAlign is what memory, offset and length of a direct read are multiples of, in bytes. See open(2), O_DIRECT.
const directAlign = 4096

// A file of a set. Several reads may be under way.
type file struct {
	*os.File
	index  uint32      // of its FileMeta
	first  uint32      // chunk
	size   uint64      // announced, in bytes: nothing behind it is delivered
	name   string      // as announced, for errors
	past   bool        // the server writes past the page cache
	direct atomic.Bool // so do we read
}

// readAt reads into b, which is aligned as offset is, until it holds at least the first want bytes. It returns fewer, and no error, at the
// end of the file.
func (f *file) readAt(b []byte, offset uint64, want int) (int, error) {
	fd := int(f.Fd())
	total := 0
	for total < want {
		n, err := unix.Pread(fd, b[total:], int64(offset)+int64(total))
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EINVAL) && f.direct.Load():
			// The file system has other ideas about alignment.
			if err := f.goBuffered(); err != nil {
				return total, err
			}
		case err != nil:
			return total, err
		default:
			total += n
			// A direct read that stops at an odd place is at the end of the file, and none can begin there.
			if n == 0 || total%directAlign != 0 && f.direct.Load() {
				return total, nil
			}
		}
	}
	return total, nil
}

// goBuffered makes all further reads of the file go through the page cache.
func (f *file) goBuffered() error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT); err != nil {
		return err
	}
	f.direct.Store(false)
	f.forgetStale(0, f.size)
	return nil
}

// forgetStale drops what the page cache holds of a part of the file that is about to be read, if it could be older than the disk.
func (f *file) forgetStale(offset, n uint64) {
	if f.past {
		f.forget(offset, n)
	}
}

// forget drops what the page cache holds of a part of the file, if we read through it. It is advice: pages that are being
// written stay, and those are current.
func (f *file) forget(offset, n uint64) {
	if !f.direct.Load() {
		_ = unix.Fadvise(int(f.Fd()), int64(offset), int64(n), unix.FADV_DONTNEED)
	}
}

// expectRandom and expectSequential tell the page cache how far to read ahead.
func (f *file) expectRandom()     { f.advise(unix.FADV_RANDOM) }
func (f *file) expectSequential() { f.advise(unix.FADV_SEQUENTIAL) }

func (f *file) advise(advice int) {
	if !f.direct.Load() {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, advice)
	}
}

// A ReadError is a file that could not be read as it was announced. The chunks that were not delivered are the
// server's to send.
type ReadError struct {
	Name   string // of the file, as announced
	Offset uint64 // bytes
	Err    error  // ErrShrunk, or that of the operating system
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("read live data file %s at %d: %v", e.Name, e.Offset, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// ErrShrunk says that a file ended before the size that was announced.
var ErrShrunk = errors.New("the file is shorter than announced")

// alignedBuffer returns n bytes that direct reads can go to.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+directAlign)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % directAlign)
	return b[skip : skip+n : skip+n]
}
