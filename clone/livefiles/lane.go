package livefiles

import (
	"context"

	"ordinal/clone/protocol"
	"ordinal/internal/background"
)

// A span is what one read fetches: blocks of one piece in a row.
type span struct {
	piece  Piece
	offset uint64 // in the file, where a block begins
	n      uint64 // bytes
}

// last reports whether the span is the end of its piece.
func (s span) last() bool { return s.offset+s.n == s.piece.end() }

// A readQueue cuts pieces into spans.
type readQueue struct {
	work  *Work
	most  uint64 // bytes of a span: whole blocks
	piece Piece
	at    uint64 // offset of the next span; the piece's end when a new piece is needed
}

func (q *readQueue) next() (span, bool) {
	if q.piece.file == nil || q.at == q.piece.end() {
		p, ok := q.work.Next()
		if !ok {
			return span{}, false
		}
		q.piece, q.at = p, p.start()
		p.file.forgetStale(p.start(), p.Bytes()) // before any read of it
	}
	s := span{piece: q.piece, offset: q.at, n: min(q.most, q.piece.end()-q.at)}
	q.at += s.n
	return s, true
}

// A readLane does one read at a time, on a goroutine of its own, into a buffer of its own.
type readLane struct {
	todo chan span  // closed at the end
	done chan error // an answer for each span
	span span       // started last
	buf  []byte     // of a multiple of directAlign bytes
}

func newReadLane(buf []byte) *readLane {
	return &readLane{todo: make(chan span, 1), done: make(chan error, 1), buf: buf}
}

// start begins a read. The lane must have nothing to do.
func (l *readLane) start(s span) {
	l.span = s
	l.todo <- s
}

// work answers until todo is closed.
func (l *readLane) work() {
	background.Goroutine()
	for s := range l.todo {
		l.done <- s.read(l.buf[:(s.n+directAlign-1)/directAlign*directAlign])
	}
}

// read fetches the span. Up to directAlign-1 bytes behind it may be read too, and are not looked at.
func (s span) read(b []byte) error {
	f := s.piece.file
	n, err := f.readAt(b, s.offset, int(s.n))
	if uint64(n) >= s.n {
		return nil
	}
	if err == nil {
		err = ErrShrunk
	}
	return &ReadError{Name: f.name, Offset: s.offset + uint64(n), Err: err}
}

// deliver waits for the read under way and hands its blocks over.
func (l *readLane) deliver(ctx context.Context, task uint32, deliver Deliver) error {
	select {
	case err := <-l.done:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p := l.span.piece
	data := l.buf[:l.span.n]
	for at := l.span.offset; len(data) > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		block := data[:min(p.block, uint64(len(data)))]
		d := protocol.Data{
			State:    protocol.StateFileCopy,
			Task:     task,
			Chunk:    p.chunk,
			Block:    uint32((at-p.origin())/p.block) + 1,
			File:     p.file.index,
			Offset:   at,
			FileSize: p.file.size,
		}
		if err := deliver(ctx, d, block); err != nil {
			return err
		}
		at += uint64(len(block))
		data = data[len(block):]
	}
	if l.span.last() {
		p.file.forget(p.start(), p.Bytes())
	}
	return nil
}
