package backup

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/backup/store"
	"ordinal/backup/store/memstore"
	"ordinal/backup/store/storetest"
	"ordinal/clone"
	"ordinal/stream"
)

//go:embed testdata
var testdata embed.FS

// breaking makes a store whose calls fail from one on, and stay failing: as a store that goes away, or a process that is killed. after says that the
// first one that fails is done all the same, and only its answer is lost.
func breaking(s store.Store, from int, after bool, kind func(op, name string) error) (broken store.Store, calls *atomic.Int64) {
	calls = new(atomic.Int64)
	f := &storetest.Faults{}
	f.Before = func(op, name string) error {
		n := int(calls.Add(1))
		if n > from || n == from && !after {
			return kind(op, name)
		}
		return nil
	}
	f.After = func(op, name string) error {
		if after && int(calls.Load()) >= from {
			return kind(op, name)
		}
		return nil
	}
	return storetest.Faulty(s, f), calls
}

// checkBackups looks at what a job has left in a store: a manifest is there only if everything is.
func checkBackups(t *testing.T, what string, s store.Store, id string, created bool) {
	t.Helper()
	m, err := Open(t.Context(), s, id, plainKeys)
	switch {
	case created && err != nil:
		t.Errorf("%s: Create() = nil, and Open() = %v", what, err)
	case err == nil:
		if err := Verify(t.Context(), s, m, Reading{Keys: plainKeys}); err != nil {
			t.Errorf("%s: there is a manifest, and Verify() = %v", what, err)
		}
	case !errors.Is(err, ErrNoBackup):
		t.Errorf("%s: Open() = %v", what, err)
	}
}

// A store that fails for good at any call, before or after it is done, never leaves a manifest without everything that it names; and the next job succeeds.
func TestStoreFailsAtEveryCall(t *testing.T) {
	t.Parallel()
	steps := handmade(5)
	for after, kind := range map[bool]func(op, name string) error{false: storetest.Unavailable, true: storetest.Forbidden} {
		for n := 1; ; n++ {
			what := fmt.Sprintf("call %d, after %v", n, after)
			s := new(memstore.Store)
			broken, calls := breaking(s, n, after, kind)
			j := job(plainKeys)
			_, err := Create(t.Context(), broken, j, play(steps))
			checkBackups(t, what, s, j.ID, err == nil)
			if err == nil {
				if n < 12 {
					t.Errorf("only %d calls", n)
				}
				break
			}
			var failed *store.Error
			if !errors.As(err, &failed) {
				t.Errorf("%s: Create() = %v after %d calls, want the store's error", what, err, calls.Load())
			}
			again := job(plainKeys)
			if _, err := Create(t.Context(), s, again, play(steps)); err != nil {
				t.Errorf("%s: the next job: %v", what, err)
			}
			checkBackups(t, what, s, again.ID, true)
		}
	}
}

// A store that fails once, and a job that is told to end, leave nothing at all; a store that is full says so.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	steps := handmade(5)
	for n := 1; ; n++ {
		s := new(memstore.Store)
		var calls atomic.Int64
		once := storetest.Faulty(s, &storetest.Faults{Before: func(op, name string) error {
			if int(calls.Add(1)) == n {
				return storetest.Forbidden(op, name)
			}
			return nil
		}})
		_, err := Create(t.Context(), once, job(plainKeys), play(steps))
		if err == nil {
			break
		}
		for info := range s.List(t.Context(), "", "") {
			t.Errorf("call %d failed: %s is left", n, info.Name)
		}
	}
	full := new(memstore.Store)
	_, err := Create(t.Context(), storetest.Faulty(full, &storetest.Faults{Full: 200_000}), job(plainKeys), play(steps))
	if !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("a full store: Create() = %v, want %v", err, store.ErrNoSpace)
	}
	for info := range full.List(t.Context(), "", "") {
		t.Errorf("the store was full: %s is left", info.Name)
	}
	for at := range steps {
		s := new(memstore.Store)
		why := errors.New("the pod is going")
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := Create(ctx, s, job(plainKeys), func(ctx context.Context, to Taker) (Copied, error) {
			for i, step := range steps {
				if i == at {
					cancel(why)
				}
				if err := step(to); err != nil {
					return Copied{}, err
				}
			}
			<-ctx.Done()
			return Copied{}, context.Cause(ctx)
		})
		if !errors.Is(err, why) {
			t.Errorf("ended at step %d: Create() = %v, want the reason", at, err)
		}
		for info := range s.List(t.Context(), "", "") {
			t.Errorf("ended at step %d: %s is left", at, info.Name)
		}
	}
}

