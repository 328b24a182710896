package livefiles

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/clone/protocol"
)

// small is a server with the smallest pages: chunks of 16 MiB, blocks of 256 KiB.
var small = Server{DataDir: "/var/lib/mysql/", UndoDir: "./", DataFilePath: "ibdata1:12M:autoextend", FlushMethod: "O_DIRECT", PageSize: 4 << 10}

const (
	smallBlock = 256 << 10
	smallChunk = 16 << 20
)

// announce makes the description of a file behind others, of which last is the last chunk.
func announce(index, last, space uint32, name string, size uint64) protocol.FileMeta {
	chunks := max((size+smallChunk-1)/smallChunk, 1)
	return protocol.FileMeta{State: protocol.StateFileCopy, Index: index, SpaceID: space, Name: name, Size: size, FirstChunk: last + 1, LastChunk: last + uint32(chunks)}
}

// writeTablespace makes a file of random bytes with a first page that names the tablespace.
func writeTablespace(t testing.TB, name string, space uint32, size int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	writeRandom(t, name, size)
	setField(t, name, offSpace, space)
	setField(t, name, offFSPFlags, 0)
}

func setField(t testing.TB, name string, offset int64, value uint32) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(binary.BigEndian.AppendUint32(nil, value), offset)
	must(t, err)
	must(t, f.Close())
}

