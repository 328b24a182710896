package clone

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// filled is a FILE_COPY of tables with these names. The pages of the first are all 'A', of the second 'B' and so on.
func filled(names ...string) []step {
	steps := []step{begin(fileCopy)}
	for i, name := range names {
		steps = append(steps, file(fileCopy, uint32(i), name))
	}
	for i := range names {
		c := byte('A' + i)
		steps = append(steps, put(fileCopy, uint32(i), 0, c, c, c, c))
	}
	return append(steps, end(fileCopy))
}

// ddl is what a donor tells between two stages.
type ddl struct{ beforePages, beforeRedo []step }

// Whatever DDL did to the names while the copy was made, the files end under the last ones, with the right content.
func TestDDL(t *testing.T) {
	t.Parallel()
	long := "shop/" + strings.Repeat("@65e5", 50) + ".ibd" // 254 bytes: as long as a server can make it
	toPages := func(index uint32, name string) step { return file(pageCopy, index, name, renamed) }
	toRedo := func(index uint32, name string) step { return file(redoCopy, index, name, renamed) }
	for name, c := range map[string]struct {
		copied []string
		ddl
		want map[string]string // name: index and first letter of the content
	}{
		"rename": {[]string{"shop/a.ibd"}, ddl{[]step{toPages(0, "shop/b.ibd")}, nil}, map[string]string{"shop/b.ibd": "0A"}},
		"rename to another schema": {
			[]string{"shop/a.ibd"}, ddl{[]step{toPages(0, "new/a.ibd")}, nil}, map[string]string{"new/a.ibd": "0A"},
		},
		"two tables swapped": {
			[]string{"shop/a.ibd", "shop/b.ibd"}, ddl{[]step{toPages(0, "shop/b.ibd"), toPages(1, "shop/a.ibd")}, nil},
			map[string]string{"shop/b.ibd": "0A", "shop/a.ibd": "1B"},
		},
		"three in a ring": {
			[]string{"x/a.ibd", "x/b.ibd", "x/c.ibd"}, ddl{[]step{toPages(0, "x/b.ibd"), toPages(1, "x/c.ibd"), toPages(2, "x/a.ibd")}, nil},
			map[string]string{"x/b.ibd": "0A", "x/c.ibd": "1B", "x/a.ibd": "2C"},
		},
		"ring against the order": {
			[]string{"x/a.ibd", "x/b.ibd", "x/c.ibd"}, ddl{[]step{toPages(0, "x/c.ibd"), toPages(1, "x/a.ibd"), toPages(2, "x/b.ibd")}, nil},
			map[string]string{"x/c.ibd": "0A", "x/a.ibd": "1B", "x/b.ibd": "2C"},
		},
		"chain over three stages": {
			[]string{"x/a.ibd", "x/b.ibd"}, ddl{[]step{toPages(0, "x/c.ibd"), toPages(1, "x/a.ibd")}, []step{toRedo(0, "x/b.ibd"), toRedo(1, "x/c.ibd")}},
			map[string]string{"x/b.ibd": "0A", "x/c.ibd": "1B"},
		},
		"there and back": {
			[]string{"x/a.ibd"}, ddl{[]step{toPages(0, "x/b.ibd")}, []step{toRedo(0, "x/a.ibd")}}, map[string]string{"x/a.ibd": "0A"},
		},
		"attributes only": {
			[]string{"x/a.ibd"}, ddl{[]step{file(pageCopy, 0, "x/a.ibd")}, []step{file(redoCopy, 0, "x/a.ibd")}}, map[string]string{"x/a.ibd": "0A"},
		},
		"told twice in a batch": { // as a donor does whose batch is repeated after a break
			[]string{"x/a.ibd"}, ddl{[]step{toPages(0, "x/b.ibd"), toPages(0, "x/b.ibd")}, nil}, map[string]string{"x/b.ibd": "0A"},
		},
		// No server does that, but it must not lead to a panic: it did, because the suffix of the waiting name was cut off twice.
		"renamed twice in a batch": {
			[]string{"a.ibd"}, ddl{[]step{toPages(0, "b.ibd"), toPages(0, "c.ibd")}, nil}, map[string]string{"c.ibd": "0A"},
		},
		"renamed and renamed back in a batch": {
			[]string{"a.ibd", "b.ibd"}, ddl{[]step{toPages(0, "b.ibd"), toPages(0, "a.ibd")}, nil}, map[string]string{"a.ibd": "0A", "b.ibd": "1B"},
		},
		"created and renamed in a batch": {
			nil, ddl{[]step{file(pageCopy, 0, "a.ibd"), toPages(0, "b.ibd")}, nil}, map[string]string{"b.ibd": "0"},
		},
		// The new name must not be made longer while it waits: it only just fits.
		"long name": {[]string{"shop/a.ibd"}, ddl{[]step{toPages(0, long)}, nil}, map[string]string{long: "0A"}},
		"created with a long name": {
			[]string{"shop/a.ibd"}, ddl{[]step{file(pageCopy, 1, long)}, nil}, map[string]string{"shop/a.ibd": "0A", long: "1"},
		},
		"dropped": {[]string{"x/a.ibd", "x/b.ibd"}, ddl{[]step{file(pageCopy, 0, "x/a.ibd", deleted)}, nil}, map[string]string{"x/b.ibd": "1B"}},
		"dropped and made again": {
			[]string{"x/a.ibd"}, ddl{[]step{file(pageCopy, 0, "x/a.ibd", deleted), file(pageCopy, 1, "x/a.ibd")}, nil}, map[string]string{"x/a.ibd": "1"},
		},
		"made again before it is said to be dropped": {
			[]string{"x/a.ibd", "x/b.ibd"}, ddl{[]step{toPages(0, "x/b.ibd"), file(pageCopy, 1, "x/b.ibd", deleted)}, nil}, map[string]string{"x/b.ibd": "0A"},
		},
		"truncated in both stages": {
			[]string{"x/a.ibd"},
			ddl{[]step{file(pageCopy, 0, "x/a.ibd", deleted), file(pageCopy, 1, "x/a.ibd")}, []step{file(redoCopy, 1, "x/a.ibd", deleted), file(redoCopy, 2, "x/a.ibd")}},
			map[string]string{"x/a.ibd": "2"},
		},
		"rebuilt": { // ALTER TABLE … ALGORITHM=COPY: a new table takes the place of the old one
			[]string{"x/a.ibd"},
			ddl{[]step{file(pageCopy, 0, "x/#sql2-1.ibd", deleted), file(pageCopy, 1, "x/a.ibd")}, nil}, map[string]string{"x/a.ibd": "1"},
		},
		"created and dropped only takes an index": {
			[]string{"x/a.ibd"}, ddl{[]step{file(pageCopy, 1, "x/a.ibd", deleted), file(pageCopy, 2, "x/new.ibd")}, nil},
			map[string]string{"x/a.ibd": "0A", "x/new.ibd": "2"},
		},
		"dropped again": { // once in the batch, once more at once
			[]string{"x/a.ibd", "x/b.ibd"}, ddl{[]step{file(pageCopy, 0, "x/a.ibd", deleted)}, []step{file(redoCopy, 0, "x/a.ibd", deleted)}},
			map[string]string{"x/b.ibd": "1B"},
		},
		"dropped, and another takes the name": {
			[]string{"x/a.ibd", "x/b.ibd"}, ddl{[]step{file(pageCopy, 0, "x/a.ibd", deleted), toPages(1, "x/a.ibd")}, []step{file(redoCopy, 0, "x/a.ibd", deleted)}},
			map[string]string{"x/a.ibd": "1B"},
		},
		"undo tablespace": {
			nil, ddl{[]step{file(pageCopy, 0, "undo_003.ibu", inSpace(minUndoSpace))}, nil}, map[string]string{"undo_003.ibu": "0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(t)
			b.do(filled(c.copied...)...)
			b.do(c.beforePages...)
			b.do(begin(pageCopy), end(pageCopy))
			b.do(c.beforeRedo...)
			_, err := b.finish()
			must(t, err)
			names := []string{"#innodb_redo/#ib_redo0"}
			for _, s := range sortedNames(c.want) {
				names = append(names, s)
				index := uint32(c.want[s][0] - '0')
				switch {
				case len(c.want[s]) > 1:
					letter := c.want[s][1:]
					b.wantPages(s, index, strings.Repeat(letter, 4))
				case s == "undo_003.ibu" && b.size(s) != newUndoBytes:
					t.Errorf("%s has %d bytes, want %d", s, b.size(s), newUndoBytes)
				case s != "undo_003.ibu" && b.size(s) != newTablespacePages*pageSize:
					t.Errorf("%s has %d bytes, want %d pages", s, b.size(s), newTablespacePages)
				}
			}
			b.wantNames(names...)
		})
	}
}

