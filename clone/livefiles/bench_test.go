package livefiles

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ordinal/clone/protocol"
)

// BenchmarkProducer compares numbers of producers, of reads in flight, and sizes of reads, on the disk of TMPDIR and in memory. CPU
// time is that of the whole process in user and kernel mode.
func BenchmarkProducer(b *testing.B) {
	const files, size = 3, 512 << 20
	for _, place := range []string{"disk", "memory"} {
		dir := b.TempDir()
		if place == "memory" {
			dir = inMemory(b)
		}
		for i := range files {
			writeRandom(b, filepath.Join(dir, fmt.Sprint(i)), size)
		}
		for _, flags := range []int{unix.O_DIRECT, 0} {
			set := &Set{layout: layout{chunk: 64 << 20, block: 1 << 20}}
			for i := range uint32(files) {
				f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_RDONLY|flags, 0)
				must(b, err)
				one := &file{File: f, index: i, first: 1 + i*(size>>26), size: size}
				one.direct.Store(flags != 0)
				one.expectSequential()
				set.files = append(set.files, one)
			}
			for _, c := range []struct{ producers, reads, mib int }{
				{1, 1, 1}, {1, 2, 1}, {1, 4, 1}, {1, 8, 1}, {2, 2, 1}, {2, 4, 1}, {4, 4, 1}, {1, 2, 2}, {2, 2, 2}, {1, 1, 4}, {1, 2, 4}, {2, 2, 4},
			} {
				b.Run(fmt.Sprintf("%s/direct=%v/producers=%d/reads=%d/MiB=%d", place, flags != 0, c.producers, c.reads, c.mib), func(b *testing.B) {
					benchmarkRun(b, set, c.producers, Producer{Reads: c.reads, ReadBytes: c.mib << 20})
				})
			}
			must(b, set.Close())
		}
	}
}

// benchmarkRun reads the whole set with a deliver that looks at the first byte only.
func benchmarkRun(b *testing.B, set *Set, producers int, p Producer) {
	var before, after unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &before))
	var bytes uint64
	from := time.Now()
	for b.Loop() {
		w := set.Lacking(protocol.Progress{})
		bytes += w.Bytes()
		g, ctx := errgroup.WithContext(b.Context())
		for task := range uint32(producers) {
			g.Go(func() error {
				return p.Run(ctx, w, task, func(_ context.Context, _ protocol.Data, data []byte) error {
					_ = data[0]
					return nil
				})
			})
		}
		must(b, g.Wait())
	}
	took := time.Since(from)
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &after))
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(cpu.Seconds()/(float64(bytes)/1e9), "cpu-s/GB")
	b.ReportMetric(float64(bytes)/1e6/took.Seconds(), "MB/s")
}

// BenchmarkSmallFiles opens and reads 19 000 tables as large as an empty one.
func BenchmarkSmallFiles(b *testing.B) {
	const schemas, tables, size = 19, 1000, 7 * 16 << 10
	dir := b.TempDir()
	page := make([]byte, 16<<10)
	var metas []protocol.FileMeta
	for s := range schemas {
		schema := fmt.Sprintf("s%d", s)
		must(b, os.Mkdir(filepath.Join(dir, schema), 0o755))
		for t := range tables {
			n := uint32(len(metas))
			m := protocol.FileMeta{State: protocol.StateFileCopy, Index: n, SpaceID: n + 1, Size: size, FirstChunk: n + 1, LastChunk: n + 1,
				Name: fmt.Sprintf("./%s/t%d.ibd", schema, t)}
			binary.BigEndian.PutUint32(page[offSpace:], m.SpaceID)
			f, err := os.Create(filepath.Join(dir, m.Name))
			must(b, err)
			_, err = f.Write(page)
			must(b, err)
			_, err = f.WriteAt(page, size-int64(len(page)))
			must(b, err)
			must(b, f.Close())
			metas = append(metas, m)
		}
	}
	unix.Sync()
	open := func() *Set {
		set, err := openUnchecked(b, dir, Server{PageSize: 16 << 10, FlushMethod: "O_DIRECT"}, metas)
		must(b, err)
		if set.Files() != len(metas) {
			b.Fatalf("%d files are open, first left: %v", set.Files(), set.Left()[0])
		}
		return set
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			must(b, open().Close())
		}
	})
	set := open()
	defer set.Close()
	for _, reads := range []int{1, 2, 4, 8} {
		for _, producers := range []int{1, 2} {
			b.Run(fmt.Sprintf("read/producers=%d/reads=%d", producers, reads), func(b *testing.B) { benchmarkRun(b, set, producers, Producer{Reads: reads}) })
		}
	}
}

func writeRandom(t testing.TB, name string, size int) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	random, block := rand.NewChaCha8([32]byte{byte(size)}), make([]byte, 1<<20)
	for left := size; left > 0; left -= len(block) {
		_, _ = random.Read(block)
		_, err := f.Write(block[:min(left, len(block))])
		must(t, err)
	}
	must(t, f.Sync())
	must(t, f.Close())
}
