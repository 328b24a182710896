package binlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

const (
	kept     = "testdata/9.7.4" // five binlogs, the third without checksums
	offFlags = 4 + 17           // in the header of the first event
)

// transactions returns the GTIDs and bytes of the transactions of a binlog.
func transactions(t testing.TB, file []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		r, err := binlog.NewReader("file", bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for tx, err := range r.Transactions() {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(tx.GTID, file[tx.Position:tx.Position+tx.Bytes]) {
				return
			}
		}
	}
}

// A tree is a copy of the kept binlogs that may be spoilt.
type tree struct {
	*os.Root
	path  string
	names []string
	files map[string][]byte // as they were
	all   mysqlx.GTIDSet    // what is exported
	whole []byte            // and what that gives
}

func newTree(t testing.TB) *tree {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	tr := &tree{Root: openRoot(t, dir), path: dir, files: make(map[string][]byte)}
	var err error
	if tr.names, err = binlog.Files(tr.Root, "binlog"); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(tr.names, "binlog.index") {
		tr.files[name] = read(t, tr.Root, name)
	}
	tr.finish(t, tr.names...)
	return tr
}

// finish notes what a sound tree gives: of all files, or of some.
func (tr *tree) finish(t testing.TB, names ...string) {
	t.Helper()
	tr.all = mysqlx.GTIDSet{}
	for _, name := range names {
		for gtid := range transactions(t, tr.files[name]) {
			tr.all = tr.all.Union(gtids(t, gtid))
		}
	}
	file, result, err := tr.export(t, tr.all)
	if err != nil || !result.Missing.IsEmpty() || !result.Exported.Equal(tr.all) || result.Count < 2 {
		t.Fatalf("kept binlogs: %d transactions, missing %v, %v", result.Count, result.Missing, err)
	}
	tr.whole = file
}

func (tr *tree) write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(tr.path, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// live makes the last file one that a server is writing to.
func (tr *tree) live(t testing.TB) {
	last := tr.names[len(tr.names)-1]
	const stop = 23
	b := bytes.Clone(tr.files[last][:len(tr.files[last])-stop])
	b[offFlags] |= 1
	tr.files[last] = b
	tr.write(t, last, b)
}

func (tr *tree) isLive(name string) bool { return tr.files[name][offFlags]&1 != 0 }

func (tr *tree) export(t testing.TB, want mysqlx.GTIDSet) ([]byte, binlog.Result, error) {
	var out bytes.Buffer
	result, err := binlog.Export(t.Context(), tr.Root, "binlog", want, &out)
	return out.Bytes(), result, err
}

// honest fails the test unless an export of everything is either refused or right: all that it does not hold is called missing, and what it
// holds is as it was.
func (tr *tree) honest(t *testing.T, what string, at int) (refused bool) {
	t.Helper()
	file, result, err := tr.export(t, tr.all)
	if err != nil {
		return true
	}
	if bytes.Equal(file, tr.whole) && result.Exported.Equal(tr.all) && result.Missing.IsEmpty() {
		return false
	}
	if !result.Exported.Union(result.Missing).Equal(tr.all) || !tr.all.Subtract(result.Exported).Equal(result.Missing) {
		t.Fatalf("%s at %d: exported %v, missing %v", what, at, result.Exported, result.Missing)
	}
	sound := make(map[string][]byte)
	for gtid, b := range transactions(t, tr.whole) {
		sound[gtid] = b
	}
	var got mysqlx.GTIDSet
	if len(file) > 0 {
		for gtid, b := range transactions(t, file) {
			got = got.Union(gtids(t, gtid))
			if !bytes.Equal(sound[gtid], b) {
				t.Fatalf("%s at %d: transaction %s is not what it was", what, at, gtid)
			}
		}
	}
	if !got.Equal(result.Exported) {
		t.Fatalf("%s at %d: the file holds %v, said %v", what, at, got, result.Exported)
	}
	return false
}

// TestFlippedBytes changes every byte of files with checksums: that is an error, or without any effect. In a file without checksums it only has to
// end.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	eachFile(t, func(t *testing.T, tr *tree, name string) {
		sound := tr.files[name]
		r, err := binlog.NewReader(name, bytes.NewReader(sound))
		if err != nil {
			t.Fatal(err)
		}
		var end int64 // of the last transaction
		for tx, err := range r.Transactions() {
			if err != nil {
				t.Fatal(err)
			}
			end = tx.Position + tx.Bytes
		}
		flips := []byte{0xff, 0x01, 0x80, 0x10}
		for at := range sound {
			b := bytes.Clone(sound)
			b[at] ^= flips[at%len(flips)]
			tr.write(t, name, b)
			if !r.Description().Checksums {
				_, _, _ = tr.export(t, tr.all)
				continue
			}
			if tr.honest(t, "flipped", at) {
				continue
			}
			if file, _, _ := tr.export(t, tr.all); !bytes.Equal(file, tr.whole) {
				t.Fatalf("flipped %s at %d: neither refused nor without effect", name, at)
			}
			// What comes after the last transaction that is wanted is not read, and the flag by which the server says that it has the file open
			// is under no checksum.
			if at != offFlags && int64(at) < end {
				t.Errorf("flipped %s at %d: not noticed", name, at)
			}
		}
	})
}

