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

// An Archiver keeps one server's binary log in a store. Two that run at the same time, for the same server or for several of a set, do no harm but to
// store some things twice.
type Archiver struct {
	o     Options
	board board
}

// New returns an Archiver that does nothing yet.
func New(o Options) (*Archiver, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	a := &Archiver{o: o}
	a.board.status.State = StateStopped
	return a, nil
}

// Status returns what is archived, up to when, and what is in the way. It asks nobody and may be called at any time.
func (a *Archiver) Status() Status { return a.board.snapshot() }

// Run archives until ctx ends, and returns nil then: a server or a store that is away, and whatever else may pass, is waited for and shown by Status.
// What was read and is whole is stored before it returns, if the store takes it within some seconds. The error is one of the keys: nothing can be
// written.
func (a *Archiver) Run(ctx context.Context) error {
	packer, err := backup.NewPacker(a.o.Keys, 1)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer packer.Close()
	defer a.board.update(func(s *Status) { s.State = StateStopped })
	u := newUploader(a.o, packer, &a.board)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.run(ctx) })
	g.Go(func() error { return a.sample(ctx) })
	g.Go(func() error {
		defer close(u.cuts) // nothing comes any more: the uploader ends
		return a.read(ctx, u)
	})
	if a.o.CompactEvery > 0 {
		g.Go(func() error { return a.compact(ctx) })
	}
	return g.Wait()
}

// sample asks now and then what the source has executed.
func (a *Archiver) sample(ctx context.Context) error {
	for {
		if state, err := a.o.Source.BinlogState(ctx); err == nil {
			a.board.sampled(sample{state.Executed, state.At, state.Seen})
		}
		if rest(ctx, sampleEvery) != nil {
			return nil
		}
	}
}

