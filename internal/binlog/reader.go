package binlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

const (
	maxData  = 64 << 10 // bytes of an event that are in memory
	readSize = 32 << 10
)

// A Reader reads the events of one binlog. It is for one goroutine. It takes some 100 KiB of memory at most.
type Reader struct {
	// Live says that the server may still be writing to the file, or was killed while it did. Then the file ends where its last complete event
	// does, and what follows of an event is not an error. NewReader takes it from the file. Clear it if it is known that the file is
	// complete: a later one exists.
	Live bool
	// Detail says that Transactions lists what each does to what, and looks into compressed ones, for which it takes some more memory, up to the 8 to 128 MiB
	// with which they were compressed. NewReader leaves it clear.
	Detail bool

	name        string
	src         *bufio.Reader
	position    int64 // of the next byte of src
	description Description
	event       Event
	again       bool   // Next returns event once more
	tables      mapped // of the transaction that is read
	unpacker    unpacker
	end         int64  // of the transaction that Begin returned; 0: there is none, or it was copied
	last        Type   // of the last event that was read and found right
	buf         []byte // the first part of the event, header included
	rest        int64  // bytes of the event between buf and checksum not read yet
	unchecked   bool   // the event's checksum has not been read yet
	sum         uint32 // of what was read of the event
	trailer     [checksumSize]byte
	err         error // what every further call returns
}

// NewReader reads the beginning of a binlog: which version wrote it and how. name is for errors and may be a path. src is read in
// larger pieces than needed; the caller closes it. Errors: ErrEncrypted, *DamageError, or why src could not be read.
func NewReader(name string, src io.Reader) (*Reader, error) {
	r := &Reader{name: name, src: bufio.NewReaderSize(src, readSize), buf: make([]byte, headerSize)}
	var start [len(magic)]byte
	if err := r.read(start[:]); err != nil {
		return nil, r.cutOr(err, 0)
	}
	switch string(start[:]) {
	case magic:
	case encryptedMagic:
		return nil, fmt.Errorf("read %s: %w", name, ErrEncrypted)
	default:
		return nil, r.damage(0, "it does not begin like a binlog")
	}
	event, err := r.Next()
	if err == io.EOF {
		return nil, r.damage(r.position, "no event follows")
	}
	if err != nil {
		return nil, err
	}
	if event.Type != TypeFormatDescription {
		return nil, r.damage(event.Position, fmt.Sprintf("%v in place of a format description", event.Type))
	}
	r.Live = event.Flags&flagInUse != 0
	return r, nil
}

// section makes r read the size bytes at position of a file, in which whole events of the form d lie.
func (r *Reader) section(name string, file io.ReaderAt, position, size int64, d Description) {
	src, buf := r.src, r.buf
	if src == nil {
		src, buf = bufio.NewReaderSize(nil, readSize), make([]byte, headerSize)
	}
	src.Reset(io.NewSectionReader(file, position, size))
	*r = Reader{name: name, src: src, position: position, description: d, buf: buf}
}

// Description returns what the last format description event said.
func (r *Reader) Description() Description { return r.description }

// Ended says whether the last event read is one with which a server ends a file: Stop or Rotate. A server that was killed has not
// written it.
func (r *Reader) Ended() bool { return r.last == TypeStop || r.last == TypeRotate }

// Next returns the next event, after it has verified the rest of the one before. It returns io.EOF at the end. Other errors: *DamageError,
// or why the file could not be read. After an error every call returns it again.
func (r *Reader) Next() (Event, error) {
	if r.err != nil {
		return Event{}, r.err
	}
	if r.again {
		r.again = false
		return r.event, nil
	}
	if err := r.next(); err != nil {
		r.err = err
		return Event{}, err
	}
	return r.event, nil
}

func (r *Reader) next() error {
	if err := r.Copy(io.Discard); err != nil {
		return err
	}
	if _, err := r.src.Peek(1); err == io.EOF {
		return io.EOF
	}
	at := r.position
	r.buf = r.buf[:headerSize]
	if err := r.read(r.buf); err != nil {
		if r.Live && errors.Is(err, io.ErrUnexpectedEOF) {
			return io.EOF
		}
		return r.cutOr(err, at)
	}
	r.event = parseHeader(r.buf, at)
	trailer := r.description.checksumSize()
	if r.event.Type == TypeFormatDescription {
		trailer = checksumSize
	}
	data := r.event.Size - headerSize - trailer
	if data < 0 {
		return r.damage(at, fmt.Sprintf("an event of %d bytes", r.event.Size))
	}
	if r.event.Type == TypeFormatDescription && r.event.Size > maxDescription {
		return r.damage(at, fmt.Sprintf("a format description of %d bytes", r.event.Size))
	}
	if r.event.Type != TypeFormatDescription && r.description.event == nil {
		return nil // not a binlog, and NewReader says so
	}
	r.rest, r.unchecked = data, trailer > 0
	first := int(min(data, maxData))
	r.buf = slices.Grow(r.buf, first)[:headerSize+first]
	if err := r.read(r.buf[headerSize:]); err != nil {
		return r.torn(err)
	}
	r.rest -= int64(first)
	r.event.Data, r.event.Whole = r.buf[headerSize:], r.rest == 0
	r.sum = r.checksumOf(r.buf)
	if !r.event.Whole {
		return nil
	}
	if err := r.finish(); err != nil {
		return err
	}
	if r.event.Type == TypeFormatDescription {
		d, err := parseDescription(append(r.buf, r.trailer[:]...))
		if err != nil {
			return r.damage(at, err.Error())
		}
		r.description = d
	}
	return nil
}

