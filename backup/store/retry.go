package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Retry returns a store that tries again what s answers with [ErrUnavailable], as long as p says, each time from the first of a row of failures on.
//
//   - A reader that breaks off goes on where it was, if the object is still the one that it was ([Versioned]).
//   - Put is tried again if r is an [io.Seeker], from where that stands. What cannot be read twice is for s itself to keep, if it can.
//   - An answer to PutIfAbsent that was lost is not taken for somebody else's object: it is compared.
func Retry(s Store, p Patience) Store { return &retry{s, p} }

type retry struct {
	Store
	patience Patience
}

func (s *retry) Stat(ctx context.Context, name string) (info Info, err error) {
	err = s.patience.Do(ctx, func() error {
		info, err = s.Store.Stat(ctx, name)
		return err
	})
	return info, err
}

func (s *retry) Delete(ctx context.Context, name string) error {
	return s.patience.Do(ctx, func() error { return s.Store.Delete(ctx, name) })
}

func (s *retry) Anything(ctx context.Context) (name string, err error) {
	err = s.patience.Do(ctx, func() error {
		name, err = s.Store.Anything(ctx)
		return err
	})
	return name, err
}

func (s *retry) Sweep(ctx context.Context, age time.Duration) (removed int, err error) {
	err = s.patience.Do(ctx, func() error {
		n, err := s.Store.Sweep(ctx, age)
		removed += n
		return err
	})
	return removed, err
}

func (s *retry) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	seeker, ok := r.(io.Seeker)
	if !ok {
		return s.Store.Put(ctx, name, size, r)
	}
	begin, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil { // a pipe in an *os.File
		return s.Store.Put(ctx, name, size, r)
	}
	return s.patience.Do(ctx, func() error {
		if _, err := seeker.Seek(begin, io.SeekStart); err != nil {
			return &Error{Op: "put", Name: name, Err: err}
		}
		return s.Store.Put(ctx, name, size, r)
	})
}

func (s *retry) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	doubtful := false // an earlier try may have succeeded
	return s.patience.Do(ctx, func() error {
		err := s.Store.PutIfAbsent(ctx, name, data)
		if doubtful && errors.Is(err, ErrExists) {
			there, readErr := ReadSmall(ctx, s, name, int64(len(data))) // which has patience itself
			switch {
			case readErr == nil && bytes.Equal(there, data):
				return nil
			case readErr != nil && !errors.Is(readErr, ErrSize):
				return readErr // not known to be somebody else's
			}
		}
		doubtful = doubtful || errors.Is(err, ErrUnavailable)
		return err
	})
}

func (s *retry) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for left := false; !left; {
			// Each page that brought something is a new beginning.
			moved := false
			err := s.patience.Do(ctx, func() error {
				for info, err := range s.Store.List(ctx, prefix, after) {
					if err != nil {
						if moved && errors.Is(err, ErrUnavailable) {
							return nil
						}
						return err
					}
					after, moved = info.Name, true
					if !yield(info, nil) {
						left = true
						return nil
					}
				}
				left = true
				return nil
			})
			if err != nil {
				yield(Info{}, err)
				return
			}
		}
	}
}

func (s *retry) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r := &resuming{store: s, ctx: ctx, name: name, offset: offset, length: length}
	if err := s.patience.Do(ctx, r.reopen); err != nil {
		return nil, err
	}
	return r, nil
}

// resuming is a reader that opens the object again where it broke off.
type resuming struct {
	store  *retry
	ctx    context.Context // that of Open: the reader ends with it
	name   string
	offset int64 // of the next byte
	length int64 // what is left of it; negative: all
	body   io.ReadCloser
	begun  string // version of what was read so far
	err    error
	closed bool
	moved  bool // a byte has been returned
}

func (r *resuming) reopen() error {
	if r.body != nil {
		_ = r.body.Close() // it is broken anyhow
		r.body = nil
	}
	body, err := r.store.Store.Open(r.ctx, r.name, r.offset, r.length)
	if err != nil {
		return err
	}
	r.body = body
	version := VersionOf(body)
	if !r.moved { // nothing has come out of the former one
		r.begun = version
	}
	if version != r.begun {
		return &Error{Op: "read", Name: r.name, Err: errors.New("it was replaced after a part of it had been read")}
	}
	return nil
}

func (r *resuming) Version() string { return r.begun }

func (r *resuming) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.closed {
		return 0, &Error{Op: "read", Name: r.name, Err: errors.New("it is closed")}
	}
	n, err := r.body.Read(p)
	if n == 0 && errors.Is(err, ErrUnavailable) {
		// The first byte belongs to the try: a server that accepts each request and sends nothing must not be asked for ever.
		err = r.store.patience.Do(r.ctx, func() error {
			if err := r.reopen(); err != nil {
				return err
			}
			n, err = r.body.Read(p)
			if n > 0 {
				return nil
			}
			return err
		})
	} else if n > 0 && errors.Is(err, ErrUnavailable) {
		err = nil // the next call meets it again
	}
	r.moved = r.moved || n > 0
	r.offset += int64(n)
	if r.length >= 0 {
		r.length -= int64(n)
	}
	r.err = err
	return n, err
}

func (r *resuming) Close() error {
	r.closed = true
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
