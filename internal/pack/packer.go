package pack

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// worth is the part of a block that packing must save at least, or it is sent as it is: 1/worth.
const worth = 16

// A Packer packs block after block. It is for one goroutine.
type Packer struct {
	encoder *zstd.Encoder
	buf     []byte
}

// NewPacker returns a Packer. It starts nothing and need not be closed.
func NewPacker() *Packer {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), // the stream's frames have a checksum
		zstd.WithSingleSegment(true),
	)
	if err != nil {
		panic(err) // the options contradict each other
	}
	return &Packer{encoder: e}
}

// Pack returns raw packed; the result is valid until the next call. ok is false if that is not clearly smaller: send raw as it is.
func (p *Packer) Pack(raw []byte) (packed []byte, ok bool) {
	p.buf = p.encoder.EncodeAll(raw, p.buf[:0])
	return p.buf, len(p.buf) <= len(raw)-len(raw)/worth && len(raw) > 0
}

// ErrPacked matches every error of Unpack: the block is not what its sender said.
var ErrPacked = errors.New("corrupt packed block")

// A LengthError says that a block does not unpack to the length that was announced. errors.Is(err, ErrPacked) is true.
type LengthError struct {
	Want int
	Got  int // -1: more than Want
}

func (e *LengthError) Error() string {
	if e.Got < 0 {
		return fmt.Sprintf("corrupt packed block: it unpacks to more than the %d bytes announced", e.Want)
	}
	return fmt.Sprintf("corrupt packed block: it unpacks to %d bytes, %d were announced", e.Got, e.Want)
}

// Is makes every LengthError an ErrPacked.
func (e *LengthError) Is(target error) bool { return target == ErrPacked }

// An Unpacker unpacks blocks. It may be used concurrently: as many blocks are unpacked at a time as it was made for, others wait.
type Unpacker struct {
	decoder *zstd.Decoder
	most    int
}

// NewUnpacker returns an Unpacker for blocks of at most most bytes. It starts nothing. Close frees its memory.
func NewUnpacker(most, concurrency int) *Unpacker {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(concurrency),
		zstd.WithDecoderMaxMemory(uint64(most)),
		zstd.WithDecoderMaxWindow(uint64(max(most, zstd.MinWindowSize))),
		zstd.WithDecodeAllCapLimit(true),
	)
	if err != nil {
		panic(err) // the options contradict each other
	}
	return &Unpacker{decoder: d, most: most}
}

// Close frees what the Unpacker holds.
func (u *Unpacker) Close() { u.decoder.Close() }

// Unpack unpacks src, which must unpack to exactly rawLen bytes, and returns them. They are in dst[:rawLen] if dst has room for them, whatever its length;
// otherwise in new memory. No more than rawLen bytes are ever written. Errors match ErrPacked; dst may be overwritten then.
func (u *Unpacker) Unpack(dst, src []byte, rawLen int) ([]byte, error) {
	if rawLen <= 0 || rawLen > u.most {
		return nil, fmt.Errorf("%w: it announces %d bytes, at most %d are taken", ErrPacked, rawLen, u.most)
	}
	if cap(dst) < rawLen {
		dst = make([]byte, rawLen)
	}
	out, err := u.decoder.DecodeAll(src, dst[:0:rawLen])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, &LengthError{Want: rawLen, Got: -1}
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrPacked, err)
	case len(out) != rawLen:
		return nil, &LengthError{Want: rawLen, Got: len(out)}
	}
	return out, nil
}
