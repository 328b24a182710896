package dirstore

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"syscall"

	"ordinal/backup/store"
)

// List implements [store.Reader]. It holds the names of one directory per level in memory.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		p, err := s.enter(ctx, "list", prefix)
		if err != nil {
			yield(store.Info{}, err)
			return
		}
		defer p.Close()
		w := &walk{place: p, ctx: ctx, prefix: prefix, after: after, yield: yield}
		if err := w.dir("."); err != nil && err != errLeft {
			yield(store.Info{}, p.error(err))
		}
	}
}

// errLeft ends a walk whose caller has left the loop.
var errLeft = errors.New("left")

type walk struct {
	place         *place
	ctx           context.Context // of the List
	prefix, after string
	yield         func(store.Info, error) bool
}

func (w *walk) dir(dir string) error {
	entries, err := w.place.readDir(dir)
	if dir != "." && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
		return nil // it was emptied and removed meanwhile
	}
	if err != nil {
		return err
	}
	// In the order of whole names "a.b" comes before "a/b", so a directory sorts as if its slash belonged to it.
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	for _, entry := range entries {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		name := path.Join(dir, entry.Name())
		if store.CheckName(name) != nil {
			continue
		}
		switch {
		case entry.IsDir():
			below := name + "/"
			if below < w.after && !strings.HasPrefix(w.after, below) || !strings.HasPrefix(below, w.prefix) && !strings.HasPrefix(w.prefix, below) {
				continue
			}
			if err := w.dir(name); err != nil {
				return err
			}
		case entry.Type().IsRegular() && name > w.after && strings.HasPrefix(name, w.prefix):
			st, err := w.place.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
				continue
			}
			if err != nil {
				return err
			}
			if !w.yield(store.Info{Name: name, Size: st.Size(), Modified: st.ModTime()}, nil) {
				return errLeft
			}
		}
	}
	return nil
}

// readDir returns the entries of a directory, which is not a symbolic link, in no order.
func (p *place) readDir(dir string) ([]fs.DirEntry, error) {
	if dir != "." {
		if st, err := p.Lstat(dir); err != nil {
			return nil, err
		} else if !st.IsDir() {
			return nil, syscall.ENOTDIR
		}
	}
	f, err := p.Root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// Anything implements [store.Keeper]. Directories in which there is nothing are nothing.
func (s *Store) Anything(ctx context.Context) (string, error) {
	p, err := s.enter(ctx, "look into", "")
	if err != nil {
		return "", err
	}
	defer p.Close()
	found, err := p.anything(ctx, ".")
	return found, p.error(err)
}

func (p *place) anything(ctx context.Context, dir string) (string, error) {
	entries, err := p.readDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if dir == "." && hidden(entry.Name()) {
			continue
		}
		name := path.Join(dir, entry.Name())
		if !entry.IsDir() {
			return name, nil
		}
		found, err := p.anything(ctx, name)
		if found != "" || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found, err
		}
	}
	return "", nil
}