// Whatever is odd about a file leaves it to the server; the files beside it are taken.
func TestOpenLeavesOddFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	const size = 300_000
	writeTablespace(t, filepath.Join(outside, "t.ibd"), 7, size)
	cases := []struct {
		name  string
		want  string // of the reason; empty: it is taken
		space uint32
		meta  func(*protocol.FileMeta)
		make  func()
	}{
		{name: "./shop/plain.ibd"},
		{name: "shop/bare.ibd"},
		{name: "./shop/odd@002dname@00fc#p#p0#sp#s1.ibd"},
		{name: "mysql.ibd", space: protocol.SpaceDictionary},
		{name: "undo_001", space: protocol.SpaceRedo - 1},
		{name: "more.ibu", space: minUndoSpace},
		{name: "./shop/longer.ibd", meta: func(m *protocol.FileMeta) { m.Size -= 100 }},
		{name: "./shop/compressed.ibd", meta: func(m *protocol.FileMeta) { m.Flags = protocol.FileZlib }},

		{name: "ib_buffer_pool", space: protocol.SpaceNone, want: "no tablespace"},
		{name: "./shop/flags.ibd", want: "no tablespace", meta: func(m *protocol.FileMeta) { m.FSPFlags = protocol.NoFSPFlags }},
		{name: "./shop/my.cnf", want: "by its name"},
		{name: "./shop/redo.ibd", space: protocol.SpaceRedo, want: "no tablespace"},
		{name: "./shop/later.ibd", want: "PAGE_COPY", meta: func(m *protocol.FileMeta) { m.State = protocol.StatePageCopy }},
		{name: "./shop/secret1.ibd", want: "encrypted", meta: func(m *protocol.FileMeta) { m.Flags = protocol.FileEncrypted }},
		{name: "./shop/secret2.ibd", want: "encrypted", meta: func(m *protocol.FileMeta) { m.FSPFlags = fspEncrypted }},
		{name: "./shop/secret3.ibd", want: "encrypted by now", make: func() { setField(t, in("shop/secret3.ibd"), offFSPFlags, fspEncrypted) }},
		{name: "./shop/renamed.ibd", want: "changed its name", meta: func(m *protocol.FileMeta) { m.Flags = protocol.FileRenamed }},
		{name: "./shop/deleted.ibd", want: "or is gone", meta: func(m *protocol.FileMeta) { m.Flags = protocol.FileDeleted }},
		{name: "./shop/other.ibd", want: "holds tablespace 4711", make: func() { setField(t, in("shop/other.ibd"), offSpace, 4711) }},
		{name: "./shop/short.ibd", want: "less than", make: func() { must(t, os.Truncate(in("shop/short.ibd"), size-1)) }},
		{name: "./shop/empty.ibd", want: "is empty", meta: func(m *protocol.FileMeta) { m.Size = 0 }},
		{name: "./shop/tiny.ibd", want: "shorter than announced", meta: func(m *protocol.FileMeta) { m.Size = 20 },
			make: func() { must(t, os.Truncate(in("shop/tiny.ibd"), 20)) }},
		{name: "./shop/chunks.ibd", want: "2 chunks", meta: func(m *protocol.FileMeta) { m.LastChunk++ }},
		{name: "./shop/huge.ibd", want: "chunks", meta: func(m *protocol.FileMeta) { m.Size = 1 << 62 }},
		{name: "./shop/gone.ibd", want: "no such file", make: func() { must(t, os.Remove(in("shop/gone.ibd"))) }},
		{name: "./shop/directory.ibd", want: "regular", make: func() {
			must(t, os.Remove(in("shop/directory.ibd")))
			must(t, os.Mkdir(in("shop/directory.ibd"), 0o755))
		}},
		{name: "./shop/pipe.ibd", want: "", make: func() {
			must(t, os.Remove(in("shop/pipe.ibd")))
			must(t, unix.Mkfifo(in("shop/pipe.ibd"), 0o644))
		}},
		{name: "./shop/out.ibd", want: "", space: 7, make: func() {
			must(t, os.Remove(in("shop/out.ibd")))
			must(t, os.Symlink(filepath.Join(outside, "t.ibd"), in("shop/out.ibd")))
		}},
		{name: "./shop/inside.ibd", want: "", make: func() { // a link that does not leave the data directory
			must(t, os.Rename(in("shop/inside.ibd"), in("shop/target.ibd")))
			must(t, os.Symlink("target.ibd", in("shop/inside.ibd")))
		}},
		{name: "./link/plain.ibd", space: 7, make: func() {
			must(t, os.RemoveAll(in("link")))
			must(t, os.Symlink("shop", in("link")))
			writeTablespace(t, in("link/plain2.ibd"), 7, size)
		}},
		{name: "./away/t.ibd", space: 7, make: func() {
			must(t, os.RemoveAll(in("away")))
			must(t, os.Symlink(outside, in("away")))
		}},
	}
	left := map[string]string{ // by name, what make leaves behind that is taken by no name above
		"./shop/pipe.ibd": "regular", "./shop/out.ibd": "escapes", "./shop/inside.ibd": "regular", "./link/plain.ibd": "symbolic link", "./away/t.ibd": "escapes",
	}
	// Names that no server would send. Nothing is there: they must be refused before anybody looks.
	hostile := map[string]string{
		"../t.ibd": "outside", "./../t.ibd": "outside", "shop/../../t.ibd": "outside", outside + "/t.ibd": "outside", "./shop/../shop/plain.ibd": "outside",
		".//shop/plain.ibd": "outside", "././plain.ibd": "outside", "shop//plain.ibd": "outside", ".hidden.ibd": "no server", "shop/.hidden.ibd": "no server",
		".ibd": "no server", "./": "by its name", "": "by its name", "shop\\t.ibd": "no server", "shop/" + strings.Repeat("x", 2000) + ".ibd": "too long",
	}
	var metas []protocol.FileMeta
	var last uint32
	add := func(space uint32, name string, change func(*protocol.FileMeta)) {
		m := announce(uint32(len(metas)), last, space, name, size)
		if change != nil {
			change(&m)
		}
		metas = append(metas, m)
		if last = m.LastChunk; m.Deleted() {
			last, metas[len(metas)-1].LastChunk = m.FirstChunk, 0 // as it is said of a file that vanishes
		}
	}
	for i, c := range cases {
		if c.space == 0 {
			c.space = uint32(100 + i)
		}
		writeTablespace(t, in(c.name), c.space, size)
		if c.make != nil {
			c.make()
		}
		add(c.space, c.name, c.meta)
		if c.want != "" {
			left[c.name] = c.want
		}
	}
	for name, why := range hostile {
		add(9, name, nil)
		left[name] = why
	}
	for _, name := range []string{"./undo_002", "shop/undo_003", "../undo_004", "/undo_005", ""} {
		add(protocol.SpaceRedo-2, name, nil)
		left[name] = "base name"
	}
	left[""] = ""
	add(protocol.SpaceSystem, "ibdata2", nil)
	left["ibdata2"] = "innodb_data_file_path"

	set, err := openUnchecked(t, dir, small, metas)
	must(t, err)
	defer func() { must(t, set.Close()) }()
	for _, l := range set.Left() {
		why, ok := left[l.Name]
		if !ok || !strings.Contains(l.Why.Error(), why) {
			t.Errorf("%q is left because it %v; want %q", l.Name, l.Why, why)
		}
	}
	chunks := set.Chunks()
	for _, m := range metas {
		_, wantLeft := left[m.Name]
		if chunks.Has(m.FirstChunk) == wantLeft {
			t.Errorf("%q is in the set: %v, want %v", m.Name, !wantLeft, wantLeft)
		}
	}
	if want := 8; set.Files() != want || chunks.Count() != want || set.Bytes() != uint64(want)*size-100 {
		t.Errorf("%d files, %d chunks, %d bytes", set.Files(), chunks.Count(), set.Bytes())
	}
}

