package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/backup/store"
	"ordinal/backup/store/storetest"
)

// filled returns a store with five backups, the newest verified, one marked, and what three killed jobs left; all the same each time.
func filled(t testing.TB) store.Store {
	t.Helper()
	s := newStore()
	for n := range 5 {
		whole(t, s, id(24*n, 1), fmt.Sprintf("%s:1-%d", uuid, n+1))
	}
	verified(t, s, mustOpen(t, s, id(24*4, 1)), true)
	verified(t, s, mustOpen(t, s, id(24*1, 1)), true)
	must(t, catalog.SetMark(t.Context(), s, id(24*2, 1), catalog.Mark{Keep: true}))
	return s
}

func planOf(t testing.TB, s store.Store) catalog.Plan {
	t.Helper()
	return plan(t, list(t, s), catalog.Policy{Last: 1}, noon.Add(1000*time.Hour))
}

func TestPrune(t *testing.T) {
	s := filled(t)
	p := planOf(t, s)
	if want := []int{0, 1, 3}; !slices.Equal(days(p.Remove), want) {
		t.Fatalf("plan removes days %v, want %v", days(p.Remove), want)
	}
	var told []catalog.Decision
	must(t, catalog.Prune(t.Context(), s, p, place(s).CheckSizes, func(d catalog.Decision) { told = append(told, d) }))
	if len(told) != 3 || told[0].ID != id(0, 1) {
		t.Errorf("told of %+v, want the oldest first", told)
	}
	for _, d := range p.Remove {
		if left := names(t, s, backup.Dir(d.ID)); len(left) > 0 {
			t.Errorf("left of %s: %v", d.ID, left)
		}
	}
	for _, d := range p.Keep {
		if err := place(s).CheckSizes(t.Context(), d.ID); err != nil {
			t.Errorf("kept: %v", err)
		}
	}
	must(t, catalog.Prune(t.Context(), s, p, place(s).CheckSizes, nil)) // once more does no harm
}

func TestPruneRefuses(t *testing.T) {
	bad := errors.New("bad")
	well := func(context.Context, string) error { return nil }
	for _, test := range []struct {
		name   string
		change func(s store.Store, p *catalog.Plan)
		check  catalog.Check
		want   error
	}{
		{"newest is bad", func(store.Store, *catalog.Plan) {}, func(context.Context, string) error { return bad }, bad},
		{"plan refused", func(_ store.Store, p *catalog.Plan) { p.Refused = "for a reason" }, well, catalog.ErrRefused},
		{"newest is gone", func(s store.Store, p *catalog.Plan) { must(t, catalog.Remove(t.Context(), s, p.Newest)) }, well, catalog.ErrRefused},
		{"good is gone", func(s store.Store, p *catalog.Plan) { p.Good = id(9, 9) }, well, catalog.ErrRefused},
		{"removes the newest", func(s store.Store, p *catalog.Plan) { p.Newest = p.Remove[0].ID }, well, catalog.ErrRefused},
		{"removes the good", func(s store.Store, p *catalog.Plan) { p.Good = p.Remove[0].ID }, well, catalog.ErrRefused},
		{"removes what is not complete", func(s store.Store, p *catalog.Plan) { p.Remove[0].State = catalog.WrongKey }, well, catalog.ErrRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := filled(t)
			p := planOf(t, s)
			test.change(s, &p)
			before := names(t, s, "")
			err := catalog.Prune(t.Context(), s, p, test.check, nil)
			var coded interface {
				Hint() string
				ExitCode() int
			}
			if !errors.Is(err, test.want) || !errors.Is(err, catalog.ErrRefused) || !errors.As(err, &coded) || coded.Hint() == "" || coded.ExitCode() < 80 {
				t.Errorf("Prune() = %v, want %v", err, test.want)
			}
			if after := names(t, s, ""); !slices.Equal(before, after) {
				t.Errorf("Prune() removed something: %v", after)
			}
		})
	}
}

// Somebody marks a backup between plan and removal.
func TestPruneHeedsMarks(t *testing.T) {
	s := filled(t)
	p := planOf(t, s)
	must(t, catalog.SetMark(t.Context(), s, p.Remove[1].ID, catalog.Mark{Keep: true}))
	var gone []string
	must(t, catalog.Prune(t.Context(), s, p, place(s).CheckSizes, func(d catalog.Decision) { gone = append(gone, d.ID) }))
	if e := get(t, s, p.Remove[1].ID); e.State != catalog.Complete || len(gone) != 2 {
		t.Errorf("the marked one is %s, gone are %v", e.State, gone)
	}
}

