package archive_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/backup/archive"
	"ordinal/backup/store"
	"ordinal/backup/store/memstore"
	"ordinal/backup/store/storetest"
	"ordinal/internal/testing/mysqltest"
)

var errKilled = errors.New("killed")

// TestKilledAtEveryCall ends an archiver at each call of the store, before the call and after it with the answer lost, so that nothing that follows
// happens. The next one goes on, and in the end nothing is missing.
func TestKilledAtEveryCall(t *testing.T) {
	r := record(t)
	for _, after := range []bool{false, true} {
		for n := int64(1); ; n++ {
			if !killedAt(t, r, n, after) {
				t.Logf("%d calls of the store", n-1)
				break
			}
		}
	}
}

// killedAt reports whether there was such a call.
func killedAt(t *testing.T, r *recorded, n int64, after bool) (hit bool) {
	var kept memstore.Store
	ctx, kill := context.WithCancelCause(t.Context())
	defer kill(nil)
	var calls atomic.Int64
	strike := func(op, name string) error {
		if k := calls.Load(); k > n || k == n {
			kill(errKilled)
			return &store.Error{Op: op, Name: name, Kind: store.ErrUnavailable, Err: errKilled}
		}
		return nil
	}
	f := &storetest.Faults{Before: func(op, name string) error {
		calls.Add(1)
		if after && calls.Load() == n {
			return nil
		}
		return strike(op, name)
	}}
	if after {
		f.After = strike
	}
	r.show(len(r.transactions) / 2)
	o := options(r, storetest.Faulty(&kept, f))
	o.SegmentAge, o.WatermarkEvery = time.Millisecond, time.Millisecond
	o.Patience.Total, o.Grace = -1, 20*time.Millisecond
	a, err := archive.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	done := func() bool { return ctx.Err() != nil || a.Status().Archived.Contains(r.executed()) }
	mysqltest.Eventually(t, "half is archived", done)
	r.show(len(r.transactions))
	mysqltest.Eventually(t, "all is archived, or it was killed", done)
	hit = ctx.Err() != nil
	kill(nil)
	if err := <-ended; err != nil {
		t.Errorf("call %d: Run() = %v", n, err)
	}

	o.Store, o.Grace = &kept, 0
	next := run(t, o)
	next.reaches(t, r.executed())
	next.stop()
	if status := next.Status(); !status.Gap.IsEmpty() {
		t.Errorf("call %d: gap %v", n, status.Gap)
	}
	whole(t, loadIndex(t, &kept), r)
	if t.Failed() {
		t.Fatalf("killed at call %d, after %v", n, after)
	}
	return hit
}

// TestStoreDown: a store that is away, full, or forbids. The archiver says so, waits, and goes on.
func TestStoreDown(t *testing.T) {
	r := record(t)
	for _, kind := range []error{store.ErrUnavailable, store.ErrNoSpace, store.ErrPermission} {
		var kept memstore.Store
		var down atomic.Bool
		o := options(r, storetest.Faulty(&kept, &storetest.Faults{Before: func(op, name string) error {
			if !down.Load() {
				return nil
			}
			return &store.Error{Op: op, Name: name, Kind: kind, Err: errors.New("it is down")}
		}}))
		o.Patience.Total = 20 * time.Millisecond
		r.show(3)
		a := run(t, o)
		a.reaches(t, r.executed())
		down.Store(true)
		r.show(len(r.transactions))
		mysqltest.Eventually(t, "the status says so", func() bool {
			s := a.Status()
			return errors.Is(s.Err, kind) && s.State == archive.StateWaiting && !s.Archived.Contains(r.executed())
		})
		down.Store(false)
		a.reaches(t, r.executed())
		mysqltest.Eventually(t, "nothing is in the way", func() bool { return a.Status().Err == nil })
		a.stop()
		whole(t, loadIndex(t, &kept), r)
	}
}

// TestTwoAtOnce: several archivers of one server, on one store.
func TestTwoAtOnce(t *testing.T) {
	r := record(t)
	var kept memstore.Store
	r.show(0)
	var all []running
	for i := range 3 {
		o := options(r, &kept)
		o.SegmentAge = time.Duration(i+1) * 7 * time.Millisecond
		all = append(all, run(t, o))
	}
	for n := range len(r.transactions) + 1 {
		r.show(n)
		if n%5 == 0 {
			all[n%3].reaches(t, r.executed())
		}
	}
	for _, a := range all {
		a.reaches(t, r.executed())
		a.stop()
	}
	x := loadIndex(t, &kept)
	whole(t, x, r)
	for range 3 { // the same after it was put together
		if _, err := archive.Compact(t.Context(), &kept, keys, archive.CompactOptions{Objects: 4, Grace: -1}); err != nil {
			t.Fatal(err)
		}
	}
	y := loadIndex(t, &kept)
	whole(t, y, r)
	t.Logf("%d objects, then %d", objects(t, &kept), len(y.Segments()))
}

