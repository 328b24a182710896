package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A hole is what is missing at one place of an archive.
type hole struct {
	before  mysqlx.GTIDSet // what there is up to there
	missing mysqlx.GTIDSet
}

// holes returns what is missing after from, in order: each as if the ones before were filled.
func (x *Index) holes(from mysqlx.GTIDSet) (all []hole) {
	has := from
	left := x.segments
	for {
		var waiting []Segment
		for {
			waiting = nil
			for _, s := range left {
				if has.Contains(s.Before) {
					has = has.Union(s.GTIDs)
				} else {
					waiting = append(waiting, s)
				}
			}
			if len(waiting) == len(left) {
				break
			}
			left = waiting
		}
		missing := x.known.Subtract(has)
		if len(waiting) > 0 {
			missing = waiting[0].Before.Subtract(has)
			for _, s := range waiting[1:] {
				if m := s.Before.Subtract(has); m.Count() < missing.Count() {
					missing = m
				}
			}
		}
		if missing.IsEmpty() {
			return all
		}
		all = append(all, hole{has.Subtract(x.abandoned), missing})
		has = has.Union(missing)
	}
}

// fill stores what the archive lacks and the server has.
func (a *Archiver) fill(ctx context.Context, u *uploader, x *Index, state mysqlx.BinlogState) error {
	for _, h := range x.holes(x.begin) {
		has := h.missing.Intersect(state.Executed).Subtract(state.Purged)
		if has.IsEmpty() {
			continue
		}
		if err := a.fillHole(ctx, u, h, has, state); err != nil {
			return fmt.Errorf("fill a gap of the archive: %w", err)
		}
		a.board.update(func(s *Status) { s.Gap = s.Gap.Subtract(has) })
	}
	return nil
}

// fillHole stores what the server has of one hole.
func (a *Archiver) fillHole(ctx context.Context, u *uploader, h hole, has mysqlx.GTIDSet, state mysqlx.BinlogState) error {
	// What nobody has of it may come before what we get.
	b := a.builder(ctx, u, state, h.before.Union(h.missing.Subtract(has)))
	b.emit = func(c cut) error { c.aside = true; return u.take(ctx, c) }
	// The server sends nothing but what is wanted, and what has been committed in the meantime, which comes after it.
	left := has
	err := a.follow(ctx, b, state.Executed.Subtract(has), func(t binlog.Beginning) error {
		one, err := mysqlx.ParseGTIDSet(t.GTID())
		if err != nil {
			return err
		}
		if left = left.Subtract(one); left.IsEmpty() {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return err
	}
	return u.flush(ctx)
}

// Fill stores what an archive lacks and o.Server still has: it is for pods that do not archive themselves, when the one that does shows a gap. It may
// run beside any archiver. It returns what was stored. Errors: those of the server and of the store, at once.
func Fill(ctx context.Context, o Options) (filled mysqlx.GTIDSet, err error) {
	a, err := New(o)
	if err != nil {
		return filled, err
	}
	if err := store.Check(ctx, o.Store, o.Cluster, o.Set); err != nil {
		return filled, fmt.Errorf("fill gaps: %w", err)
	}
	before, err := Load(ctx, o.Store, o.Keys)
	if err != nil || before.tip.Missing.IsEmpty() {
		return filled, err
	}
	state, err := o.Server.BinlogState(ctx)
	if err != nil {
		return filled, err
	}
	packer, err := backup.NewPacker(o.Keys, 1)
	if err != nil {
		return filled, fmt.Errorf("fill gaps: %w", err)
	}
	defer packer.Close()
	u := newUploader(a.o, packer, &a.board)
	u.marked = time.Now().Add(time.Hour) // no watermarks: it knows nothing of the end
	g, both := errgroup.WithContext(ctx)
	g.Go(func() error { return u.run(both) })
	g.Go(func() error {
		defer close(u.cuts)
		return a.fill(both, u, before, state)
	})
	if err := g.Wait(); err != nil {
		return filled, err
	}
	after, err := Load(ctx, o.Store, o.Keys)
	if err != nil {
		return filled, err
	}
	return before.tip.Missing.Subtract(after.tip.Missing), nil
}
