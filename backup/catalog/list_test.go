package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/backup"
	"ordinal/backup/bootcheck"
	"ordinal/backup/catalog"
	"ordinal/backup/store"
	"ordinal/backup/store/storetest"
)

func TestList(t *testing.T) {
	s := newStore()
	complete := whole(t, s, id(0, 1), uuid+":1-5")
	unfinished := manifest(id(1, 1), "")
	segments(t, s, unfinished)
	put(t, s, backup.ManifestName(id(2, 1)), "{}")
	put(t, s, backup.SegmentName(id(2, 1), 1), "x")
	foreign := manifest(id(3, 1), "")
	foreign.Cluster = "another"
	segments(t, s, foreign)
	sealed(t, s, foreign, keys)
	locked := manifest(id(4, 1), "")
	segments(t, s, locked)
	sealed(t, s, locked, backup.Keys{Seal: [][]byte{bytes.Repeat([]byte{8}, 32)}})
	holed := whole(t, s, id(5, 1), "")
	must(t, s.Delete(t.Context(), backup.SegmentName(holed.ID, 1)))
	moved := manifest(id(6, 1), "")
	segments(t, s, moved)
	sealed(t, s, moved, keys)
	data, err := store.ReadSmall(t.Context(), s, backup.ManifestName(moved.ID), 1<<20)
	must(t, err)
	put(t, s, backup.ManifestName(id(7, 1)), string(data)) // of another backup
	put(t, s, backup.SegmentName(id(7, 1), 1), "x")
	edited := manifest(id(8, 1), "")
	segments(t, s, edited)
	sealed(t, s, edited, keys)
	data, err = store.ReadSmall(t.Context(), s, backup.ManifestName(edited.ID), 1<<20)
	must(t, err)
	put(t, s, backup.ManifestName(edited.ID), strings.Replace(string(data), "mysql-1", "mysql-2", 1))
	newer := manifest(id(9, 1), "")
	newer.Version = 2
	sealed(t, s, newer, keys)
	put(t, s, "backups/other/thing", "x")
	put(t, s, "backups/20261121T120000Z-zz/manifest.json", "x")
	put(t, s, "archive/x", "x")

	want := map[string]struct {
		state catalog.State
		err   error
	}{
		complete.ID:   {catalog.Complete, nil},
		unfinished.ID: {catalog.Unfinished, nil},
		id(2, 1):      {catalog.Damaged, backup.ErrManifest},
		foreign.ID:    {catalog.Foreign, nil},
		locked.ID:     {catalog.WrongKey, backup.ErrWrongKey},
		holed.ID:      {catalog.Damaged, backup.ErrMissing},
		moved.ID:      {catalog.Complete, nil},
		id(7, 1):      {catalog.Damaged, backup.ErrManifest},
		edited.ID:     {catalog.Damaged, backup.ErrEdited},
		newer.ID:      {catalog.Damaged, backup.ErrVersion},
	}
	entries := list(t, s)
	if len(entries) != len(want) {
		t.Errorf("List() = %d backups, want %d", len(entries), len(want))
	}
	last := ""
	for _, e := range entries {
		w, ok := want[e.ID]
		if !ok || e.State != w.state || w.err != nil && !errors.Is(e.Err, w.err) || (e.Problem == "") != (e.Err == nil) {
			t.Errorf("%s is %s (%v), want %s (%v)", e.ID, e.State, e.Err, w.state, w.err)
		}
		if e.ID <= last {
			t.Errorf("%s after %s: want the oldest first", e.ID, last)
		}
		last = e.ID
		one, err := place(s).Get(t.Context(), e.ID)
		if err != nil || one.State != e.State || one.Segments != e.Segments || one.Objects != e.Objects {
			t.Errorf("Get(%s) = %+v, %v, want %+v", e.ID, one, err, e)
		}
	}
	e := get(t, s, complete.ID)
	if e.Segments != 3 || e.Manifest == nil || e.Manifest.Segments != nil || e.Manifest.Donor.Pod != "mysql-1" || e.Stored() != 6 {
		t.Errorf("Get() = %+v, want the manifest without its segments", e)
	}
	if got := e.GTIDs().String(); got != uuid+":1-5" {
		t.Errorf("GTIDs() = %s", got)
	}
	if e := get(t, s, unfinished.ID); e.Objects != 3 || e.Bytes != 6 || e.Newest.IsZero() {
		t.Errorf("Get() = %+v, want what is there of it", e)
	}
	for _, wrong := range []string{"", "x", "../x", id(0, 9)} {
		if _, err := place(s).Get(t.Context(), wrong); err == nil {
			t.Errorf("Get(%q) = nil", wrong)
		}
	}
}

// counting counts what a listing has yielded.
type counting struct {
	store.Store
	yielded, lists, opened atomic.Int64
}

