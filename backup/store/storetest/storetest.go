// Package storetest is what every [store.Store] has to pass, and the faults that those who use one are tested with.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"ordinal/backup/store"
)

// An Implementation is what is tested.
type Implementation struct {
	// New returns an empty store that goes with the test. It is called concurrently.
	New func(t *testing.T) store.Store
	// Large is the size of an object that the store does not keep in one piece on its way, in bytes; 0 means 5 MiB.
	Large int
	// Memory is how many bytes a Put of a huge object may hold; 0: it is not measured, because the store itself is in memory.
	Memory uint64
}

// Run tests all that [store.Store] promises.
func Run(t *testing.T, impl Implementation) {
	if impl.Large == 0 {
		impl.Large = 5 << 20
	}
	if impl.Memory > 0 { // alone: it looks at the whole process
		t.Run("memory", func(t *testing.T) { testMemory(t, impl) })
	}
	for name, test := range map[string]func(*testing.T, Implementation){
		"round trip":          testRoundTrip,
		"replace":             testReplace,
		"ranges":              testRanges,
		"sizes":               testSizes,
		"broken source":       testBrokenSource,
		"cancelled":           testCancelled,
		"names":               testNames,
		"missing":             testMissing,
		"list":                testList,
		"list under change":   testListUnderChange,
		"put if absent":       testPutIfAbsent,
		"race if absent":      testRace,
		"concurrent":          testConcurrent,
		"reader keeps object": testReaderKeeps,
		"marker":              testMarker,
		"sweep":               testSweep,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, impl)
		})
	}
}

// Content returns n bytes that look like chance and are the same for the same n.
func Content(n int) []byte {
	data := make([]byte, n)
	var seed [32]byte
	copy(seed[:], fmt.Sprint(n))
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

// plain hides what else a reader can do: a store gets no more than it is promised.
func plain(data []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(data)} }

func put(t *testing.T, s store.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, int64(len(data)), plain(data)); err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, s store.Reader, name string, offset, length int64) ([]byte, error) {
	r, err := s.Open(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

func wantObject(t *testing.T, s store.Reader, name string, want []byte) {
	t.Helper()
	got, err := get(t.Context(), s, name, 0, -1)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Open(%s) has %d bytes, %v, want %d", name, len(got), err, len(want))
	}
	info, err := s.Stat(t.Context(), name)
	if err != nil || info.Name != name || info.Size != int64(len(want)) || time.Since(info.Modified).Abs() > time.Hour {
		t.Fatalf("Stat(%s) = %+v, %v, want %d bytes", name, info, err, len(want))
	}
}

func wantNone(t *testing.T, s store.Reader, name string) {
	t.Helper()
	if info, err := s.Stat(t.Context(), name); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Stat(%s) = %+v, %v, want %v", name, info, err, store.ErrNotFound)
	}
	if got := names(t, s, "", ""); slices.Contains(got, name) {
		t.Fatalf("List() has %s", name)
	}
}

func names(t *testing.T, s store.Reader, prefix, after string) (out []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info.Name)
	}
	return out
}

func testRoundTrip(t *testing.T, impl Implementation) {
	s := impl.New(t)
	for _, size := range []int{0, 1, 4095, 1 << 20, impl.Large - 1, impl.Large, impl.Large + 1, 2*impl.Large + 3} {
		data := Content(size)
		for _, announced := range []int64{int64(size), -1} {
			name := fmt.Sprintf("a/b%d/c%d", size, announced)
			if err := s.Put(t.Context(), name, announced, iotest.HalfReader(plain(data))); err != nil {
				t.Fatal(err)
			}
			wantObject(t, s, name, data)
		}
	}
}

func testReplace(t *testing.T, impl Implementation) {
	s := impl.New(t)
	for _, size := range []int{3, impl.Large + 1, 0, 7} {
		put(t, s, "same", Content(size))
		wantObject(t, s, "same", Content(size))
	}
	if err := s.Delete(t.Context(), "same"); err != nil {
		t.Fatal(err)
	}
	wantNone(t, s, "same")
	if found, err := s.Anything(t.Context()); found != "" || err != nil {
		t.Errorf("Anything() after all was deleted = %q, %v", found, err)
	}
}

