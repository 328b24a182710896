package innodb

import "fmt"

// Flags are the flags of a tablespace, as in its page 0 and in the clone protocol.
type Flags uint32

const (
	minPageSize    = 4 << 10 // innodb_page_size
	maxPageSize    = 64 << 10
	defaultPages   = 16 << 10 // what a page size of 0 in the flags means
	minZipSize     = 1 << 10  // KEY_BLOCK_SIZE=1
	maxZipSize     = 16 << 10
	sizeUnit       = 512 // sizes in the flags are this, shifted
	zipSizeBits    = 1   // position, 4 bits
	pageSizeBits   = 6   // position, 4 bits
	extentMinBytes = 1 << 20
	extentPages    = 64
)

// PhysicalSize is the size of a page in the file, in bytes.
func (f Flags) PhysicalSize() int {
	if n := f >> zipSizeBits & 15; n > 0 {
		return sizeUnit << n
	}
	return f.LogicalSize()
}

// LogicalSize is the size of a page in memory, in bytes: innodb_page_size. It differs from
// PhysicalSize for ROW_FORMAT=COMPRESSED.
func (f Flags) LogicalSize() int {
	if n := f >> pageSizeBits & 15; n > 0 {
		return sizeUnit << n
	}
	return defaultPages
}

// Zip reports whether the tablespace is ROW_FORMAT=COMPRESSED.
func (f Flags) Zip() bool { return f>>zipSizeBits&15 > 0 }

// Check refuses flags with sizes that no server creates. The sizes of unchecked flags are
// powers of two from 1 KiB to 16 MiB.
func (f Flags) Check() error {
	p, l := f.PhysicalSize(), f.LogicalSize()
	if l < minPageSize || l > maxPageSize || p > l || (f.Zip() && (p < minZipSize || p > maxZipSize)) {
		return fmt.Errorf("tablespace flags %#x mean pages of %d bytes in %d", uint32(f), l, p)
	}
	return nil
}

// PageSize returns the sizes of a page in the file and in memory, in bytes, and whether they are
// those of ROW_FORMAT=COMPRESSED.
func PageSize(f Flags) (physical, logical int, zip bool) {
	return f.PhysicalSize(), f.LogicalSize(), f.Zip()
}

// ExtentBytes is the size of an extent: files larger than one grow in multiples of it.
// pageSize is the LogicalSize.
func ExtentBytes(pageSize int) int { return max(extentMinBytes, extentPages*pageSize) }