func (c *counting) List(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	c.lists.Add(1)
	return func(yield func(store.Info, error) bool) {
		for info, err := range c.Store.List(ctx, prefix, after) {
			c.yielded.Add(1)
			if !yield(info, err) {
				return
			}
		}
	}
}

func (c *counting) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	c.opened.Add(1)
	return c.Store.Open(ctx, name, offset, length)
}

// A backup of a terabyte has some ten thousand segments: listing backups must not list those.
func TestListPassesOverSegments(t *testing.T) {
	s := &counting{Store: newStore()}
	for n := range 5 {
		m := manifest(id(n, 1), "")
		m.Segments = nil
		for i := 1; i <= 2000; i++ {
			m.Segments = append(m.Segments, backup.Segment{Index: i, Size: 1, Raw: 100, Events: 1, Digest: backup.Digest(nil)})
		}
		segments(t, s, m)
		sealed(t, s, m, keys)
		must(t, catalog.SetMark(t.Context(), s, m.ID, catalog.Mark{Note: "one"}))
		verified(t, s, mustOpen(t, s, m.ID), true)
	}
	s.yielded.Store(0)
	s.lists.Store(0)
	s.opened.Store(0)
	entries := list(t, s)
	yielded, lists, opened := s.yielded.Load(), s.lists.Load(), s.opened.Load()
	if len(entries) != 5 || yielded > 5*5 || lists > 6 || opened != 5*3 {
		t.Errorf("List() = %d backups, %d names of objects in %d lists, %d objects read", len(entries), yielded, lists, opened)
	}
	for _, e := range entries {
		if e.Segments != 2000 || e.Verdict() != catalog.Verified || e.Mark == nil || e.Mark.Note != "one" {
			t.Errorf("List() has %+v", e)
		}
	}
}

func mustOpen(t testing.TB, s store.Store, id string) *backup.Manifest {
	t.Helper()
	m, err := backup.Open(t.Context(), s, id, keys)
	must(t, err)
	return m
}

// Half a list is no list: whatever call fails, List does.
func TestListFails(t *testing.T) {
	s := newStore()
	for n := range 3 {
		verified(t, s, whole(t, s, id(n, 1), ""), true)
		must(t, catalog.SetMark(t.Context(), s, id(n, 1), catalog.Mark{}))
	}
	segments(t, s, manifest(id(4, 1), ""))
	if _, err := catalog.Own(t.Context(), s, id(4, 1), "me"); err != nil {
		t.Fatal(err)
	}
	for fails := 1; ; fails++ {
		calls := 0
		faulty := storetest.Faulty(s, &storetest.Faults{Before: func(op, name string) error {
			if calls++; calls == fails {
				return storetest.Unavailable(op, name)
			}
			return nil
		}})
		p := place(s)
		p.Store = serial{faulty}
		entries, err := p.List(t.Context())
		if fails > calls {
			if err != nil || len(entries) != 4 || fails < 10 {
				t.Errorf("List() after %d calls = %d, %v", calls, len(entries), err)
			}
			return
		}
		if !errors.Is(err, store.ErrUnavailable) || entries != nil {
			t.Errorf("List() with call %d failing = %d backups, %v", fails, len(entries), err)
		}
	}
}

// serial keeps the counting of calls from being a race.
type serial struct{ store.Store }

func (s serial) Open(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	lock <- struct{}{}
	defer func() { <-lock }()
	return s.Store.Open(ctx, name, offset, length)
}

var lock = make(chan struct{}, 1)

