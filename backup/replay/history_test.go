package replay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"testing"
	"time"

	"ordinal/backup/replay"
	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A history is what a source has logged, made up: transactions without content.
type history []logged

type logged struct {
	source byte // of its server_uuid
	number uint64
	at     time.Time
}

func (l logged) gtid() string { return fmt.Sprintf("%s:%d", uuidOf(l.source), l.number) }

func uuidOf(source byte) string {
	return fmt.Sprintf("%02[1]x%02[1]x%02[1]x%02[1]x-0000-0000-0000-000000000000", source)
}

// set returns all of the history.
func (h history) set() mysqlx.GTIDSet {
	var all mysqlx.GTIDSet
	for _, l := range h {
		all = all.Union(parse(l.gtid()))
	}
	return all
}

func parse(text string) mysqlx.GTIDSet {
	set, err := mysqlx.ParseGTIDSet(text)
	if err != nil {
		panic(err)
	}
	return set
}

// begun is when histories begin.
var begun = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// linear returns n transactions of one server, one a second.
func linear(source byte, n int) (h history) {
	for i := range n {
		h = append(h, logged{source, uint64(i + 1), begun.Add(time.Duration(i) * time.Second)})
	}
	return h
}

// anyDescription is that of some server, with checksums.
func anyDescription(t testing.TB) binlog.Description {
	t.Helper()
	text, err := os.ReadFile("../../internal/binlog/testdata/9.7.4/binlog.000001")
	if err != nil {
		t.Fatal(err)
	}
	r, err := binlog.NewReader("binlog.000001", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r.Description()
}

// event is the only one of the transaction.
func (l logged) event() []byte {
	const size = 19 + 42 + 7 + 1 + 4
	b := make([]byte, 19, size)
	b[4] = byte(binlog.TypeGTID)
	binary.LittleEndian.PutUint32(b[9:], size)
	b = append(b, 0)
	id := make([]byte, 16)
	id[0], id[1], id[2], id[3] = l.source, l.source, l.source, l.source
	b = append(b, id...)
	b = binary.LittleEndian.AppendUint64(b, l.number)
	b = append(b, 2)
	b = append(b, make([]byte, 16)...)
	b = append(b, binary.LittleEndian.AppendUint64(nil, uint64(l.at.UnixMicro()))[:7]...)
	b = append(b, size)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// segment archives what is from first up to but without end. before is what its server had before the history.
func (a *memArchive) segment(t testing.TB, before mysqlx.GTIDSet, h history, first, end int) {
	t.Helper()
	s := replay.Segment{Before: before.Union(h[:first].set()), GTIDs: h[first:end].set(), First: h[first].at, Last: h[first].at}
	var events []byte
	for _, l := range h[first:end] {
		events = append(events, l.event()...)
		if l.at.Before(s.First) {
			s.First = l.at
		}
		if l.at.After(s.Last) {
			s.Last = l.at
		}
	}
	a.add(anyDescription(t), s, events)
	a.known = a.known.Union(s.GTIDs)
	if s.Last.After(a.complete) {
		a.complete = s.Last
	}
}
