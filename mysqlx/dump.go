package mysqlx

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/go-sql-driver/mysql"
)

// What COM_BINLOG_DUMP_GTID is made of. See the server's source documentation, page_protocol_com_binlog_dump_gtid.
const (
	comQuery          = 0x03
	comBinlogDumpGTID = 0x1e
	dumpThroughGTID   = 0x04
	binlogStart       = 4 // position of a file's first event

	dumpReadBuffer = 64 << 10
	dumpMaxAnswer  = 64 << 10 // bytes of an answer that is no event

	// DumpHeartbeat is how often a server that has nothing to send says that it is there.
	DumpHeartbeat = time.Second
	// DumpSilence is after how long without a byte a server counts as gone.
	DumpSilence = 20 * time.Second
	// dumpWriteTimeout is how long a server waits for us to take what it sends, in seconds; its own default is a minute.
	dumpWriteTimeout = 600

	erReadingBinlog = 1236 // ER_SOURCE_FATAL_ERROR_READING_BINLOG
)

// A DumpRequest says what a server is to send.
type DumpRequest struct {
	// Have are the transactions that are not sent. The server refuses with an error for which IsDumpRefused is true if one that is not in Have was
	// purged, or if Have holds one with its own UUID that it does not know.
	Have GTIDSet
	// Heartbeat and Silence are DumpHeartbeat and DumpSilence if 0.
	Heartbeat, Silence time.Duration
}

// A Dump is a server's binary log as it sends it: from the first transaction that is not in DumpRequest.Have on, including what is being written to
// the newest file. It has no end. Events come as they are in the file, with checksums if the file has them, and beside them some that the server
// makes up: see DumpEvent.Artificial. It is for one goroutine, except Close.
type Dump struct {
	conn net.Conn
	msgs messages
	stop func() bool
	left int64 // bytes of the present event that were not read
	head []byte
	err  error // what every further call returns
}

// A DumpEvent is what the header of an event says. See refman/8.4 binary-log-formats.
type DumpEvent struct {
	Type      byte
	Timestamp uint32 // Unix seconds
	Size      int64  // bytes, header and checksum included
	Flags     uint16
}

const (
	eventHeartbeat  = 27
	eventHeartbeat2 = 41
	flagArtificial  = 0x20
)

// Heartbeat says that the server made the event up to show that it is there.
func (e DumpEvent) Heartbeat() bool { return e.Type == eventHeartbeat || e.Type == eventHeartbeat2 }

// Artificial says that the event is in no file: a heartbeat, or the name of the file that follows.
func (e DumpEvent) Artificial() bool {
	return e.Heartbeat() || e.Type == eventRotate && (e.Flags&flagArtificial != 0 || e.Timestamp == 0)
}

// StartDump logs in and asks for the binary log. The account needs REPLICATION SLAVE; the connection is as that of DialRaw, so the server is on this
// machine. The server does not take us for a replica: nothing is registered, and a commit never waits for us. When ctx ends the dump does. The caller
// closes it.
//
// What the server refuses shows in the first Next, not here: see IsDumpRefused.
func StartDump(ctx context.Context, e Endpoint, r DumpRequest) (*Dump, error) {
	r.Heartbeat, r.Silence = cmp.Or(r.Heartbeat, DumpHeartbeat), cmp.Or(r.Silence, DumpSilence)
	conn, err := DialRaw(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("start dump: %w", err)
	}
	d := &Dump{conn: conn, head: make([]byte, 0, eventHeaderSize)}
	d.msgs.r = bufio.NewReaderSize(patientReader{conn, r.Silence}, dumpReadBuffer)
	d.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := d.start(r); err != nil {
		_ = d.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("start dump: %w", err)
	}
	return d, nil
}

func (d *Dump) start(r DumpRequest) error {
	// Both spellings: servers before 8.0.26 know only the older one. The server writes checksums as they are in the file, and only to those who ask
	// for them.
	settings := fmt.Sprintf("SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32', "+
		"@master_heartbeat_period = %d, @source_heartbeat_period = %[1]d, SESSION net_write_timeout = %d", r.Heartbeat.Nanoseconds(), dumpWriteTimeout)
	if err := d.send(comQuery, []byte(settings)); err != nil {
		return err
	}
	answer, err := d.answer()
	if err != nil {
		return err
	}
	if answer != 0 {
		return fmt.Errorf("unexpected answer %#x", answer)
	}
	return d.send(comBinlogDumpGTID, dumpCommand(r.Have))
}

// dumpCommand returns the command's payload. The server id is one by chance: no two dumps of a server may have the same, or the later one ends the
// earlier.
func dumpCommand(have GTIDSet) []byte {
	encoded := have.AppendEncoded(nil)
	b := binary.LittleEndian.AppendUint16(nil, dumpThroughGTID)
	b = binary.LittleEndian.AppendUint32(b, 1<<31|rand.Uint32())
	b = binary.LittleEndian.AppendUint32(b, 0) // length of the file's name: the server finds the file
	b = binary.LittleEndian.AppendUint64(b, binlogStart)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(encoded)))
	return append(b, encoded...)
}

// send writes a command, in as many packets as it takes.
func (d *Dump) send(command byte, payload []byte) error {
	if err := d.conn.SetWriteDeadline(time.Now().Add(DumpSilence)); err != nil {
		return err
	}
	for _, packet := range packetsOf(append([]byte{command}, payload...)) {
		if _, err := d.conn.Write(packet); err != nil {
			return err
		}
	}
	d.msgs.sequence = 1
	return nil
}

