package replay_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"ordinal/backup/replay"
	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A memArchive is an archive in memory.
type memArchive struct {
	segments []replay.Segment
	files    map[string][]byte
	complete time.Time
	known    mysqlx.GTIDSet // all that there ever was
	opened   []string
}

func (a *memArchive) Segments() []replay.Segment { return slices.Clone(a.segments) }

func (a *memArchive) End(mysqlx.GTIDSet) (time.Time, mysqlx.GTIDSet) { return a.complete, a.known }

func (a *memArchive) Open(_ context.Context, s replay.Segment) (io.ReadCloser, error) {
	a.opened = append(a.opened, s.Name)
	b, ok := a.files[s.Name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", s.Name, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// without returns an archive that lacks one segment.
func (a *memArchive) without(i int) *memArchive {
	return &memArchive{segments: slices.Delete(slices.Clone(a.segments), i, i+1), files: a.files, complete: a.complete, known: a.known}
}

// add puts transactions, as they are in a binlog of the form d, into a segment.
func (a *memArchive) add(d binlog.Description, s replay.Segment, events []byte) {
	var file bytes.Buffer
	w := binlog.NewWriter(&file)
	if err := w.Describe(d); err != nil {
		panic(err)
	}
	_, _ = w.Write(events)
	s.Name, s.Bytes = fmt.Sprintf("segment-%04d", len(a.segments)+1), int64(file.Len())
	if a.files == nil {
		a.files = map[string][]byte{}
	}
	a.files[s.Name] = file.Bytes()
	a.segments = append(a.segments, s)
}

// archiveOf makes an archive of the binlogs of a data directory, with at most count transactions in a segment.
func archiveOf(t testing.TB, dataDir string, count int) *memArchive {
	t.Helper()
	root, err := os.OpenRoot(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	names, err := binlog.Files(root, "binlog")
	if err != nil {
		t.Fatal(err)
	}
	a := new(memArchive)
	var before mysqlx.GTIDSet
	for _, name := range names {
		text, err := root.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := binlog.NewReader(name, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		r.Live = true
		var events bytes.Buffer
		s := replay.Segment{Before: before}
		n := 0
		flush := func() {
			if n > 0 {
				a.add(r.Description(), s, events.Bytes())
			}
			events, n = bytes.Buffer{}, 0
			s = replay.Segment{Before: before}
		}
		for {
			tx, err := r.Begin()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = r.CopyTransaction(&events)
			}
			if err != nil {
				t.Fatal(err)
			}
			one := gtids(t, tx.GTID)
			s.GTIDs, before = s.GTIDs.Union(one), before.Union(one)
			if at := tx.OriginallyCommitted; n == 0 || at.Before(s.First) {
				s.First = at
			}
			if at := tx.OriginallyCommitted; at.After(s.Last) {
				s.Last = at
			}
			a.complete, a.known = s.Last, before
			if n++; n == count {
				flush()
			}
		}
		flush()
	}
	return a
}

func gtids(t testing.TB, text string) mysqlx.GTIDSet {
	t.Helper()
	set, err := mysqlx.ParseGTIDSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