func TestFind(t *testing.T) {
	s := newStore()
	for n := range 4 {
		whole(t, s, id(n, 1), "")
	}
	segments(t, s, manifest(id(5, 1), ""))
	put(t, s, backup.ManifestName(id(6, 1)), "{}")
	verified(t, s, mustOpen(t, s, id(3, 1)), false)
	entries := list(t, s)
	at := func(hours float64) string {
		return "@" + noon.Add(time.Duration(hours*float64(time.Hour))).Format(time.RFC3339)
	}
	for _, test := range []struct {
		selector, want string
		passed         int
		err            error
	}{
		{"", id(2, 1), 1, nil}, // the newest has failed its verification
		{"@latest", id(2, 1), 1, nil},
		{id(3, 1), id(3, 1), 0, nil}, // meant by its id
		{id(0, 1), id(0, 1), 0, nil},
		{at(1.5), id(1, 1), 0, nil},
		{at(1.49), id(0, 1), 0, nil}, // was not finished by then
		{at(100), id(2, 1), 1, nil},
		{"@2026-11-21T15:00:00+02:00", id(0, 1), 0, nil},
		{at(0.4), "", 0, errNoMatch},
		{id(5, 1), "", 0, backup.ErrNoBackup},
		{id(6, 1), "", 0, backup.ErrManifest},
		{id(9, 9), "", 0, backup.ErrNoBackup},
	} {
		selector, err := catalog.ParseSelector(test.selector)
		if err != nil {
			t.Fatal(err)
		}
		e, passed, err := catalog.Find(entries, selector)
		var none *catalog.NoMatchError
		if test.err == errNoMatch {
			if !errors.As(err, &none) || none.ExitCode() != 82 || none.Hint() == "" || !strings.Contains(err.Error(), id(0, 1)) {
				t.Errorf("Find(%s) = %s, %v, want none, and the oldest named", test.selector, e.ID, err)
			}
			continue
		}
		if e.ID != test.want || len(passed) != test.passed || !errors.Is(err, test.err) {
			t.Errorf("Find(%s) = %s, %d passed over, %v, want %s, %d, %v", test.selector, e.ID, len(passed), err, test.want, test.passed, test.err)
		}
	}
	if e, _, err := catalog.Find(nil, catalog.Selector{}); err == nil || !strings.Contains(err.Error(), "no complete one") {
		t.Errorf("Find() in an empty place = %+v, %v", e, err)
	}
	for n := range 3 {
		verified(t, s, mustOpen(t, s, id(n, 1)), false)
	}
	if e, passed, err := catalog.Find(list(t, s), catalog.Selector{}); err == nil || len(passed) != 4 || !strings.Contains(err.Error(), "4 of the complete") {
		t.Errorf("Find() with nothing but failures = %+v, %d, %v", e, len(passed), err)
	}
	for _, text := range []string{"@", "@yesterday", "@2026-11-21", "x", "@latest ", "latest"} {
		if s, err := catalog.ParseSelector(text); err == nil {
			t.Errorf("ParseSelector(%q) = %v, want an error", text, s)
		}
	}
	for _, text := range []string{"@latest", id(1, 1), "@2026-11-21T12:00:00Z"} {
		if s, err := catalog.ParseSelector(text); err != nil || s.String() != text {
			t.Errorf("ParseSelector(%q) = %v, %v", text, s, err)
		}
	}
}

var errNoMatch = errors.New("no match")

func TestMarks(t *testing.T) {
	s := newStore()
	whole(t, s, id(0, 1), "")
	must(t, catalog.SetMark(t.Context(), s, id(0, 1), catalog.Mark{Keep: true, Note: "before the migration: é", At: noon}))
	if e := get(t, s, id(0, 1)); !e.Kept() || e.Mark.Note != "before the migration: é" || !e.Mark.At.Equal(noon) {
		t.Errorf("mark = %+v", e.Mark)
	}
	must(t, catalog.SetMark(t.Context(), s, id(0, 1), catalog.Mark{Note: "only a note"}))
	if e := get(t, s, id(0, 1)); e.Kept() {
		t.Errorf("mark = %+v, want the one before replaced", e.Mark)
	}
	must(t, catalog.RemoveMark(t.Context(), s, id(0, 1)))
	must(t, catalog.RemoveMark(t.Context(), s, id(0, 1)))
	if e := get(t, s, id(0, 1)); e.Mark != nil {
		t.Errorf("mark = %+v, want none", e.Mark)
	}
	for _, note := range []string{"two\nlines", strings.Repeat("x", 1001), "\x1b[31m", "\xff"} {
		if err := catalog.SetMark(t.Context(), s, id(0, 1), catalog.Mark{Note: note}); err == nil {
			t.Errorf("SetMark(%q) = nil", note)
		}
	}
	for _, wrong := range []string{id(1, 1), "x"} {
		if catalog.SetMark(t.Context(), s, wrong, catalog.Mark{}) == nil || catalog.RemoveMark(t.Context(), s, wrong) == nil {
			t.Errorf("%s can be marked, and is no backup", wrong)
		}
	}
	// Whoever left a mark that cannot be read wanted something.
	for _, text := range []string{"", "{", `{"format":"ordinal backup mark","version":2}`, strings.Repeat("x", 2<<20), `{"format":"ordinal backup mark","version":1,"note":"a\nb"}`} {
		put(t, s, backup.Dir(id(0, 1))+"mark.json", text)
		if e := get(t, s, id(0, 1)); !e.Kept() {
			t.Errorf("mark %.50q keeps nothing", text)
		}
	}
}