// Files that lie where the server's settings say.
func TestLocate(t *testing.T) {
	t.Parallel()
	undo, system := uint32(protocol.SpaceRedo-1), uint32(protocol.SpaceSystem)
	for _, c := range []struct {
		space                  uint32
		name                   string
		undoDir, home, systems string
		want                   string // empty: left to the server
	}{
		{undo, "undo_001", "./", "", "", "undo_001"},
		{undo, "undo_001", "", "", "", "undo_001"},
		{undo, "undo_001", ".", "", "", "undo_001"},
		{undo, "undo_001", "./undo/", "", "", "undo/undo_001"},
		{undo, "undo_001", "/var/lib/mysql", "", "", "undo_001"},
		{undo, "undo_001", "/var/lib/mysql/undo", "", "", "undo/undo_001"},
		{undo, "undo_001", "/var/lib/mysql/../undo", "", "", ""},
		{undo, "undo_001", "/var/lib/mysqlundo", "", "", ""},
		{undo, "undo_001", "/undo", "", "", ""},
		{undo, "undo_001", "../undo", "", "", ""},
		{undo, "..", "./", "", "", ""},
		{system, "ibdata1", "", "", "ibdata1:12M:autoextend", "ibdata1"},
		{system, "ibdata2", "", "", "ibdata1:12M;ibdata2:50M:autoextend:max:1G", "ibdata2"},
		{system, "ibdata2", "", "", "ibdata1:12M;more/ibdata2:50M", "more/ibdata2"},
		{system, "ibdata2", "", "sys", "ibdata1:12M;more/ibdata2:50M", "sys/more/ibdata2"},
		{system, "ibdata1", "", "/var/lib/mysql/sys/", "ibdata1:12M", "sys/ibdata1"},
		{system, "ibdata1", "", "/other", "ibdata1:12M", ""},
		{system, "ibdata1", "", "", "/var/lib/mysql/ibdata1:12M", "ibdata1"},
		{system, "ibdata1", "", "", "/elsewhere/ibdata1:12M", ""},
		{system, "ibdata1", "", "", "../ibdata1:12M", ""},
		{system, "ibdata", "", "", "a/ibdata:12M;b/ibdata:12M", ""},
		{system, "ibdata3", "", "", "ibdata1:12M;ibdata2:50M", ""},
		{system, "", "", "", "", ""},
	} {
		s := Server{DataDir: "/var/lib/mysql/", UndoDir: c.undoDir, DataHomeDir: c.home, DataFilePath: c.systems}
		got, err := s.locate(protocol.FileMeta{SpaceID: c.space, Name: c.name})
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%+v is at %q (%v), want %q", c, got, err, c.want)
		}
	}
}