func testRanges(t *testing.T, impl Implementation) {
	s := impl.New(t)
	data := Content(100_000)
	put(t, s, "x", data)
	put(t, s, "empty", nil)
	for _, r := range [][2]int64{{0, -1}, {0, 0}, {0, 1}, {0, 100_000}, {0, 100_001}, {1, -1}, {99_999, 1}, {99_999, 5}, {99_999, -1}, {50_000, 0},
		{100_000, -1}, {100_000, 3}, {200_000, -1}, {200_000, 1}, {12_345, 54_321}} {
		want := data[min(r[0], 100_000):]
		if r[1] >= 0 {
			want = want[:min(r[1], int64(len(want)))]
		}
		if got, err := get(t.Context(), s, "x", r[0], r[1]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Open(%d, %d) has %d bytes, %v, want %d", r[0], r[1], len(got), err, len(want))
		}
		if got, err := get(t.Context(), s, "empty", r[0], r[1]); err != nil || len(got) != 0 {
			t.Errorf("Open(%d, %d) of an empty object has %d bytes, %v", r[0], r[1], len(got), err)
		}
		if _, err := get(t.Context(), s, "none", r[0], r[1]); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Open(%d, %d) of none = %v, want %v", r[0], r[1], err, store.ErrNotFound)
		}
	}
}

func testSizes(t *testing.T, impl Implementation) {
	s := impl.New(t)
	for _, size := range []int{0, 10, impl.Large, impl.Large + 10, 2 * impl.Large} {
		for _, wrong := range []int{size + 1, size - 1, 2*size + 1, 3 * impl.Large} {
			if wrong < 0 || wrong == size {
				continue
			}
			if err := s.Put(t.Context(), "wrong", int64(wrong), plain(Content(size))); !errors.Is(err, store.ErrSize) {
				t.Errorf("Put() of %d bytes as %d = %v, want %v", size, wrong, err, store.ErrSize)
			}
		}
	}
	wantNone(t, s, "wrong")
}

var errSource = errors.New("the source broke")

func testBrokenSource(t *testing.T, impl Implementation) {
	s := impl.New(t)
	put(t, s, "old", []byte("old"))
	for _, size := range []int{0, 5, impl.Large, 2*impl.Large + 1} {
		for _, name := range []string{"new/one", "old"} {
			for _, announced := range []int64{-1, int64(size), int64(size + 10)} {
				r := io.MultiReader(plain(Content(size)), iotest.ErrReader(errSource))
				if err := s.Put(t.Context(), name, announced, r); !errors.Is(err, errSource) {
					t.Errorf("Put() = %v, want %v", err, errSource)
				}
			}
		}
	}
	wantNone(t, s, "new/one")
	wantObject(t, s, "old", []byte("old"))
}

func testCancelled(t *testing.T, impl Implementation) {
	s := impl.New(t)
	put(t, s, "x", Content(impl.Large))
	cause := errors.New("no more")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, statErr := s.Stat(ended, "x")
	_, openErr := get(ended, s, "x", 0, -1)
	var listErr error
	for _, err := range s.List(ended, "", "") {
		listErr = err
	}
	for what, err := range map[string]error{
		"Stat": statErr, "Open": openErr, "List": listErr, "Delete": s.Delete(ended, "x"),
		"Put": s.Put(ended, "y", 3, plain([]byte("abc"))), "PutIfAbsent": s.PutIfAbsent(ended, "y", []byte("abc")),
	} {
		if !errors.Is(err, cause) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s() after its context ended = %v, want %v", what, err, cause)
		}
	}

	// In the middle of a Put, and of a reader.
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r := io.MultiReader(plain(Content(impl.Large+impl.Large/2)), readerFunc(func([]byte) (int, error) {
		cancel(cause)
		return 0, nil
	}))
	if err := s.Put(ctx, "y", -1, r); !errors.Is(err, cause) {
		t.Errorf("Put() whose context ended = %v, want %v", err, cause)
	}
	wantNone(t, s, "y")
	ctx, cancel = context.WithCancelCause(t.Context())
	defer cancel(nil)
	body, err := s.Open(ctx, "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, cause) {
		t.Errorf("a reader whose context ended: %v, want %v", err, cause)
	}
	wantObject(t, s, "x", Content(impl.Large))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Names of which no store may make anything.