// checksumOf begins the checksum of an event. That of a format description stays the same when the server closes the file.
func (r *Reader) checksumOf(b []byte) uint32 {
	if r.event.Type != TypeFormatDescription || b[offFlags]&flagInUse == 0 {
		return crc32.ChecksumIEEE(b)
	}
	head := [headerSize]byte(b)
	head[offFlags] &^= flagInUse
	return crc32.Update(crc32.ChecksumIEEE(head[:]), crc32.IEEETable, b[headerSize:])
}

// finish reads the checksum, the last bytes of an event, and compares.
func (r *Reader) finish() error {
	if r.unchecked {
		r.unchecked = false
		if err := r.read(r.trailer[:]); err != nil {
			return r.torn(err)
		}
		if binary.LittleEndian.Uint32(r.trailer[:]) != r.sum {
			return r.damage(r.event.Position, fmt.Sprintf("wrong checksum of %v, %d bytes", r.event.Type, r.event.Size))
		}
	}
	r.last = r.event.Type
	return nil
}

// Copy writes the event that Next returned to w, all its bytes as they are in the file, and verifies it. It can be called once for each
// event. On error an unknown part of the event was written. The error io.EOF says that the file is live and the event is not complete.
func (r *Reader) Copy(w io.Writer) error {
	if r.err != nil {
		return r.err
	}
	if err := r.copy(w); err != nil {
		r.err = err
		return err
	}
	return nil
}

func (r *Reader) copy(w io.Writer) error {
	if w == io.Discard && r.rest == 0 && !r.unchecked {
		return nil
	}
	if _, err := w.Write(r.buf); err != nil {
		return err
	}
	pending := r.rest > 0 || r.unchecked
	for r.rest > 0 {
		if err := r.part(); err != nil {
			return err
		}
		if _, err := w.Write(r.buf); err != nil {
			return err
		}
	}
	if pending {
		if err := r.finish(); err != nil {
			return err
		}
	}
	_, err := w.Write(r.trailer[:r.trailerSize()])
	return err
}

// part reads the next part of an event that is longer than what is in memory, in the place of the one before.
func (r *Reader) part() error {
	r.buf = r.buf[:min(r.rest, maxData)] // it has this capacity: the event is a long one
	if err := r.read(r.buf); err != nil {
		return r.torn(err)
	}
	r.rest -= int64(len(r.buf))
	r.sum = crc32.Update(r.sum, crc32.IEEETable, r.buf)
	return nil
}

// more is part for who reads an event's data and does not copy it. An error stays.
func (r *Reader) more() error {
	err := r.part()
	if err == nil && r.rest == 0 {
		err = r.finish()
	}
	if err != nil {
		r.err = err
	}
	return err
}

func (r *Reader) trailerSize() int64 {
	if r.event.Type == TypeFormatDescription {
		return checksumSize
	}
	return r.description.checksumSize()
}

// load makes the event that Next returned whole: all of its data is in memory then, and verified. An event longer than limit is refused.
func (r *Reader) load(limit int64) error {
	if r.event.Whole {
		return nil
	}
	if r.event.Size > limit {
		return r.damage(r.event.Position, fmt.Sprintf("%v of %d bytes, at most %d are read", r.event.Type, r.event.Size, limit))
	}
	first := len(r.buf)
	r.buf = append(r.buf, make([]byte, r.rest)...)
	if err := r.read(r.buf[first:]); err != nil {
		return r.torn(err)
	}
	r.rest = 0
	r.sum = crc32.Update(r.sum, crc32.IEEETable, r.buf[first:])
	r.event.Data, r.event.Whole = r.buf[headerSize:], true
	return r.finish()
}

// read fills b. At the end of the file the error is io.ErrUnexpectedEOF.
func (r *Reader) read(b []byte) error {
	n, err := io.ReadFull(r.src, b)
	r.position += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// torn says what it means that the event's data could not be read. In a live file the server is about to write the rest, if the length that the
// header gives is right: it is there twice, as the length and as the position of the next event.
func (r *Reader) torn(err error) error {
	e := r.event
	if r.Live && errors.Is(err, io.ErrUnexpectedEOF) && e.next == uint32(e.Position+e.Size) {
		return io.EOF
	}
	return r.cutOr(err, e.Position)
}

func (r *Reader) cutOr(err error, position int64) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return r.damage(position, "the file ends in the middle of an event")
	}
	return fmt.Errorf("read %s: %w", r.name, err)
}

func (r *Reader) damage(position int64, problem string) error {
	return &DamageError{File: r.name, Position: position, Problem: problem}
}
