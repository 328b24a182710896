package backup

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"ordinal/backup/store"
	"ordinal/stream"
)

// An Applier makes something of a backup's events. It is called as a [Taker] is, with what a Taker has taken, and never interrupted.
type Applier interface {
	StageStart(s stream.StageStart) error
	File(meta stream.File) error
	Data(h stream.DataHeader, data []byte) error
	StageEnd(stage stream.Stage) error
}

// Defaults of a Reading.
const (
	DefaultAhead    = 3
	DefaultAppliers = 3
)

// A Reading says how a backup is read. Memory is Ahead × (the largest segment as it is stored, twice if it is encrypted, and before compression), and 2 frames, of
// about 1 MiB, for each of the Appliers.
type Reading struct {
	Keys Keys
	// From is the first segment to read; 0 or 1: the first one. Everything before it has been applied, perhaps more.
	From int
	// Applied is what the Applier stands at, when From is not the first segment: what it has already of segment From is passed over.
	Applied  Position
	Ahead    int // segments that are fetched and unpacked at a time; 0: DefaultAhead
	Appliers int // calls of Data at a time; 0: DefaultAppliers
	// Border is called, if it is not nil, between two segments, when everything before segment next has been applied and nothing else: what the Applier
	// has become can be saved here, together with next. An error ends the restore.
	Border func(ctx context.Context, next int) error
	// Read is called, if it is not nil, for each segment that has been applied or verified, with its bytes as stored.
	Read func(n int64)
}

func (r *Reading) complete(m *Manifest) error {
	if r.From == 0 {
		r.From = 1
	}
	if r.From < 1 || r.From > len(m.Segments) {
		return fmt.Errorf("begin with segment %d: there are %d", r.From, len(m.Segments))
	}
	if r.Ahead <= 0 {
		r.Ahead = DefaultAhead
	}
	if r.Appliers <= 0 {
		r.Appliers = DefaultAppliers
	}
	return nil
}

// Restore applies a backup, of which m is the manifest as [Open] returned it, in the order in which it was made. When it returns nil everything was
// applied; whether that is a whole data directory is for the Applier to say. Nothing is ever applied that is not as it was written.
//
// Errors: [*DamageError], [*WrongKeyError], the store's, the Applier's, Border's. What was applied before an error is good: a restore from the last Border
// on goes on with it.
func Restore(ctx context.Context, from store.Reader, m *Manifest, to Applier, r Reading) error {
	if err := r.complete(m); err != nil {
		return fmt.Errorf("restore backup %s: %w", m.ID, err)
	}
	packer, err := OpenPacker(m.Encryption, r.Keys, r.Ahead)
	if err != nil {
		return fmt.Errorf("restore backup %s: %w", m.ID, about(err, object{backup: m.ID, name: ManifestName(m.ID)}))
	}
	defer packer.Close()
	a, err := newApplication(m, to, r)
	if err != nil {
		return fmt.Errorf("restore backup %s: %w", m.ID, err)
	}
	defer a.close()
	f := newFetcher(from, m, packer, r.From, r.Ahead)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.run(ctx) })
	g.Go(func() error {
		for index := r.From; index <= len(m.Segments); index++ {
			raw, err := f.next(ctx)
			if err != nil {
				return err
			}
			if index > r.From && r.Border != nil {
				if err := r.Border(ctx, index); err != nil {
					return err
				}
			}
			if err := a.apply(ctx, index, raw); err != nil {
				return err
			}
			f.done(raw)
			if r.Read != nil {
				r.Read(m.Segments[index-1].Size)
			}
		}
		return a.end()
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("restore backup %s: %w", m.ID, err)
	}
	return nil
}
