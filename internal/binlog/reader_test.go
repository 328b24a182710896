package binlog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

func TestReaderReturnsEveryByte(t *testing.T) {
	tr := newTree(t)
	for _, name := range tr.names {
		file := tr.files[name]
		for what, src := range map[string]io.Reader{
			"at once": bytes.NewReader(file), "byte by byte": iotest.OneByteReader(bytes.NewReader(file)), "with EOF": iotest.DataErrReader(bytes.NewReader(file)),
		} {
			r, err := binlog.NewReader(name, src)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok, err := r.PreviousGTIDs(); !ok || err != nil {
				t.Fatalf("PreviousGTIDs() = %t, %v", ok, err)
			}
			copied := bytes.NewBuffer(bytes.Clone(file[:descriptionEnd(file)]))
			for {
				event, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if event.Position != int64(copied.Len()) || !event.Whole {
					t.Fatalf("%s: event at %d, whole %t, want %d", name, event.Position, event.Whole, copied.Len())
				}
				if err := r.Copy(copied); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(copied.Bytes(), file) || !r.Ended() || r.Live {
				t.Errorf("%s read %s: %d bytes of %d, ended %t, live %t", name, what, copied.Len(), len(file), r.Ended(), r.Live)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("Next() after the end = %v", err)
			}
		}
	}
}

// descriptionEnd is the position of the second event.
func descriptionEnd(file []byte) int { return 4 + int(binary.LittleEndian.Uint32(file[4+9:])) }

func TestPreviousGTIDsGoOn(t *testing.T) {
	tr := newTree(t)
	before := mysqlx.GTIDSet{}
	for _, name := range tr.names {
		r, err := binlog.NewReader(name, bytes.NewReader(tr.files[name]))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok, err := r.PreviousGTIDs(); !ok || err != nil || !got.Equal(before) {
			t.Errorf("%s: PreviousGTIDs() = %v, %t, %v, want %v", name, got, ok, err, before)
		}
		for tx, err := range r.Transactions() {
			if err != nil {
				t.Fatal(err)
			}
			before = before.Union(gtids(t, tx.GTID))
		}
	}
}

func TestBrokenSource(t *testing.T) {
	file := newTree(t).files["binlog.000002"]
	broken := errors.New("the disk is gone")
	for _, n := range []int{0, 2, 60, 130, 700} {
		r, err := binlog.NewReader("b", io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken)))
		if err == nil {
			for _, err = range r.Transactions() {
			}
		}
		if !errors.Is(err, broken) {
			t.Errorf("source that breaks after %d bytes: %v", n, err)
		}
	}
}

func TestNotABinlog(t *testing.T) {
	file := newTree(t).files["binlog.000001"]
	for what, b := range map[string]string{
		"empty": "", "half a magic": "\xfeb", "text": "# at 4\n", "magic only": "\xfebin", "half a header": "\xfebin123",
		"zeros": "\xfebin" + string(make([]byte, 100)), "without description": "\xfebin" + string(file[descriptionEnd(file):]),
	} {
		_, err := binlog.NewReader("b.000001", strings.NewReader(b))
		var damage *binlog.DamageError
		if !errors.As(err, &damage) {
			t.Errorf("%s: NewReader() = %v, want a DamageError", what, err)
		}
	}
	if _, err := binlog.NewReader("b.000001", strings.NewReader("\xfdbin"+string(make([]byte, 600)))); !errors.Is(err, binlog.ErrEncrypted) {
		t.Errorf("NewReader() = %v, want ErrEncrypted", err)
	}
}

// withoutChecksums returns the beginning of a binlog whose events need none.
func withoutChecksums(t testing.TB) []byte {
	file := newTree(t).files["binlog.000003"]
	return bytes.Clone(file[:descriptionEnd(file)])
}

// newEvent makes one without checksum.
func newEvent(kind binlog.Type, size int64, data ...byte) []byte {
	b := make([]byte, 19, 19+len(data))
	b[4] = byte(kind)
	binary.LittleEndian.PutUint32(b[9:], uint32(size))
	return append(b, data...)
}

// newGTID makes the first event of a transaction of length bytes.
func newGTID(number byte, length int64) []byte {
	data := make([]byte, 42+7, 42+7+9)
	data[17] = number
	data = append(data, 254)
	data = binary.LittleEndian.AppendUint64(data, uint64(length))
	return newEvent(binlog.TypeGTID, int64(19+len(data)), data...)
}

const gtidSize = 19 + 42 + 7 + 9

// TestMemory exports a transaction of one long event, from a file with a hole.
func TestMemory(t *testing.T) {
	const size = 256 << 20
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "b.000001"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begin := append(withoutChecksums(t), newGTID(1, gtidSize+size)...)
	if _, err := f.Write(append(begin, newEvent(binlog.TypeTransactionPayload, size)...)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(len(begin)) + size); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.index"), []byte("./b.000001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	result, err := binlog.Export(t.Context(), openRoot(t, dir), "b", gtids(t, "00000000-0000-0000-0000-000000000000:1"), io.Discard)
	runtime.ReadMemStats(&after)
	if err != nil || result.Bytes < size || !result.Transactions[0].Compressed {
		t.Fatalf("Export() = %+v, %v", result, err)
	}
	// Not in parallel with other tests: all that is allocated counts.
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes were allocated for a transaction of %d", grown, size)
	}
}

