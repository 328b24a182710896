package mysqlx

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode"
)

// Packets of the classic protocol: length[3] sequence[1] payload, little-endian. A message is one packet or, if it is long, some of the largest size
// and a shorter one. See the server's source documentation, page_protocol_basic_packets.
const (
	packetHeader = 4
	maxPacket    = 1<<24 - 1

	packetOK    = 0x00
	packetEOF   = 0xfe
	packetError = 0xff

	maxErrorText = 1024 // bytes of a server's message that are kept
)

// messages reads one message after the other. It holds no part of any.
type messages struct {
	r        *bufio.Reader
	sequence byte // of the next packet
	left     int  // bytes of the present packet
	more     bool // another packet of the message follows
}

// begin passes over what is left of a message and returns the first byte of the next. An empty one is an error.
func (m *messages) begin() (byte, error) {
	if _, err := io.Copy(io.Discard, m); err != nil {
		return 0, err
	}
	if err := m.packet(); err != nil {
		return 0, err
	}
	if m.left == 0 {
		return 0, fmt.Errorf("%w: an empty message", ErrDumpProtocol)
	}
	m.left--
	b, err := m.r.ReadByte()
	return b, noEOF(err)
}

// packet reads the header of a packet.
func (m *messages) packet() error {
	var h [packetHeader]byte
	if _, err := io.ReadFull(m.r, h[:]); err != nil {
		return noEOF(err)
	}
	if h[3] != m.sequence {
		return fmt.Errorf("%w: packet %d in place of %d", ErrDumpProtocol, h[3], m.sequence)
	}
	m.sequence++
	m.left = int(h[0]) | int(h[1])<<8 | int(h[2])<<16
	m.more = m.left == maxPacket
	return nil
}

// Read returns bytes of the present message and io.EOF at its end. The end of the connection is io.ErrUnexpectedEOF.
func (m *messages) Read(p []byte) (int, error) {
	for m.left == 0 {
		if !m.more {
			return 0, io.EOF
		}
		if err := m.packet(); err != nil {
			return 0, err
		}
	}
	n, err := m.r.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, noEOF(err)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A patientReader bounds the wait for each byte.
type patientReader struct {
	conn    net.Conn
	silence time.Duration
}

func (r patientReader) Read(p []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(r.silence)); err != nil {
		return 0, err
	}
	return r.conn.Read(p)
}

// printableText makes a server's text fit for a log line.
func printableText(b []byte) string {
	s := strings.ToValidUTF8(string(b[:min(len(b), maxErrorText)]), "?")
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s))
}
