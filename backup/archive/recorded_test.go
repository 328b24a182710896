package archive_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/backup/archive"
	"ordinal/internal/binlog"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// A recorded server sends what a real one has written, over and over: what these tests break is the store, some hundred times.
type recorded struct {
	transactions []recordedTransaction
	begin        mysqlx.GTIDSet

	mu     sync.Mutex
	state  mysqlx.BinlogState
	shown  int // how many transactions have been committed by now
	closed chan struct{}
}

type recordedTransaction struct {
	gtid        mysqlx.GTIDSet
	description []byte   // of the file that it is in
	file        int      // number of that
	events      [][]byte // whole events
}

var recording struct {
	once sync.Once
	all  *recorded
}

// record returns a server with some files, among their transactions one that is longer than a segment, compressed ones and DDL. It is made once by a
// real one.
func record(t testing.TB) *recorded {
	t.Helper()
	recording.once.Do(func() { recording.all = newRecording(t) })
	if recording.all == nil {
		t.Skip("needs a mysqld")
	}
	r := &recorded{transactions: recording.all.transactions, begin: recording.all.begin, state: recording.all.state, closed: make(chan struct{})}
	r.shown = len(r.transactions)
	return r
}

func newRecording(t testing.TB) *recorded {
	s := mysqltest.Start(t, mysqltest.Options{})
	r := &recorded{begin: executed(t, s)}
	s.Exec(t, "FLUSH BINARY LOGS")
	s.Exec(t, "CREATE DATABASE shop")
	s.Exec(t, "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)")
	for i := range 12 {
		s.Exec(t, "INSERT INTO shop.orders (v) VALUES (RANDOM_BYTES(1000))")
		if i%4 == 3 {
			s.Exec(t, "FLUSH BINARY LOGS")
		}
	}
	s.Exec(t, "INSERT INTO shop.orders (v) SELECT RANDOM_BYTES(1000) FROM information_schema.COLUMNS LIMIT 300") // several segments long
	s.Exec(t, "ALTER TABLE shop.orders ADD COLUMN w INT")
	s.Exec(t, "INSERT INTO shop.orders (v) VALUES (REPEAT('x', 150000))") // one long event
	for range 4 {
		s.Exec(t, "UPDATE shop.orders SET w = 1 WHERE id = 1")
		s.Exec(t, "UPDATE shop.orders SET w = 2 WHERE id = 1")
	}
	var err error
	if r.state, err = s.DB().BinlogState(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := s.DB().BinlogFiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files[1:] {
		raw, err := os.ReadFile(s.DataDir + "/" + f.Name)
		if err != nil {
			t.Fatal(err)
		}
		r.read(t, i, raw)
	}
	return r
}

// read takes a file apart.
func (r *recorded) read(t testing.TB, file int, raw []byte) {
	t.Helper()
	reader, err := binlog.NewReader("recorded", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := reader.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Begins() {
			b, err := reader.Beginning(e)
			if err != nil {
				t.Fatal(err)
			}
			r.transactions = append(r.transactions, recordedTransaction{gtid: gtids(t, b.GTID()), description: reader.Description().At(4), file: file})
		} else if e.StandsAlone() {
			continue
		}
		last := &r.transactions[len(r.transactions)-1]
		last.events = append(last.events, raw[e.Position:e.Position+e.Size])
	}
}

// executed returns what the server has now.
func (r *recorded) executed() mysqlx.GTIDSet {
	set := r.begin
	for _, tx := range r.transactions[:r.shown] {
		set = set.Union(tx.gtid)
	}
	return set
}

func (r *recorded) show(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = n
}

// BinlogState implements archive.Server.
func (r *recorded) BinlogState(ctx context.Context) (mysqlx.BinlogState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.At, s.Executed, s.Purged = time.Now().UTC(), r.executed(), s.Purged.Union(r.begin)
	return s, ctx.Err()
}

// Dump implements archive.Server.
func (r *recorded) Dump(ctx context.Context, have mysqlx.GTIDSet) (archive.Dump, error) {
	return &recordedDump{r: r, ctx: ctx, have: have, file: -1}, ctx.Err()
}

type recordedDump struct {
	r     *recorded
	ctx   context.Context
	have  mysqlx.GTIDSet
	next  int // transaction
	file  int
	queue [][]byte
	event []byte // under way
	beat  bool
}

func (d *recordedDump) Next() (mysqlx.DumpEvent, error) {
	d.event = nil
	if len(d.queue) == 0 {
		if err := d.fill(); err != nil {
			return mysqlx.DumpEvent{}, err
		}
	}
	if len(d.queue) == 0 {
		return mysqlx.DumpEvent{Type: 27, Size: 40}, nil
	}
	d.event, d.queue = d.queue[0], d.queue[1:]
	return mysqlx.DumpEvent{
		Type: d.event[4], Timestamp: binary.LittleEndian.Uint32(d.event), Size: int64(len(d.event)), Flags: binary.LittleEndian.Uint16(d.event[17:]),
	}, nil
}

func (d *recordedDump) fill() error {
	if d.beat { // an idle server
		select {
		case <-time.After(5 * time.Millisecond):
		case <-d.ctx.Done():
		}
	}
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	if d.ctx.Err() != nil {
		return errors.New("connection closed")
	}
	if d.file < 0 && len(d.r.transactions) > 0 {
		d.file = 0
		d.queue = append(d.queue, d.r.transactions[0].description)
	}
	for ; d.next < d.r.shown; d.next++ {
		tx := d.r.transactions[d.next]
		if d.have.Contains(tx.gtid) {
			continue
		}
		if tx.file != d.file {
			d.file = tx.file
			d.queue = append(d.queue, tx.description)
		}
		d.queue = append(d.queue, tx.events...)
	}
	d.beat = len(d.queue) == 0
	return nil
}

func (d *recordedDump) Read(p []byte) (int, error) {
	if len(d.event) == 0 {
		return 0, io.EOF
	}
	n := copy(p, d.event)
	d.event = d.event[n:]
	return n, nil
}

func (d *recordedDump) Close() error { return nil }

// whole checks that an archive has all that a recorded server has, to the byte.
func whole(t testing.TB, x *archive.Index, r *recorded) {
	t.Helper()
	p := x.Path(r.begin, time.Time{})
	if !p.Missing.IsEmpty() || !p.Reaches.GTIDs.Equal(r.executed()) || len(x.Damaged()) > 0 {
		for _, s := range x.Segments() {
			t.Logf("%s: %v before, has %v", s.Name, s.Before, s.GTIDs)
		}
		t.Fatalf("Path() reaches %v, want %v; missing %v; damaged %v", p.Reaches.GTIDs, r.executed(), p.Missing, x.Damaged())
	}
	_, files := content(t, x, p)
	all := string(bytes.Join(files, nil))
	for _, tx := range r.transactions[:r.shown] {
		if !strings.Contains(all, string(bytes.Join(tx.events, nil))) {
			t.Errorf("transaction %v is not in the archive as the server wrote it", tx.gtid)
		}
	}
}
