package protocol

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// comClone is the classic protocol's command that turns a session into a clone session.
// See the server's source documentation, page_protocol_command_phase.
const comClone = 0x20

const (
	packetHeader = 4       // 3 bytes length, little-endian, and the sequence number
	maxControl   = 1 << 20 // bytes of a message other than data

	// Small on purpose: a descriptor and the next packet's header fit, and payloads are
	// read past the buffer, straight to where they are used.
	readBuffer = 4 << 10
)

// A conn is a connection of a clone. One goroutine reads; writes may come from any.
//
// Sequence numbers start again with every message in both directions, so they say nothing: ours
// are 0, the donor's are not looked at. No message is long enough to span packets.
type conn struct {
	nc  net.Conn
	r   *bufio.Reader
	buf []byte // of the message being read; grows to the donor's block size

	mu sync.Mutex // one write at a time
}

// newConn reads from nc; seen is called for all bytes received.
func newConn(nc net.Conn, seen func()) *conn {
	return &conn{nc: nc, r: bufio.NewReaderSize(watched{nc, seen}, readBuffer)}
}

// enter makes an authenticated connection a clone connection.
func (c *conn) enter() error {
	b, err := c.ordinary(comClone)
	if err == nil && (len(b) == 0 || b[0] != 0x00) {
		err = fmt.Errorf("enter clone: %w", protocolError("neither OK nor error"))
	}
	return err
}

// ordinary sends an ordinary command and returns its only answer, valid until the next read. An ERR packet becomes a *DonorError. See the server's
// source documentation, page_protocol_basic_response_packets.
func (c *conn) ordinary(cmd byte) ([]byte, error) {
	if err := c.send(cmd, nil); err != nil {
		return nil, &brokenError{"enter clone", err}
	}
	b, err := c.packet(maxControl)
	switch {
	case errors.Is(err, ErrProtocol):
		return nil, fmt.Errorf("enter clone: %w", err)
	case err != nil:
		return nil, &brokenError{"enter clone", err}
	case len(b) >= 3 && b[0] == 0xff:
		code, text := binary.LittleEndian.Uint16(b[1:]), b[3:]
		if len(text) >= 6 && text[0] == '#' { // SQLSTATE
			text = text[6:]
		}
		return nil, &DonorError{Op: "enter", Code: int32(code), Message: printable(text)}
	}
	return b, nil
}

// watched reports that bytes were received.
type watched struct {
	r    io.Reader
	seen func()
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.seen()
	return n, err
}

// send writes one command.
func (c *conn) send(cmd byte, payload []byte) error {
	n := 1 + len(payload)
	b := make([]byte, 0, packetHeader+n)
	b = append(b, byte(n), byte(n>>8), byte(n>>16), 0, cmd)
	b = append(b, payload...)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.nc.Write(b)
	return err
}

// packet reads a packet of at most limit bytes. The result is valid until the next read.
func (c *conn) packet(limit int) ([]byte, error) {
	n, err := c.header(limit)
	if err != nil {
		return nil, err
	}
	return c.body(n)
}

// header reads the header of a packet and returns the length of its payload.
func (c *conn) header(limit int) (int, error) {
	var h [packetHeader]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return 0, err
	}
	n := int(h[0]) | int(h[1])<<8 | int(h[2])<<16
	if n > limit {
		return 0, protocolError("message of %d bytes, at most %d", n, limit)
	}
	return n, nil
}

// body reads n bytes into the connection's buffer.
func (c *conn) body(n int) ([]byte, error) {
	if n > cap(c.buf) {
		c.buf = make([]byte, n)
	}
	b := c.buf[:n]
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, noEOF(err)
	}
	return b, nil
}

// next reads a response that is not DATA. A donor's ERROR becomes a *DonorError.
func (c *conn) next(op string) (any, error) {
	b, err := c.packet(maxControl)
	if err != nil {
		return nil, readError(op, err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s: %w", op, protocolError("empty message"))
	}
	m, err := decodeResponse(b[0], b[1:])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if f, failed := m.(failure); failed {
		return nil, &DonorError{Op: op, Code: f.code, Message: f.message}
	}
	return m, nil
}

// data reads the DATA that a descriptor announced, n bytes. The result is valid until
// the next read. Instead of it an ERROR may come.
func (c *conn) data(op string, n int) ([]byte, error) {
	length, err := c.header(max(n+1, maxControl))
	if err != nil {
		return nil, readError(op, noEOF(err))
	}
	if length == 0 {
		return nil, fmt.Errorf("%s: %w", op, protocolError("empty message instead of data"))
	}
	typ, err := c.r.ReadByte()
	if err != nil {
		return nil, readError(op, noEOF(err))
	}
	// The type is read by itself so that the payload, too, begins where buffers begin.
	b, err := c.body(length - 1)
	if err != nil {
		return nil, readError(op, err)
	}
	if typ == respData {
		if len(b) != n {
			return nil, fmt.Errorf("%s: %w", op, protocolError("%d bytes of data, %d announced", len(b), n))
		}
		return b, nil
	}
	m, err := decodeResponse(typ, b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if f, failed := m.(failure); failed {
		return nil, &DonorError{Op: op, Code: f.code, Message: f.message}
	}
	return nil, fmt.Errorf("%s: %w", op, protocolError("response %d instead of data", typ))
}

// call sends a command and waits for its completion. Other answers are handed to each, which is
// nil if none may come.
func (c *conn) call(op string, cmd byte, payload []byte, each func(any) error) error {
	if err := c.send(cmd, payload); err != nil {
		return &brokenError{op + ": send to donor", err}
	}
	return c.completion(op, each)
}

// completion is the second half of call.
func (c *conn) completion(op string, each func(any) error) error {
	for {
		m, err := c.next(op)
		if err != nil {
			return err
		}
		if _, done := m.(complete); done {
			return nil
		}
		if each == nil {
			return fmt.Errorf("%s: %w", op, protocolError("%T instead of completion", m))
		}
		if err := each(m); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
}

// readError says why nothing could be read: the connection broke, or what it brought is not the protocol's.
func readError(op string, err error) error {
	if errors.Is(err, ErrProtocol) {
		return fmt.Errorf("%s: %w", op, err)
	}
	return &brokenError{op + ": read from donor", err}
}

// noEOF makes an end in the middle of a message what it is.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
