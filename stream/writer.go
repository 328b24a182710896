package stream

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"
)

// ErrClosed is what a [Writer] returns after End or Abort.
var ErrClosed = errors.New("the stream has been ended")

// A Writer writes one stream. Its methods may be called concurrently; frames are written one after the other, each as a whole.
//
// After an error, be it of the underlying writer or a frame out of order, every call returns that error. The stream is then
// unfinished for any reader, also when the underlying connection is closed in good order.
type Writer struct {
	mu    sync.Mutex
	w     io.Writer
	flush func() error // nil: w has no buffer that we know of
	err   error        // returned from now on
	order order
	began bool   // the preamble was written
	seq   uint64 // of the next frame
	chain uint32
	buf   []byte // of small frames, reused
}

// NewWriter returns a Writer that writes to w. It writes nothing yet. If w has a method Flush (as an http.Flusher or a bufio.Writer
// has) or FlushError, it is called after every frame that somebody may wait for, which is every one but File and Data.
// w is not closed by the Writer.
func NewWriter(w io.Writer) *Writer {
	sw := &Writer{w: w}
	switch f := w.(type) {
	case interface{ FlushError() error }:
		sw.flush = f.FlushError
	case interface{ Flush() error }:
		sw.flush = f.Flush
	case interface{ Flush() }:
		sw.flush = func() error { f.Flush(); return nil }
	}
	return sw
}

// Hello writes the first frame. FormatVersion is set.
func (w *Writer) Hello(h Hello) error {
	h.FormatVersion = Version
	p, err := encodeJSON(KindHello, h)
	if err == nil {
		err = h.check()
	}
	return w.control(KindHello, err, func(b []byte) ([]byte, error) { return append(b, p...), w.order.sayHello(&h) })
}

// StageStart opens a stage.
func (w *Writer) StageStart(s StageStart) error {
	return w.control(KindStageStart, s.check(), func(b []byte) ([]byte, error) { return s.append(b), w.order.stageStart(s.Stage) })
}

// File announces a file in the open stage, or a change by DDL before the next one is opened.
func (w *Writer) File(f File) error {
	return w.control(KindFile, f.check(), func(b []byte) ([]byte, error) { return f.append(b), w.order.file(f.Stage) })
}

// StageEnd closes the open stage, which must be s, and returns what it wrote about it. All calls of Data for the stage must have returned.
func (w *Writer) StageEnd(s Stage) (StageEnd, error) {
	var end StageEnd
	err := w.control(KindStageEnd, nil, func(b []byte) ([]byte, error) {
		var err error
		end, err = w.order.stageEnd(s)
		return end.append(b), err
	})
	return end, err
}

// Heartbeat says that this side lives, and flushes.
func (w *Writer) Heartbeat() error {
	return w.control(KindHeartbeat, nil, func(b []byte) ([]byte, error) { return b, nil })
}

// Abort tells the reader why the stream ends here: reason is a stable code, message is for people and is shortened to 64 KiB.
// The Writer is closed then. It may be the first frame.
func (w *Writer) Abort(reason, message string) error {
	const most = 64 << 10
	a := AbortError{Reason: reason, Message: strings.ToValidUTF8(message[:min(len(message), most)], "")}
	p, err := encodeJSON(KindAbort, a)
	return w.control(KindAbort, err, func(b []byte) ([]byte, error) { w.order.ended = true; return append(b, p...), nil })
}

// End writes the totals, which makes the stream complete, and closes the Writer. A stage must not be open and none must be missing.
func (w *Writer) End() error {
	return w.control(KindEnd, nil, func(b []byte) ([]byte, error) {
		err := w.order.end()
		w.order.ended = true
		return End{Frames: w.seq, DataBytes: w.order.totalBytes, Chain: w.chain}.append(b), err
	})
}

// Flush flushes the underlying writer if it can be flushed.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.flushLocked()
	}
	return w.err
}

// Data writes a piece of a file, at most [MaxData] bytes as they are or packed. data is not kept and not copied: the call returns when the underlying
// writer has taken it. The checksum, the expensive part, is computed before the Writer's lock is taken.
func (w *Writer) Data(d DataHeader, data []byte) error {
	invalid := d.check(len(data))
	var head [DataOverhead]byte
	d.encode(&head)
	crc := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, data)

	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(KindData, invalid); err != nil {
		return err
	}
	if err := w.order.data(d.Stage, d.Len(len(data))); err != nil {
		return w.misuse(KindData, err)
	}
	b := w.startFrame()
	at := len(b)
	b = append(b, make([]byte, headerSize)...)
	b = append(b, head[:]...)
	w.buf = b
	w.seal(b[at:], KindData, uint32(DataOverhead+len(data)), crc)
	if err := w.write(b); err != nil {
		return err
	}
	return w.write(data)
}

// control writes a small frame. fill runs under the lock, appends the payload and says whether the frame is in order.
func (w *Writer) control(kind Kind, invalid error, fill func([]byte) ([]byte, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(kind, invalid); err != nil {
		return err
	}
	b := w.startFrame()
	at := len(b)
	b, err := fill(append(b, make([]byte, headerSize)...))
	if err != nil {
		return w.misuse(kind, err)
	}
	w.buf = b
	payload := b[at+headerSize:]
	w.seal(b[at:], kind, uint32(len(payload)), crc32.Checksum(payload, castagnoli))
	if err := w.write(b); err != nil {
		return err
	}
	if kind != KindFile {
		if w.err = w.flushLocked(); w.err != nil {
			return w.err
		}
	}
	if w.order.ended {
		w.err = ErrClosed
	}
	return nil
}

// ready returns the error that keeps a frame from being written.
func (w *Writer) ready(kind Kind, invalid error) error {
	if w.err != nil {
		return w.err
	}
	if invalid == nil && kind != KindHello && kind != KindAbort {
		invalid = w.order.begin(kind)
	}
	if invalid != nil {
		return w.misuse(kind, invalid)
	}
	return nil
}

func (w *Writer) misuse(kind Kind, err error) error {
	w.err = fmt.Errorf("write %v, frame %d: %w", kind, w.seq, err)
	return w.err
}

// startFrame returns the reused buffer, with the preamble in it if this is the first frame.
func (w *Writer) startFrame() []byte {
	b := w.buf[:0]
	if !w.began {
		w.began = true
		b = be.AppendUint16(append(b, magic...), Version)
	}
	return b
}

// seal fills the frame header at the start of b and counts the frame.
func (w *Writer) seal(b []byte, kind Kind, length, payloadCRC uint32) {
	clear(b[:headerSize])
	b[0] = byte(kind)
	be.PutUint32(b[4:], length)
	be.PutUint64(b[8:], w.seq)
	be.PutUint32(b[16:], payloadCRC)
	be.PutUint32(b[20:], crc32.Checksum(b[:20], castagnoli))
	w.chain = crc32.Update(w.chain, castagnoli, b[20:headerSize])
	w.seq++
}

func (w *Writer) write(b []byte) error {
	n, err := w.w.Write(b)
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write frame %d: %w", w.seq-1, err)
	}
	return w.err
}

func (w *Writer) flushLocked() error {
	if w.flush == nil {
		return nil
	}
	if err := w.flush(); err != nil {
		return fmt.Errorf("flush after frame %d: %w", w.seq-1, err)
	}
	return nil
}