// compact puts small objects together now and then, and looks what others have filled.
func (a *Archiver) compact(ctx context.Context) error {
	for rest(ctx, a.o.CompactEvery) == nil {
		_, err := Compact(ctx, a.o.Store, a.o.Keys, a.o.Compact)
		if err == nil {
			err = a.review(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		a.board.update(func(s *Status) {
			s.CompactError = ""
			if err != nil {
				s.CompactError = oneLine(err)
			}
		})
	}
	return nil
}

// review finds out anew what is missing. What was purged before anything that follows it was stored, the store does not show yet.
func (a *Archiver) review(ctx context.Context) error {
	x, err := Load(ctx, a.o.Store, a.o.Keys)
	if err != nil {
		return err
	}
	there := x.begin
	for _, s := range x.segments {
		there = there.Union(s.GTIDs)
	}
	a.board.update(func(s *Status) { s.Gap = s.Gap.Union(x.tip.Missing).Subtract(there) })
	return nil
}

const (
	shortestPause = 500 * time.Millisecond
	longestPause  = 5 * time.Second
	progressAfter = 30 * time.Second // a session as long as this was a good one
)

// read keeps a dump going until ctx ends.
func (a *Archiver) read(ctx context.Context, u *uploader) error {
	p := &position{}
	pause := shortestPause
	for ctx.Err() == nil {
		a.board.update(func(s *Status) { s.State = StateStarting })
		began := time.Now()
		err := a.session(ctx, u, p)
		if ctx.Err() != nil {
			break
		}
		a.board.report("server", err)
		a.board.update(func(s *Status) { s.State = StateWaiting })
		if time.Since(began) > progressAfter || p.moved {
			pause = shortestPause
		}
		if rest(ctx, pause) != nil {
			break
		}
		pause = min(2*pause, longestPause)
	}
	return nil
}

// A position is what an archiver knows of how far it is.
type position struct {
	known bool
	moved bool           // the last session brought something
	set   mysqlx.GTIDSet // what has been handed over, and what comes before
}

// session reads from one connection until it breaks.
func (a *Archiver) session(ctx context.Context, u *uploader, p *position) error {
	p.moved = false
	state, err := a.o.Server.BinlogState(ctx)
	if err != nil {
		return err
	}
	if !p.known {
		if err := a.find(ctx, u, state, p); err != nil {
			return err
		}
	}
	lost, err := a.fit(state, p)
	if err != nil {
		return err
	}
	b := a.builder(ctx, u, state, p.set)
	b.abandons = lost
	err = a.follow(ctx, b, p.set, func(binlog.Beginning) error { return nil })
	p.set, p.moved = b.previous, !b.previous.Equal(p.set)
	return err
}

func (a *Archiver) builder(ctx context.Context, u *uploader, state mysqlx.BinlogState, previous mysqlx.GTIDSet) *builder {
	return &builder{
		limit: a.o.SegmentBytes, server: state, previous: previous, now: time.Now, newSeries: u.newSeries,
		emit: func(c cut) error { return u.take(ctx, c) },
	}
}

// follow dumps all but what is in have into b until the connection breaks or each says that it is enough, and hands over all that is whole.
func (a *Archiver) follow(ctx context.Context, b *builder, have mysqlx.GTIDSet, each func(binlog.Beginning) error) error {
	d, err := a.o.Server.Dump(ctx, have)
	if err != nil {
		return err
	}
	defer d.Close()
	stop := context.AfterFunc(ctx, func() { _ = d.Close() })
	defer stop()
	first := true
	err = stream(d, b, func() error {
		if first { // it sends: nothing is in the way
			first = false
			a.board.report("server", nil)
			a.board.update(func(s *Status) { s.State = StateArchiving })
		}
		if b.due(a.o.SegmentAge) {
			return b.cutWhole()
		}
		return ctx.Err()
	}, each)
	return errors.Join(err, b.cutWhole())
}

// fit compares where we are with what the server has. It returns what is archived and no part of its history.
func (a *Archiver) fit(state mysqlx.BinlogState, p *position) (lost mysqlx.GTIDSet, err error) {
	lost = p.set.Subtract(state.Executed)
	switch {
	case lost.IsEmpty():
	case !state.Writable:
		return lost, &PositionError{ErrBehind, lost}
	case lost.HasSource(state.ServerUUID):
		return lost, &PositionError{ErrReused, lost}
	default:
		// Nobody will give these to a server that takes writes itself: the set goes on without them.
		p.set = p.set.Subtract(lost)
		a.board.update(func(s *Status) {
			s.Abandoned, s.Archived = s.Abandoned.Union(lost), s.Archived.Subtract(lost)
		})
	}
	if gap := state.Purged.Subtract(p.set); !gap.IsEmpty() {
		p.set = p.set.Union(gap)
		a.board.update(func(s *Status) { s.Gap, s.Archived = s.Gap.Union(gap), s.Archived.Union(gap) })
	}
	return lost, nil
}

// find reads from the store how far the archive is, and fills what gaps the server can fill.
func (a *Archiver) find(ctx context.Context, u *uploader, state mysqlx.BinlogState, p *position) error {
	load := func() (*Index, error) {
		if err := store.Claim(ctx, a.o.Store, a.o.Cluster, a.o.Set, time.Now()); err != nil {
			return nil, err
		}
		return Load(ctx, a.o.Store, a.o.Keys)
	}
	x, err := load()
	if err != nil {
		return err
	}
	if x.Empty() {
		p.known, p.set = true, state.Purged
		if !a.o.Begin.IsEmpty() {
			p.set = a.o.Begin.Intersect(state.Executed)
		}
	} else {
		if err := a.fill(ctx, u, x, state); err != nil {
			return err
		}
		tip := x.Path(x.Begin(), time.Time{})
		p.known, p.set = true, x.Tip()
		a.board.update(func(s *Status) { s.Gap, s.Abandoned = tip.Missing, tip.Abandoned })
		u.foundWatermark(x)
	}
	a.board.stored(p.set)
	return nil
}

// rest waits, and returns ctx's error if that ends first.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