// TestCutFiles ends files at every byte. What looks complete then has all that it does not hold called missing.
func TestCutFiles(t *testing.T) {
	t.Parallel()
	eachFile(t, func(t *testing.T, tr *tree, name string) {
		refused := 0
		for n := range tr.files[name] {
			tr.write(t, name, tr.files[name][:n])
			if tr.honest(t, "cut", n) {
				refused++
			}
		}
		if !tr.isLive(name) && refused < len(tr.files[name])*95/100 {
			t.Errorf("%s: %d of %d cuts were refused", name, refused, len(tr.files[name]))
		}
	})
}

// eachFile calls test with each of the kept files, and with the last as a live one. What is exported is what that file holds.
func eachFile(t *testing.T, test func(t *testing.T, tr *tree, name string)) {
	names := newTree(t).names
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.finish(t, name)
			test(t, tr, name)
		})
	}
	t.Run("live", func(t *testing.T) {
		t.Parallel()
		tr := newTree(t)
		tr.live(t)
		last := names[len(names)-1]
		tr.finish(t, last)
		test(t, tr, last)
	})
}

// TestCutExport: who reads an exported file sees whether it is complete.
func TestCutExport(t *testing.T) {
	file := newTree(t).whole
	complete := func(b []byte) bool {
		r, err := binlog.NewReader("export", bytes.NewReader(b))
		if err != nil {
			return false
		}
		for _, err := range r.Transactions() {
			if err != nil {
				return false
			}
		}
		return r.Ended()
	}
	if !complete(file) {
		t.Fatal("the file is not complete")
	}
	for n := range file {
		if complete(file[:n]) {
			t.Errorf("cut at %d of %d: looks complete", n, len(file))
		}
	}
}

