package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ordinal/backup/store"
	"ordinal/backup/store/memstore"
	"ordinal/backup/store/storetest"
)

var quick = store.Patience{Pause: time.Millisecond, Longest: 4 * time.Millisecond, Total: time.Minute}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A store whose every second call fails, before or after it did its work, whose readers break off and whose lists end too early: with Retry it passes
// what every store has to.
func TestRetryOverFaults(t *testing.T) {
	storetest.Run(t, storetest.Implementation{Large: 100_000, New: func(*testing.T) store.Store {
		var calls atomic.Int64
		sometimes := func(op, name string) error {
			if calls.Add(1)%3 == 0 {
				return storetest.Unavailable(op, name)
			}
			return nil
		}
		faulty := storetest.Faulty(new(memstore.Store), &storetest.Faults{Cut: 30_000, Before: func(op, name string) error {
			if op == "Put" { // the suite's readers cannot be read twice
				return nil
			}
			return sometimes(op, name)
		}})
		return store.Retry(faulty, quick)
	}})
}

func TestRetryPut(t *testing.T) {
	inner := new(memstore.Store)
	fail := 3
	s := store.Retry(storetest.Faulty(inner, &storetest.Faults{After: func(op, name string) error {
		if fail--; fail >= 0 {
			return storetest.Unavailable(op, name)
		}
		return nil
	}}), quick)
	r := strings.NewReader("skipped, content")
	_, err := r.Seek(9, io.SeekStart)
	must(t, err)
	must(t, s.Put(t.Context(), "x", 7, r))
	if got, err := store.ReadSmall(t.Context(), s, "x", 100); string(got) != "content" || err != nil {
		t.Errorf("the object is %q, %v", got, err)
	}
	fail = 1
	if err := s.Put(t.Context(), "x", 7, struct{ io.Reader }{strings.NewReader("content")}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Put() of what cannot be read twice = %v", err)
	}
}

// An answer that was lost is told from somebody else's object.
func TestRetryPutIfAbsent(t *testing.T) {
	for _, other := range []bool{false, true} {
		inner := new(memstore.Store)
		lost := false
		s := store.Retry(storetest.Faulty(inner, &storetest.Faults{
			Before: func(op, name string) error {
				if other && op == "PutIfAbsent" && !lost {
					lost = true
					must(t, inner.Put(t.Context(), name, -1, strings.NewReader("other")))
					return storetest.Unavailable(op, name)
				}
				return nil
			},
			After: func(op, name string) error {
				if lost {
					return nil
				}
				lost = true
				return storetest.Unavailable(op, name)
			},
		}), quick)
		err := s.PutIfAbsent(t.Context(), "m", []byte("mine"))
		if other != errors.Is(err, store.ErrExists) || !other && err != nil {
			t.Errorf("PutIfAbsent(), somebody else was faster: %v: %v", other, err)
		}
	}
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unavailable := storetest.Unavailable("x", "y")
		tries := 0
		begin := time.Now()
		err := store.Patience{}.Do(t.Context(), func() error { tries++; return unavailable })
		if took := time.Since(begin); !errors.Is(err, store.ErrUnavailable) || took > 5*time.Minute || took < 4*time.Minute || tries < 20 || tries > 60 {
			t.Errorf("Do() = %v after %d tries in %v", err, tries, took)
		}
		for _, final := range []error{nil, storetest.Forbidden("x", "y"), io.EOF} {
			tries = 0
			if err := (store.Patience{}).Do(t.Context(), func() error { tries++; return final }); err != final || tries != 1 {
				t.Errorf("Do() = %v after %d tries, want %v after 1", err, tries, final)
			}
		}
		tries = 0
		_ = store.Patience{Total: -1}.Do(t.Context(), func() error { tries++; return unavailable })
		if tries != 1 {
			t.Errorf("%d tries without patience", tries)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		if err := (store.Patience{Pause: time.Hour, Longest: time.Hour, Total: 100 * time.Hour}).Do(ctx, func() error { return unavailable }); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) || time.Since(begin) != time.Second {
			t.Errorf("Do() whose context ended = %v after %v", err, time.Since(begin))
		}
	})
}

type pacer struct{ passed atomic.Int64 }

func (p *pacer) Wait(ctx context.Context, n int) error {
	p.passed.Add(int64(n))
	return context.Cause(ctx)
}

func TestLimit(t *testing.T) {
	var p pacer
	storetest.Run(t, storetest.Implementation{Large: 100_000, New: func(*testing.T) store.Store { return store.Limit(new(memstore.Store), &p) }})
	var one pacer
	s := store.Limit(new(memstore.Store), &one)
	data := storetest.Content(1_000_000)
	must(t, s.Put(t.Context(), "x", -1, bytes.NewReader(data)))
	must(t, s.PutIfAbsent(t.Context(), "y", data[:1000]))
	if got, err := store.ReadSmall(t.Context(), s, "x", 1_000_000); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got := one.passed.Load(); got != 2_001_000 {
		t.Errorf("%d bytes passed, want 2001000", got)
	}
}

