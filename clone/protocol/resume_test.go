package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
)

const (
	fileCopy = protocol.StateFileCopy
	pageCopy = protocol.StatePageCopy
	redoCopy = protocol.StateRedoCopy
)

// A cut says when all connections of a session break.
type cut struct {
	name   string
	at     event
	resume string // "": from all that is held; "older": from less, as after a crash; "files": files have to be announced again
}

// Breaks in every stage, each followed by another, with writes and DDL all the time. What comes of it is right, and nothing was sent twice.
func TestResumeUnderLoad(t *testing.T) {
	for name, cuts := range map[string][]cut{
		"alone": {
			{name: "execute"},
			{name: "answer"}, // to ACK(INIT)
			{at: event{"start", fileCopy, 1}},
			{at: event{"file", fileCopy, 3}},
			{at: event{"data", fileCopy, 1}},
			{at: event{"data", fileCopy, 40}, resume: "files"},
			{at: event{"end", fileCopy, 1}},
			{name: "answer"}, // to ACK(FILE_COPY)
			{at: event{"file", pageCopy, 1}},
			{at: event{"data", pageCopy, 30}},
			{name: "answer"},
			{at: event{"data", redoCopy, 2}},
			{name: "answer"},
		},
		"3 workers": {
			{at: event{"data", fileCopy, 9}},
			{at: event{"data", fileCopy, 25}, resume: "older"},
			{at: event{"data", fileCopy, 30}},
			{at: event{"start", pageCopy, 1}},
			{at: event{"data", pageCopy, 25}},
			{at: event{"data", pageCopy, 25}, resume: "older"},
			{at: event{"file", redoCopy, 2}},
			{at: event{"start", redoCopy, 1}},
			{at: event{"redo", redoCopy, 2}},
			{at: event{"data", redoCopy, 1}},
			{at: event{"end", redoCopy, 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			donor := startDonor(t, map[string]int{"alone": 30, "3 workers": 80}[name]) // 80 MiB are two chunks
			l := startLoad(t, donor, true)
			net := &network{dial: dialer(donor)}
			opts := protocol.Options{}
			if name != "alone" {
				opts.Workers = 3
			}
			s := open(t, net.open, opts)
			r := newReceiver(t, s.Parameters().Version)
			breaks := 0
			for _, c := range append(cuts, cut{name: "none"}) {
				r.attach(s)
				older := r.cutAt(net, l, c)
				err := s.Run(t.Context(), r)
				r.before = nil
				if c.name == "none" {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				if !protocol.IsBroken(err) && !errors.Is(err, protocol.ErrKeep) {
					t.Fatalf("%+v: Run = %v, want a broken connection", c, err)
				}
				breaks++
				snap, p := r.progress()
				t.Logf("%+v: %v; held %v ended %v, %d of %d chunks, %d partial, %d files", c, err, p.State, p.Ended, p.Chunks.Count(), p.ChunkCount, len(p.Partial), p.Files)
				switch c.resume {
				case "older":
					p = *older
					r.regress(p)
				case "files":
					p.AllFiles = false
				}
				net.expect()
				s, err = protocol.Resume(t.Context(), net.open, opts, snap, p)
				if err != nil {
					t.Fatalf("%+v: %v", c, err)
				}
			}
			committed := l.transfers.Load()
			l.stop(t)
			if got := fmt.Sprint(r.starts); got != "[FILE_COPY PAGE_COPY REDO_COPY]" {
				t.Errorf("stages started: %v", got)
			}
			if got := fmt.Sprint(r.ends); got != "[FILE_COPY PAGE_COPY REDO_COPY]" {
				t.Errorf("stages ended: %v", got)
			}
			if err := r.finish(); err != nil {
				t.Fatal(err)
			}
			// A block may be on its way to the sink on each connection when they break.
			limit := size(t, r.dir) + int64(breaks*(opts.Workers+1))<<20
			if got := r.bytes[fileCopy].Load(); got > limit {
				t.Errorf("%d bytes in FILE_COPY, want at most %d", got, limit)
			}
			t.Logf("%d breaks; %d bytes in FILE_COPY for a directory of %d", breaks, r.bytes[fileCopy].Load(), size(t, r.dir))
			checkCopy(t, donor, r.dir, committed)
		})
	}
}

// cutAt cuts at c. It returns progress as of some calls before, for those who resume from there, filled in by then.
func (r *receiver) cutAt(n *network, l *load, c cut) *protocol.Progress {
	n.cutOnExecute.Store(c.name == "execute")
	n.cutOnAnswer.Store(c.name == "answer")
	var older protocol.Progress
	var calls atomic.Int64
	r.before = func(ctx context.Context, e event) error {
		if e.what == "end" {
			// Changes and DDL pile up for the next stage.
			from, rows := l.rounds.Load(), l.transfers.Load()
			mysqltest.Eventually(r.t, "load in "+e.state.String(), func() bool {
				return l.rounds.Load() > from+4 && l.transfers.Load() > rows+50
			})
		}
		if e.what != c.at.what || e.state != c.at.state {
			return nil
		}
		switch nth := int(calls.Add(1)); {
		case nth == c.at.nth/2:
			_, older = r.progress()
		case nth != c.at.nth:
		case e.what == "start" || e.what == "file" || e.what == "redo":
			return protocol.ErrKeep // what is buffered would still come
		case e.what == "end":
			n.cut()
			<-ctx.Done() // main is read meanwhile: a broken donor is noticed
			return ctx.Err()
		default:
			n.cut()
		}
		return nil
	}
	return &older
}

// regress forgets what came after p.
func (r *receiver) regress(p protocol.Progress) {
	r.held = p
	clear(r.open)
	for _, part := range p.Partial {
		r.open[part.Chunk] = part.Blocks
	}
}

func size(t *testing.T, dir string) (bytes int64) {
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// What cannot be resumed says so, and hurts nobody.
func TestSnapshotGone(t *testing.T) {
	t.Parallel()
	donor := startDonor(t, 2)
	dial := dialer(donor)
	opts := protocol.Options{}
	// stop runs a session until it has its first data, and ends it with cause.
	stop := func(t *testing.T, s *protocol.Session, cause error) *receiver {
		t.Helper()
		r := newReceiver(t, "9.7.4")
		r.attach(s)
		ctx, cancel := context.WithCancelCause(t.Context())
		r.before = func(_ context.Context, e event) error {
			if e.what == "data" {
				cancel(cause)
			}
			return nil
		}
		if err := s.Run(ctx, r); !errors.Is(err, cause) {
			t.Fatalf("Run = %v, want %v", err, cause)
		}
		r.before = nil
		return r
	}
	gone := func(t *testing.T, r *receiver) {
		t.Helper()
		snap, p := r.progress()
		s, err := protocol.Resume(t.Context(), dial, opts, snap, p)
		if !errors.Is(err, protocol.ErrSnapshotGone) {
			t.Errorf("Resume = %v, want ErrSnapshotGone", err)
		}
		if err == nil {
			s.Close()
		}
	}
	goesOn := func(t *testing.T, r *receiver) {
		t.Helper()
		snap, p := r.progress()
		s, err := protocol.Resume(t.Context(), dial, opts, snap, p)
		if err != nil {
			t.Fatal(err)
		}
		r.attach(s)
		if err := s.Run(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	t.Run("kept", func(t *testing.T) {
		r := stop(t, open(t, dial, opts), fmt.Errorf("the recipient: %w", protocol.ErrKeep))
		snap, p := r.progress()
		for range 2 { // kept again, without a Run
			s, err := protocol.Resume(t.Context(), dial, opts, snap, p)
			if err != nil {
				t.Fatal(err)
			}
			s.Keep()
			s.Close()
		}
		goesOn(t, r)
	})
	t.Run("kept before Run", func(t *testing.T) {
		s := open(t, dial, opts)
		s.Keep()
		r := newReceiver(t, "9.7.4")
		r.attach(s)
		goesOn(t, r)
	})
	t.Run("cancelled", func(t *testing.T) { gone(t, stop(t, open(t, dial, opts), errors.New("over"))) })
	t.Run("closed", func(t *testing.T) {
		r := stop(t, open(t, dial, opts), protocol.ErrKeep)
		snap, p := r.progress()
		s, err := protocol.Resume(t.Context(), dial, opts, snap, p)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		gone(t, r)
	})
	t.Run("released", func(t *testing.T) {
		r := stop(t, open(t, dial, opts), protocol.ErrKeep)
		snap, _ := r.progress()
		if err := protocol.Release(t.Context(), dial, snap); err != nil {
			t.Error(err)
		}
		gone(t, r)
		if err := protocol.Release(t.Context(), dial, snap); !errors.Is(err, protocol.ErrSnapshotGone) {
			t.Errorf("second Release = %v, want ErrSnapshotGone", err)
		}
	})
	t.Run("finished", func(t *testing.T) {
		r := stop(t, open(t, dial, opts), protocol.ErrKeep)
		goesOn(t, r)
		gone(t, r)
	})
	t.Run("replaced", func(t *testing.T) {
		r := stop(t, open(t, dial, opts), protocol.ErrKeep)
		other := open(t, dial, opts)
		gone(t, r)
		other.Close()
		gone(t, r)
	})
	t.Run("window of 0", func(t *testing.T) {
		donor.Exec(t, "SET GLOBAL clone_donor_timeout_after_network_failure = 0")
		defer donor.Exec(t, "SET GLOBAL clone_donor_timeout_after_network_failure = 5")
		s := open(t, dial, opts)
		if w := s.Parameters().ReconnectWindow; w != 0 {
			t.Errorf("window of %v, want 0", w)
		}
		gone(t, stop(t, s, protocol.ErrKeep))
	})
	t.Run("progress that does not fit", func(t *testing.T) {
		r := stop(t, open(t, dial, opts), protocol.ErrKeep)
		snap, p := r.progress()
		for name, change := range map[string]func(p *protocol.Progress){
			"a chunk more":  func(p *protocol.Progress) { p.ChunkCount++; p.Chunks.Add(p.ChunkCount) },
			"a chunk less":  func(p *protocol.Progress) { p.ChunkCount-- },
			"a stage ahead": func(p *protocol.Progress) { p.State, p.Chunks, p.Partial = pageCopy, nil, nil },
			"two stages ahead": func(p *protocol.Progress) {
				p.State, p.Chunks, p.Partial = redoCopy, nil, nil
			},
		} {
			q := p
			q.Chunks = append(protocol.ChunkSet(nil), p.Chunks...)
			change(&q)
			if _, err := protocol.Resume(t.Context(), dial, opts, snap, q); !errors.Is(err, protocol.ErrSnapshotGone) {
				t.Errorf("%s: Resume = %v, want ErrSnapshotGone", name, err)
			}
		}
		goesOn(t, r)
	})
	t.Run("progress that lies", func(t *testing.T) { // the receiver harms itself, nobody else
		donor.Exec(t, "SET GLOBAL innodb_max_dirty_pages_pct = 0")
		for _, state := range []protocol.State{fileCopy, pageCopy, redoCopy} {
			r := newReceiver(t, "9.7.4")
			s := open(t, dial, opts)
			r.attach(s)
			r.before = func(_ context.Context, e event) error {
				if e.what == "data" && e.state == state {
					s.Keep()
				}
				if e.what == "end" && e.state == fileCopy { // for PAGE_COPY to have something
					donor.Exec(t, "UPDATE d.account SET filler = RANDOM_BYTES(1000)")
					mysqltest.Eventually(t, "flushed pages", func() bool {
						return donor.Query(t, "SHOW STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")[0][1] == "0"
					})
				}
				return nil
			}
			if err := s.Run(t.Context(), r); !errors.Is(err, protocol.ErrKeep) {
				t.Fatalf("%v: %v", state, err)
			}
			r.before = nil
			snap, p := r.progress()
			p.Partial = nil
			for c := uint32(1); c <= p.ChunkCount; c++ {
				p.Chunks.Add(c)
				p.Partial = append(p.Partial, protocol.Partial{Chunk: c, Blocks: 4096})
			}
			s, err := protocol.Resume(t.Context(), dial, opts, snap, p)
			if err == nil {
				err = s.Run(t.Context(), &discard{})
			}
			t.Logf("%v: %v", state, err)
			if donor.QueryString(t, "SELECT 1") != "1" {
				t.Error("the donor does not answer")
			}
			idle(t, donor)
		}
	})
	t.Run("receiver lost what it had acknowledged", func(t *testing.T) {
		s := open(t, dial, opts)
		r := newReceiver(t, "9.7.4")
		r.attach(s)
		var before protocol.Progress
		var saved []byte
		r.before = func(_ context.Context, e event) error {
			if e.what == "end" && e.state == fileCopy {
				_, before = r.progress()
				saved = r.saved
			}
			if e.what == "data" && e.state > fileCopy {
				s.Keep()
			}
			return nil
		}
		if err := s.Run(t.Context(), r); !errors.Is(err, protocol.ErrKeep) {
			t.Fatal(err)
		}
		r.before = nil
		snap, _ := r.progress()
		if _, err := protocol.Resume(t.Context(), dial, opts, snap, before); !errors.Is(err, protocol.ErrSnapshotGone) {
			t.Errorf("Resume = %v, want ErrSnapshotGone", err)
		}
		// The same with a snapshot that was saved too early: the donor shows it.
		r.saved = saved
		snap, _ = r.progress()
		old, err := protocol.Resume(t.Context(), dial, opts, snap, before)
		if err == nil {
			err = old.Run(t.Context(), r)
		}
		if !errors.Is(err, protocol.ErrSnapshotGone) {
			t.Errorf("Run = %v, want ErrSnapshotGone", err)
		}
	})
	// Last, because it is another server then, whose snapshots have the names of those before.
	t.Run("donor restarted", func(t *testing.T) {
		restart := func() { donor.Restart(t) }
		restart()
		r := stop(t, open(t, dial, opts), protocol.ErrKeep)
		for _, again := range []func(){func() { donor.Kill9(t); restart() }, restart} {
			// A process is known by the second in which it began: none serves a clone and is followed by another one so soon.
			begun := time.Now()
			mysqltest.Eventually(t, "another second", func() bool { return time.Since(begun) > 2*time.Second })
			again()
			gone(t, r)
			other := stop(t, open(t, dial, opts), protocol.ErrKeep)
			gone(t, r)
			snap, p := r.progress()
			others, _ := other.progress()
			if others.Locator != snap.Locator {
				t.Errorf("locators %x, %x: nothing is shown", snap.Locator, others.Locator)
			}
			// Without the mark of the process, the other clone's data would be taken for this one's.
			snap.Started = others.Started
			s, err := protocol.Resume(t.Context(), dial, opts, snap, p)
			if err != nil {
				t.Fatalf("stale locator: %v, want the other clone", err)
			}
			s.Keep()
			r = other
		}
		goesOn(t, r)
	})
}
