package clone

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/internal/innodb"
	"ordinal/stream"
)

// The whole of a small copy ends as it should; the tests of what goes wrong start from it.
func TestDirectory(t *testing.T) {
	t.Parallel()
	b := build(t)
	b.do(smallCopy()...)
	sum, err := b.Finish("mysql-1\n", begunAt)
	must(t, err)
	if err := checkSmallCopy(b.dir); err != nil {
		t.Error(err)
	}
	if want := len(smallCopyFiles); sum.Files != want || sum.Pages != 18 || sum.Bytes != 18*pageSize+20+6000 {
		t.Errorf("Finish() = %+v, want %d files and 18 pages", sum, want)
	}
	for name, want := range map[string]string{
		"#clone/#status_fix": "", "#clone/#replace_files": "",
		"#clone/#view_status": "1 1\n1700000000123456 0\nmysql-1\n1317\nQuery execution was interrupted\n\n0\n\n",
	} {
		if got, err := os.ReadFile(filepath.Join(b.dir, name)); string(got) != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(b.dir, "mysql")); err != nil || !info.IsDir() {
		t.Errorf("mysql/ is %v, %v, want a directory", info, err)
	}
}

// What comes out of order is refused, wherever it comes.
func TestOrderOfStages(t *testing.T) {
	t.Parallel()
	copied := []step{begin(fileCopy), file(fileCopy, 0, "a.ibd"), whole(fileCopy, 0)}
	ended := append(copied[:3:3], end(fileCopy))
	paged := append(ended[:4:4], begin(pageCopy))
	all := smallCopy()
	for name, steps := range map[string][]step{
		"file before any stage":           {file(fileCopy, 0, "a.ibd")},
		"file after INIT":                 {begin(stream.StageInit), end(stream.StageInit), file(fileCopy, 0, "a.ibd")},
		"data before any stage":           {whole(fileCopy, 0)},
		"end before any stage":            {end(fileCopy)},
		"page copy first":                 {begin(pageCopy)},
		"redo copy first":                 {begin(redoCopy)},
		"stage in a stage":                append(copied[:3:3], begin(pageCopy)),
		"same stage again":                append(ended[:4:4], begin(fileCopy)),
		"stage left out":                  append(ended[:4:4], begin(redoCopy)),
		"data of the stage before":        append(paged[:5:5], whole(fileCopy, 0)),
		"data of the stage after":         append(copied[:3:3], put(pageCopy, 0, 0, 'a')),
		"data between stages":             append(ended[:4:4], whole(fileCopy, 0)),
		"end of another stage":            append(copied[:3:3], end(pageCopy)),
		"end twice":                       append(ended[:4:4], end(fileCopy)),
		"file described in PAGE_COPY":     append(paged[:5:5], file(pageCopy, 0, "b.ibd", renamed)),
		"file created in PAGE_COPY":       append(paged[:5:5], file(pageCopy, 1, "b.ibd")),
		"file of FILE_COPY after its end": append(ended[:4:4], file(fileCopy, 1, "b.ibd")),
		"DDL of a stage too late":         append(ended[:4:4], file(redoCopy, 0, "b.ibd", renamed)),
		"file after the redo log":         append(all[:len(all):len(all)], file(redoCopy, 2, "c.ibd")),
		"redo file after the redo log":    append(all[:len(all):len(all)], redo(2, 4096)),
		"data after the redo log":         append(all[:len(all):len(all)], redoData(0, make([]byte, 512))),
		"data of an unknown file":         append(copied[:3:3], put(fileCopy, 1, 0, 'a')),
		"deletion of an unknown file":     append(copied[:3:3], file(fileCopy, 1, "b.ibd", deleted)),
		"index left out":                  append(copied[:3:3], file(fileCopy, 2, "b.ibd")),
		"index again":                     append(copied[:3:3], file(fileCopy, 0, "b.ibd")),
		"index left out by DDL":           append(ended[:4:4], file(pageCopy, 2, "b.ibd")),
		"redo index left out":             append(all[:len(all)-5:len(all)-5], redo(1, 4096)),
	} {
		b := build(t)
		b.do(steps[:len(steps)-1]...)
		if err := b.try(steps[len(steps)-1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Only what has passed REDO_COPY is complete.
func TestFinishTooEarly(t *testing.T) {
	t.Parallel()
	steps := smallCopy()
	b := build(t)
	for i, s := range steps {
		if _, err := b.Finish("donor", begunAt); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("Finish() before step %d of %d = %v, want ErrIncomplete", i, len(steps), err)
		}
		b.do(s)
	}
	if entries, err := os.ReadDir(filepath.Join(b.dir, "#clone")); err == nil {
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "#") {
				t.Errorf("%s is there before Finish succeeded", e.Name())
			}
		}
	}
	b = build(t)
	b.do(begin(fileCopy), end(fileCopy), begin(pageCopy), end(pageCopy), begin(redoCopy), end(redoCopy))
	if _, err := b.Finish("donor", begunAt); !errors.Is(err, ErrIncomplete) {
		t.Errorf("Finish() without a redo log = %v, want ErrIncomplete", err)
	}
}

// A block that never came is missed when FILE_COPY is left: not at its end, because the batch of changes that follows may say that the
// file was dropped. It is missed also by a process that takes the copy up in between.
func TestCoverage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps []step
		lacks string // "" when nothing does
		batch []step
	}{
		"everything":    {[]step{put(fileCopy, 0, 2, 'c', 'd'), put(fileCopy, 0, 0, 'a', 'b')}, "", nil},
		"nothing":       {nil, "offset 0", nil},
		"first page":    {[]step{put(fileCopy, 0, 1, 'b', 'c', 'd')}, "offset 0", nil},
		"a page within": {[]step{put(fileCopy, 0, 0, 'a', 'b'), put(fileCopy, 0, 3, 'd')}, "offset 32768", nil},
		"last page":     {[]step{put(fileCopy, 0, 0, 'a', 'b', 'c')}, "offset 49152", nil},
		// The file grew; what lies beyond the size announced does not make up for what is missing below it.
		"page for page": {[]step{
			put(fileCopy, 0, 0, 'a', 'b'), put(fileCopy, 0, 3, 'd'), sized(fileCopy, 0, 4*pageSize, 5*pageSize, page(100, 4, 'e')),
		}, "offset 32768", nil},
		"twice is once":                      {[]step{put(fileCopy, 0, 0, 'a', 'b'), put(fileCopy, 0, 0, 'a', 'b')}, "offset 32768", nil},
		"dropped":                            {[]step{put(fileCopy, 0, 0, 'a'), file(fileCopy, 0, "shop/a.ibd", deleted)}, "", nil},
		"dropped, which only the batch says": {[]step{put(fileCopy, 0, 0, 'a')}, "", []step{file(pageCopy, 0, "shop/a.ibd", deleted)}},
	} {
		for _, reload := range []bool{false, true} {
			b := build(t)
			b.do(begin(fileCopy), file(fileCopy, 0, "shop/a.ibd"))
			b.do(c.steps...)
			b.do(end(fileCopy))
			if reload {
				_, err := b.reload()
				must(t, err)
			}
			b.do(c.batch...)
			err := b.try(begin(pageCopy))
			if c.lacks == "" && err != nil {
				t.Errorf("%s, reloaded %t: StageStart() = %v", name, reload, err)
			}
			if c.lacks != "" && (!errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), c.lacks)) {
				t.Errorf("%s, reloaded %t: StageStart() = %v, want ErrIncomplete at %s", name, reload, err, c.lacks)
			}
		}
	}
	b := build(t)
	b.do(func(t target) error { return t.StageStart(stream.StageStart{Stage: fileCopy, Files: 2}) }, file(fileCopy, 0, "a.ibd", pagesLong(0)))
	if err := b.StageEnd(fileCopy); !errors.Is(err, ErrIncomplete) {
		t.Errorf("StageEnd() with one of two files = %v, want ErrIncomplete", err)
	}
}