var hostile = []string{"", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "a/./b", "a//b", "a/", "/a", "a/.b", ".b", ".ordinal/x", ".ordinal-unfinished/x",
	"a\x00b", "a\nb", "a b", "a\\b", "ä", "a?b", "a%2fb", "%2e%2e/x", "a#b", "a:b", "~", "-x", "a\u202eb", "\xff", strings.Repeat("a", 201), strings.Repeat("a/", 300) + "a", strings.Repeat("a/", 16) + "a"}

func testNames(t *testing.T, impl Implementation) {
	s := impl.New(t)
	for _, name := range hostile {
		_, statErr := s.Stat(t.Context(), name)
		_, openErr := s.Open(t.Context(), name, 0, -1)
		for what, err := range map[string]error{
			"Stat": statErr, "Open": openErr, "Delete": s.Delete(t.Context(), name), "Put": s.Put(t.Context(), name, 1, plain([]byte("x"))),
			"PutIfAbsent": s.PutIfAbsent(t.Context(), name, []byte("x")),
		} {
			if !errors.Is(err, store.ErrName) {
				t.Errorf("%s(%q) = %v, want %v", what, name, err, store.ErrName)
			}
		}
		for range s.List(t.Context(), name, "") {
			t.Errorf("List(%q) of an empty store has something", name)
		}
	}
	if found, err := s.Anything(t.Context()); found != "" || err != nil {
		t.Errorf("Anything() = %q, %v, want nothing", found, err)
	}
	for _, name := range []string{store.MarkerName, "a", "0", "A.b-c_d", "a.tar.zst", "a..b", "con", strings.Repeat("a", 200), strings.Repeat("a/", 15) + "a", strings.Repeat(strings.Repeat("n", 101)+"/", 4) + strings.Repeat("n", 104)} {
		put(t, s, name+suffix(name), []byte(name))
		wantObject(t, s, name+suffix(name), []byte(name))
	}
}

// suffix keeps good names of a test from being directories of each other.
func suffix(name string) string {
	if len(name) == 1 {
		return "1"
	}
	return ""
}

func testMissing(t *testing.T, impl Implementation) {
	s := impl.New(t)
	put(t, s, "a/b", []byte("x"))
	for _, name := range []string{"none", "none/none", "a", "a/c", "a/b/c"} {
		if _, err := s.Stat(t.Context(), name); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Stat(%s) = %v, want %v", name, err, store.ErrNotFound)
		}
		if _, err := s.Open(t.Context(), name, 0, -1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Open(%s) = %v, want %v", name, err, store.ErrNotFound)
		}
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("Delete(%s) = %v", name, err)
		}
	}
	wantObject(t, s, "a/b", []byte("x"))
}

func testList(t *testing.T, impl Implementation) {
	s := impl.New(t)
	all := []string{store.MarkerName, "a-b", "a.b", "a/1", "a/10", "a/2", "a/b/c", "a0", "ab", "b/x"}
	for _, i := range rand.Perm(len(all)) {
		put(t, s, all[i], []byte(all[i]))
	}
	for _, prefix := range []string{"", "a", "a/", "a/1", "a/b", "a/b/c", "b", "c", ".", "a.", "/", "..", "a/../b"} {
		for _, after := range append([]string{"", "zzz", "a/", "a/0", "a/b/", "a/zz"}, all...) {
			var want []string
			for _, name := range all {
				if strings.HasPrefix(name, prefix) && name > after {
					want = append(want, name)
				}
			}
			if got := names(t, s, prefix, after); !slices.Equal(got, want) {
				t.Errorf("List(%q, %q) = %q, want %q", prefix, after, got, want)
			}
		}
	}
	for info, err := range s.List(t.Context(), "a", "") {
		if err != nil || info.Size != int64(len(info.Name)) || info.Modified.IsZero() {
			t.Errorf("List() yields %+v, %v", info, err)
		}
		break // leaving is allowed
	}
}

