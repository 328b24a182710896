// Package arena is memory for reads and writes that go past the page cache.
package arena

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Align is what every piece of an arena begins at a multiple of, in bytes: enough for direct reads and writes on any disk.
const Align = 4096

// hugePage is the size of a huge page, in bytes, on the usual machines.
const hugePage = 2 << 20

// An Arena is memory in huge pages, where the system grants them: a disk takes one stretch of memory as one request, but cuts
// scattered pages of 4 KiB into many. On a virtual disk that is the difference between 1.4 and 3.4 GB/s, at half the CPU time.
// The garbage collector knows nothing of it. It is for one goroutine; the pieces are for whoever has them.
type Arena struct{ mapped, rest []byte }

// New returns an arena of n bytes, which it takes from the system only as they are used. The caller frees it.
func New(n int) (*Arena, error) {
	n = (n + hugePage - 1) / hugePage * hugePage
	// Older kernels do not align large mappings: one huge page more holds n aligned bytes.
	m, err := unix.Mmap(-1, 0, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes for the data of a copy: %w", n, err)
	}
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(m))) % hugePage)
	a := &Arena{mapped: m, rest: m[skip : skip+n]}
	_ = unix.Madvise(a.rest, unix.MADV_HUGEPAGE) // small pages do as well, only slower
	return a, nil
}

// Take returns n bytes nobody else has; it panics when they are not left.
func (a *Arena) Take(n int) []byte {
	b := a.rest[:n:n]
	a.rest = a.rest[min((n+Align-1)/Align*Align, len(a.rest)):]
	return b
}

// Free gives the memory back. Nobody may use any piece of it any more.
func (a *Arena) Free() { _ = unix.Munmap(a.mapped) }
