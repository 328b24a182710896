package protocol_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
)

// A taker reads the donor's data files beside its server, and hands what it read to a receiver as FILE_COPY data.
type taker struct {
	t       *testing.T
	datadir string
	page    int64 // innodb_page_size
	to      *receiver
	files   []takenFile
	chunks  protocol.ChunkSet
	took    int // calls of take
}

type takenFile struct {
	protocol.FileMeta
	*os.File
}

// take opens the files that are what they are said to be, and takes their chunks.
func (k *taker) take(_ context.Context, stage protocol.Stage, metas []protocol.FileMeta) (protocol.ChunkSet, error) {
	k.took++
	k.close()
	k.chunks = nil
	if len(metas) != int(stage.Files) {
		k.t.Errorf("%d files, want %d", len(metas), stage.Files)
	}
	held := k.to.held
	for i, m := range metas {
		if m.Index != uint32(i) || m.State != protocol.StateFileCopy {
			k.t.Errorf("file %d is %+v", i, m)
		}
		f, err := os.Open(filepath.Join(k.datadir, m.Name))
		if err != nil {
			continue // renamed or dropped
		}
		var id [4]byte
		info, err := f.Stat()
		if err == nil {
			_, err = f.ReadAt(id[:], 34)
		}
		if err != nil || m.SpaceID == protocol.SpaceNone || binary.BigEndian.Uint32(id[:]) != m.SpaceID || uint64(info.Size()) < m.Size {
			f.Close()
			continue
		}
		k.files = append(k.files, takenFile{m, f})
		for c := m.FirstChunk; c <= m.LastChunk; c++ {
			if !held.Chunks.Has(c) {
				k.chunks.Add(c)
			}
		}
	}
	return k.chunks, nil
}

// deliver reads what was taken.
func (k *taker) deliver(ctx context.Context) error {
	buf := make([]byte, 64*k.page)
	for _, f := range k.files {
		for c := f.FirstChunk; c <= f.LastChunk; c++ {
			if !k.chunks.Has(c) {
				continue
			}
			from := int64(c-f.FirstChunk) * 4096 * k.page
			to := min(from+4096*k.page, int64(f.Size))
			for block := uint32(1); from < to; block++ {
				b := buf[:min(int64(len(buf)), to-from)]
				if _, err := f.ReadAt(b, from); err != nil && err != io.EOF {
					return err
				}
				d := protocol.Data{
					State: protocol.StateFileCopy, Task: 100, Chunk: c, Block: block, File: f.Index, Offset: uint64(from), FileSize: f.Size,
				}
				if err := k.to.Data(ctx, d, b); err != nil {
					return err
				}
				from += int64(len(b))
			}
		}
	}
	return nil
}

func (k *taker) close() {
	for _, f := range k.files {
		f.Close()
	}
	k.files = nil
}

// The donor's files are read beside its server, under writes and DDL. Once everything goes well; once the reader breaks in the middle and
// another one goes on, with files that were renamed and dropped since; once for too long, so that the hold is renewed.
func TestTake(t *testing.T) {
	for _, name := range []string{"whole", "broken", "renewed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			donor := startDonor(t, map[string]int{"whole": 80, "broken": 30, "renewed": 10}[name]) // 80 MiB are two chunks
			l := startLoad(t, donor, true)
			net := &network{dial: dialer(donor)}
			k := &taker{t: t, datadir: donor.DataDir}
			defer k.close()
			opts := protocol.Options{Workers: 2, Take: k.take}
			if name == "renewed" {
				opts.Renew = time.Second
			}
			s := open(t, net.open, opts)
			r := newReceiver(t, s.Parameters().Version)
			k.page, k.to = int64(s.Parameters().PageSize), r
			r.attach(s)
			load := func(state protocol.State) {
				from, rows := l.rounds.Load(), l.transfers.Load()
				mysqltest.Eventually(t, "load in "+state.String(), func() bool {
					return l.rounds.Load() > from+4 && l.transfers.Load() > rows+50
				})
			}
			var server atomic.Int64 // bytes of FILE_COPY that the donor's server sent
			var read bool
			r.before = func(ctx context.Context, e event) error {
				if e == (event{what: "data", state: fileCopy}) && !read {
					server.Add(1)
				}
				if e.what != "end" {
					return nil
				}
				load(e.state)
				if e.state == fileCopy {
					read = true
					if err := k.deliver(ctx); err != nil {
						return err
					}
					load(e.state)
				}
				if name == "renewed" && e.state == fileCopy {
					// After a second there is a renewal: two new connections, and workers.
					from := net.dials.Load()
					mysqltest.Eventually(t, "renewals in "+e.state.String(), func() bool { return net.dials.Load() >= from+8 })
				}
				return nil
			}
			if name == "broken" {
				whole := r.before
				var blocks atomic.Int64
				r.before = func(ctx context.Context, e event) error {
					if read && blocks.Add(1) == 50 {
						net.cut()
						<-ctx.Done()
						return ctx.Err()
					}
					return whole(ctx, e)
				}
				if err := s.Run(t.Context(), r); !protocol.IsBroken(err) {
					t.Fatalf("Run = %v, want a broken connection", err)
				}
				load(fileCopy)
				snap, p := r.progress()
				p.AllFiles = false
				net.expect()
				var err error
				if s, err = protocol.Resume(t.Context(), net.open, opts, snap, p); err != nil {
					t.Fatal(err)
				}
				r.attach(s)
				r.before, read = whole, false
			}
			if err := s.Run(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			committed := l.transfers.Load()
			l.stop(t)
			if want := map[string]int{"broken": 2}[name]; k.took != max(want, 1) {
				t.Errorf("Take was called %d times", k.took)
			}
			t.Logf("%d blocks of FILE_COPY came from the server, %d MiB in all; %d connections", server.Load(), r.bytes[fileCopy].Load()>>20, net.dials.Load())
			// Files that could not be opened, and the rest of the chunk that was being read when it broke.
			if limit := map[string]int64{"broken": 30 + 64}[name]; server.Load() > max(limit, 30) {
				t.Errorf("%d blocks of FILE_COPY came from the server", server.Load())
			}
			if err := r.finish(); err != nil {
				t.Fatal(err)
			}
			checkCopy(t, donor, r.dir, committed)
		})
	}
}