// A batch that leaves two files with one name, or changes what is gone, is refused.
func TestDDLRefused(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"two new names alike":         {file(pageCopy, 0, "x/c.ibd", renamed), file(pageCopy, 1, "x/c.ibd", renamed)},
		"name of one that stays":      {file(pageCopy, 0, "x/b.ibd", renamed)},
		"created over one":            {file(pageCopy, 2, "x/b.ibd")},
		"created twice":               {file(pageCopy, 2, "x/c.ibd"), file(pageCopy, 3, "x/c.ibd")},
		"renamed after it was gone":   {file(pageCopy, 0, "x/a.ibd", deleted), file(pageCopy, 0, "x/c.ibd", renamed)},
		"renamed out of the place":    {file(pageCopy, 0, "../c.ibd", renamed)},
		"renamed over bookkeeping":    {file(pageCopy, 0, "#clone/#status_fix", renamed)},
		"tablespace no more":          {file(pageCopy, 0, "dump", renamed, noTablespace)},
		"becomes the buffer pool":     {file(pageCopy, 0, "ib_buffer_pool", renamed, noTablespace)},
		"encrypted meanwhile":         {file(pageCopy, 0, "x/a.ibd", flagged(4))},
		"created encrypted":           {file(pageCopy, 2, "x/c.ibd", flagged(4))},
		"created with a clear key":    {file(pageCopy, 2, "x/c.ibd", flagged(32))},
		"created with a huge index":   {file(pageCopy, 1<<31, "x/c.ibd")},
		"created with impossible fsp": {file(pageCopy, 2, "x/c.ibd", fspFlags(15<<6))},
	} {
		b := build(t)
		b.do(filled("x/a.ibd", "x/b.ibd")...)
		if err := b.try(append(steps, begin(pageCopy))...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b := build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "x/a.ibd"), file(fileCopy, 1, "x/a.ibd"), whole(fileCopy, 0), whole(fileCopy, 1), end(fileCopy))
	if err := b.try(begin(pageCopy)); err == nil {
		t.Error("two files of FILE_COPY with one name, and no change of it: no error")
	}
	b = build(t)
	b.do(begin(fileCopy))
	var unsupported *UnsupportedError
	if err := b.try(file(fileCopy, 0, "x/a.ibd", flagged(4))); !errors.As(err, &unsupported) || fmt.Sprint(unsupported.Names) != "[x/a.ibd]" {
		t.Errorf("encrypted file: %v, want an UnsupportedError that names it", err)
	}
}

