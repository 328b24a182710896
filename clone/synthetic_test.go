package clone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/stream"
)

const (
	pageSize = 16 << 10
	fileCopy = stream.StageFileCopy
	pageCopy = stream.StagePageCopy
	redoCopy = stream.StageRedoCopy
)

// page returns a sound page that is filled with one byte.
func page(space, no uint32, fill byte) []byte {
	p := bytes.Repeat([]byte{fill}, pageSize)
	be := binary.BigEndian
	be.PutUint32(p[4:], no)
	be.PutUint64(p[16:], 0x1_0000_0000+uint64(fill)) // LSN
	be.PutUint16(p[24:], 17855)                      // an index page
	be.PutUint32(p[34:], space)
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Checksum(p[4:26], table) ^ crc32.Checksum(p[38:pageSize-8], table)
	be.PutUint32(p, crc)
	be.PutUint32(p[pageSize-8:], crc)
	be.PutUint32(p[pageSize-4:], uint32(fill))
	return p
}

// A step is one frame of a copy made by hand.
type step func(target) error

// A target takes the frames of a copy: a Directory, or a stream that is being written.
type target interface {
	StageStart(stream.StageStart) error
	File(stream.File) error
	Data(stream.DataHeader, []byte) error
	StageEnd(stream.Stage) error
}

type streamTarget struct{ *stream.Writer }

func (s streamTarget) StageEnd(stage stream.Stage) error {
	_, err := s.Writer.StageEnd(stage)
	return err
}

func begin(s stream.Stage) step {
	return func(t target) error { return t.StageStart(stream.StageStart{Stage: s, Chunks: 1000}) }
}

func end(s stream.Stage) step { return func(t target) error { return t.StageEnd(s) } }

// spaceOf is the tablespace that these tests give to a file.
func spaceOf(index uint32) uint32 { return 100 + index }

// file describes a tablespace of four pages, but for what changes say.
func file(s stream.Stage, index uint32, name string, changes ...func(*stream.File)) step {
	f := stream.File{Stage: s, Index: index, SpaceID: spaceOf(index), BlockSize: 4096, Size: 4 * pageSize, Name: name}
	for _, change := range changes {
		change(&f)
	}
	return func(t target) error { return t.File(f) }
}

func pagesLong(n uint64) func(*stream.File) { return func(f *stream.File) { f.Size = n * pageSize } }
func bytesLong(n uint64) func(*stream.File) { return func(f *stream.File) { f.Size = n } }
func inSpace(id uint32) func(*stream.File)  { return func(f *stream.File) { f.SpaceID = id } }
func flagged(n uint16) func(*stream.File)   { return func(f *stream.File) { f.Flags |= n } }
func fspFlags(n uint32) func(*stream.File)  { return func(f *stream.File) { f.FSPFlags = n } }
func allocated(n uint64) func(*stream.File) { return func(f *stream.File) { f.Alloc = n } }
func deleted(f *stream.File)                { f.Flags |= stream.FlagDeleted }
func renamed(f *stream.File)                { f.Flags |= stream.FlagRenamed }
func noTablespace(f *stream.File)           { f.FSPFlags, f.SpaceID = notATablespace, notATablespace }
func redo(index uint32, size uint64) step {
	return file(redoCopy, index, "", bytesLong(size), inSpace(maxUndoSpace))
}
func redoData(index uint32, b []byte) step    { return data(redoCopy, index, 0, b) }
func whole(s stream.Stage, index uint32) step { return put(s, index, 0, 'a', 'b', 'c', 'd') }

// put sends sound pages from number first on, one for each fill byte.
func put(s stream.Stage, index, first uint32, fill ...byte) step {
	var b []byte
	for i, c := range fill {
		b = append(b, page(spaceOf(index), first+uint32(i), c)...)
	}
	return data(s, index, uint64(first)*pageSize, b)
}

func data(s stream.Stage, index uint32, offset uint64, b []byte) step {
	return sized(s, index, offset, 0, b)
}

// sized also says how large the file is by now.
func sized(s stream.Stage, index uint32, offset, fileSize uint64, b []byte) step {
	h := stream.DataHeader{Stage: s, File: index, Chunk: 1, Block: 1, Offset: offset, FileSize: fileSize}
	return func(t target) error {
		if d, ok := t.(*Directory); ok {
			d.Expect(h)
		}
		return t.Data(h, b)
	}
}

// smallCopy is a whole copy of a small server.
func smallCopy() []step {
	return []step{
		begin(fileCopy),
		file(fileCopy, 0, "ib_buffer_pool", noTablespace, bytesLong(20)),
		file(fileCopy, 1, "ibdata1", inSpace(systemSpace)),
		file(fileCopy, 2, "./shop/orders.ibd"),
		file(fileCopy, 3, "undo_001", inSpace(maxUndoSpace-1)),
		file(fileCopy, 4, "./shop/old.ibd"),
		data(fileCopy, 0, 0, []byte("1,2\n1,3\n1,4\n1,5\n1,6\n")[:20]),
		whole(fileCopy, 1), put(fileCopy, 2, 0, 'a', 'b'), whole(fileCopy, 3), put(fileCopy, 2, 2, 'c', 'd'), whole(fileCopy, 4),
		end(fileCopy),
		file(pageCopy, 2, "./shop/bills.ibd", renamed),
		file(pageCopy, 4, "./shop/old.ibd", deleted),
		file(pageCopy, 5, "./shop/orders.ibd"),
		begin(pageCopy),
		put(pageCopy, 5, 0, 'n'), put(pageCopy, 2, 1, 'B'),
		end(pageCopy),
		begin(redoCopy),
		redo(0, 128<<10), redo(1, 128<<10),
		redoData(0, bytes.Repeat([]byte("redo"), 1000)), redoData(1, bytes.Repeat([]byte("log "), 500)),
		end(redoCopy),
	}
}

