package replay

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A transaction is one of a segment.
type transaction struct {
	binlog.Transaction
	set       mysqlx.GTIDSet // of itself
	committed time.Time      // where it is from
}

// openSegment opens a segment and reads its beginning.
func openSegment(ctx context.Context, a Archive, s Segment) (*binlog.Reader, io.Closer, error) {
	src, err := a.Open(ctx, s)
	if err != nil {
		return nil, nil, &SegmentError{s.Name, err}
	}
	r, err := binlog.NewReader(s.Name, contextReader{ctx, src})
	if err != nil {
		_ = src.Close() // it was only read
		return nil, nil, &SegmentError{s.Name, err}
	}
	r.Live = false // what is archived is complete
	return r, src, nil
}

// nextTransaction returns the next transaction, or io.EOF.
func nextTransaction(r *binlog.Reader, s Segment) (t transaction, err error) {
	if t.Transaction, err = r.Begin(); err == io.EOF {
		return t, err
	}
	if err == nil && t.GTID == "" {
		err = errors.New("it has a transaction without a gtid")
	}
	if err == nil {
		t.set, err = mysqlx.ParseGTIDSet(t.GTID)
	}
	if err != nil {
		return t, &SegmentError{s.Name, err}
	}
	t.committed = t.OriginallyCommitted
	return t, nil
}

// eachTransaction calls do for each transaction of a segment, in order.
func eachTransaction(ctx context.Context, a Archive, s Segment, do func(transaction) error) error {
	r, src, err := openSegment(ctx, a, s)
	if err != nil {
		return err
	}
	defer src.Close()
	for {
		t, err := nextTransaction(r, s)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			if err = do(t); err != nil {
				err = &SegmentError{s.Name, err}
			}
		}
		if err != nil {
			return err
		}
	}
}

// A gatherer makes a set of single GTIDs. The zero gatherer is empty.
type gatherer struct {
	text strings.Builder
	done mysqlx.GTIDSet
}

// add takes a GTID that is one.
func (g *gatherer) add(gtid string) {
	g.text.WriteString(gtid)
	g.text.WriteByte(',')
	if g.text.Len() > 256<<10 { // the text of a set has a limit
		g.flush()
	}
}

func (g *gatherer) flush() {
	part, err := mysqlx.ParseGTIDSet(g.text.String())
	if err != nil {
		panic(err) // each was parsed before
	}
	g.done = g.done.Union(part)
	g.text.Reset()
}

func (g *gatherer) set() mysqlx.GTIDSet {
	g.flush()
	return g.done
}

// A contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