// FuzzLocate: no name and no setting leads out of the data directory.
func FuzzLocate(f *testing.F) {
	f.Add(uint32(1), "./shop/t.ibd", "./", "", "ibdata1:12M")
	f.Add(uint32(0), "ibdata1", "./", "/var/lib/mysql/x", "../ibdata1:12M;ibdata1")
	f.Add(uint32(protocol.SpaceRedo-1), "undo_001", "/var/lib/mysql/a/../..", "", "")
	f.Fuzz(func(t *testing.T, space uint32, name, undo, home, systems string) {
		s := Server{DataDir: "/var/lib/mysql/", UndoDir: undo, DataHomeDir: home, DataFilePath: systems}
		p, err := s.locate(protocol.FileMeta{SpaceID: space, Name: name})
		if err == nil && (!filepath.IsLocal(p) || strings.Contains(p, "..") && slices.Contains(strings.Split(p, "/"), "..") || filepath.Base(p)[0] == '.') {
			t.Errorf("%q leads to %q", name, p)
		}
	})
}

func TestOpenRefusesNonsense(t *testing.T) {
	t.Parallel()
	ok := announce(0, 0, 1, "./a/t.ibd", 1000)
	for what, metas := range map[string][]protocol.FileMeta{
		"overlap":   {ok, announce(1, 0, 2, "./a/u.ibd", 1000)},
		"backwards": {announce(0, 5, 1, "./a/t.ibd", 1000), announce(1, 3, 2, "./a/u.ibd", 1000)},
		"chunk 0":   {{State: protocol.StateFileCopy, Name: "./a/t.ibd", Size: 1}},
		"upside":    {{State: protocol.StateFileCopy, Name: "./a/t.ibd", Size: 1, FirstChunk: 3, LastChunk: 2}},
		"bomb":      {{State: protocol.StateFileCopy, Name: "./a/t.ibd", Size: 1 << 62, FirstChunk: 1, LastChunk: 1<<32 - 1}},
	} {
		if set, err := openUnchecked(t, t.TempDir(), small, metas); err == nil {
			t.Errorf("%s: %d files are open, want an error", what, set.Files())
		}
	}
	for _, size := range []uint32{0, 1024, 16000, 128 << 10} {
		if _, err := Open(t.Context(), t.TempDir(), Server{PageSize: size}, nil); err == nil || !strings.Contains(err.Error(), "innodb_page_size") {
			t.Errorf("pages of %d bytes: %v", size, err)
		}
	}
}

// When there are more files than descriptors the big ones are read beside the server.
func TestOpenTakesTheBiggest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var metas []protocol.FileMeta
	for i, size := range []int{5000, 9000, 7000, 20000, 6000} {
		name := fmt.Sprintf("s%d/t.ibd", i%2)
		if i > 1 {
			name = fmt.Sprintf("s%d/t%d.ibd", i%2, i)
		}
		writeTablespace(t, filepath.Join(dir, name), uint32(i+1), size)
		metas = append(metas, announce(uint32(i), uint32(i), uint32(i+1), name, uint64(size)))
	}
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	l, err := newLayout(small.PageSize)
	must(t, err)
	o := opener{layout: l, server: small, root: root, most: 3}
	set, err := o.open(t.Context(), metas)
	must(t, err)
	defer set.Close()
	var sizes []uint64
	for _, f := range set.files {
		sizes = append(sizes, f.size)
	}
	if fmt.Sprint(sizes) != "[9000 7000 20000]" || len(set.Left()) != 2 {
		t.Errorf("files of %v bytes are open, left are %v", sizes, set.Left())
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	why := fmt.Errorf("enough")
	cancel(why)
	if _, err := o.open(ctx, metas); err == nil || err.Error() != "enough" {
		t.Errorf("open = %v after the context's end, want its cause", err)
	}
}