// packetsOf cuts a message into packets. The last one is shorter than maxPacket, and may be empty.
func packetsOf(message []byte) (all [][]byte) {
	for {
		n := min(len(message), maxPacket)
		all = append(all, append([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(len(all))}, message[:n]...))
		if message = message[n:]; n < maxPacket {
			return all
		}
	}
}

// answer reads a message that is no event and returns its first byte.
func (d *Dump) answer() (byte, error) {
	first, err := d.msgs.begin()
	if err != nil {
		return 0, err
	}
	rest, err := io.ReadAll(io.LimitReader(&d.msgs, dumpMaxAnswer))
	if err != nil {
		return 0, err
	}
	if first == packetError {
		return 0, serverError(rest)
	}
	return first, nil
}

// Next returns the next event and passes over what was not read of the one before. Errors: the server's, among them those of IsDumpRefused; of the
// connection, for which IsUnreachable is true; ErrDumpProtocol. After an error every call returns it again.
func (d *Dump) Next() (DumpEvent, error) {
	if d.err != nil {
		return DumpEvent{}, d.err
	}
	e, err := d.next()
	if err != nil {
		d.err = fmt.Errorf("read dump: %w", err)
		return DumpEvent{}, d.err
	}
	return e, nil
}

// ErrDumpProtocol says that a server sent something that is no dump.
var ErrDumpProtocol = errors.New("not what a server sends as its binary log")

func (d *Dump) next() (e DumpEvent, err error) {
	if _, err := io.Copy(io.Discard, eventReader{d}); err != nil {
		return e, err
	}
	first, err := d.msgs.begin()
	if err != nil {
		return e, err
	}
	switch first {
	case packetOK:
	case packetError:
		rest, err := io.ReadAll(io.LimitReader(&d.msgs, dumpMaxAnswer))
		if err != nil {
			return e, err
		}
		return e, serverError(rest)
	case packetEOF:
		return e, fmt.Errorf("the server ended it: %w", io.ErrUnexpectedEOF)
	default:
		return e, fmt.Errorf("%w: packet that begins with %#x", ErrDumpProtocol, first)
	}
	header := d.head[:eventHeaderSize]
	if _, err := io.ReadFull(&d.msgs, header); err != nil {
		if d.msgs.left == 0 && !d.msgs.more { // the message ended, and not the connection
			err = io.EOF
		}
		return e, shortEvent(err)
	}
	d.head = header
	e = DumpEvent{
		Timestamp: binary.LittleEndian.Uint32(header),
		Type:      header[offEventType],
		Size:      int64(binary.LittleEndian.Uint32(header[offEventLength:])),
		Flags:     binary.LittleEndian.Uint16(header[offEventFlags:]),
	}
	if e.Size < eventHeaderSize {
		return e, fmt.Errorf("%w: an event of %d bytes", ErrDumpProtocol, e.Size)
	}
	d.left = e.Size
	return e, nil
}

const offEventFlags = 17

// Read returns bytes of the event that Next returned, its header first, and io.EOF at its end.
func (d *Dump) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.read(p)
	if err != nil && err != io.EOF {
		d.err = fmt.Errorf("read dump: %w", err)
		return n, d.err
	}
	return n, err
}

func (d *Dump) read(p []byte) (int, error) {
	switch {
	case d.left == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	case len(d.head) > 0:
		n := copy(p, d.head)
		d.head = append(d.head[:0], d.head[n:]...)
		d.left -= int64(n)
		return n, d.check()
	}
	n, err := d.msgs.Read(p[:min(int64(len(p)), d.left)])
	d.left -= int64(n)
	if err != nil {
		return n, shortEvent(err)
	}
	return n, d.check()
}

// check makes sure that an event that was read ends where its message does.
func (d *Dump) check() error {
	if d.left > 0 {
		return nil
	}
	switch _, err := d.msgs.Read(make([]byte, 1)); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: a message that is longer than its event", ErrDumpProtocol)
	default:
		return err
	}
}

func shortEvent(err error) error {
	if err == io.EOF {
		return fmt.Errorf("%w: a message that is shorter than its event", ErrDumpProtocol)
	}
	return err
}

// eventReader hides nothing but Next.
type eventReader struct{ d *Dump }

func (r eventReader) Read(p []byte) (int, error) { return r.d.read(p) }

// Close ends the dump. It may be called from another goroutine, and more than once.
func (d *Dump) Close() error {
	d.stop()
	return d.conn.Close()
}

// IsDumpRefused says that the server cannot send what was asked for: binlogs were purged, it lacks transactions of its own that we have, or its file
// is damaged. It is one number for all of them, 1236; compare gtid_purged and gtid_executed with what was asked for to know which.
func IsDumpRefused(err error) bool { return hasNumber(err, erReadingBinlog) }

// serverError reads an ERR packet behind its first byte.
func serverError(b []byte) error {
	if len(b) < 2 {
		return fmt.Errorf("%w: an error of %d bytes", ErrDumpProtocol, len(b))
	}
	e := &mysql.MySQLError{Number: binary.LittleEndian.Uint16(b)}
	text := b[2:]
	if len(text) >= 6 && text[0] == '#' {
		copy(e.SQLState[:], text[1:6])
		text = text[6:]
	}
	e.Message = printableText(text)
	return e
}
