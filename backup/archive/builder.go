package archive

import (
	"fmt"
	"time"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A cut is what becomes an object: whole transactions as a binlog of their own, or a part of a long transaction.
type cut struct {
	raw []byte
	member
	aside  bool          // it fills a gap: what is archived at the end does not change
	stored chan struct{} // not nil: nothing to store; closed when all before it is
}

// A builder turns transactions into cuts. Each begins with a format description and says which transactions come before it, but for the further parts
// of a long transaction. It holds limit bytes at most.
type builder struct {
	limit       int
	server      mysqlx.BinlogState // where the transactions come from
	newSeries   func() string
	emit        func(cut) error // takes raw over
	now         func() time.Time
	previous    mysqlx.GTIDSet // what comes before buf
	abandons    mysqlx.GTIDSet // for the next cut
	buf         []byte
	whole       int       // end of the last whole transaction in buf
	since       time.Time // when the first byte of buf came
	gathered    collector // what is whole in buf
	count       int
	first, last time.Time // of what is whole in buf

	description binlog.Description
	describe    bool // the next transaction needs a format description before it

	open   bool // a transaction has begun and is not complete
	begun  binlog.Beginning
	start  int    // of the open transaction in buf
	left   int64  // bytes of it that are to come
	series string // of the open transaction's parts; "" if none was cut off
	part   int    // the last one that was cut off
}

// setDescription says what form the next events have.
func (b *builder) setDescription(d binlog.Description) { b.description, b.describe = d, true }

// begin starts a transaction.
func (b *builder) begin(t binlog.Beginning) error {
	if t.Source == "" {
		return ErrNoGTID
	}
	if len(b.buf) == 0 {
		b.since = b.now()
		b.open0()
	} else if b.describe {
		b.buf = append(b.buf, b.description.At(int64(len(b.buf)))...)
	}
	b.describe = false
	b.open, b.begun, b.start, b.left = true, t, len(b.buf), t.Bytes
	b.series, b.part = "", 0
	return nil
}

// open0 begins a file.
func (b *builder) open0() {
	b.buf = append(b.buf, binlog.Magic...)
	b.buf = append(b.buf, b.description.At(int64(len(b.buf)))...)
	b.buf = append(b.buf, b.description.Previous(b.previous, int64(len(b.buf)))...)
	b.whole = len(b.buf)
}

// Write takes bytes of the open transaction.
func (b *builder) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if len(b.buf) >= b.limit {
			if err := b.overflow(); err != nil {
				return n, err
			}
		}
		take := min(len(p)-n, max(b.limit-len(b.buf), 1))
		b.buf = append(b.buf, p[n:n+take]...)
		n += take
	}
	b.left -= int64(len(p))
	return len(p), nil
}

// overflow makes room: what is whole goes, or else a part of the open transaction.
func (b *builder) overflow() error {
	if b.count > 0 {
		return b.cutWhole()
	}
	if b.series == "" {
		b.series = b.newSeries()
	}
	return b.cutPart(false)
}

// eventEnd is called after each event of the open transaction and ends it where its length says.
func (b *builder) eventEnd() error {
	if b.left > 0 {
		return nil
	}
	if b.left < 0 {
		return fmt.Errorf("transaction %s is longer than the %d bytes that its first event says", b.begun.GTID(), b.begun.Bytes)
	}
	b.open = false
	if b.series != "" {
		return b.cutPart(true)
	}
	b.gathered.add(b.begun.Source, b.begun.Number)
	b.count++
	b.whole = len(b.buf)
	b.first, b.last = span(b.first, b.last, commitTime(b.begun))
	if len(b.buf) >= b.limit {
		return b.cutWhole()
	}
	return nil
}

// commitTime is the time that counts: that on the server where the transaction is from.
func commitTime(t binlog.Beginning) time.Time {
	if t.OriginallyCommitted.IsZero() {
		return t.Committed
	}
	return t.OriginallyCommitted
}

func span(first, last, t time.Time) (time.Time, time.Time) {
	if first.IsZero() || t.Before(first) {
		first = t
	}
	if last.IsZero() || t.After(last) {
		last = t
	}
	return first, last
}

// cutWhole hands over the whole transactions in buf, if there are any, and keeps what there is of an open one.
func (b *builder) cutWhole() error {
	if b.count == 0 {
		return nil
	}
	set, err := b.gathered.set()
	if err != nil {
		return err
	}
	c := cut{raw: b.buf[:b.whole:b.whole], member: member{
		gtids: set, Transactions: b.count, First: b.first, Last: b.last,
	}}
	var tail []byte
	if b.open {
		tail = b.buf[b.start:]
	}
	b.stamp(&c)
	b.previous = b.previous.Union(set)
	b.gathered, b.count, b.first, b.last = collector{}, 0, time.Time{}, time.Time{}
	b.buf, b.whole = nil, 0
	if b.open {
		b.since = b.now()
		b.open0()
		b.start = len(b.buf)
		b.buf = append(b.buf, tail...)
	}
	return b.emit(c)
}

// cutPart hands over what there is of the open transaction.
func (b *builder) cutPart(last bool) error {
	one := collector{}
	one.add(b.begun.Source, b.begun.Number)
	set, err := one.set()
	if err != nil {
		return err
	}
	b.part++
	at := commitTime(b.begun)
	c := cut{raw: b.buf, member: member{gtids: set, Transactions: 1, First: at, Last: at, Series: b.series, Part: b.part, LastPart: last}}
	b.stamp(&c)
	b.buf, b.whole, b.start = nil, 0, 0
	if last {
		b.previous = b.previous.Union(set)
		b.abandons = mysqlx.GTIDSet{}
	}
	return b.emit(c)
}

func (b *builder) stamp(c *cut) {
	c.previous, c.abandons = b.previous, b.abandons
	c.ServerUUID, c.Server, c.Cut, c.Raw = b.server.ServerUUID, b.server.Version, b.now().UTC(), int64(len(c.raw))
	if c.Series == "" {
		b.abandons = mysqlx.GTIDSet{}
	}
}

// due says whether what is whole has waited for long enough.
func (b *builder) due(age time.Duration) bool { return b.count > 0 && b.now().Sub(b.since) >= age }

// drop forgets the open transaction: the connection broke, and it comes again. Parts of it that were cut off stay without a last one and count for
// nothing.
func (b *builder) drop() {
	if b.open {
		b.buf = b.buf[:b.whole]
	}
	if b.count == 0 {
		b.buf = nil
	}
	b.open, b.left, b.series, b.part = false, 0, "", 0
}