// A file grows in PAGE_COPY. With several connections the new pages may come before page 0, with which the donor tells the new size.
func TestGrowth(t *testing.T) {
	t.Parallel()
	b := build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "a.ibd"), file(fileCopy, 1, "b.ibd"), whole(fileCopy, 0), whole(fileCopy, 1), end(fileCopy),
		begin(pageCopy), put(pageCopy, 0, 5, 'F'), sized(pageCopy, 0, 0, 6*pageSize, page(100, 0, 'A')), sized(pageCopy, 1, 0, 70*pageSize, page(101, 0, 'A')),
		end(pageCopy))
	if err := b.try(begin(redoCopy), redo(0, 4096), data(redoCopy, 0, 4096, make([]byte, 512))); err == nil {
		t.Error("data beyond the end of a redo file: no error")
	}

	b = build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "a.ibd"), file(fileCopy, 1, "b.ibd"), whole(fileCopy, 0), whole(fileCopy, 1), end(fileCopy),
		begin(pageCopy), put(pageCopy, 0, 5, 'F'), sized(pageCopy, 0, 0, 6*pageSize, page(100, 0, 'A')), sized(pageCopy, 1, 0, 70*pageSize, page(101, 0, 'A')),
		end(pageCopy))
	_, err := b.finish()
	must(t, err)
	b.wantPages("a.ibd", 0, "Abcd")
	if got := b.size("a.ibd"); got != 6*pageSize {
		t.Errorf("a.ibd has %d bytes, want 6 pages", got)
	}
	// More than an extent: the server extends by whole ones.
	if got := b.size("b.ibd"); got != 128*pageSize {
		t.Errorf("b.ibd has %d bytes, want two extents of 64 pages", got)
	}
}