// TestPruneFails lets each single call of a run fail: before it has an effect, after it had one (the answer was lost), and as a crash, after which no call
// comes any more. Whatever happens, no backup looks restorable that is not, what is kept is whole, and the next run finishes.
func TestPruneFails(t *testing.T) {
	for _, kind := range []string{"before", "after", "crash before", "crash after"} {
		t.Run(kind, func(t *testing.T) {
			for fails := 1; ; fails++ {
				s := filled(t)
				calls := 0
				var mu sync.Mutex
				fault := func(when string) func(op, name string) error {
					return func(op, name string) error {
						mu.Lock()
						defer mu.Unlock()
						if when == "before" || !strings.Contains(kind, "before") && when == "after" {
							calls++
						}
						if !strings.HasSuffix(kind, when) {
							if strings.HasPrefix(kind, "crash") && when == "before" && calls > fails {
								return storetest.Unavailable(op, name)
							}
							return nil
						}
						if calls == fails || calls > fails && strings.HasPrefix(kind, "crash") {
							return storetest.Unavailable(op, name)
						}
						return nil
					}
				}
				faults := &storetest.Faults{Before: fault("before"), After: fault("after")}
				p := planOf(t, s)
				faulty := storetest.Faulty(s, faults)
				err := catalog.Prune(t.Context(), faulty, p, place(faulty).CheckSizes, nil)
				checkWhole(t, fmt.Sprintf("call %d", fails), s, p)
				must(t, catalog.Prune(t.Context(), s, p, place(s).CheckSizes, nil))
				for _, d := range p.Remove {
					if left := names(t, s, backup.Dir(d.ID)); len(left) > 0 {
						t.Errorf("call %d: the next run leaves %v", fails, left)
					}
				}
				if fails > calls {
					if err != nil || fails < 20 {
						t.Errorf("Prune() with %d calls = %v", calls, err)
					}
					return
				}
				if err == nil && !strings.HasSuffix(kind, "after") {
					t.Errorf("Prune() with call %d failing = nil", fails)
				}
			}
		})
	}
}

// checkWhole checks what must hold at any moment.
func checkWhole(t *testing.T, when string, s store.Store, p catalog.Plan) {
	t.Helper()
	for _, e := range list(t, s) {
		switch e.State {
		case catalog.Complete:
			if err := place(s).CheckSizes(t.Context(), e.ID); err != nil {
				t.Errorf("%s: %s looks restorable: %v", when, e.ID, err)
			}
		case catalog.Damaged:
			t.Errorf("%s: %s is damaged: %v", when, e.ID, e.Err)
		}
	}
	for _, d := range p.Keep {
		if e := get(t, s, d.ID); e.State != catalog.Complete {
			t.Errorf("%s: %s should be kept and is %s", when, d.ID, e.State)
		}
	}
}

// A store that takes nothing more, as the one in which the last job died, is pruned all the same.
func TestPruneFullStore(t *testing.T) {
	s := filled(t)
	p := planOf(t, s)
	forbidden := storetest.Faulty(s, &storetest.Faults{Before: func(op, name string) error {
		if op == "Put" || op == "PutIfAbsent" {
			return &store.Error{Op: "put", Name: name, Kind: store.ErrNoSpace}
		}
		return nil
	}})
	must(t, catalog.Prune(t.Context(), forbidden, p, place(s).CheckSizes, nil))
	if got := len(list(t, s)); got != 2 {
		t.Errorf("%d backups are left, want 2", got)
	}
}

func TestCheckSizes(t *testing.T) {
	s := newStore()
	m := whole(t, s, id(0, 1), "")
	check := func() error { return place(s).CheckSizes(t.Context(), m.ID) }
	must(t, check())
	put(t, s, backup.SegmentName(m.ID, 2), "xxx")
	if err := check(); !errors.Is(err, backup.ErrLonger) {
		t.Errorf("CheckSizes() = %v, want ErrLonger", err)
	}
	put(t, s, backup.SegmentName(m.ID, 2), "x")
	if err := check(); !errors.Is(err, backup.ErrTruncated) {
		t.Errorf("CheckSizes() = %v, want ErrTruncated", err)
	}
	must(t, s.Delete(t.Context(), backup.SegmentName(m.ID, 2)))
	if err := check(); !errors.Is(err, backup.ErrMissing) {
		t.Errorf("CheckSizes() = %v, want ErrMissing", err)
	}
	must(t, s.Delete(t.Context(), backup.ManifestName(m.ID)))
	if err := check(); !errors.Is(err, backup.ErrNoBackup) {
		t.Errorf("CheckSizes() = %v, want ErrNoBackup", err)
	}
}