// What Take may answer.
func TestTakeAnswers(t *testing.T) {
	t.Parallel()
	donor := startDonor(t, 2)
	why := errors.New("no descriptors left")
	for name, tt := range map[string]struct {
		take func(protocol.Stage) (protocol.ChunkSet, error)
		want func(error) bool
	}{
		"nothing":    {func(protocol.Stage) (protocol.ChunkSet, error) { return nil, nil }, func(err error) bool { return err == nil }},
		"empty":      {func(protocol.Stage) (protocol.ChunkSet, error) { return make(protocol.ChunkSet, 1000), nil }, func(err error) bool { return err == nil }},
		"everything": {func(s protocol.Stage) (protocol.ChunkSet, error) { return all(s.Chunks), nil }, func(err error) bool { return err == nil }},
		// A bit that the donor does not know ends its server.
		"too much": {func(s protocol.Stage) (protocol.ChunkSet, error) { return all(s.Chunks + 1), nil }, func(err error) bool { return err != nil }},
		"error":    {func(protocol.Stage) (protocol.ChunkSet, error) { return nil, why }, func(err error) bool { return err == why }},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, dialer(donor), protocol.Options{Workers: 1, Take: func(_ context.Context, s protocol.Stage, _ []protocol.FileMeta) (protocol.ChunkSet, error) {
				return tt.take(s)
			}})
			k := &discard{}
			if err := s.Run(t.Context(), k); !tt.want(err) {
				t.Errorf("Run = %v", err)
			}
			if took := idle(t, donor); took > time.Second {
				t.Errorf("donor was busy for %v after the end", took)
			}
		})
	}
}

// Each connection is slow by itself: more of them pay.
func TestAdaptiveWorkers(t *testing.T) {
	t.Parallel()
	donor := startDonor(t, 20)
	var tasks [8]atomic.Int64
	k := &discard{data: func(_ context.Context, d protocol.Data, _ []byte) error {
		if d.State == fileCopy {
			tasks[d.Task].Add(1)
			time.Sleep(60 * time.Millisecond) // simulates a slow receiver
		}
		return nil
	}}
	if err := open(t, dialer(donor), protocol.Options{Workers: 4, Adapt: true}).Run(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	for task := range tasks {
		if n := tasks[task].Load(); task <= 2 && n == 0 || task > 4 && n > 0 {
			t.Errorf("task %d handed over %d blocks", task, n)
		}
	}
	t.Logf("blocks by task: %v, %v, %v, %v, %v", tasks[0].Load(), tasks[1].Load(), tasks[2].Load(), tasks[3].Load(), tasks[4].Load())
}

// A renewal takes some seconds without a byte from the donor.
func TestRenewalIsNoStall(t *testing.T) {
	t.Parallel()
	net := &network{dial: dialer(startDonor(t, 2))}
	s := open(t, net.open, protocol.Options{Renew: 100 * time.Millisecond, StallTimeout: 3 * time.Second})
	k := &discard{end: func(s protocol.Stage) error {
		if s.State == fileCopy {
			mysqltest.Eventually(t, "a renewal", func() bool { return net.dials.Load() >= 6 })
		}
		return nil
	}}
	if err := s.Run(t.Context(), k); err != nil {
		t.Error(err)
	}
}

func all(n uint32) (s protocol.ChunkSet) {
	for c := uint32(1); c <= n; c++ {
		s.Add(c)
	}
	return s
}
