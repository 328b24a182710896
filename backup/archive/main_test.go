package archive_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ordinal/backup"
	"ordinal/backup/archive"
	"ordinal/backup/store"
	"ordinal/internal/binlog"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var keys = backup.Keys{Seal: [][]byte{bytes.Repeat([]byte{7}, 32)}}

const (
	cluster = "0123456789abcdef"
	setName = "mysql"
)

func gtids(t testing.TB, text string) mysqlx.GTIDSet {
	t.Helper()
	g, err := mysqlx.ParseGTIDSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func local(t testing.TB, e mysqlx.Endpoint) archive.Local {
	t.Helper()
	l, err := archive.NewLocal(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// options are those of an archiver in a hurry.
func options(server archive.Server, s store.Store) archive.Options {
	return archive.Options{
		Server: server, Store: s, Keys: keys, Cluster: cluster, Set: setName, SegmentAge: 200 * time.Millisecond, SegmentBytes: 64 << 10,
		WatermarkEvery: 500 * time.Millisecond, CompactEvery: -1,
		Patience: store.Patience{Pause: 10 * time.Millisecond, Longest: 100 * time.Millisecond, Total: time.Second},
	}
}

// A running is an archiver that runs.
type running struct {
	*archive.Archiver
	stop func() // and wait
}

func run(t testing.TB, o archive.Options) running {
	t.Helper()
	a, err := archive.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	r := running{a, func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil after the end of its context", err)
		}
	}}
	t.Cleanup(r.stop)
	return r
}

func executed(t testing.TB, s *mysqltest.Server) mysqlx.GTIDSet {
	t.Helper()
	return gtids(t, s.QueryString(t, "SELECT @@gtid_executed"))
}

// archived waits until all that the server has executed is archived.
func (r running) archived(t testing.TB, s *mysqltest.Server) {
	t.Helper()
	want := executed(t, s)
	r.reaches(t, want)
}

// reaches waits until a set is archived.
func (r running) reaches(t testing.TB, want mysqlx.GTIDSet) {
	t.Helper()
	mysqltest.Eventually(t, "everything is archived", func() bool { return r.Status().Archived.Contains(want) })
}

func loadIndex(t testing.TB, s store.Reader) *archive.Index {
	t.Helper()
	x, err := archive.Load(t.Context(), s, keys)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// content reads a path's segments as binlogs, checks each against what the header says, and returns the transactions' GTIDs and one segment after the
// other.
func content(t testing.TB, x *archive.Index, p archive.Path) (all mysqlx.GTIDSet, files [][]byte) {
	t.Helper()
	for _, s := range p.Segments {
		body, err := x.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(body)
		_ = body.Close()
		if err != nil || int64(len(raw)) != s.Bytes {
			t.Fatalf("segment %s: read %d bytes of %d, %v", s.Name, len(raw), s.Bytes, err)
		}
		r, err := binlog.NewReader(s.Name, bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if r.Live {
			t.Errorf("segment %s is marked as being written", s.Name)
		}
		before, ok, err := r.PreviousGTIDs()
		if err != nil || !ok || !before.Equal(s.Before) {
			t.Errorf("segment %s: previous gtids %v, %v, %v; the header says %v", s.Name, before, ok, err, s.Before)
		}
		var set mysqlx.GTIDSet
		count := 0
		for tx, err := range r.Transactions() {
			if err != nil {
				t.Fatalf("segment %s: %v", s.Name, err)
			}
			set = set.Union(gtids(t, tx.GTID))
			count++
			if at := tx.OriginallyCommitted; at.Before(s.First) || at.After(s.Last) {
				t.Errorf("segment %s: %s committed at %v, not between %v and %v", s.Name, tx.GTID, at, s.First, s.Last)
			}
		}
		if !set.Equal(s.GTIDs) || count != s.Transactions {
			t.Errorf("segment %s has %d transactions %v, its header says %d: %v", s.Name, count, set, s.Transactions, s.GTIDs)
		}
		all = all.Union(set)
		files = append(files, raw)
	}
	return all, files
}
