package livefiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"ordinal/clone/protocol"
)

// made is a set of made-up files: some that end at the border of a page, a block or a chunk, and beside it, and one with holes.
func made(t testing.TB, dir string, flushMethod string) (*Set, map[uint32][]byte) {
	t.Helper()
	var metas []protocol.FileMeta
	content := map[uint32][]byte{}
	var last uint32
	for i, size := range []int{7 << 10, 1 << 10, smallBlock, smallBlock - 4096, smallBlock + 1024, 3*smallBlock + 777, smallChunk, smallChunk + 1, 2*smallChunk + 5*smallBlock + 512, 1 << 20} {
		n := uint32(i)
		name := fmt.Sprintf("./shop/t%d.ibd", i)
		path := filepath.Join(dir, name)
		writeTablespace(t, path, n+1, size)
		if i == 9 { // with holes
			must(t, os.Truncate(path, 5000))
			size = smallChunk + 3<<20
			must(t, os.Truncate(path, int64(size)))
		}
		b, err := os.ReadFile(path)
		must(t, err)
		content[n] = b
		if i%2 == 0 { // the file has grown since it was announced: not a byte of that is to be sent
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			_, err = f.Write(bytes.Repeat([]byte{0xee}, 10_000))
			must(t, err)
			must(t, f.Close())
		}
		m := announce(n, last, n+1, name, uint64(size))
		last = m.LastChunk
		metas = append(metas, m)
	}
	s := small
	s.FlushMethod = flushMethod
	set, err := openUnchecked(t, dir, s, metas)
	must(t, err)
	if len(set.Left()) > 0 {
		t.Fatalf("left to the server: %v", set.Left())
	}
	return set, content
}

// A taker checks what it is given and keeps what it was.
type taker struct {
	t       testing.TB
	set     *Set
	content map[uint32][]byte

	mu     sync.Mutex
	blocks map[uint32][]uint32          // by chunk, in the order of arrival
	bytes  map[uint32]map[uint64]uint64 // by file: offset and length
	tasks  map[uint32]uint32            // by chunk
}

func newTaker(t testing.TB, set *Set, content map[uint32][]byte) *taker {
	return &taker{t: t, set: set, content: content, blocks: map[uint32][]uint32{}, bytes: map[uint32]map[uint64]uint64{}, tasks: map[uint32]uint32{}}
}

func (k *taker) take(_ context.Context, d protocol.Data, b []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	want := k.content[d.File]
	switch {
	case d.State != protocol.StateFileCopy || d.FileSize != uint64(len(want)):
		return fmt.Errorf("%+v", d)
	case misaligned(b):
		return fmt.Errorf("%+v: data at %p", d, b)
	case d.Offset+uint64(len(b)) > d.FileSize || !bytes.Equal(b, want[d.Offset:d.Offset+uint64(len(b))]):
		return fmt.Errorf("%+v: these %d bytes are not in the file", d, len(b))
	case len(b) != smallBlock && d.Offset+uint64(len(b)) != d.FileSize:
		return fmt.Errorf("%+v: a block of %d bytes before the end", d, len(b))
	case d.Offset != uint64(d.Chunk-k.set.files[d.File].first)*smallChunk+uint64(d.Block-1)*smallBlock:
		return fmt.Errorf("%+v: not the offset of this block", d)
	}
	if task, ok := k.tasks[d.Chunk]; ok && task != d.Task {
		return fmt.Errorf("%+v: the chunk belongs to task %d", d, task)
	}
	k.tasks[d.Chunk] = d.Task
	k.blocks[d.Chunk] = append(k.blocks[d.Chunk], d.Block)
	if k.bytes[d.File] == nil {
		k.bytes[d.File] = map[uint64]uint64{}
	}
	k.bytes[d.File][d.Offset] = uint64(len(b))
	return nil
}

// complete checks that everything arrived, each block once and in order.
func (k *taker) complete() {
	k.t.Helper()
	for chunk, blocks := range k.blocks {
		if !slices.IsSorted(blocks) || len(slices.Compact(slices.Clone(blocks))) != len(blocks) {
			k.t.Errorf("blocks of chunk %d: %v", chunk, blocks)
		}
	}
	for file, want := range k.content {
		var at uint64
		for _, offset := range slices.Sorted(maps.Keys(k.bytes[file])) {
			if offset != at {
				k.t.Errorf("file %d: nothing between %d and %d", file, at, offset)
			}
			at = offset + k.bytes[file][offset]
		}
		if at != uint64(len(want)) {
			k.t.Errorf("file %d ends at %d, want %d", file, at, len(want))
		}
	}
}

func misaligned(b []byte) bool {
	return fmt.Sprintf("%p", b)[len(fmt.Sprintf("%p", b))-3:] != "000"
}

