package backup

import (
	"context"

	"golang.org/x/sync/errgroup"

	"ordinal/backup/store"
)

// A fetcher fetches, decrypts and unpacks segments, some at a time, and hands them out in order.
type fetcher struct {
	from   store.Reader
	m      *Manifest
	packer *Packer
	first  int
	ahead  int

	queue  chan chan []byte // of segments under way, in order; each gets its content once
	raw    chan []byte      // free memory; nil: not made yet
	stored chan []byte
}

func newFetcher(from store.Reader, m *Manifest, packer *Packer, first, ahead int) *fetcher {
	f := &fetcher{
		from: from, m: m, packer: packer, first: first, ahead: ahead,
		queue: make(chan chan []byte, ahead), raw: make(chan []byte, ahead), stored: make(chan []byte, ahead),
	}
	for range ahead {
		f.raw <- nil
		f.stored <- nil
	}
	return f
}

// run fetches until everything has been, or something fails.
func (f *fetcher) run(ctx context.Context) error {
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	for index := f.first; index <= len(f.m.Segments) && ctx.Err() == nil; index++ {
		var raw []byte
		select {
		case raw = <-f.raw: // so many are under way or being applied
		case <-ctx.Done():
			continue
		}
		arrives := make(chan []byte, 1)
		f.queue <- arrives // there is room: it has as much as there is memory
		g.Go(func() error {
			stored := <-f.stored
			defer func() { f.stored <- stored }()
			var content []byte
			var err error
			if content, stored, err = f.fetch(ctx, index, raw, stored); err != nil {
				return err
			}
			arrives <- content
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(outer)
}

// next returns the next segment, unpacked. Its memory is given back with done.
func (f *fetcher) next(ctx context.Context) ([]byte, error) {
	select {
	case arrives := <-f.queue:
		select {
		case raw := <-arrives:
			return raw, nil
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	return nil, context.Cause(ctx)
}

// done gives memory back.
func (f *fetcher) done(raw []byte) { f.raw <- raw[:0] }

// fetch returns a segment and the memory that it was fetched into.
func (f *fetcher) fetch(ctx context.Context, index int, raw, stored []byte) (content, memory []byte, err error) {
	o := f.m.object(index)
	if int64(cap(stored)) < o.size+1 {
		stored = make([]byte, o.size+1)
	}
	in, err := o.read(ctx, f.from, stored[:cap(stored)], f.m.others())
	if err != nil {
		return nil, stored, err
	}
	content, err = f.unpack(o, index, raw, in)
	return content, stored, err
}

func (f *fetcher) unpack(o object, index int, raw, in []byte) ([]byte, error) {
	content, err := f.packer.Unpack(raw[:0], in, f.m.Segments[index-1].Raw)
	if err == nil {
		return content, nil
	}
	return nil, about(err, o)
}

// about says in an error of a Packer what it is about.
func about(err error, o object) error {
	switch e := err.(type) {
	case *WrongKeyError:
		e.Backup = "backup " + o.backup
	case *DamageError:
		e.Backup, e.Object = o.backup, o.name
	}
	return err
}