// A process that is killed is an Applier that fails from one call on, and a Directory that nobody saves any more.
type dying struct {
	*clone.Directory
	mu    sync.Mutex
	calls int
	at    int // the call that fails; 0: none
	after bool
}

var errKilled = errors.New("killed")

func (d *dying) do(f func() error) error {
	d.mu.Lock()
	d.calls++
	dead, last := d.at > 0 && d.calls >= d.at, d.calls == d.at
	d.mu.Unlock()
	if !dead {
		return f()
	}
	if last && d.after {
		_ = f()
	}
	return errKilled
}

func (d *dying) StageStart(s stream.StageStart) error {
	return d.do(func() error { return d.Directory.StageStart(s) })
}
func (d *dying) File(f stream.File) error { return d.do(func() error { return d.Directory.File(f) }) }
func (d *dying) Data(h stream.DataHeader, b []byte) error {
	return d.do(func() error { return d.Directory.Data(h, b) })
}
func (d *dying) StageEnd(s stream.Stage) error {
	return d.do(func() error { return d.Directory.StageEnd(s) })
}

// border is the note that a restore saves with its Directory.
type border struct {
	Backup string `json:"backup"`
	Next   int    `json:"next"`
}

// restoring is one process that restores a backup into a directory, taking up what the one before has left. It dies at a call.
func restoring(t testing.TB, s store.Reader, m *Manifest, root *os.Root, at int, after bool) (calls int, err error) {
	t.Helper()
	note := border{m.ID, 1}
	d, saved, err := clone.LoadDirectory(root)
	switch {
	case errors.Is(err, os.ErrNotExist):
		d = clone.NewDirectory(root, nine)
	case err != nil:
		t.Fatalf("LoadDirectory() = %v", err)
	default:
		must(t, json.Unmarshal(saved, &note))
	}
	defer d.Close()
	dies := &dying{Directory: d, at: at, after: after}
	save := func(ctx context.Context, next int) error {
		return dies.do(func() error {
			b, err := json.Marshal(border{m.ID, next})
			must(t, err)
			return d.Save(ctx, b)
		})
	}
	if note.Next == 1 {
		if err := save(t.Context(), 1); err != nil {
			return dies.calls, err
		}
	}
	stage, ended := d.Reached()
	err = Restore(t.Context(), s, m, dies, Reading{Keys: plainKeys, From: note.Next, Applied: Position{Stage: stage, Ended: ended}, Border: save})
	if err == nil {
		_, err = d.Finish("mysql-2", time.Unix(1, 0))
	}
	return dies.calls, err
}

// A restore that is killed at any call goes on where it was, as often as it is killed, and makes the same directory.
func TestRestoreKilledAtEveryCall(t *testing.T) {
	t.Parallel()
	steps := handmade(5)
	want := built(t, steps)
	for size, after := range map[int]bool{1: true, 3 * blockSize: false, 100 * blockSize: true} {
		s := new(memstore.Store)
		j := job(plainKeys)
		j.SegmentBytes = size
		m := made(t, s, j, steps)
		for at := 1; ; at++ {
			root := generation(t)
			calls, err := restoring(t, s, m, root, at, after)
			if err == nil {
				if at < 20 {
					t.Errorf("only %d calls", calls)
				}
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("%d bytes, killed at call %d: %v", size, at, err)
			}
			if _, err := restoring(t, s, m, root, 0, false); err != nil {
				t.Fatalf("%d bytes, after it was killed at call %d (done: %v): %v", size, at, after, err)
			}
			sameTree(t, tree(t, root), want)
		}
		// Killed again and again, each time a little later.
		root := generation(t)
		for at := 2; ; at++ {
			_, err := restoring(t, s, m, root, at, true)
			if err == nil {
				break
			}
			if !errors.Is(err, errKilled) || at > 10_000 {
				t.Fatalf("%d bytes, killed at call %d of each process: %v", size, at, err)
			}
		}
		sameTree(t, tree(t, root), want)
	}
}

