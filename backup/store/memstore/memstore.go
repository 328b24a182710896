// Package memstore is a [store.Store] in memory, for tests of what uses one.
package memstore

import (
	"bytes"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ordinal/backup/store"
)

// A Store keeps its objects as long as it lives itself. The zero Store is empty and ready.
type Store struct {
	mu      sync.Mutex
	objects map[string]object
	puts    uint64
}

type object struct {
	data     []byte // never changed
	modified time.Time
	version  uint64
}

var _ store.Store = (*Store)(nil)

func (s *Store) get(ctx context.Context, op, name string) (object, error) {
	if err := store.CheckName(name); err != nil {
		return object{}, err
	}
	if ctx.Err() != nil {
		return object{}, &store.Error{Op: op, Name: name, Err: context.Cause(ctx)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if !ok {
		return o, &store.Error{Op: op, Name: name, Kind: store.ErrNotFound}
	}
	return o, nil
}

// Open implements [store.Reader].
func (s *Store) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	o, err := s.get(ctx, "open", name)
	if err != nil {
		return nil, err
	}
	data := o.data[min(max(offset, 0), int64(len(o.data))):]
	if length >= 0 {
		data = data[:min(length, int64(len(data)))]
	}
	return &reader{ctx: ctx, name: name, r: bytes.NewReader(data), version: o.version}, nil
}

type reader struct {
	ctx  context.Context // of the Open: the reader ends with it
	name string
	r    *bytes.Reader

	version uint64
}

// Version implements [store.Versioned].
func (r *reader) Version() string { return strconv.FormatUint(r.version, 10) }

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, &store.Error{Op: "read", Name: r.name, Err: context.Cause(r.ctx)}
	}
	return r.r.Read(p)
}

func (r *reader) Close() error { return nil }

// Stat implements [store.Reader].
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	o, err := s.get(ctx, "stat", name)
	if err != nil {
		return store.Info{}, err
	}
	return store.Info{Name: name, Size: int64(len(o.data)), Modified: o.modified}, nil
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		s.mu.Lock()
		objects := maps.Clone(s.objects)
		s.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(objects)) {
			if name <= after || !strings.HasPrefix(name, prefix) {
				continue
			}
			if ctx.Err() != nil {
				yield(store.Info{}, &store.Error{Op: "list", Err: context.Cause(ctx)})
				return
			}
			if !yield(store.Info{Name: name, Size: int64(len(objects[name].data)), Modified: objects[name].modified}, nil) {
				return
			}
		}
	}
}

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	data, err := io.ReadAll(store.Exact(ctx, r, size))
	if err != nil {
		return &store.Error{Op: "put", Name: name, Err: err}
	}
	return s.put(name, data, true)
}

// PutIfAbsent implements [store.Writer].
func (s *Store) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if err := store.CheckSmall(name, data); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &store.Error{Op: "put", Name: name, Err: context.Cause(ctx)}
	}
	return s.put(name, bytes.Clone(data), false)
}

func (s *Store) put(name string, data []byte, replace bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; ok && !replace {
		return &store.Error{Op: "put", Name: name, Kind: store.ErrExists}
	}
	if s.objects == nil {
		s.objects = map[string]object{}
	}
	s.puts++
	s.objects[name] = object{data, time.Now(), s.puts}
	return nil
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &store.Error{Op: "delete", Name: name, Err: context.Cause(ctx)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

// Sweep implements [store.Keeper]. There is never anything to remove.
func (s *Store) Sweep(context.Context, time.Duration) (int, error) { return 0, nil }

// Anything implements [store.Keeper].
func (s *Store) Anything(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.objects {
		return name, nil
	}
	return "", nil
}
