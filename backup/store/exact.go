package store

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Exact is for those who implement [Writer.Put]: it reads r and fails if that has not exactly size bytes, or after ctx has ended. With a negative size the
// number does not matter. Its error for a wrong number is an [ErrSize]; of too long a reader at most size bytes are returned. Every error but io.EOF is an
// [*Error] of its own, so that a store does not take the trouble of what it reads for its own.
func Exact(ctx context.Context, r io.Reader, size int64) io.Reader {
	return &exact{ctx: ctx, r: r, left: size, size: size}
}

type exact struct {
	ctx  context.Context // of the Put that reads: it ends with it
	r    io.Reader
	left int64 // negative: any
	size int64
	err  error
}

func (e *exact) Read(p []byte) (int, error) {
	if e.err == nil && e.ctx.Err() != nil {
		e.err = notRead(nil, context.Cause(e.ctx))
	}
	if e.err != nil || len(p) == 0 {
		return 0, e.err
	}
	n, err := e.read(p)
	if err != nil && err != io.EOF && !errors.Is(err, ErrSize) {
		err = notRead(nil, err)
	}
	e.err = err
	return n, err
}

func notRead(kind, err error) error {
	return &Error{Op: "read what is to be put", Kind: kind, Err: err}
}

func (e *exact) read(p []byte) (int, error) {
	if e.size < 0 {
		return e.r.Read(p)
	}
	if e.left == 0 { // one byte more would be one too many
		var one [1]byte
		n, err := io.ReadFull(e.r, one[:])
		if n > 0 {
			err = notRead(ErrSize, fmt.Errorf("more than %d bytes", e.size))
		}
		return 0, err
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = notRead(ErrSize, fmt.Errorf("%d bytes, want %d", e.size-e.left, e.size))
	}
	return n, err
}