// Several producers deliver every byte of every file, each chunk once, on a disk and in memory, past the page cache and through it.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{t.TempDir(), inMemory(t)} {
		for _, method := range []string{"O_DIRECT", "O_DIRECT_NO_FSYNC", "fsync"} {
			set, content := made(t, filepath.Join(dir, method), method)
			for _, p := range []Producer{{}, {Reads: 1}, {Reads: 7, ReadBytes: 1}, {Reads: 2, ReadBytes: 3*smallBlock + 5}} {
				k := newTaker(t, set, content)
				w := set.Lacking(protocol.Progress{})
				if w.Bytes() != set.Bytes() || w.Pieces() != set.chunks.Count() {
					t.Errorf("%d bytes in %d pieces to do, want %d in %d", w.Bytes(), w.Pieces(), set.Bytes(), set.chunks.Count())
				}
				var g errgroup.Group
				for task := range uint32(4) {
					g.Go(func() error { return p.Run(t.Context(), w, task, k.take) })
				}
				if err := g.Wait(); err != nil {
					t.Errorf("%+v, %s: %v", p, method, err)
				}
				k.complete()
				if _, ok := w.Next(); ok {
					t.Error("Next() has more after the end")
				}
			}
			must(t, set.Close())
		}
	}
}

// What is delivered after a break are exactly the missing blocks, in order.
func TestRunResumes(t *testing.T) {
	t.Parallel()
	set, content := made(t, t.TempDir(), "O_DIRECT")
	defer set.Close()
	all := newTaker(t, set, content)
	var stop error
	have := protocol.Progress{State: protocol.StateFileCopy, ChunkCount: uint32(set.chunks.Count()), Files: uint32(set.Files()), AllFiles: true}
	for attempt := 0; ; attempt++ {
		w := set.Lacking(have)
		missing := set.Bytes()
		for _, n := range all.bytes {
			for _, n := range n {
				missing -= n
			}
		}
		if w.Bytes() != missing {
			t.Fatalf("attempt %d: %d bytes to do, want %d", attempt, w.Bytes(), missing)
		}
		blocks := 0
		stop = errors.New("cut")
		err := (&Producer{Reads: 3}).Run(t.Context(), w, 0, func(ctx context.Context, d protocol.Data, b []byte) error {
			if blocks++; blocks > 17+attempt {
				return stop
			}
			return all.take(ctx, d, b)
		})
		if err == nil {
			break
		}
		if err != stop {
			t.Fatal(err)
		}
		have.Chunks, have.Partial = nil, nil
		for chunk, blocks := range all.blocks {
			have.Chunks.Add(chunk)
			have.Partial = append(have.Partial, protocol.Partial{Chunk: chunk, Blocks: uint32(len(blocks))})
		}
		must(t, have.Check())
	}
	all.complete()
}

// Before FILE_COPY all is lacking, after it nothing.
func TestLackingByState(t *testing.T) {
	t.Parallel()
	set, _ := made(t, inMemory(t), "fsync")
	defer set.Close()
	all := set.Chunks()
	for _, c := range []struct {
		have protocol.Progress
		want uint64
	}{
		{protocol.Progress{}, set.Bytes()},
		{protocol.Progress{State: protocol.StateInit, Chunks: all}, set.Bytes()},
		{protocol.Progress{State: protocol.StateFileCopy}, set.Bytes()},
		{protocol.Progress{State: protocol.StateFileCopy, Chunks: all}, 0},
		{protocol.Progress{State: protocol.StateFileCopy, Chunks: all, Partial: []protocol.Partial{{Chunk: 1, Blocks: 4000}}}, 0},
		{protocol.Progress{State: protocol.StateFileCopy, Ended: true}, 0},
		{protocol.Progress{State: protocol.StatePageCopy}, 0},
		{protocol.Progress{State: protocol.StateRedoCopy}, 0},
	} {
		if w := set.Lacking(c.have); w.Bytes() != c.want {
			t.Errorf("%+v: %d bytes to do, want %d", c.have, w.Bytes(), c.want)
		}
	}
	all.Remove(1)
	if !set.chunks.Has(1) {
		t.Error("Chunks() gave away the set's own")
	}
}