// Tables that swap their names while the donor names its files: the same name comes twice, the batch says how it really is.
func TestRenamedWhileAnnounced(t *testing.T) {
	t.Parallel()
	b := build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "x/a.ibd"), file(fileCopy, 1, "x/a.ibd"), whole(fileCopy, 0), put(fileCopy, 1, 0, 'e', 'f', 'g', 'h'), end(fileCopy),
		file(pageCopy, 0, "x/b.ibd", renamed), file(pageCopy, 1, "x/a.ibd", renamed), begin(pageCopy), end(pageCopy))
	_, err := b.finish()
	must(t, err)
	b.wantNames("#innodb_redo/#ib_redo0", "x/a.ibd", "x/b.ibd")
	b.wantPages("x/b.ibd", 0, "abcd")
	b.wantPages("x/a.ibd", 1, "efgh")

	// The one that had the name first was dropped.
	b = build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "x/a.ibd"), file(fileCopy, 1, "x/a.ibd"), whole(fileCopy, 0), whole(fileCopy, 1), end(fileCopy),
		file(pageCopy, 0, "x/a.ibd", deleted), file(pageCopy, 1, "x/a.ibd", renamed), begin(pageCopy), end(pageCopy))
	_, err = b.finish()
	must(t, err)
	b.wantNames("#innodb_redo/#ib_redo0", "x/a.ibd")
	b.wantPages("x/a.ibd", 1, "abcd")
}

// A file that vanishes in mid-stage takes no more data, and is removed when the stage is over.
func TestVanishedInMidStage(t *testing.T) {
	t.Parallel()
	b := build(t)
	b.do(begin(fileCopy), file(fileCopy, 0, "x/a.ibd"), file(fileCopy, 1, "x/b.ibd"), put(fileCopy, 0, 0, 'a'),
		file(fileCopy, 0, "x/a.ibd", deleted), put(fileCopy, 0, 1, 'b'), whole(fileCopy, 1), end(fileCopy))
	b.wantNames("x/a.ibd", "x/b.ibd") // until the donor's batch has said who takes the name
	b.do(file(pageCopy, 1, "x/a.ibd", renamed), begin(pageCopy), put(pageCopy, 1, 0, 'Z'), put(pageCopy, 0, 0, 'X'),
		file(pageCopy, 1, "x/a.ibd", deleted), file(pageCopy, 1, "x/a.ibd", deleted), put(pageCopy, 1, 0, 'Y'), end(pageCopy))
	_, err := b.finish()
	must(t, err)
	b.wantNames("#innodb_redo/#ib_redo0")

	// Also while the redo log is copied: the index is a data file's, not the redo log's.
	b = build(t)
	b.do(filled("x/a.ibd", "x/b.ibd")...)
	b.do(begin(pageCopy), end(pageCopy), begin(redoCopy), redo(0, 4096), redoData(0, []byte("x")), file(redoCopy, 1, "x/b.ibd", deleted), end(redoCopy))
	_, err = b.Finish("donor", begunAt)
	must(t, err)
	b.wantNames("#innodb_redo/#ib_redo0", "x/a.ibd")
}