func TestFinalSize(t *testing.T) {
	t.Parallel()
	const zip1k, page64k = 1 << 1, 7 << 6 // KEY_BLOCK_SIZE=1 of 16 KiB pages; innodb_page_size=64k
	for _, c := range []struct {
		flags      innodb.Flags
		pages      bool
		size, want uint64
	}{
		{0, true, 0, 0},
		{0, true, 7 * pageSize, 7 * pageSize},
		{0, true, 1 << 20, 1 << 20},
		{0, true, 1<<20 + pageSize, 2 << 20},
		{0, true, 5<<20 - pageSize, 5 << 20},
		{zip1k, true, 1<<20 + 1024, 2 << 20},
		{page64k, true, 4<<20 + 64<<10, 8 << 20},
		{0, false, 1<<20 + 7, 1<<20 + 7},
	} {
		f := dataFile{fsp: c.flags, pages: c.pages, size: c.size}
		if got := f.finalSize(); got != c.want {
			t.Errorf("flags %#x, size %d: finalSize() = %d, want %d", uint32(c.flags), c.size, got, c.want)
		}
	}
}

// Pages may be torn in FILE_COPY, if PAGE_COPY brings them again. What is bad at the end is rot.
func TestBadPages(t *testing.T) {
	t.Parallel()
	torn := page(100, 2, 'c')
	torn[5000] ^= 1
	start := []step{begin(fileCopy), file(fileCopy, 0, "shop/a.ibd"), put(fileCopy, 0, 0, 'a', 'b'), data(fileCopy, 0, 2*pageSize, torn), put(fileCopy, 0, 3, 'd'), end(fileCopy)}
	for name, c := range map[string]struct {
		steps []step
		bad   []uint64
	}{
		"brought again":         {[]step{begin(pageCopy), put(pageCopy, 0, 2, 'C'), end(pageCopy)}, nil},
		"not brought again":     {[]step{begin(pageCopy), put(pageCopy, 0, 1, 'B'), end(pageCopy)}, []uint64{2}},
		"brought again as bad":  {[]step{begin(pageCopy), data(pageCopy, 0, 2*pageSize, torn), end(pageCopy)}, []uint64{2}},
		"another one goes bad":  {[]step{begin(pageCopy), put(pageCopy, 0, 2, 'C'), data(pageCopy, 0, 0, torn), end(pageCopy)}, []uint64{0}},
		"dropped":               {[]step{file(pageCopy, 0, "shop/a.ibd", deleted), begin(pageCopy), end(pageCopy)}, nil},
		"dropped in PAGE_COPY":  {[]step{begin(pageCopy), file(pageCopy, 0, "shop/a.ibd", deleted), end(pageCopy)}, nil},
		"renamed and still bad": {[]step{file(pageCopy, 0, "shop/b.ibd", renamed), begin(pageCopy), end(pageCopy)}, []uint64{2}},
		"zeros are good":        {[]step{begin(pageCopy), data(pageCopy, 0, 2*pageSize, make([]byte, pageSize)), end(pageCopy)}, nil},
	} {
		b := build(t)
		b.do(start...)
		b.do(c.steps...)
		_, err := b.finish()
		var bad *BadPagesError
		switch {
		case c.bad == nil && err != nil:
			t.Errorf("%s: Finish() = %v", name, err)
		case c.bad != nil && !errors.As(err, &bad):
			t.Errorf("%s: Finish() = %v, want a BadPagesError", name, err)
		case c.bad != nil:
			want := "shop/a.ibd"
			if strings.HasPrefix(name, "renamed") {
				want = "shop/b.ibd"
			}
			if bad.File != want || len(bad.Pages) != 1 || bad.Pages[0] != c.bad[0] {
				t.Errorf("%s: Finish() = %+v, want page %d of %s", name, bad, c.bad[0], want)
			}
		}
	}

	b := build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "a.ibd"))
	if err := b.try(data(fileCopy, 0, 100, page(100, 0, 'a'))); err == nil {
		t.Error("a page that does not begin at a page's place: no error")
	}
	if err := b.try(data(fileCopy, 0, 0, make([]byte, 100))); err == nil {
		t.Error("a part of a page: no error")
	}
}