// The life of a job: nobody cleans up behind it while it lives, whatever the clock says, and somebody does when it is dead.
func TestCleanLeavesTheLivingAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		m := manifest(id(0, 1), "")
		owner, err := catalog.Own(t.Context(), s, m.ID, "agent backup on host")
		must(t, err)
		if _, err := catalog.Own(t.Context(), s, m.ID, "another"); !errors.Is(err, store.ErrExists) {
			t.Errorf("Own() of the same id = %v, want ErrExists", err)
		}
		ctx, kill := context.WithCancel(t.Context())
		running := make(chan error, 1)
		go func() { running <- owner.Run(ctx) }()
		segments(t, s, m) // and then nothing for two hours: the store takes only signs of life
		for range 3 {
			time.Sleep(40 * time.Minute)
			done, err := catalog.Clean(t.Context(), place(s), s, false, func([]catalog.Entry) { t.Error("waits for a job that is alive") })
			if err != nil || len(done.Removed) != 0 || len(done.Left) != 1 || done.Left[0].Owner == nil || done.Left[0].Owner.Beats < 30 {
				t.Fatalf("Clean() = %+v, %v", done, err)
			}
		}
		// The clock here is a day ahead: all looks old, but it changes.
		began := time.Now()
		observed := catalog.Observe(list(t, s), began)
		time.Sleep(catalog.Quiet)
		if gone, others := observed.Abandoned(list(t, s), time.Now().Add(24*time.Hour)); len(gone) != 0 || len(others) != 1 {
			t.Errorf("Abandoned() with a clock that is wrong = %v", gone)
		}
		kill()
		must(t, <-running)

		// It is dead. Soon after nobody knows; after ten minutes it is clear, once nothing has changed between two looks.
		time.Sleep(5 * time.Minute)
		done, err := catalog.Clean(t.Context(), place(s), s, false, nil)
		if err != nil || len(done.Removed) != 0 {
			t.Errorf("Clean() after 5 minutes = %+v, %v", done, err)
		}
		time.Sleep(6 * time.Minute)
		if gone, _ := catalog.Observe(list(t, s), time.Now()).Abandoned(list(t, s), time.Now()); len(gone) != 0 {
			t.Error("Abandoned() after one look")
		}
		waited := false
		done, err = catalog.Clean(t.Context(), place(s), s, true, func(e []catalog.Entry) { waited = len(e) == 1 })
		if err != nil || len(done.Removed) != 1 || !waited || len(names(t, s, "")) != 5 {
			t.Errorf("Clean() to look only = %+v, %v, left %v", done, err, names(t, s, ""))
		}
		done, err = catalog.Clean(t.Context(), place(s), s, false, nil)
		if left := names(t, s, ""); err != nil || len(done.Removed) != 1 || len(left) > 0 {
			t.Errorf("Clean() = %+v, %v, left %v", done, err, left)
		}
	})
}

// What nobody ever owned, such as the rest of a removal, is cleaned up after an hour.
func TestCleanUnowned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		segments(t, s, manifest(id(0, 1), ""))
		whole(t, s, id(1, 1), "")
		for _, test := range []struct {
			after time.Duration
			gone  int
		}{{50 * time.Minute, 0}, {11 * time.Minute, 1}, {time.Hour, 0}} {
			time.Sleep(test.after)
			done, err := catalog.Clean(t.Context(), place(s), s, false, nil)
			if err != nil || len(done.Removed) != test.gone {
				t.Errorf("Clean() = %+v, %v, want %d removed", done, err, test.gone)
			}
		}
		if e := get(t, s, id(1, 1)); e.State != catalog.Complete {
			t.Errorf("the backup is %s", e.State)
		}
	})
}

// A job that cannot tell the store that it is alive ends before somebody takes it for dead.
func TestOwnerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		var cut atomic.Bool
		faulty := storetest.Faulty(s, &storetest.Faults{Before: func(op, name string) error {
			if cut.Load() {
				return storetest.Unavailable(op, name)
			}
			return nil
		}})
		owner, err := catalog.Own(t.Context(), faulty, id(0, 1), "me")
		must(t, err)
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- owner.Run(t.Context()) }()
		time.Sleep(30 * time.Minute)
		cut.Store(true)
		err = <-ended
		var silent *catalog.SilentError
		if took := time.Since(began) - 30*time.Minute; !errors.As(err, &silent) || !errors.Is(err, store.ErrUnavailable) || took > 6*time.Minute || took < 4*time.Minute {
			t.Errorf("Run() = %v after %v", err, took)
		}
	})
}