func objects(t testing.TB, s store.Reader) (n int) {
	t.Helper()
	for _, err := range s.List(t.Context(), "archive/segments/", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// fillStore archives a recorded server in small segments.
func fillStore(t testing.TB, r *recorded, o archive.Options) {
	t.Helper()
	fillPart(t, r, o, 0, len(r.transactions))
}

// fillPart is one archiver that runs while the server commits from one of its transactions to another.
func fillPart(t testing.TB, r *recorded, o archive.Options, from, to int) {
	t.Helper()
	r.show(from)
	o.SegmentAge = time.Millisecond
	a := run(t, o)
	for n := from; n <= to; n++ {
		r.show(n)
		a.reaches(t, r.executed())
	}
	a.stop()
}

// TestCompactionKilled ends a compaction at each call of the store.
func TestCompactionKilled(t *testing.T) {
	r := record(t)
	var full memstore.Store
	fillStore(t, r, options(r, &full))
	before := objects(t, &full)
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			kept := clone(t, &full)
			calls := 0
			strike := func(op, name string) error {
				if calls >= n {
					return &store.Error{Op: op, Name: name, Err: errKilled}
				}
				return nil
			}
			f := &storetest.Faults{Before: func(op, name string) error {
				if calls++; after && calls == n {
					return nil
				}
				return strike(op, name)
			}}
			if after {
				f.After = strike
			}
			o := archive.CompactOptions{Objects: 5, Grace: -1}
			_, err := archive.Compact(t.Context(), storetest.Faulty(kept, f), keys, o)
			if missing := loadIndex(t, kept).Gaps(r.begin); !missing.IsEmpty() {
				t.Errorf("missing %v", missing)
			}
			if _, err := archive.Compact(t.Context(), kept, keys, o); err != nil {
				t.Fatal(err)
			}
			if missing := loadIndex(t, kept).Gaps(r.begin); !missing.IsEmpty() {
				t.Errorf("missing %v", missing)
			}
			if n%20 == 0 || err == nil {
				whole(t, loadIndex(t, kept), r)
			}
			if t.Failed() {
				t.Fatalf("killed at call %d, after %v", n, after)
			}
			if err == nil {
				t.Logf("%d calls; %d objects became %d", n-1, before, objects(t, kept))
				break
			}
		}
	}
}

// clone copies a store.
func clone(t testing.TB, s *memstore.Store) *memstore.Store {
	t.Helper()
	var out memstore.Store
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := store.ReadSmall(t.Context(), s, info.Name, info.Size)
		if err == nil {
			err = out.PutIfAbsent(t.Context(), info.Name, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &out
}

// TestAnySegmentRemoved: whichever object is removed, it is noticed, and the last point before it is named. An archiver whose server still has the
// binlogs puts it right.
func TestAnySegmentRemoved(t *testing.T) {
	r := record(t)
	var full memstore.Store
	o := options(r, &full)
	fillStore(t, r, o)
	whole(t, loadIndex(t, &full), r)
	var names []string
	for info, err := range full.List(t.Context(), "archive/segments/", "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	for i, name := range names {
		kept := clone(t, &full)
		if err := kept.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		x := loadIndex(t, kept)
		err := x.Check(r.begin, time.Time{})
		var unreachable *archive.UnreachableError
		if !errors.As(err, &unreachable) || unreachable.Missing.IsEmpty() || unreachable.ExitCode() != 82 {
			t.Errorf("object %d of %d removed: Check() = %v", i, len(names), err)
			continue
		}
		// Just before what is missing is the last point.
		for j, tx := range r.transactions {
			if unreachable.Missing.Contains(tx.gtid) {
				want := (&recorded{transactions: r.transactions, begin: r.begin, shown: j}).executed()
				if !unreachable.Last.GTIDs.Equal(want) {
					t.Errorf("object %d removed: last point %v, want %v", i, unreachable.Last, want)
				}
				break
			}
		}
		if i%7 != 1 { // with the first one goes the knowledge of where the archive began
			continue
		}
		o.Store = kept
		filled, err := archive.Fill(t.Context(), o)
		if err != nil || !filled.Equal(unreachable.Missing) {
			t.Errorf("Fill() = %v, %v; want %v", filled, err, unreachable.Missing)
		}
		whole(t, loadIndex(t, kept), r)
	}
}