// Servers before 8.0.20 kept copies of other pages in pages 64 to 191 of the system tablespace, and their files may still have them.
// They look like rot and are never read.
func TestOldDoublewriteBuffer(t *testing.T) {
	t.Parallel()
	other, torn := page(55, 3, 'x'), page(55, 4, 'y')
	torn[9000]++
	for _, c := range []struct {
		space uint32
		no    uint32
		good  bool
	}{{systemSpace, 64, true}, {systemSpace, 191, true}, {systemSpace, 63, false}, {systemSpace, 192, false}, {77, 64, false}} {
		b := build(t)
		b.do(begin(fileCopy), file(fileCopy, 0, "ibdata1", inSpace(c.space), pagesLong(256)), data(fileCopy, 0, 0, make([]byte, 256*pageSize)))
		b.do(data(fileCopy, 0, uint64(c.no)*pageSize, torn), data(fileCopy, 0, 100*pageSize, other), end(fileCopy), begin(pageCopy), end(pageCopy))
		if _, err := b.finish(); (err == nil) != c.good {
			t.Errorf("torn copy in page %d of tablespace %d: Finish() = %v", c.no, c.space, err)
		}
	}
	// A page of its own that lies there is looked at.
	own := page(systemSpace, 70, 'o')
	own[9000]++
	b := build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "ibdata1", inSpace(systemSpace), pagesLong(256)), data(fileCopy, 0, 0, make([]byte, 256*pageSize)),
		data(fileCopy, 0, 70*pageSize, own), end(fileCopy), begin(pageCopy), end(pageCopy))
	if _, err := b.finish(); err == nil {
		t.Error("a bad page 70 of ibdata1: Finish() = nil")
	}
}