func TestVerification(t *testing.T) {
	s := newStore()
	m := whole(t, s, id(0, 1), uuid+":1-5")
	verdict := func() catalog.Verdict { e := get(t, s, m.ID); return e.Verdict() }
	if got := verdict(); got != catalog.NotVerified {
		t.Errorf("verdict = %s", got)
	}
	record := func(segments *catalog.SegmentsCheck, boot *bootcheck.Result) {
		must(t, catalog.Record(t.Context(), s, m, keys, segments, boot))
	}
	record(&catalog.SegmentsCheck{OK: true, Finished: noon, Segments: 3, Bytes: 6}, nil)
	if got := verdict(); got != catalog.Verified {
		t.Errorf("verdict after a check = %s", got)
	}
	record(nil, &bootcheck.Result{OK: true, Finished: noon.Add(time.Hour), GTIDExecuted: uuid + ":1-7"})
	e := get(t, s, m.ID)
	if v := e.Verification; e.Verdict() != catalog.Verified || v.Segments == nil || v.Boot == nil || !v.Last().Equal(noon.Add(time.Hour)) {
		t.Errorf("verification = %+v, want both kinds", v)
	}
	if got := e.GTIDs().String(); got != uuid+":1-7" {
		t.Errorf("GTIDs() = %s, want what the server that was started has", got)
	}
	record(&catalog.SegmentsCheck{Finished: noon.Add(2 * time.Hour), Problem: strings.Repeat("é", 2000)}, nil)
	if got := verdict(); got != catalog.Failed {
		t.Errorf("verdict after a failure = %s", got)
	}
	// That the segments are well again does not make up for a server that did not start.
	record(nil, &bootcheck.Result{Finished: noon})
	record(&catalog.SegmentsCheck{OK: true, Finished: noon}, nil)
	if got := verdict(); got != catalog.Failed {
		t.Errorf("verdict = %s, want %s", got, catalog.Failed)
	}
}

// A record that is not ours, or of another backup, counts for nothing.
func TestVerificationIsSealed(t *testing.T) {
	s := newStore()
	m, other := whole(t, s, id(0, 1), ""), whole(t, s, id(1, 1), "")
	name := backup.Dir(m.ID) + "verified.json"
	verified(t, s, m, true)
	good, err := store.ReadSmall(t.Context(), s, name, 1<<20)
	must(t, err)
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		put(t, s, name, string(changed))
		if e := get(t, s, m.ID); e.Verdict() != catalog.NotVerified && !bytes.EqualFold(changed, good) {
			t.Errorf("byte %d changed: %s", i, e.Verdict())
		}
		put(t, s, name, string(good[:i]))
		if e := get(t, s, m.ID); e.Verdict() != catalog.NotVerified && i < len(good)-1 {
			t.Errorf("cut to %d bytes: %s", i, e.Verdict())
		}
	}
	put(t, s, backup.Dir(other.ID)+"verified.json", string(good))
	if e := get(t, s, other.ID); e.Verdict() != catalog.NotVerified {
		t.Errorf("with the record of another backup: %s", e.Verdict())
	}
	put(t, s, name, strings.Repeat("x", 2<<20))
	if e := get(t, s, m.ID); e.State != catalog.Complete || e.Verdict() != catalog.NotVerified {
		t.Errorf("with a record that is too large: %s, %s", e.State, e.Verdict())
	}
	verified(t, s, m, false) // replaces what cannot be read
	if e := get(t, s, m.ID); e.Verdict() != catalog.Failed {
		t.Errorf("after a new record: %s", e.Verdict())
	}
	if err := catalog.Record(t.Context(), s, manifest(id(7, 1), ""), keys, nil, nil); !errors.Is(err, backup.ErrNoBackup) {
		t.Errorf("Record() of no backup = %v", err)
	}
	if err := catalog.Record(t.Context(), s, m, backup.Keys{}, &catalog.SegmentsCheck{OK: true}, nil); err == nil {
		t.Error("Record() without a key = nil")
	}
}

func FuzzNotes(f *testing.F) {
	f.Add([]byte(`{"format":"ordinal backup mark","version":1,"keep":true,"note":"x","at":"2026-11-21T12:00:00Z"}`))
	f.Add([]byte(`{"format":"ordinal backup verification","version":1,"record":{},"seal":{}}`))
	f.Add([]byte(`{"format":"ordinal backup owner","version":1,"by":"x","began_at":"2026-11-21T12:00:00Z"}`))
	f.Add([]byte(`{"format":"ordinal backup sign of life","version":1,"beats":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newStore()
		whole(t, s, id(0, 1), "")
		for _, note := range []string{"mark.json", "verified.json"} {
			put(t, s, backup.Dir(id(0, 1))+note, string(data))
		}
		put(t, s, backup.Dir(id(1, 1))+"owner.json", string(data))
		put(t, s, backup.Dir(id(2, 1))+"alive.json", string(data))
		for _, e := range list(t, s) {
			if e.Verdict() != catalog.NotVerified {
				t.Errorf("%s: %s", e.ID, e.Verdict())
			}
			if e.Mark != nil && len(e.Mark.Note) > 1000 {
				t.Errorf("a note of %d bytes", len(e.Mark.Note))
			}
		}
	})
}
