package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ordinal/backup/store"
	"ordinal/clone"
	"ordinal/mysqlx"
	"ordinal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	pageSize  = 16 << 10
	blockSize = 4 * pageSize
)

// nine is the version of the donors that these tests make up.
var nine = mysqlx.Version{Major: 9, Minor: 7, Patch: 4}

// sealKey is a key as of a cluster secret.
func sealKey(fill byte) []byte { return bytes.Repeat([]byte{fill}, 32) }

var plainKeys = Keys{Seal: [][]byte{sealKey('s')}}

// A step is one event of a copy that is made by hand.
type step func(Taker) error

// page returns a sound page with content by chance.
func page(r *rand.Rand, space, no uint32) []byte {
	p := make([]byte, pageSize)
	for i := 0; i < pageSize/2; i += 8 { // so that half of it can be compressed
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
	be := binary.BigEndian
	be.PutUint32(p[4:], no)
	be.PutUint64(p[16:], 0x1_0000_0007)
	be.PutUint16(p[24:], 17855) // an index page
	be.PutUint64(p[26:], 0)
	be.PutUint32(p[34:], space)
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Checksum(p[4:26], table) ^ crc32.Checksum(p[38:pageSize-8], table)
	be.PutUint32(p, crc)
	be.PutUint32(p[pageSize-8:], crc)
	be.PutUint32(p[pageSize-4:], 7)
	return p
}

func file(s stream.Stage, index uint32, name string, pages uint64, flags uint16) step {
	f := stream.File{Stage: s, Index: index, SpaceID: 100 + index, BlockSize: 4096, Size: pages * pageSize, Alloc: pages * pageSize, Name: name, Flags: flags}
	if s == stream.StageRedoCopy {
		f.SpaceID = 0xFFFFFFF0
	}
	return func(t Taker) error { return t.File(f) }
}

func begin(s stream.Stage) step {
	return func(t Taker) error { return t.StageStart(stream.StageStart{Stage: s, Chunks: 1000, Bytes: 1 << 20}) }
}

func end(s stream.Stage) step { return func(t Taker) error { return t.StageEnd(s) } }

func interrupt(t Taker) error {
	t.Interrupt()
	return nil
}

// put sends pages first to last of a file.
func put(r *rand.Rand, s stream.Stage, index, first, last uint32, size uint64) step {
	var b []byte
	for no := first; no <= last; no++ {
		b = append(b, page(r, 100+index, no)...)
	}
	h := stream.DataHeader{
		Stage: s, Task: uint16(index), File: index, Chunk: 1 + index, Block: 1 + first/4, Offset: uint64(first) * pageSize, FileSize: size * pageSize,
	}
	return func(t Taker) error { return t.Data(h, b) }
}

// handmade is a copy with every kind of event: files of many sizes, DDL between the stages, breaks after which things come once more.
func handmade(files int) []step {
	r := rand.New(rand.NewPCG(1, uint64(files)))
	const fileCopy, pageCopy, redoCopy = stream.StageFileCopy, stream.StagePageCopy, stream.StageRedoCopy
	steps := []step{begin(fileCopy)}
	size := func(i int) uint64 { return uint64(4 + 4*(i%3)) }
	name := func(i int) string {
		if i == 0 {
			return "ibdata1"
		}
		return fmt.Sprintf("./shop/t%d.ibd", i)
	}
	for i := range files {
		steps = append(steps, file(fileCopy, uint32(i), name(i), size(i), 0))
	}
	for i := range files {
		for first := uint32(0); uint64(first) < size(i); first += 4 {
			again := put(r, fileCopy, uint32(i), first, first+3, size(i))
			steps = append(steps, again)
			if i%5 == 3 {
				steps = append(steps, interrupt, again)
			}
		}
	}
	steps = append(steps, end(fileCopy),
		file(pageCopy, 1, "./shop/lost.ibd", size(1), stream.FlagRenamed), interrupt,
		file(pageCopy, 1, "./shop/renamed.ibd", size(1), stream.FlagRenamed),
		file(pageCopy, 2, name(2), size(2), stream.FlagDeleted),
		file(pageCopy, uint32(files), "./shop/new.ibd", 8, 0),
		begin(pageCopy))
	for i := 3; i < files; i += 2 {
		steps = append(steps, put(r, pageCopy, uint32(i), 1, 2, size(i)))
	}
	steps = append(steps, put(r, pageCopy, uint32(files), 0, 3, 8), interrupt, put(r, pageCopy, uint32(files), 4, 7, 8), end(pageCopy),
		file(redoCopy, 3, "./shop/late.ibd", size(3), stream.FlagRenamed),
		begin(redoCopy), file(redoCopy, 0, "", 8, 0), file(redoCopy, 1, "", 4, 0))
	for first := uint32(0); first < 8; first += 4 {
		steps = append(steps, put(r, redoCopy, 0, first, first+3, 8))
	}
	return append(steps, put(r, redoCopy, 1, 0, 3, 4), end(redoCopy))
}

// play is what a copy function of Create does with steps.
func play(steps []step) func(context.Context, Taker) (Copied, error) {
	return func(_ context.Context, to Taker) (Copied, error) {
		for _, s := range steps {
			if err := s(to); err != nil {
				return Copied{}, err
			}
		}
		return Copied{Files: 7, Bytes: 4711, Pages: 11, GTIDAtMost: "u:1-9", Attachments: map[string][]byte{"checksums.json": []byte("{}\n")}}, nil
	}
}

// job is one whose segments are small.
func job(k Keys) Job {
	return Job{
		ID: NewID(time.Now()), Cluster: "c0ffee", Set: "mysql", Created: time.Now(), Donor: Donor{Pod: "mysql-2", Role: "replica"}, Keys: k,
		Hello:        stream.Hello{SessionID: "s", DonorPod: "mysql-2", ServerVersion: "9.7.4", PageSize: pageSize, GTIDExecuted: "u:1-5"},
		SegmentBytes: 3 * blockSize, Workers: 2, Uploads: 2, Lag: 1500 * time.Millisecond, SourceGTID: "u:1-7",
	}
}

// made puts a backup into a store.
func made(t testing.TB, to store.Store, j Job, steps []step) *Manifest {
	t.Helper()
	_, err := Create(t.Context(), to, j, play(steps))
	must(t, err)
	m, err := Open(t.Context(), to, j.ID, j.Keys)
	must(t, err)
	return m
}

// scratch returns an empty directory that goes with the test, in memory where there is such a file system.
func scratch(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "backup-test-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// generation returns an empty directory as one under construction is.
func generation(t testing.TB) *os.Root {
	t.Helper()
	dir := scratch(t)
	must(t, os.Mkdir(filepath.Join(dir, "#clone"), 0o750))
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// built is what a Directory makes of steps directly, without a backup between them.
func built(t testing.TB, steps []step) map[string]string {
	t.Helper()
	root := generation(t)
	d := clone.NewDirectory(root, nine)
	for i, s := range steps {
		if err := s(d); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	finish(t, d)
	return tree(t, root)
}

func finish(t testing.TB, d *clone.Directory) {
	t.Helper()
	_, err := d.Finish("mysql-2", time.Unix(1, 0))
	must(t, errors.Join(err, d.Close()))
}

// tree returns the content of all files by name.
func tree(t testing.TB, root *os.Root) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := root.ReadFile(name)
		files[name] = string(b)
		return err
	}))
	return files
}

// sameTree fails the test where two trees differ.
func sameTree(t testing.TB, got, want map[string]string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(want))
	if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, names) {
		t.Errorf("the restored directory has %q, want %q", have, names)
	}
	for _, name := range names {
		if got[name] != want[name] {
			t.Errorf("%s differs", name)
		}
	}
}

func (k Keys) encrypts() bool { return len(k.Recipients) > 0 || k.Passphrase != "" }
