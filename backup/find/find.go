package find

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A Log is a binlog somewhere: a file, or a segment of an archive.
type Log struct {
	Name string // for messages and results
	// Live says that a server may be writing to it, so that it may end anywhere.
	Live bool
	// GTIDs, First and Last are what is known of the transactions in it, and of the times of their original commits; empty and zero if nothing is.
	GTIDs       mysqlx.GTIDSet
	First, Last time.Time
	// Open returns it as a binlog. fs.ErrNotExist says that it was purged: it is passed over. The caller closes it.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// A Found is a transaction that was looked for. The JSON form is that of `agent binlog find`; fields are only ever added.
type Found struct {
	GTID      string    `json:"gtid"`                  // "" for a transaction without
	Committed time.Time `json:"committed_at,omitzero"` // on the server where it is from, UTC
	ServerID  uint32    `json:"server_id"`             // of that server
	Log       string    `json:"log"`
	Position  int64     `json:"position"`
	Bytes     int64     `json:"bytes"`
	// Effects are those that were looked for; all of them, if nothing was.
	Effects []binlog.Effect `json:"effects"`
	// Statements are all of the transaction, shortened; those that may hold a secret are withheld.
	Statements []binlog.Statement `json:"statements,omitempty"`
	// Unclear says that something in it is not understood: it may or may not be what was looked for.
	Unclear bool `json:"unclear,omitempty"`
	// Incomplete says that it does more than is listed.
	Incomplete bool `json:"incomplete,omitempty"`
	// XAPrepare says that it prepares an XA transaction: what it does takes effect with a later one, which commits it.
	XAPrepare bool `json:"xa_prepare,omitempty"`
}

// Transactions returns the transactions that q looks for, log after log. What overlapping logs have twice is found twice: Once leaves it out. The iteration
// ends with the first error: *binlog.DamageError, binlog.ErrEncrypted, what Open returns, or ctx's.
func (q Query) Transactions(ctx context.Context, logs iter.Seq2[Log, error]) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		for l, err := range logs {
			if err != nil {
				yield(Found{}, err)
				return
			}
			if q.passesOver(l) {
				continue
			}
			for f, err := range q.in(ctx, l) {
				if err != nil {
					err = fmt.Errorf("look through binlogs: %w", err)
				}
				if !yield(f, err) || err != nil {
					return
				}
			}
		}
	}
}

// passesOver says whether nothing in a log can be looked for.
func (q Query) passesOver(l Log) bool {
	switch {
	case !l.Last.IsZero() && !q.Since.IsZero() && l.Last.Before(q.Since):
		return true
	case !l.First.IsZero() && !q.Until.IsZero() && l.First.After(q.Until):
		return true
	case !q.GTIDs.IsEmpty() && !l.GTIDs.IsEmpty():
		return q.GTIDs.Subtract(l.GTIDs).Equal(q.GTIDs)
	}
	return false
}

// in goes through one log.
func (q Query) in(ctx context.Context, l Log) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		src, err := l.Open(ctx)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(Found{}, err)
			return
		}
		defer src.Close()
		r, err := binlog.NewReader(l.Name, contextReader{ctx, src})
		if err != nil {
			yield(Found{}, err)
			return
		}
		r.Live, r.Detail = r.Live && l.Live, true
		for t, err := range r.Transactions() {
			if err != nil {
				yield(Found{}, err)
				return
			}
			f, ok, err := q.found(t)
			if err != nil {
				err = &binlog.DamageError{File: l.Name, Position: t.Position, Problem: err.Error()}
			}
			if (ok || err != nil) && !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// found says whether a transaction is looked for, and what is told of it.
func (q Query) found(t binlog.Transaction) (f Found, ok bool, err error) {
	if !q.inTime(t.OriginallyCommitted) {
		return f, false, nil
	}
	if !q.GTIDs.IsEmpty() {
		one, err := mysqlx.ParseGTIDSet(t.GTID)
		if err != nil || one.IsEmpty() || !q.GTIDs.Contains(one) {
			return f, false, err
		}
	}
	effects, ok := q.effects(t)
	if !ok {
		return f, false, nil
	}
	f = Found{
		GTID: t.GTID, Committed: t.OriginallyCommitted, ServerID: t.ServerID, Log: t.Binlog, Position: t.Position, Bytes: t.Bytes,
		Effects: effects, Statements: t.Statements, Incomplete: t.Incomplete,
	}
	for _, e := range effects {
		f.Unclear = f.Unclear || e.Action == binlog.ActionUnclear
	}
	for _, k := range t.Kinds {
		f.XAPrepare = f.XAPrepare || k == binlog.KindXAPrepare
	}
	return f, true, nil
}

// Once leaves out what was found before: logs of an archive may overlap. It remembers the GTIDs of what it returns.
func Once(all iter.Seq2[Found, error]) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		seen := map[string]bool{}
		for f, err := range all {
			if err == nil && f.GTID != "" {
				if seen[f.GTID] {
					continue
				}
				seen[f.GTID] = true
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// Directory returns the binlogs of a directory, as its index file lists them. base is their base name, like "binlog". A server may be running there. Errors
// of the iteration: those of binlog.Files.
func Directory(dir *os.Root, base string) iter.Seq2[Log, error] {
	return func(yield func(Log, error) bool) {
		names, err := binlog.Files(dir, base)
		if err != nil {
			yield(Log{}, err)
			return
		}
		for i, name := range names {
			// A file that is not the last one is complete, whoever was killed while it was open.
			l := Log{Name: name, Live: i == len(names)-1, Open: func(context.Context) (io.ReadCloser, error) { return openLog(dir, name) }}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// openLog opens a regular file: another kind could keep us waiting.
func openLog(dir *os.Root, name string) (io.ReadCloser, error) {
	info, err := dir.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	return dir.Open(name)
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