func TestFaults(t *testing.T) {
	s := storetest.Faulty(new(memstore.Store), &storetest.Faults{Full: 1000, Before: func(op, name string) error {
		if op == "Delete" {
			return storetest.Forbidden(op, name)
		}
		return nil
	}})
	must(t, s.Put(t.Context(), "x", -1, bytes.NewReader(make([]byte, 900))))
	if err := s.Put(t.Context(), "y", -1, bytes.NewReader(make([]byte, 101))); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("Put() into a full store = %v", err)
	}
	if err := s.Delete(t.Context(), "x"); !errors.Is(err, store.ErrPermission) {
		t.Errorf("Delete() = %v", err)
	}
}

// Each byte of a marker that is cut off, and each that is flipped: refused, or the same marker still.
func TestMarkerDamage(t *testing.T) {
	s := new(memstore.Store)
	must(t, store.Claim(t.Context(), s, "0b8c2a4e", "mysql", time.Date(2026, 11, 21, 12, 0, 0, 5, time.UTC)))
	good, err := store.ReadSmall(t.Context(), s, store.MarkerName, 1000)
	must(t, err)
	want := store.Marker{Cluster: "0b8c2a4e", Set: "mysql", Created: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	if m, err := store.ReadMarker(t.Context(), s); err != nil || m != want {
		t.Errorf("ReadMarker() = %+v, %v, want %+v", m, err, want)
	}
	try := func(what string, data []byte) {
		must(t, s.Put(t.Context(), store.MarkerName, -1, bytes.NewReader(data)))
		err := store.Check(t.Context(), s, "0b8c2a4e", "mysql")
		if err != nil && !errors.Is(err, store.ErrForeign) {
			t.Errorf("%s: Check() = %v, want %v", what, err, store.ErrForeign)
		}
		if m, readErr := store.ReadMarker(t.Context(), s); err == nil && (readErr != nil || m.Cluster != want.Cluster || m.Set != want.Set) {
			t.Errorf("%s is taken for %+v", what, m)
		}
		if err == nil && len(data) < len(good)-1 {
			t.Errorf("%s is good enough", what)
		}
		if claimErr := store.Claim(t.Context(), s, "0b8c2a4e", "mysql", time.Now()); (claimErr == nil) != (err == nil) {
			t.Errorf("%s: Claim() = %v, Check() = %v", what, claimErr, err)
		}
	}
	for i := range good {
		try(fmt.Sprintf("the first %d bytes", i), good[:i])
		for bit := range 8 {
			flipped := bytes.Clone(good)
			flipped[i] ^= 1 << bit
			try(fmt.Sprintf("bit %d of byte %d", bit, i), flipped)
		}
	}
	for what, text := range map[string]string{
		"a newer version": strings.Replace(string(good), `"version": 1`, `"version": 2`, 1),
		"two markers":     string(good) + string(good),
		"a huge one":      string(good) + strings.Repeat(" ", 1<<20),
		"no marker":       "hello",
		"null":            "null",
		"another format":  `{"format": "other", "version": 1, "cluster_id": "0b8c2a4e", "set": "mysql"}`,
	} {
		must(t, s.Put(t.Context(), store.MarkerName, -1, strings.NewReader(text)))
		if err := store.Check(t.Context(), s, "0b8c2a4e", "mysql"); !errors.Is(err, store.ErrForeign) {
			t.Errorf("%s: Check() = %v, want %v", what, err, store.ErrForeign)
		}
	}
	// Fields of later minor forms do not matter.
	must(t, s.Put(t.Context(), store.MarkerName, -1, strings.NewReader(strings.Replace(string(good), "{", `{"later": [1], `, 1))))
	must(t, store.Check(t.Context(), s, "0b8c2a4e", "mysql"))
	for _, id := range []string{"", "a b", "ä", "a\n", strings.Repeat("a", 201)} {
		if err := store.Claim(t.Context(), new(memstore.Store), id, "mysql", time.Now()); err == nil {
			t.Errorf("Claim(%q) succeeds", id)
		}
		if err := store.Claim(t.Context(), new(memstore.Store), "c", id, time.Now()); err == nil {
			t.Errorf("Claim(set %q) succeeds", id)
		}
	}
}

// A store that cannot be asked is never taken for an empty one.
func TestClaimAsksFirst(t *testing.T) {
	for _, op := range []string{"Open", "PutIfAbsent"} {
		inner := new(memstore.Store)
		s := storetest.Faulty(inner, &storetest.Faults{Before: func(called, name string) error {
			if called == op {
				return storetest.Unavailable(called, name)
			}
			return nil
		}})
		if err := store.Claim(t.Context(), s, "c", "s", time.Now()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Claim() when %s fails = %v, want %v", op, err, store.ErrUnavailable)
		}
		if found, _ := inner.Anything(t.Context()); found != "" {
			t.Errorf("Claim() when %s fails wrote %s", op, found)
		}
	}
}
