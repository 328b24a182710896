package clone

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/stream"
)

// TestDirectWrites: whatever way a piece takes to the disk, past the page cache or through it, the file is the same.
func TestDirectWrites(t *testing.T) {
	const piece, pieces = directBytes / pageSize, 3
	for _, direct := range []bool{true, false} {
		for _, shift := range []int{0, 8} { // bytes by which the memory is out of line
			t.Run(fmt.Sprintf("direct %t, memory shifted by %d", direct, shift), func(t *testing.T) {
				b := build(t)
				b.open.noDirect = !direct
				var want []byte
				steps := []step{begin(fileCopy), file(fileCopy, 0, "./d/t.ibd", pagesLong(pieces*piece+1))}
				for n := range uint32(pieces) {
					content := pageRun(0, n*piece, piece)
					want = append(want, content...)
					buf := directBuffer(len(content)+shift, shift)[shift:]
					copy(buf, content)
					steps = append(steps, data(fileCopy, 0, uint64(n)*directBytes, buf))
				}
				tail := pageRun(0, pieces*piece, 1) // too small for a way of its own
				want = append(want, tail...)
				b.do(append(steps, data(fileCopy, 0, pieces*directBytes, tail), end(fileCopy), begin(pageCopy))...)
				// A page that changed goes through the cache, onto what went past it.
				changed := page(spaceOf(0), 1, 'x')
				copy(want[pageSize:], changed)
				b.do(data(pageCopy, 0, pageSize, changed), end(pageCopy))
				got, err := os.ReadFile(filepath.Join(b.dir, "d", "t.ibd"))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("the file has %d bytes (%v), and not the %d that were written", len(got), err, len(want))
				}
			})
		}
	}
}

// TestAllocate: a large file has its room from the beginning, if its size is what it takes on disk and the donor has said that there is so
// much; and then its content is right whatever of it arrives in which order.
func TestAllocate(t *testing.T) {
	t.Parallel()
	const n = 2 * allocateBytes / pageSize
	dir := t.TempDir() // not in memory
	var stat unix.Statfs_t
	must(t, unix.Statfs(dir, &stat))
	if stat.Type != unix.EXT4_SUPER_MAGIC {
		t.Skip("files are given room on ext4 only")
	}
	for name, c := range map[string]struct {
		change func(*stream.File)
		disk   uint64
		want   bool
	}{
		"plain":              {pagesLong(n), n * pageSize, true},
		"small":              {pagesLong(10), n * pageSize, false},
		"more than was said": {pagesLong(n), n*pageSize - 1, false},
		"64 TiB":             {bytesLong(maxFileSize), n * pageSize, false},
		"with holes":         {func(f *stream.File) { f.Size, f.Alloc = n*pageSize, 4096 }, n * pageSize, false},
		"compressed":         {func(f *stream.File) { f.Size, f.Flags = n*pageSize, stream.FlagZlib }, n * pageSize, false},
		"no tablespace":      {func(f *stream.File) { f.Size, f.FSPFlags, f.Name = n*pageSize, notATablespace, bufferPoolFile }, n * pageSize, false},
	} {
		at := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		must(t, os.MkdirAll(filepath.Join(at, cloneDir), 0o750))
		root, err := os.OpenRoot(at)
		must(t, err)
		d := NewDirectory(root, nine)
		must(t, d.StageStart(stream.StageStart{Stage: fileCopy, Chunks: 9, DiskBytes: c.disk}))
		must(t, file(fileCopy, 0, "t.ibd", c.change)(d))
		path := filepath.Join(at, d.files[0].path)
		if got := blocks(t, path); (got >= n*pageSize) != c.want || got > 0 && !c.want {
			t.Errorf("%s: the new file takes %d bytes on disk", name, got)
		}
		if c.want {
			want := make([]byte, 0, n*pageSize)
			for no := range uint32(n) {
				want = append(want, page(spaceOf(0), no, byte(no))...)
			}
			for at := n - 16; at >= 0; at -= 16 {
				buf := directBuffer(16*pageSize, 0)
				copy(buf, want[at*pageSize:])
				must(t, data(fileCopy, 0, uint64(at)*pageSize, buf)(d))
			}
			must(t, d.StageEnd(fileCopy))
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: the file has %d bytes (%v), and not what was sent", name, len(got), err)
			}
		}
		must(t, d.Close())
		must(t, root.Close())
	}
}

// A volume that has no room for a file says so before anything of it has been sent.
func TestAllocateFullDisk(t *testing.T) {
	t.Parallel()
	dir := newGenerationDir(t)
	root, err := os.OpenRoot(dir.path)
	must(t, err)
	defer root.Close()
	on := newFaultyDisk(t, root)
	on.only = "allocate"
	on.arm(1, fullDisk)
	d := newDirectory(on, nine)
	defer d.Close()
	must(t, d.StageStart(stream.StageStart{Stage: fileCopy, Chunks: 9, DiskBytes: allocateBytes}))
	for range 2 {
		if err := file(fileCopy, 0, "t.ibd", bytesLong(allocateBytes))(d); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("File() = %v, want ENOSPC", err)
		}
	}
}

// pageRun is n pages of the file with that index, from number first on.
func pageRun(index, first, n uint32) (run []byte) {
	for no := first; no < first+n; no++ {
		run = append(run, page(spaceOf(index), no, byte(no))...)
	}
	return run
}