// smallCopyFiles are the files that smallCopy leaves, with their sizes.
var smallCopyFiles = map[string]int64{
	"ib_buffer_pool": 20, "ibdata1": 4 * pageSize, "undo_001": 4 * pageSize, "shop/bills.ibd": 4 * pageSize,
	"shop/orders.ibd": newTablespacePages * pageSize, "#innodb_redo/#ib_redo0": 128 << 10, "#innodb_redo/#ib_redo1": 128 << 10,
}

// checkSmallCopy reports what is not as smallCopy leaves it.
func checkSmallCopy(dir string) error {
	var errs []error
	for name, size := range smallCopyFiles {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			errs = append(errs, err)
		} else if info.Size() != size {
			errs = append(errs, fmt.Errorf("%s has %d bytes, want %d", name, info.Size(), size))
		}
	}
	bills, err := os.ReadFile(filepath.Join(dir, "shop/bills.ibd"))
	if err == nil && !bytes.Equal(bills, pagesOf(2, "aBcd")) {
		err = errors.New("shop/bills.ibd has other pages than were sent")
	}
	return errors.Join(append(errs, err)...)
}

// pagesOf is the content of a file: a page for each letter of fills.
func pagesOf(index uint32, fills string) []byte {
	var b []byte
	for i := range len(fills) {
		b = append(b, page(spaceOf(index), uint32(i), fills[i])...)
	}
	return b
}

// encode writes steps as a complete stream and tells where its frames end.
func encode(t testing.TB, hello stream.Hello, steps []step) (raw []byte, borders []int) {
	t.Helper()
	var b bytes.Buffer
	w := streamTarget{stream.NewWriter(&b)}
	must(t, w.Hello(hello))
	borders = append(borders, b.Len())
	for _, s := range steps {
		must(t, s(w))
		borders = append(borders, b.Len())
	}
	must(t, w.End())
	return b.Bytes(), append(borders, b.Len())
}

// A building is a Directory in a directory of its own.
type building struct {
	*Directory
	t   *testing.T
	dir string
}

// build begins a copy as it is begun in a volume: with the directory for the file that keeps servers away.
func build(t *testing.T) *building {
	t.Helper()
	dir := scratch(t)
	must(t, os.Mkdir(filepath.Join(dir, cloneDir), 0o750))
	root, err := os.OpenRoot(dir)
	must(t, err)
	b := &building{Directory: NewDirectory(root, nine), t: t, dir: dir}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		_ = root.Close()
	})
	return b
}

// do takes steps that are all in order.
func (b *building) do(steps ...step) {
	b.t.Helper()
	for i, s := range steps {
		if err := s(b.Directory); err != nil {
			b.t.Fatalf("step %d: %v", i, err)
		}
	}
}

// try takes steps up to the first that fails and returns its error.
func (b *building) try(steps ...step) error {
	for _, s := range steps {
		if err := s(b.Directory); err != nil {
			return err
		}
	}
	return nil
}

// finish sends an empty redo log and ends the copy.
func (b *building) finish() (Summary, error) {
	b.t.Helper()
	b.do(begin(redoCopy), redo(0, 64<<10), redoData(0, make([]byte, 4096)), end(redoCopy))
	return b.Finish("donor", begunAt)
}

// wantPages compares a file with the pages that were sent for a file index.
func (b *building) wantPages(name string, index uint32, fills string) {
	b.t.Helper()
	got, err := os.ReadFile(filepath.Join(b.dir, name))
	must(b.t, err)
	want := pagesOf(index, fills)
	if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
		b.t.Errorf("%s does not begin with the pages %q of file %d", name, fills, index)
	}
}

// wantNames compares the files below the directory, but for the server's own status files and our own, with names.
func (b *building) wantNames(names ...string) {
	b.t.Helper()
	var got []string
	_ = filepath.WalkDir(b.dir, func(path string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(b.dir, path)
		if err == nil && !e.IsDir() && !strings.HasPrefix(name, cloneDir+"/#") && name != savedFile {
			got = append(got, name)
		}
		return err
	})
	if fmt.Sprint(got) != fmt.Sprint(names) {
		b.t.Errorf("files are %q, want %q", got, names)
	}
}

func (b *building) size(name string) int64 {
	b.t.Helper()
	info, err := os.Stat(filepath.Join(b.dir, name))
	must(b.t, err)
	return info.Size()
}

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// begunAt is when the copies of these tests began.
var begunAt = time.UnixMicro(1_700_000_000_123_456)