// TestFinishedWhileCleaned lets the job that everybody thought dead take each of its last steps between any two of those who clean up. Afterwards the job knows
// whether there is a backup, and readers see none that is not whole; at any moment in between too, if either is killed.
func TestFinishedWhileCleaned(t *testing.T) {
	for first := range 12 {
		for second := first; second < 12; second++ {
			s := newStore()
			m := manifest(id(0, 1), "")
			job, err := catalog.Own(t.Context(), s, m.ID, "me")
			must(t, err)
			segments(t, s, m)
			var confirmed error
			done := 0
			steps := []func(){
				func() { sealed(t, s, m, keys) },
				func() { confirmed = job.Confirm(t.Context()) },
			}
			calls := 0
			var mu sync.Mutex
			cleaning := storetest.Faulty(s, &storetest.Faults{Before: func(op, name string) error {
				mu.Lock()
				defer mu.Unlock()
				for calls++; done < 2 && calls > []int{first, second}[done]; done++ {
					steps[done]()
				}
				lies(t, s, m.ID, fmt.Sprintf("steps before calls %d and %d, call %d", first+1, second+1, calls))
				return nil
			}})
			abandoned := []catalog.Entry{{ID: m.ID, State: catalog.Unfinished}}
			removed := false
			must(t, catalog.RemoveAbandoned(t.Context(), cleaning, abandoned, func(catalog.Entry) { removed = true }))
			for ; done < 2; done++ {
				steps[done]()
			}
			e := get(t, s, m.ID)
			var taken *catalog.TakenError
			switch {
			case confirmed == nil && (removed || e.State != catalog.Complete):
				t.Errorf("%d, %d: the job thinks it has made a backup, which is %s, removed %t", first, second, e.State, removed)
			case confirmed != nil && (!errors.As(confirmed, &taken) || e.State == catalog.Complete):
				t.Errorf("%d, %d: Confirm() = %v, and the backup is %s", first, second, confirmed, e.State)
			}
			lies(t, s, m.ID, "afterwards")
		}
	}
}

// lies fails if a backup looks complete and is not.
func lies(t *testing.T, s store.Store, id, when string) {
	t.Helper()
	e, err := place(s).Get(t.Context(), id)
	if err != nil || e.State != catalog.Complete {
		return
	}
	if err := place(s).CheckSizes(t.Context(), id); err != nil {
		t.Errorf("%s: the backup looks complete: %v", when, err)
	}
}

// TestCleanFails lets each single call of a clean-up fail, as TestPruneFails does for pruning.
func TestCleanFails(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		for fails := 1; ; fails++ {
			s := newStore()
			m := manifest(id(0, 1), "")
			segments(t, s, m)
			whole(t, s, id(1, 1), "")
			var mu sync.Mutex
			calls := 0
			fault := func(op, name string) error {
				mu.Lock()
				defer mu.Unlock()
				if calls++; calls == fails {
					return storetest.Unavailable(op, name)
				}
				return nil
			}
			faults := &storetest.Faults{Before: fault}
			if when == "after" {
				faults = &storetest.Faults{After: fault}
			}
			abandoned := []catalog.Entry{{ID: m.ID, State: catalog.Unfinished}}
			err := catalog.RemoveAbandoned(t.Context(), storetest.Faulty(s, faults), abandoned, nil)
			if e := get(t, s, m.ID); e.State == catalog.Complete || e.State == catalog.Damaged {
				t.Errorf("%s call %d: it is %s", when, fails, e.State)
			}
			must(t, catalog.RemoveAbandoned(t.Context(), s, abandoned, nil))
			if left := names(t, s, backup.Dir(m.ID)); len(left) > 0 {
				t.Errorf("%s call %d: the next run leaves %v", when, fails, left)
			}
			if e := get(t, s, id(1, 1)); e.State != catalog.Complete {
				t.Errorf("%s call %d: the other backup is %s", when, fails, e.State)
			}
			if fails > calls {
				if err != nil || fails < 5 {
					t.Errorf("%s: %d calls, %v", when, calls, err)
				}
				break
			}
			if err == nil {
				t.Errorf("%s call %d failed, and there is no error", when, fails)
			}
		}
	}
}
