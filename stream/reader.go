package stream

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

var (
	// ErrTruncated: the input ended before the End frame. io.ErrUnexpectedEOF is in the chain, too.
	ErrTruncated = errors.New("the stream stopped before its end frame")
	// ErrVersion: the stream has a version of the format that this program does not know.
	ErrVersion = errors.New("unknown version of the stream format")
	// ErrCorrupt matches every [*CorruptError].
	ErrCorrupt = errors.New("corrupt stream")
)

// A CorruptError says where a stream is not what it should be. errors.Is(err, ErrCorrupt) is true.
type CorruptError struct {
	Frame  uint64 // number of the frame, from 0
	Offset int64  // of the frame in the stream, in bytes
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt stream: frame %d at byte %d: %s", e.Frame, e.Offset, e.Reason)
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// A Frame is one frame of a stream. The field named like its Kind is set; Heartbeat has none.
type Frame struct {
	Kind   Kind
	Seq    uint64
	Offset int64 // of the frame in the stream, in bytes

	Hello      *Hello
	StageStart StageStart
	File       File
	Data       Data
	StageEnd   StageEnd
	End        End
}

// A Reader reads one stream and checks everything that docs/formats/stream.md demands. It is for one goroutine at a time.
type Reader struct {
	r      io.Reader
	offset int64 // of the next frame
	seq    uint64
	chain  uint32
	order  order
	err    error // returned from now on
	head   [headerSize]byte
}

// NewReader returns a Reader of the stream r. It reads exactly the stream from r, in large pieces, without a buffer of its own.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame. The payload is read into buf: Frame.Data.Bytes aliases it and is valid for as long as the caller leaves buf
// alone; no other field does. If buf is too small for a frame, Next allocates for it; a buffer of [MaxFrame] bytes always suffices, one
// of 1 MiB + 64 KiB does for what today's servers send.
//
// The End frame is returned only if the input ends after it: then the stream is complete, and the next call returns io.EOF. Every other end
// is an error, and every later call returns the same:
//   - [ErrTruncated], when the input just stops;
//   - [*CorruptError], when anything is not as it should be;
//   - [ErrVersion], when it is a stream of another version;
//   - [*AbortError], when the sender gave up and said so (the Frame is then of KindAbort);
//   - the error of the underlying reader, wrapped.
func (r *Reader) Next(buf []byte) (Frame, error) {
	if r.err != nil {
		return Frame{}, r.err
	}
	f, err := r.next(buf)
	if err != nil {
		r.err = err
		return Frame{Kind: f.Kind, Seq: f.Seq, Offset: f.Offset}, err
	}
	if f.Kind == KindEnd {
		r.err = io.EOF
	}
	return f, nil
}

func (r *Reader) next(buf []byte) (Frame, error) {
	if r.offset == 0 {
		if err := r.preamble(); err != nil {
			return Frame{}, err
		}
	}
	f := Frame{Seq: r.seq, Offset: r.offset}
	length, payloadCRC, err := r.header(&f)
	if err != nil {
		return f, err
	}
	if uint64(len(buf)) < uint64(length) {
		buf = make([]byte, length) // at most MaxFrame, and the header's checksum was right
	}
	payload := buf[:length:length]
	crc, err := r.payload(payload)
	if err != nil {
		return f, err
	}
	if crc != payloadCRC {
		return f, r.corrupt("the checksum of the payload of a %v frame is wrong", f.Kind)
	}
	if err := r.decode(&f, payload); err != nil {
		if abort := (*AbortError)(nil); errors.As(err, &abort) {
			return f, err
		}
		return f, r.corrupt("%v: %v", f.Kind, err)
	}
	if f.Kind == KindEnd {
		if err := r.atEnd(); err != nil {
			return f, err
		}
	}
	r.chain = crc32.Update(r.chain, castagnoli, r.head[20:])
	r.seq++
	r.offset += headerSize + int64(length)
	return f, nil
}

// payload fills p and returns its checksum, piece by piece: a piece that has just been read is still in the processor's cache.
func (r *Reader) payload(p []byte) (crc uint32, err error) {
	const piece = 64 << 10
	for len(p) > 0 {
		n := min(piece, len(p))
		if err := r.read(p[:n]); err != nil {
			return 0, err
		}
		crc = crc32.Update(crc, castagnoli, p[:n])
		p = p[n:]
	}
	return crc, nil
}

func (r *Reader) preamble() error {
	p := r.head[:preambleSize]
	if err := r.read(p); err != nil {
		return err
	}
	if string(p[:len(magic)]) != magic {
		return r.corrupt("it does not begin like a stream")
	}
	if v := be.Uint16(p[len(magic):]); v != Version {
		return fmt.Errorf("%w: it has version %d, this program reads %d: run the same release on both sides", ErrVersion, v, Version)
	}
	r.offset = int64(preambleSize)
	return nil
}

// header reads a frame header and checks it before anything in it is believed.
func (r *Reader) header(f *Frame) (length, payloadCRC uint32, err error) {
	h := r.head[:]
	if err := r.read(h); err != nil {
		return 0, 0, err
	}
	if crc32.Checksum(h[:20], castagnoli) != be.Uint32(h[20:]) {
		return 0, 0, r.corrupt("the checksum of the header is wrong")
	}
	f.Kind = Kind(h[0])
	length = be.Uint32(h[4:])
	low, high, known := f.Kind.limits()
	switch {
	case !known:
		return 0, 0, r.corrupt("unknown %v", f.Kind)
	case h[1]|h[2]|h[3] != 0:
		return 0, 0, r.corrupt("reserved bytes are not zero")
	case length < low || length > high:
		return 0, 0, r.corrupt("a %v frame with %d bytes, want %d to %d", f.Kind, length, low, high)
	case be.Uint64(h[8:]) != r.seq:
		return 0, 0, r.corrupt("it is number %d: a frame is missing, repeated or out of place", be.Uint64(h[8:]))
	}
	return length, be.Uint32(h[16:]), nil
}

// decode decodes and checks the payload and the frame's place in the stream. Its errors become CorruptErrors, but for *AbortError.
func (r *Reader) decode(f *Frame, p []byte) (err error) {
	if f.Kind != KindHello && f.Kind != KindAbort {
		if err := r.order.begin(f.Kind); err != nil {
			return err
		}
	}
	switch f.Kind {
	case KindHello:
		if f.Hello, err = decodeHello(p); err == nil {
			err = r.order.sayHello(f.Hello)
		}
	case KindStageStart:
		if f.StageStart, err = decodeStageStart(p); err == nil {
			err = r.order.stageStart(f.StageStart.Stage)
		}
	case KindFile:
		if f.File, err = decodeFile(p); err == nil {
			err = r.order.file(f.File.Stage)
		}
	case KindData:
		if f.Data, err = decodeData(p); err == nil {
			err = r.order.data(f.Data.Stage, f.Data.Len(len(f.Data.Bytes)))
		}
	case KindStageEnd:
		f.StageEnd = decodeStageEnd(p)
		var want StageEnd
		if want, err = r.order.stageEnd(f.StageEnd.Stage); err == nil && f.StageEnd != want {
			err = fmt.Errorf("it says %+v, received were %+v", f.StageEnd, want)
		}
	case KindAbort:
		abort, err := decodeAbort(p)
		if err != nil {
			return err
		}
		return abort
	case KindEnd:
		f.End = decodeEnd(p)
		want := End{Frames: r.seq, DataBytes: r.order.totalBytes, Chain: r.chain}
		if err = r.order.end(); err == nil && f.End != want {
			err = fmt.Errorf("it says %+v, received were %+v", f.End, want)
		}
	}
	return err
}

// atEnd makes sure that nothing follows the End frame.
func (r *Reader) atEnd() error {
	var one [1]byte
	switch _, err := io.ReadFull(r.r, one[:]); err {
	case io.EOF:
		return nil
	case nil:
		return r.corrupt("data follows the end frame")
	default:
		return fmt.Errorf("read the end of the stream: %w", err)
	}
}

// read fills p. An input that ends is never a good end here.
func (r *Reader) read(p []byte) error {
	_, err := io.ReadFull(r.r, p)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: in frame %d at byte %d: %w", ErrTruncated, r.seq, r.offset, io.ErrUnexpectedEOF)
	default:
		return fmt.Errorf("read frame %d at byte %d: %w", r.seq, r.offset, err)
	}
}

func (r *Reader) corrupt(format string, args ...any) error {
	return &CorruptError{Frame: r.seq, Offset: r.offset, Reason: fmt.Sprintf(format, args...)}
}