// TestErrorNamesPlace: a damaged file in the middle is found with its name and the event's position.
func TestErrorNamesPlace(t *testing.T) {
	tr := newTree(t)
	name := tr.names[1]
	r, err := binlog.NewReader(name, bytes.NewReader(tr.files[name]))
	if err != nil {
		t.Fatal(err)
	}
	var event binlog.Event
	for range 8 {
		if event, err = r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	b := bytes.Clone(tr.files[name])
	b[event.Position+event.Size-1]++
	tr.write(t, name, b)
	_, _, err = tr.export(t, tr.all)
	var damage *binlog.DamageError
	if !errors.As(err, &damage) || damage.File != name || damage.Position != event.Position {
		t.Errorf("Export() = %v, want a DamageError of %s at %d", err, name, event.Position)
	}
	b = tr.files[name]
	tr.write(t, name, b[:event.Position+event.Size-1])
	if _, _, err = tr.export(t, tr.all); !errors.As(err, &damage) || damage.File != name || damage.Position != event.Position {
		t.Errorf("Export() = %v, want a DamageError of %s at %d", err, name, event.Position)
	}
}

// TestKeptListing guards the JSON form and what is not shown.
func TestKeptListing(t *testing.T) {
	tr := newTree(t)
	_, result, err := tr.export(t, tr.all)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(kept, "listing.json"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("listing:\n%s\nwant:\n%s", got, want)
	}
	for _, secret := range []string{"Very-Secret", "$A$", "clerk", "IDENTIFIED"} {
		if strings.Contains(string(got), secret) {
			t.Errorf("the listing shows %q", secret)
		}
		if !bytes.Contains(tr.whole, []byte(secret)) {
			t.Errorf("the file does not hold %q", secret)
		}
	}
}

// TestUnneededBinlogsAreNotRead spoils all that an export can do without.
func TestUnneededBinlogsAreNotRead(t *testing.T) {
	tr := newTree(t)
	for i, name := range tr.names {
		want := mysqlx.GTIDSet{}
		for gtid := range transactions(t, tr.files[name]) {
			want = want.Union(gtids(t, gtid))
		}
		for j, other := range tr.names {
			b := bytes.Clone(tr.files[other])
			if j != i {
				b[len(b)-1]++ // in the checksum of the last event, or the name in a Rotate
				b[len(b)/2]++
			}
			tr.write(t, other, b)
		}
		file, result, err := tr.export(t, want)
		if err != nil || !result.Exported.Equal(want) || len(file) == 0 {
			t.Errorf("transactions of %s: exported %v, %v; want %v", name, result.Exported, err, want)
		}
	}
}

func TestPurgedBinlogs(t *testing.T) {
	tr := newTree(t)
	all := tr.all
	purged := tr.names[1]
	if err := tr.Remove(purged); err != nil { // after the index was read
		t.Fatal(err)
	}
	_, result, err := tr.export(t, all)
	if err != nil || result.Missing.IsEmpty() || !result.Missing.Union(result.Exported).Equal(all) {
		t.Errorf("Export() without %s: exported %v, missing %v, %v", purged, result.Exported, result.Missing, err)
	}
	// What was purged is not looked for in later files.
	gone := result.Missing
	for _, name := range tr.names[2:] {
		b := bytes.Clone(tr.files[name])
		b[len(b)/2]++
		tr.write(t, name, b)
	}
	if _, result, err = tr.export(t, gone); err != nil || !result.Missing.Equal(gone) {
		t.Errorf("Export() of what was purged: missing %v, %v, want %v", result.Missing, err, gone)
	}
	for _, name := range tr.names[2:] {
		tr.write(t, name, tr.files[name])
	}

	stranger := gtids(t, "cccccccc-cccc-cccc-cccc-cccccccccccc:1-5")
	file, result, err := tr.export(t, stranger)
	if err != nil || len(file) != 0 || result.Bytes != 0 || !result.Missing.Equal(stranger) || !result.Exported.IsEmpty() {
		t.Errorf("Export() of a stranger's transactions: %d bytes, %+v, %v; want nothing", len(file), result, err)
	}
}

func TestNothingWantedNeedsNoBinlog(t *testing.T) {
	tr := newTree(t)
	result, err := binlog.Export(t.Context(), tr.Root, "binlog", mysqlx.GTIDSet{}, io.Discard)
	if err != nil || result.Count != 0 {
		t.Errorf("Export() of nothing: %+v, %v", result, err)
	}
}

// TestOnlyTheLastFileIsLive: a file that says that the server has it open is taken at its word only if there is none after it.
func TestOnlyTheLastFileIsLive(t *testing.T) {
	tr := newTree(t)
	for i, name := range tr.names {
		b := bytes.Clone(tr.files[name])
		b[offFlags] |= 1
		tr.write(t, name, b[:len(b)-60]) // into the last transaction
		_, result, err := tr.export(t, tr.all)
		if last := i == len(tr.names)-1; last && (err != nil || result.Missing.Count() != 1) || !last && err == nil {
			t.Errorf("%s, open and cut: missing %v, %v", name, result.Missing, err)
		}
		tr.write(t, name, tr.files[name])
	}
}
