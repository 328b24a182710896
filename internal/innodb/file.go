package innodb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A File is a tablespace file to check.
type File struct {
	Name  string // for errors
	Space uint32
	Flags Flags
	// FirstPage is the number of the file's first page. It is not 0 only for the second and
	// later files of a system tablespace.
	FirstPage uint32
}

// ReadFile fills in a File from the first page of a tablespace.
func ReadFile(name string, r io.ReaderAt) (File, error) {
	head := make([]byte, minZipSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return File{}, fmt.Errorf("read first page of %s: %w", name, err)
	}
	f := File{Name: name}
	f.Space, f.Flags = firstPage(head)
	if err := f.Flags.Check(); err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// CheckFile reads size bytes of a tablespace file and verifies every page: its checksum,
// and that it is in its place. It calls bad for each page that is not, in
// order, and stops when bad returns an error. bad may be nil: then the first bad
// page is the error. It returns the number of pages read.
//
// A file that is being written may hold torn pages: check one that rests.
func CheckFile(r io.ReaderAt, size int64, f File, bad func(*PageError) error) (pages int64, err error) {
	if err := f.Flags.Check(); err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name, err)
	}
	page := int64(f.Flags.PhysicalSize())
	if size%page != 0 {
		return 0, fmt.Errorf("%s: %w: %d bytes are not whole pages of %d", f.Name, ErrPage, size, page)
	}
	if size/page > 1<<32-int64(f.FirstPage) {
		return 0, fmt.Errorf("%s: %w: %d pages are more than there are numbers", f.Name, ErrPage, size/page)
	}
	if bad == nil {
		bad = func(e *PageError) error { return e }
	}
	buf := make([]byte, min(size, 1<<20)) // a multiple of every page size
	for at := int64(0); at < size; {
		chunk := buf[:min(int64(len(buf)), size-at)]
		if _, err := r.ReadAt(chunk, at); err != nil && (err != io.EOF || at+int64(len(chunk)) < size) {
			return pages, fmt.Errorf("check %s: read at %d: %w", f.Name, at, err)
		}
		for ; len(chunk) > 0; chunk = chunk[page:] {
			if err := checkFilePage(chunk[:page], f, f.FirstPage+uint32(at/page)); err != nil {
				var e *PageError
				if !errors.As(err, &e) {
					return pages, fmt.Errorf("check %s: %w", f.Name, err)
				}
				if err := bad(e); err != nil {
					return pages, fmt.Errorf("check %s: %w", f.Name, err)
				}
			}
			pages++
			at += page
		}
	}
	return pages, nil
}

func checkFilePage(page []byte, f File, number uint32) error {
	// Servers before 8.0.20 kept their doublewrite buffer in the second and third extents of the system
	// tablespace: copies of other pages, some torn. They are never read again.
	extent := uint32(ExtentBytes(f.Flags.LogicalSize()) / f.Flags.LogicalSize())
	if f.Space == 0 && number >= extent && number < 3*extent {
		if n, s := binary.BigEndian.Uint32(page[offNumber:]), binary.BigEndian.Uint32(page[offSpace:]); n != number || s != 0 {
			return nil
		}
	}
	return CheckPageAt(page, f.Flags, f.Space, number)
}
