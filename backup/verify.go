package backup

import (
	"cmp"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"ordinal/backup/store"
	"ordinal/stream"
)

// Verify reads all of a backup, of which m is the manifest as [Open] returned it, and checks everything that [Restore] would check and that can be checked
// without a disk: digests, encryption, sizes, every frame's checksum, that events follow each other and end where they should, and the attachments.
// Segments are checked in parallel, Ahead at a time; From, Applied, Appliers and Border mean nothing to it. Errors are those of Restore; the first one ends it.
func Verify(ctx context.Context, from store.Reader, m *Manifest, r Reading) error {
	r.From = 1
	if err := r.complete(m); err != nil {
		return fmt.Errorf("verify backup %s: %w", m.ID, err)
	}
	packer, err := OpenPacker(m.Encryption, r.Keys, r.Ahead)
	if err != nil {
		return fmt.Errorf("verify backup %s: %w", m.ID, about(err, object{backup: m.ID, name: ManifestName(m.ID)}))
	}
	defer packer.Close()
	v := verification{
		fetcher: newFetcher(from, m, packer, 1, r.Ahead), borders: make([][2]Position, len(m.Segments)), bufs: make(chan []byte, r.Ahead),
	}
	for range r.Ahead {
		v.bufs <- make([]byte, stream.DataOverhead+frameBytes(m))
	}
	if err := v.run(ctx, r); err != nil {
		return fmt.Errorf("verify backup %s: %w", m.ID, err)
	}
	return nil
}

// A verification is a fetcher that looks at what it has fetched.
type verification struct {
	*fetcher
	borders [][2]Position // where each segment begins and ends
	bufs    chan []byte   // for frames
}

func (v *verification) run(ctx context.Context, r Reading) error {
	for _, a := range v.m.Attachments {
		if err := v.m.attached(a).check(ctx, v.from, nil, nil); err != nil {
			return err
		}
	}
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(v.ahead)
	for index := range v.borders {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := v.segment(ctx, index+1); err != nil {
				return err
			}
			if r.Read != nil {
				r.Read(v.m.Segments[index].Size)
			}
			return nil
		})
	}
	if err := cmp.Or(g.Wait(), context.Cause(outer)); err != nil {
		return err
	}
	var at Position
	for i, b := range v.borders {
		if b[0] != at {
			return v.m.object(i+1).damage(ErrFrames, fmt.Errorf("it goes on from %v, the one before has ended in %v", b[0], at))
		}
		at = b[1]
	}
	if at != whole {
		return &DamageError{Backup: v.m.ID, Kind: ErrFrames, Err: fmt.Errorf("it ends in %v", at)}
	}
	return nil
}

// segment checks one segment.
func (v *verification) segment(ctx context.Context, index int) error {
	raw, stored := <-v.raw, <-v.stored
	defer func() {
		v.raw <- raw
		v.stored <- stored
	}()
	content, memory, err := v.fetch(ctx, index, raw, stored)
	stored = memory
	if err != nil {
		return err
	}
	raw = content[:0]
	buf := <-v.bufs
	defer func() { v.bufs <- buf }()
	e, err := readSegment(v.m, index, content, buf)
	if err != nil {
		return v.m.object(index).damage(ErrFrames, err)
	}
	v.borders[index-1][0] = e.at
	for ok := true; ok; {
		if _, ok, err = e.next(buf); err != nil {
			return v.m.object(index).damage(ErrFrames, err)
		}
	}
	v.borders[index-1][1] = e.at
	return nil
}
