package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestCounterSurvivesTheLossOfEverything: somebody counts. All programs are killed in the middle of it, and every volume is gone. The set comes back from its
// store, and has what had been acknowledged before the time up to which it had said that everything is archived: rpo_seconds is what was lost at most. Without any one
// of the archive's segments nothing is restored to its end: it is refused before anything is done, and the last point that can be reached is named.
func TestCounterSurvivesTheLossOfEverything(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 6*time.Minute)
	directory := t.TempDir()
	at := "file://" + directory
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(int) []string {
		return []string{"--store", at, "--restore-from", at}
	}})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.counter (id INT PRIMARY KEY, n BIGINT NOT NULL)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.counter VALUES (1, 0)"))
	must(t, s.WaitConverged(ctx))
	x := newTool(t, s, at)
	b := x.backUp(ctx)
	waitArchived(ctx, t, s, executed(ctx, t, s, 0))

	began := time.Now() // what is archived from now on is what is counted
	c := startCounting(ctx, t, s)
	var last localset.Status
	seen := map[string]bool{} // states of the archive, so that it has several segments
	waitStatus(ctx, t, s, 0, "a few segments of what is counted", func(st localset.Status) bool {
		if st.Archive != nil && st.Archive.RPOSeconds != nil {
			seen[st.Archive.Archived] = true
			last = st
		}
		return len(seen) > 2 && c.ackedBefore(promised(last)) > 0
	})
	loseEverything(ctx, t, s)
	c.stop()
	want, promisedByRPO, most := c.ackedBefore(last.Archive.ArchivedTo), c.ackedBefore(promised(last)), c.asked()
	must(t, s.Scale(ctx, 2))
	must(t, s.WaitReady(ctx))
	got, err := strconv.ParseInt(one(ctx, t, s, 0, "SELECT n FROM shop.counter"), 10, 64)
	must(t, err)
	if want = max(want, promisedByRPO); got < want || got > most {
		t.Errorf("the counter is at %d; with archived_to %v, and rpo_seconds %.1f at %v, it is at least %d, and at most %d",
			got, last.Archive.ArchivedTo, *last.Archive.RPOSeconds, last.ObservedAt, want, most)
	}
	t.Logf("counted to %d, restored %d, of which %d were promised with rpo_seconds %.1f", most, got, want, *last.Archive.RPOSeconds)
	mustBeEqual(ctx, t, s)
	waitArchived(ctx, t, s, executed(ctx, t, s, 0))
	must(t, s.Scale(ctx, 0)) // nobody puts segments together, or writes new ones

	t.Run("a segment is missing", func(t *testing.T) { mustNotReachTheEnd(ctx, t, x, directory, b.ID, began) })
	x.mustHaveLeftNothing()
}

// mustNotReachTheEnd takes each segment out of the archive in turn. Those with what the backup has are not needed.
func mustNotReachTheEnd(ctx context.Context, t *testing.T, x tool, directory, id string, after time.Time) {
	segments, err := filepath.Glob(filepath.Join(directory, "archive", "segments", "*"))
	must(t, err)
	volume := t.TempDir()
	plan := []string{"restore", id, "--volume=" + volume, "--to-end", "--plan"}
	if o := x.must(ctx, plan...); !strings.Contains(o.stdout, "then replay the archive") {
		t.Errorf("the plan with all segments is\n%s", o.stdout)
	}
	refused := 0
	for _, segment := range segments {
		away := segment + ".away"
		must(t, os.Rename(segment, away))
		o := x.run(ctx, plan...)
		must(t, os.Rename(away, segment))
		written, err := time.Parse("20060102T150405.000Z", strings.SplitN(filepath.Base(segment), "-", 2)[0])
		must(t, err)
		switch {
		case o.code == 82:
			refused++
			o.mustRefuse(t, 82, "cannot be reached: .*the last point that can be reached is .*", "or use a later backup")
		case written.After(after):
			t.Errorf("without %s, which is not in backup %s, the plan ends with %d\n%s%s", segment, id, o.code, o.stdout, o.stderr)
		}
	}
	t.Logf("%d of %d objects of the archive are needed, and each was missed", refused, len(segments))
	if refused < 3 {
		t.Error("that is too few to show anything")
	}
	mustBeUntouched(t, listing(t, volume)[:1], volume)
}

// promised is up to when, by its rpo_seconds, everything is archived.
func promised(st localset.Status) time.Time {
	if st.Archive == nil || st.Archive.RPOSeconds == nil {
		return time.Time{}
	}
	return st.ObservedAt.Add(-time.Duration(*st.Archive.RPOSeconds * float64(time.Second)))
}

// A counter is a row that is incremented by one session, which writes down what was acknowledged, and when.
type counter struct {
	stop func()

	mu    sync.Mutex
	acked []time.Time // of 1, 2, 3 …
	tried int64
}

// startCounting counts until the first error, or until stop.
func startCounting(ctx context.Context, t *testing.T, s *localset.Set) *counter {
	t.Helper()
	db, err := s.DB(0)
	must(t, err)
	running, cancel := context.WithCancel(ctx)
	c, done := new(counter), make(chan struct{})
	c.stop = func() {
		cancel()
		<-done
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for n := int64(1); c.try(n, func() error {
			return db.Exec(running, fmt.Sprintf("UPDATE shop.counter SET n = %d WHERE n = %d", n, n-1))
		}); n++ {
			select {
			case <-tick.C:
			case <-running.Done():
				return
			}
		}
	}()
	t.Cleanup(c.stop)
	return c
}

// try counts one further.
func (c *counter) try(n int64, increment func() error) bool {
	c.mu.Lock()
	c.tried = n
	c.mu.Unlock()
	err := increment()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return false
	}
	c.acked = append(c.acked, time.Now())
	return true
}

// ackedBefore is how far it had been counted at some moment, as far as was acknowledged.
func (c *counter) ackedBefore(at time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int64(0)
	for n < int64(len(c.acked)) && c.acked[n].Before(at) {
		n++
	}
	return n
}

// asked is how far it has been counted at most.
func (c *counter) asked() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tried
}
