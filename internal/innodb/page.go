package innodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Offsets in a page; all integers big-endian. The server's sources call them FIL_PAGE_…
const (
	offChecksum = 0
	offNumber   = 4
	offLSN      = 16 // 8 bytes
	offType     = 24
	offUnused   = 26 // 8 bytes, in no checksum
	offSpace    = 34
	offBody     = 38

	trailer    = 8 // at the end: checksum and the low half of the LSN; not with ROW_FORMAT=COMPRESSED
	trailerLSN = 4 // the latter
)

// Page types without a checksum of their content: it is that of the page before it was
// compressed or encrypted.
const (
	typeCompressed             = 14
	typeEncrypted              = 15
	typeCompressedAndEncrypted = 16
	typeEncryptedRTree         = 17
)

// noChecksum is what innodb_checksum_algorithm=none stored.
const noChecksum = 0xDEADBEEF

// ErrPage is what every PageError matches.
var ErrPage = errors.New("bad page")

// ErrChecksum: the content of a page is not what was written.
var ErrChecksum = fmt.Errorf("%w: checksum does not match", ErrPage)

// ErrMisplaced: a page is sound, but belongs elsewhere.
var ErrMisplaced = fmt.Errorf("%w: belongs elsewhere", ErrPage)

// A PageError is a page that is not what it has to be. It matches ErrChecksum or ErrMisplaced, and ErrPage.
type PageError struct {
	Page   uint32 // number: of the place in the file if it is known, else the page's own
	Field  Field  // what differs
	Stored uint32 // in the page
	Want   uint32 // computed, or by its place
}

// A Field is a part of a page that can be wrong.
type Field string

// The fields.
const (
	FieldChecksum Field = "checksum"
	FieldTrailer  Field = "checksum at the end"
	FieldLSN      Field = "LSN at the end"
	FieldNumber   Field = "page number"
	FieldSpace    Field = "space id"
	FieldLength   Field = "compressed length"
)

// Error names page, field, and both values.
func (e *PageError) Error() string {
	return fmt.Sprintf("page %d: %s is %#08x, want %#08x", e.Page, e.Field, e.Stored, e.Want)
}

// Unwrap returns ErrChecksum or ErrMisplaced.
func (e *PageError) Unwrap() error {
	if e.Field == FieldNumber || e.Field == FieldSpace {
		return ErrMisplaced
	}
	return ErrChecksum
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [maxPageSize]byte
)

// CheckPage verifies the checksum of a page, which is flags.PhysicalSize() bytes long. A page
// of zeros is good: it was never written. Any error but for a wrong length is a
// *PageError that matches ErrChecksum.
//
// What no checksum covers is not seen here: bytes 26 to 33 and, but for CheckPageAt, 34 to 37; with
// ROW_FORMAT=COMPRESSED bytes 16 to 23 and 26 to 33. Pages with page compression or encryption
// are looked at by their headers only.
//
// It does not allocate unless the page is bad.
func CheckPage(page []byte, flags Flags) error {
	if len(page) != flags.PhysicalSize() || len(page) < minZipSize || len(page) > maxPageSize {
		return fmt.Errorf("%w: %d bytes long, want %d", ErrPage, len(page), flags.PhysicalSize())
	}
	if flags.Zip() {
		return checkZip(page)
	}
	be := binary.BigEndian
	switch be.Uint16(page[offType:]) {
	case typeCompressed, typeCompressedAndEncrypted:
		return checkCompressed(page)
	case typeEncrypted, typeEncryptedRTree:
		return nil
	}
	end := page[len(page)-trailer:]
	head, tail := be.Uint32(page[offChecksum:]), be.Uint32(end)
	if crc := checksum(page); head != crc || tail != crc {
		if allZero(page) {
			return nil
		}
		if !olderChecksum(page, head, tail) {
			if head == crc {
				return &PageError{be.Uint32(page[offNumber:]), FieldTrailer, tail, crc}
			}
			return &PageError{be.Uint32(page[offNumber:]), FieldChecksum, head, crc}
		}
	}
	// The last four bytes are in no checksum.
	if lsn, low := be.Uint32(page[offLSN+4:]), be.Uint32(end[trailerLSN:]); lsn != low {
		return &PageError{be.Uint32(page[offNumber:]), FieldLSN, low, lsn}
	}
	return nil
}

// CheckPageAt is CheckPage of a page whose place is known: the tablespace's id, and the page's number. Of a
// page in the wrong place the error matches ErrMisplaced.
func CheckPageAt(page []byte, flags Flags, space, number uint32) error {
	if err := CheckPage(page, flags); err != nil {
		var bad *PageError
		if errors.As(err, &bad) {
			bad.Page = number
		}
		return err
	}
	be := binary.BigEndian
	switch n, s := be.Uint32(page[offNumber:]), be.Uint32(page[offSpace:]); {
	case n == number && s == space, allZero(page):
		return nil
	case n != number:
		return &PageError{number, FieldNumber, n, number}
	default:
		return &PageError{number, FieldSpace, s, space}
	}
}

func allZero(page []byte) bool { return bytes.Equal(page, zeros[:len(page)]) }

// checksum is the checksum of a page that is not ROW_FORMAT=COMPRESSED.
func checksum(page []byte) uint32 {
	return crc32.Checksum(page[offNumber:offUnused], castagnoli) ^
		crc32.Checksum(page[offBody:len(page)-trailer], castagnoli)
}

// zipChecksum is the checksum of a page with ROW_FORMAT=COMPRESSED.
func zipChecksum(page []byte) uint32 {
	return crc32.Checksum(page[offNumber:offLSN], castagnoli) ^
		crc32.Checksum(page[offType:offUnused], castagnoli) ^
		crc32.Checksum(page[offSpace:], castagnoli)
}

func checkZip(page []byte) error {
	stored := binary.BigEndian.Uint32(page[offChecksum:])
	crc := zipChecksum(page)
	if stored == crc || stored == noChecksum || allZero(page) || stored == zipAdler(page) {
		return nil
	}
	return &PageError{binary.BigEndian.Uint32(page[offNumber:]), FieldChecksum, stored, crc}
}

// checkCompressed looks at the header of a page with page compression.
func checkCompressed(page []byte) error {
	const offLength = 32 // of what follows offBody
	be := binary.BigEndian
	if n := int(be.Uint16(page[offLength:])); offBody+n > len(page) {
		return &PageError{be.Uint32(page[offNumber:]), FieldLength, uint32(n), uint32(len(page) - offBody)}
	}
	return nil
}

// InitialPage0 is the first page of a new tablespace, which redo log recovery needs to recognise the
// file. serverVersion is like 90704 for 9.7.4. The result has flags.PhysicalSize() bytes.
func InitialPage0(serverVersion, space uint32, flags Flags) []byte {
	const (
		offServerVersion = 8
		offSpaceVersion  = 12
		offHeaderSpace   = 38
		offHeaderFlags   = 54
	)
	page := make([]byte, flags.PhysicalSize())
	be := binary.BigEndian
	be.PutUint32(page[offServerVersion:], serverVersion)
	be.PutUint32(page[offSpaceVersion:], 1)
	be.PutUint32(page[offSpace:], space)
	be.PutUint32(page[offHeaderSpace:], space)
	be.PutUint32(page[offHeaderFlags:], uint32(flags))
	if flags.Zip() {
		be.PutUint32(page[offChecksum:], zipChecksum(page))
		return page
	}
	c := checksum(page)
	be.PutUint32(page[offChecksum:], c)
	be.PutUint32(page[len(page)-trailer:], c)
	return page
}