// TestTransactionBorders: what a transaction's first event says of its length must fit the events.
func TestTransactionBorders(t *testing.T) {
	query := newEvent(binlog.TypeQuery, 19+13+1+2, append(make([]byte, 13+1), "XA"...)...)
	n := int64(gtidSize + len(query))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		events []byte
		count  int
		ok     bool
	}{
		"one":                           {join(newGTID(1, n), query), 1, true},
		"two":                           {join(newGTID(1, n), query, newGTID(2, n), query), 2, true},
		"only the first event":          {join(newGTID(1, gtidSize), newGTID(2, n), query), 2, true},
		"unknown in between":            {join(newGTID(1, n), query, newEvent(99, 19)), 1, true},
		"unknown inside":                {join(newGTID(1, n+19), query, newEvent(99, 19)), 1, true},
		"too short":                     {join(newGTID(1, n-1), query), 0, false},
		"too short, live":               {join(newGTID(1, n-1), query), 0, false},
		"shorter than the first":        {join(newGTID(1, 1), query), 0, false},
		"too long":                      {join(newGTID(1, n+1), query), 0, false},
		"into the next":                 {join(newGTID(1, n+gtidSize), query, newGTID(2, n), query), 0, false},
		"no length":                     {join(newGTID(1, 0), query), 0, false},
		"negative length":               {join(newGTID(1, -1), query), 0, false},
		"statement before it":           {join(query, newGTID(1, n), query), 0, false},
		"rotate inside":                 {join(newGTID(1, n+19), query, newEvent(binlog.TypeRotate, 19)), 0, false},
		"event of no length":            {join(newGTID(1, n), query, newEvent(99, 0)), 1, false},
		"event shorter than its header": {join(newGTID(1, n), query, newEvent(99, 18)), 1, false},
	} {
		r, err := binlog.NewReader("b", bytes.NewReader(append(withoutChecksums(t), c.events...)))
		if err != nil {
			t.Fatal(err)
		}
		r.Live = strings.HasSuffix(name, "live")
		count := 0
		for _, err = range r.Transactions() {
			if err == nil {
				count++
			}
		}
		if count != c.count || (err == nil) != c.ok {
			t.Errorf("%s: %d transactions, %v", name, count, err)
		}
		if err != nil {
			if _, again := r.Next(); again != err {
				t.Errorf("%s: Next() after %v = %v", name, err, again)
			}
		}
	}
}

func TestExportStops(t *testing.T) {
	tr := newTree(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, want := range []mysqlx.GTIDSet{tr.all, gtids(t, "cccccccc-cccc-cccc-cccc-cccccccccccc:1")} {
		if _, err := binlog.Export(ctx, tr.Root, "binlog", want, io.Discard); !errors.Is(err, context.Canceled) {
			t.Errorf("Export(%v) with a context that has ended = %v", want, err)
		}
	}
	broken := errors.New("no space")
	pr, pw := io.Pipe()
	_ = pr.CloseWithError(broken)
	if _, err := binlog.Export(t.Context(), tr.Root, "binlog", tr.all, pw); !errors.Is(err, broken) {
		t.Errorf("Export() to a broken writer = %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	if _, err := binlog.Files(root, "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Files() without an index: %v", err)
	}
	for index, want := range map[string]string{
		"":                                   "",
		"./b.000001\n./b.000002\n":           "b.000001 b.000002",
		"/var/lib/mysql/b.000009\nb.1000000": "b.000009 b.1000000",
		"../../../etc/b.000001\r\n":          "b.000001",
		"./b.000001\n\n":                     "b.000001",
		"./b.0000a1\n":                       "error",
		"./b.\n":                             "error",
		"./c.000001\n":                       "error",
		"./b.000001/..\n":                    "error",
		"/\n":                                "error",
		"./b.000001\x00\n":                   "error",
	} {
		if err := os.WriteFile(filepath.Join(dir, "b.index"), []byte(index), 0o600); err != nil {
			t.Fatal(err)
		}
		names, err := binlog.Files(root, "b")
		got := strings.Join(names, " ")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("Files() of %q = %q, %v, want %q", index, got, err, want)
		}
	}
	for _, base := range []string{"", ".", "..", "a/b", "../b", "/b"} {
		if _, err := binlog.Files(root, base); err == nil {
			t.Errorf("Files(%q): no error", base)
		}
	}
}

// TestIndexBeingReplaced: for a moment there is only the file that takes the index's place.
func TestIndexBeingReplaced(t *testing.T) {
	tr := newTree(t)
	if err := tr.Rename("binlog.index", "binlog.index_crash_safe"); err != nil {
		t.Fatal(err)
	}
	if _, result, err := tr.export(t, tr.all); err != nil || !result.Exported.Equal(tr.all) {
		t.Errorf("Export() = %v, %v", result.Exported, err)
	}
}

// TestHostileFiles: what is no regular file inside the directory is not opened.
func TestHostileFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "binlog.000001")
	tr := newTree(t)
	if err := os.WriteFile(outside, tr.files[tr.names[0]], 0o600); err != nil {
		t.Fatal(err)
	}
	spoil := map[string]func(string) error{
		"link":      func(path string) error { return os.Symlink(outside, path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
	}
	for what, make := range spoil {
		path := filepath.Join(tr.path, tr.names[0])
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, result, err := tr.export(t, tr.all); err == nil {
			t.Errorf("%s in place of a binlog: exported %v", what, result.Exported)
		}
	}
}
