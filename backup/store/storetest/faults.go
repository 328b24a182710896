package storetest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"ordinal/backup/store"
)

// Faults are what goes wrong in a store. The zero Faults let everything pass.
type Faults struct {
	// Before is asked before each call, op being the method's name. Its error is the call's: nothing reaches the store.
	Before func(op, name string) error
	// After is asked after each call that changes something and succeeded: its error is an answer that was lost.
	After func(op, name string) error
	// Full is how many bytes can be put in all before no space is left; 0: any number.
	Full int64
	// Cut is after how many bytes a reader breaks off as unavailable, each time it is opened; 0: never.
	Cut int64
	// Pace makes contents slow; nil: as fast as the store is.
	Pace store.Pacer
}

// Faulty returns a store with faults, which must not be changed while it is in use.
func Faulty(s store.Store, f *Faults) store.Store {
	if f.Pace != nil {
		s = store.Limit(s, f.Pace)
	}
	return &faulty{Store: s, faults: f}
}

// Unavailable is an error as of a store that cannot be reached.
func Unavailable(op, name string) error { return fault(op, name, store.ErrUnavailable) }

// Forbidden is an error as of a store that does not let us.
func Forbidden(op, name string) error { return fault(op, name, store.ErrPermission) }

func fault(op, name string, kind error) error {
	return &store.Error{Op: op, Name: name, Kind: kind, Err: errors.New("injected")}
}

type faulty struct {
	store.Store
	faults *Faults
	mu     sync.Mutex
	used   int64
}

func (s *faulty) before(op, name string) error {
	if s.faults.Before == nil {
		return nil
	}
	return s.faults.Before(op, name)
}

func (s *faulty) after(op, name string, err error) error {
	if err != nil || s.faults.After == nil {
		return err
	}
	return s.faults.After(op, name)
}

// take counts n bytes, or says that there is no space for them.
func (s *faulty) take(name string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used += int64(n); s.faults.Full > 0 && s.used > s.faults.Full {
		return fault("put", name, store.ErrNoSpace)
	}
	return nil
}

func (s *faulty) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	if err := s.before("Put", name); err != nil {
		return err
	}
	counted := readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if full := s.take(name, n); full != nil {
			return 0, full
		}
		return n, err
	})
	return s.after("Put", name, s.Store.Put(ctx, name, size, counted))
}

func (s *faulty) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if err := s.before("PutIfAbsent", name); err != nil {
		return err
	}
	if err := s.take(name, len(data)); err != nil {
		return err
	}
	return s.after("PutIfAbsent", name, s.Store.PutIfAbsent(ctx, name, data))
}

func (s *faulty) Delete(ctx context.Context, name string) error {
	if err := s.before("Delete", name); err != nil {
		return err
	}
	return s.after("Delete", name, s.Store.Delete(ctx, name))
}

func (s *faulty) Stat(ctx context.Context, name string) (store.Info, error) {
	if err := s.before("Stat", name); err != nil {
		return store.Info{}, err
	}
	return s.Store.Stat(ctx, name)
}

func (s *faulty) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		if err := s.before("List", prefix); err != nil {
			yield(store.Info{}, err)
			return
		}
		left := s.faults.Cut // a listing breaks off after as many names
		for info, err := range s.Store.List(ctx, prefix, after) {
			if s.faults.Cut > 0 && left == 0 {
				yield(store.Info{}, Unavailable("list", prefix))
				return
			}
			left--
			if !yield(info, err) {
				return
			}
		}
	}
}

func (s *faulty) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := s.before("Open", name); err != nil {
		return nil, err
	}
	r, err := s.Store.Open(ctx, name, offset, length)
	if err != nil || s.faults.Cut == 0 {
		return r, err
	}
	return &cut{r, name, s.faults.Cut}, nil
}

type cut struct {
	io.ReadCloser
	name string
	left int64
}

func (c *cut) Version() string { return store.VersionOf(c.ReadCloser) }

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, Unavailable("read", c.name)
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