// For any files and any progress, spans are the rest of each chunk, once, in whole blocks.
func TestSpans(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, _ := newLayout(4 << 10 << rapid.IntRange(0, 4).Draw(t, "page"))
		set := &Set{layout: l}
		first := uint32(1)
		for range rapid.IntRange(1, 5).Draw(t, "files") {
			f := &file{first: first, size: rapid.Uint64Range(1, 4*l.chunk).Draw(t, "size")}
			f.direct.Store(true)
			first += uint32(l.chunks(f.size)) + rapid.Uint32Range(0, 3).Draw(t, "gap")
			set.files = append(set.files, f)
		}
		have := protocol.Progress{State: protocol.StateFileCopy}
		want := map[*file]map[uint64]bool{} // blocks to come, by offset
		for _, f := range set.files {
			want[f] = map[uint64]bool{}
			for c := range l.chunks(f.size) {
				chunk, held := f.first+uint32(c), uint64(0)
				switch rapid.IntRange(0, 2).Draw(t, "have") {
				case 1:
					have.Chunks.Add(chunk)
					held = 64
				case 2:
					have.Chunks.Add(chunk)
					held = rapid.Uint64Range(1, 64).Draw(t, "blocks")
					have.Partial = append(have.Partial, protocol.Partial{Chunk: chunk, Blocks: uint32(held)})
				}
				for at := c*l.chunk + held*l.block; at < min((c+1)*l.chunk, f.size); at += l.block {
					want[f][at] = true
				}
			}
		}
		q := readQueue{work: set.Lacking(have), most: l.block * rapid.Uint64Range(1, 9).Draw(t, "most")}
		for {
			s, ok := q.next()
			if !ok {
				break
			}
			if s.n == 0 || s.n > q.most {
				t.Fatalf("span of %d bytes", s.n)
			}
			for at := s.offset; at < s.offset+s.n; at += l.block {
				if !want[s.piece.file][at] {
					t.Fatalf("block at %d is read without need", at)
				}
				delete(want[s.piece.file], at)
			}
			if end := s.offset + s.n; end%l.block != 0 && end != s.piece.file.size {
				t.Fatalf("span ends at %d", end)
			}
		}
		for _, blocks := range want {
			if len(blocks) > 0 {
				t.Fatalf("%d blocks are not read", len(blocks))
			}
		}
	})
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	t.Run("context", func(t *testing.T) {
		set, _ := made(t, t.TempDir(), "O_DIRECT")
		defer set.Close()
		why := errors.New("recipient went away")
		for _, block := range []bool{true, false} {
			ctx, cancel := context.WithCancelCause(t.Context())
			err := new(Producer).Run(ctx, set.Lacking(protocol.Progress{}), 0, func(ctx context.Context, _ protocol.Data, _ []byte) error {
				cancel(why)
				if block {
					<-ctx.Done()
					return context.Cause(ctx)
				}
				return nil
			})
			if err != why {
				t.Errorf("Run = %v, want the cause of the context's end", err)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := new(Producer).Run(ctx, set.Lacking(protocol.Progress{}), 0, nil); err != why {
			t.Errorf("Run = %v, want the cause of the context's end", err)
		}
	})
	t.Run("shrunk", func(t *testing.T) {
		for _, method := range []string{"O_DIRECT", "fsync"} {
			dir := t.TempDir()
			set, content := made(t, dir, method)
			const cut = smallChunk + 2*smallBlock + 1000
			must(t, os.Truncate(filepath.Join(dir, "shop/t8.ibd"), cut))
			k := newTaker(t, set, content)
			err := new(Producer).Run(t.Context(), set.Lacking(protocol.Progress{}), 0, k.take)
			var e *ReadError
			if !errors.Is(err, ErrShrunk) || !errors.As(err, &e) || e.Name != "./shop/t8.ibd" || e.Offset != cut {
				t.Errorf("Run = %v, want ErrShrunk of t8 at %d", err, cut)
			}
			must(t, set.Close())
		}
	})
	t.Run("read error", func(t *testing.T) {
		set, content := made(t, t.TempDir(), "O_DIRECT")
		f := set.files[8]
		good := f.File
		r, w, err := os.Pipe() // reading at an offset of it is an error
		must(t, err)
		defer w.Close()
		f.File = r
		k := newTaker(t, set, content)
		err = new(Producer).Run(t.Context(), set.Lacking(protocol.Progress{}), 0, k.take)
		var e *ReadError
		if !errors.As(err, &e) || e.Name != "./shop/t8.ibd" || e.Offset != 0 || errors.Is(err, ErrShrunk) {
			t.Errorf("Run = %v, want a ReadError", err)
		}
		must(t, good.Close())
		must(t, set.Close())
	})
	t.Run("deliver", func(t *testing.T) {
		set, _ := made(t, t.TempDir(), "O_DIRECT")
		defer set.Close()
		err := new(Producer).Run(t.Context(), set.Lacking(protocol.Progress{}), 0, func(context.Context, protocol.Data, []byte) error { return io.ErrShortWrite })
		if err != io.ErrShortWrite {
			t.Errorf("Run = %v, want deliver's error", err)
		}
	})
}

// Where a direct read is refused, the file is read through the page cache from then on.
func TestReadFallsBack(t *testing.T) {
	t.Parallel()
	set, content := made(t, t.TempDir(), "O_DIRECT")
	defer set.Close()
	f := set.files[8]
	if !f.direct.Load() {
		t.Skip("no direct reads here")
	}
	b := alignedBuffer(8192)[1:4097] // as a disk sees it that wants more alignment
	n, err := f.readAt(b, 512, len(b))
	if err != nil || n != len(b) || !bytes.Equal(b, content[8][512:512+len(b)]) {
		t.Errorf("readAt = %d, %v", n, err)
	}
	if f.direct.Load() {
		t.Skip("this file system takes any alignment")
	}
	k := newTaker(t, set, content)
	must(t, new(Producer).Run(t.Context(), set.Lacking(protocol.Progress{}), 0, k.take))
	k.complete()
}