// ib_buffer_pool is the one file that is no tablespace; such a file with another name is not kept.
func TestFilesThatAreNoTablespace(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("1,17\n"), 5000)
	b := build(t)
	b.do(begin(fileCopy),
		file(fileCopy, 0, "./ib_buffer_pool", noTablespace, bytesLong(uint64(len(content)))),
		file(fileCopy, 1, "/etc/cron.d/evil", noTablespace, bytesLong(10)),
		file(fileCopy, 2, "auto.cnf", noTablespace, bytesLong(10)),
		data(fileCopy, 0, 0, content), data(fileCopy, 1, 0, make([]byte, 10)), data(fileCopy, 2, 0, make([]byte, 10)),
		end(fileCopy),
		file(pageCopy, 1, "/etc/cron.d/more", noTablespace, renamed),
		file(pageCopy, 3, "dump", noTablespace),
		begin(pageCopy), data(pageCopy, 3, 0, make([]byte, 10)), end(pageCopy))
	_, err := b.finish()
	must(t, err)
	b.wantNames("#innodb_redo/#ib_redo0", "ib_buffer_pool")
	if got, err := os.ReadFile(filepath.Join(b.dir, "ib_buffer_pool")); !bytes.Equal(got, content) || err != nil {
		t.Errorf("ib_buffer_pool has %d bytes, %v, want the %d that were sent", len(got), err, len(content))
	}
}

// A server before 8.0.30 finds its redo log in the data directory itself.
func TestRedoNames(t *testing.T) {
	t.Parallel()
	b := build(t)
	b.server.Major, b.server.Minor, b.server.Patch = 8, 0, 29
	b.do(begin(fileCopy), end(fileCopy), begin(pageCopy), end(pageCopy), begin(redoCopy), redo(0, 4096), redo(1, 4096),
		redoData(0, []byte("header")), redo(0, 8192), data(redoCopy, 0, 4096, []byte("more")), end(redoCopy))
	_, err := b.Finish("donor", begunAt)
	must(t, err)
	b.wantNames("ib_logfile0", "ib_logfile1")
	if got := b.size("ib_logfile0"); got != 8192 {
		t.Errorf("ib_logfile0 has %d bytes, want the 8192 announced last", got)
	}
}

// Links that somebody planted where files and directories go lead nowhere.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	outside := scratch(t)
	for name, link := range map[string]struct{ at, to string }{
		"file outside":       {"a.ibd", filepath.Join(outside, "a.ibd")},
		"file inside":        {"a.ibd", "other"},
		"dangling file":      {"a.ibd", "nowhere"},
		"schema outside":     {"shop", outside},
		"schema inside":      {"shop", "mysql"},
		"schema above":       {"shop", ".."},
		"redo directory":     {"#innodb_redo", outside},
		"status file inside": {"#clone/#status_fix", "../other"},
		"status directory":   {"#clone", "mysql"},
	} {
		b := build(t)
		must(t, os.Mkdir(filepath.Join(b.dir, "mysql"), 0o750))
		must(t, os.WriteFile(filepath.Join(b.dir, "other"), []byte("other"), 0o640))
		if link.at == cloneDir {
			must(t, os.Remove(filepath.Join(b.dir, cloneDir)))
		}
		must(t, os.Symlink(link.to, filepath.Join(b.dir, link.at)))
		err := b.try(begin(fileCopy), file(fileCopy, 0, "a.ibd"), file(fileCopy, 1, "shop/b.ibd"), whole(fileCopy, 0), whole(fileCopy, 1), end(fileCopy),
			file(pageCopy, 0, "c.ibd", renamed), begin(pageCopy), end(pageCopy), begin(redoCopy), redo(0, 4096), redoData(0, []byte("x")), end(redoCopy))
		if err == nil {
			_, err = b.Finish("donor", begunAt)
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if got, err := os.ReadFile(filepath.Join(b.dir, "other")); string(got) != "other" || err != nil {
			t.Errorf("%s: the file behind the link is %q, %v", name, got, err)
		}
		for _, dir := range []string{outside, filepath.Join(b.dir, "mysql")} {
			if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
				t.Errorf("%s: behind the link there is %v, %v", name, entries, err)
			}
		}
	}
}

// blocks is what a file takes on disk, in bytes.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st.Blocks * 512
}