// A store that breaks off in the middle of everything it returns is read all the same, when something tries again.
func TestRestoreFromUnsteadyStore(t *testing.T) {
	t.Parallel()
	steps := handmade(6)
	s := new(memstore.Store)
	m := made(t, s, job(plainKeys), steps)
	unsteady := store.Retry(storetest.Faulty(s, &storetest.Faults{Cut: 10_000}), store.Patience{Pause: time.Millisecond, Longest: time.Millisecond})
	root := generation(t)
	d := clone.NewDirectory(root, nine)
	must(t, Restore(t.Context(), unsteady, m, d, Reading{Keys: plainKeys}))
	finish(t, d)
	sameTree(t, tree(t, root), built(t, steps))
	broken, _ := breaking(s, 3, false, storetest.Unavailable)
	if err := Restore(t.Context(), broken, m, new(counting), Reading{Keys: plainKeys}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Restore() from a store that is gone = %v, want %v", err, store.ErrUnavailable)
	}
}

// void is a store that keeps nothing but what a job asks about, so that a test can measure the memory of what uses it.
type void struct {
	store.Store
	mu    sync.Mutex
	bytes int64
}

func (v *void) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	if !strings.Contains(name, segmentsDir) {
		return v.Store.Put(ctx, name, size, r)
	}
	n, err := io.Copy(io.Discard, r)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bytes += n
	return err
}

// The memory of a job does not depend on how much it copies.
func TestMemoryIsFixed(t *testing.T) {
	if testing.Short() {
		t.Skip("it copies 600 MB")
	}
	const segmentBytes = 4 << 20
	peak := func(blocks int) uint64 {
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		most := uint64(0)
		v := &void{Store: new(memstore.Store)}
		j := job(plainKeys)
		j.SegmentBytes = segmentBytes
		stop := errors.New("enough")
		_, err := Create(t.Context(), v, j, func(_ context.Context, to Taker) (Copied, error) {
			must(t, begin(stream.StageFileCopy)(to))
			must(t, file(stream.StageFileCopy, 0, "ibdata1", 1<<20, 0)(to))
			data := make([]byte, 1<<20)
			for i := range data {
				data[i] = byte(i * i >> 8)
			}
			for i := range blocks {
				if err := to.Data(stream.DataHeader{Stage: stream.StageFileCopy, Chunk: 1, Block: 1, Offset: uint64(i) << 20}, data); err != nil {
					return Copied{}, err
				}
				if i%16 == 0 {
					runtime.GC()
					var now runtime.MemStats
					runtime.ReadMemStats(&now)
					most = max(most, now.HeapAlloc)
				}
			}
			return Copied{}, stop
		})
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		return most - min(most, before.HeapAlloc)
	}
	few, many := peak(64), peak(512)
	t.Logf("%d KiB with 64 MiB, %d KiB with 512 MiB", few>>10, many>>10)
	if many > few+few/2+(8<<20) {
		t.Errorf("64 MiB took %d KiB of memory and 512 MiB %d KiB", few>>10, many>>10)
	}
	if most := uint64((2+1)*segmentBytes + (2+2)*segmentBytes + 2*(40<<20)); many > most {
		t.Errorf("it took %d KiB of memory, by the formula at most %d KiB", many>>10, most>>10)
	}
}