// More than one page of S3, with writers at work.
func testListUnderChange(t *testing.T, impl Implementation) {
	s := impl.New(t)
	const stay = 1100
	var g sync.WaitGroup
	for w := range 4 {
		g.Go(func() {
			for i := w; i < stay; i += 4 {
				if err := s.Put(t.Context(), fmt.Sprintf("d%d/stay%04d", i%7, i), 1, plain([]byte("x"))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	g.Wait()
	stop := make(chan struct{})
	for w := range 2 {
		g.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("d%d/go%d-%d", i%9, w, i%50) // d7 and d8 come and go themselves
				if err := s.Put(t.Context(), name, 1, plain([]byte("x"))); err != nil {
					t.Error(err)
					return
				}
				if err := s.Delete(t.Context(), name); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		last, seen := "", 0
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Error(err)
				break
			}
			if info.Name <= last {
				t.Errorf("%s after %s", info.Name, last)
			}
			last = info.Name
			if strings.Contains(info.Name, "/stay") {
				seen++
			}
		}
		if seen != stay {
			t.Errorf("List() has %d of the objects that stay, want %d", seen, stay)
		}
	}
	close(stop)
	g.Wait()
}

func testPutIfAbsent(t *testing.T, impl Implementation) {
	s := impl.New(t)
	for _, first := range [][]byte{{}, []byte("first"), Content(1 << 20)} {
		name := fmt.Sprintf("m/%d", len(first))
		if err := s.PutIfAbsent(t.Context(), name, first); err != nil {
			t.Fatal(err)
		}
		for _, second := range [][]byte{[]byte("other"), Content(100)} {
			if err := s.PutIfAbsent(t.Context(), name, second); !errors.Is(err, store.ErrExists) {
				t.Errorf("second PutIfAbsent() = %v, want %v", err, store.ErrExists)
			}
		}
		wantObject(t, s, name, first)
		if err := s.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := s.PutIfAbsent(t.Context(), name, []byte("again")); err != nil {
			t.Fatal(err)
		}
		wantObject(t, s, name, []byte("again"))
	}
	if err := s.PutIfAbsent(t.Context(), "large", make([]byte, store.MaxSmall+1)); !errors.Is(err, store.ErrSize) {
		t.Errorf("PutIfAbsent() of more than is allowed = %v, want %v", err, store.ErrSize)
	}
	put(t, s, "large", make([]byte, 1001))
	if _, err := store.ReadSmall(t.Context(), s, "large", 1000); !errors.Is(err, store.ErrSize) {
		t.Errorf("ReadSmall() of more than is allowed = %v, want %v", err, store.ErrSize)
	}
}

func testRace(t *testing.T, impl Implementation) {
	s := impl.New(t)
	for round := range 20 {
		name := fmt.Sprintf("race/%d", round)
		var won atomic.Int64
		var winner atomic.Value
		var g sync.WaitGroup
		begin := make(chan struct{})
		for i := range 6 {
			g.Go(func() {
				data := fmt.Appendf(nil, "%d %d", round, i)
				<-begin
				switch err := s.PutIfAbsent(t.Context(), name, data); {
				case err == nil:
					won.Add(1)
					winner.Store(data)
				case !errors.Is(err, store.ErrExists):
					t.Error(err)
				}
			})
		}
		close(begin)
		g.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 6 PutIfAbsent() succeeded", won.Load())
		}
		wantObject(t, s, name, winner.Load().([]byte))
	}
}

// Readers see one of the objects that were put under a name, and never a mixture.
func testConcurrent(t *testing.T, impl Implementation) {
	s := impl.New(t)
	known := map[[32]byte]bool{}
	objects := [][]byte{Content(10), Content(200_000), Content(impl.Large + 1)}
	for _, data := range objects {
		known[sha256.Sum256(data)] = true
	}
	put(t, s, "x/shared", objects[0])
	var g sync.WaitGroup
	for w := range 4 {
		g.Go(func() {
			own := fmt.Sprintf("x/own%d", w)
			for i := range 6 {
				data := objects[(w+i)%len(objects)]
				for _, name := range []string{"x/shared", own} {
					if err := s.Put(t.Context(), name, int64(len(data)), plain(data)); err != nil {
						t.Errorf("Put(%s) = %v", name, err)
						return
					}
				}
				if got, err := get(t.Context(), s, own, 0, -1); err != nil || !bytes.Equal(got, data) {
					t.Errorf("Open(%s) has %d bytes, %v, want %d", own, len(got), err, len(data))
				}
				got, err := get(t.Context(), s, "x/shared", 0, -1)
				if err == nil && !known[sha256.Sum256(got)] {
					t.Errorf("a reader saw %d bytes that nobody put", len(got))
				}
				if err != nil && !strings.Contains(err.Error(), "replaced") { // which is allowed to a reader that broke off
					t.Errorf("Open(x/shared) = %v", err)
				}
			}
		})
	}
	g.Wait()
}

func testReaderKeeps(t *testing.T, impl Implementation) {
	s := impl.New(t)
	data := Content(impl.Large)
	put(t, s, "x", data)
	r, err := s.Open(t.Context(), "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 10)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	put(t, s, "x", []byte("new"))
	if err := s.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(append(head, rest...), data) {
		t.Errorf("a reader whose object was replaced and deleted has %d other bytes", len(head)+len(rest))
	}
}

func testMarker(t *testing.T, impl Implementation) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s := impl.New(t)
	if err := store.Check(t.Context(), s, "c1", "mysql"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Check() of an empty place = %v, want %v", err, store.ErrNotFound)
	}
	for range 2 {
		if err := store.Claim(t.Context(), s, "c1", "mysql", now); err != nil {
			t.Fatal(err)
		}
		put(t, s, "mysql/x", []byte("x"))
	}
	for _, other := range [][2]string{{"c2", "mysql"}, {"c1", "other"}} {
		if err := store.Claim(t.Context(), s, other[0], other[1], now); !errors.Is(err, store.ErrForeign) {
			t.Errorf("Claim() of somebody else's place = %v, want %v", err, store.ErrForeign)
		}
	}
	s = impl.New(t)
	put(t, s, "something", []byte("x"))
	if err := store.Claim(t.Context(), s, "c1", "mysql", now); !errors.Is(err, store.ErrForeign) || !strings.Contains(err.Error(), "something") {
		t.Errorf("Claim() of a place with something in it = %v, want %v", err, store.ErrForeign)
	}
	if found, err := s.Anything(t.Context()); found != "something" || err != nil {
		t.Errorf("Anything() = %q, %v", found, err)
	}
	s = impl.New(t)
	var won atomic.Int64
	var g sync.WaitGroup
	for i := range 4 {
		g.Go(func() {
			err := store.Claim(t.Context(), s, fmt.Sprintf("c%d", i), "mysql", now)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, store.ErrForeign) {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 4 claims succeeded", won.Load())
	}
}

// A sweep takes nothing from a writer at work.
func testSweep(t *testing.T, impl Implementation) {
	s := impl.New(t)
	put(t, s, "done", []byte("done"))
	data := Content(2*impl.Large + 5)
	r := io.MultiReader(plain(data[:impl.Large+1]), readerFunc(func([]byte) (int, error) {
		if n, err := s.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("Sweep() beside a writer = %d, %v", n, err)
		}
		return 0, io.EOF
	}), plain(data[impl.Large+1:]))
	if err := s.Put(t.Context(), "slow", -1, r); err != nil {
		t.Fatal(err)
	}
	wantObject(t, s, "slow", data)
	wantObject(t, s, "done", []byte("done"))
}

// huge is a reader of size bytes that keeps an eye on the memory.
type huge struct {
	left int64
	peak uint64
	read int64
}

func (h *huge) Read(p []byte) (int, error) {
	if h.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), h.left, 1<<20))
	h.left -= int64(n)
	if h.read += int64(n); h.read >= 16<<20 {
		h.read = 0
		h.peak = max(h.peak, heap())
	}
	return n, nil
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func testMemory(t *testing.T, impl Implementation) {
	s := impl.New(t)
	before := heap()
	source := &huge{left: 256 << 20}
	if err := s.Put(t.Context(), "huge", -1, source); err != nil {
		t.Fatal(err)
	}
	if grown := source.peak - min(before, source.peak); grown > impl.Memory {
		t.Errorf("a Put of 256 MiB holds %d MiB, want at most %d", grown>>20, impl.Memory>>20)
	} else {
		t.Logf("a Put of 256 MiB holds %d KiB", grown>>10)
	}
	if info, err := s.Stat(t.Context(), "huge"); err != nil || info.Size != 256<<20 {
		t.Errorf("Stat() = %+v, %v", info, err)
	}
	if err := s.Delete(t.Context(), "huge"); err != nil {
		t.Fatal(err)
	}
}
