package store

import (
	"context"
	"io"
)

// A Pacer says when the next n bytes may pass. Wait may be called concurrently and ends with ctx; the limiter of internal/pace is one.
type Pacer interface {
	Wait(ctx context.Context, n int) error
}

// pacedBlock is how many bytes pass at once, so that a slow rate is not a row of long pauses.
const pacedBlock = 64 << 10

// Limit returns a store whose contents, in both directions together, pass only when p lets them.
func Limit(s Store, p Pacer) Store { return &limit{s, p} }

type limit struct {
	Store
	pacer Pacer
}

func (s *limit) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	return s.Store.Put(ctx, name, size, &paced{ctx, r, s.pacer})
}

func (s *limit) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if err := s.pacer.Wait(ctx, len(data)); err != nil {
		return &Error{Op: "put", Name: name, Err: err}
	}
	return s.Store.PutIfAbsent(ctx, name, data)
}

func (s *limit) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	return &pacedObject{paced{ctx, r, s.pacer}, r}, nil
}

type pacedObject struct {
	paced
	io.Closer
}

func (o *pacedObject) Version() string { return VersionOf(o.r) }

type paced struct {
	ctx   context.Context // of the Put or Open that it is part of
	r     io.Reader
	pacer Pacer
}

func (r *paced) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), pacedBlock)])
	if n > 0 {
		if waitErr := r.pacer.Wait(r.ctx, n); waitErr != nil {
			return 0, waitErr
		}
	}
	return n, err
}
