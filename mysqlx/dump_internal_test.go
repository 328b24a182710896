package mysqlx

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// dumpOf reads what a server has sent.
func dumpOf(sent io.Reader) *Dump {
	return &Dump{msgs: messages{r: bufio.NewReaderSize(sent, 16), sequence: 1}, head: make([]byte, 0, eventHeaderSize)}
}

// eventOf returns an event with n bytes behind its header.
func eventOf(typ byte, n int) []byte {
	b := bytes.Repeat([]byte{typ}, eventHeaderSize+n)
	binary.LittleEndian.PutUint32(b[offEventLength:], uint32(len(b)))
	b[offEventType] = typ
	return b
}

// sent returns messages as a server sends them, the first with sequence number 1.
func sent(messages ...[]byte) []byte {
	var all []byte
	sequence := byte(1)
	for _, m := range messages {
		for _, p := range packetsOf(m) {
			p[3] = sequence
			sequence++
			all = append(all, p...)
		}
	}
	return all
}

func ok(event []byte) []byte { return append([]byte{packetOK}, event...) }

// Events whose messages fill packets to the last byte, or nearly.
func TestDumpPackets(t *testing.T) {
	for _, n := range []int{0, 1, maxPacket - 2, maxPacket - 1, maxPacket, maxPacket + 1, 2*maxPacket - 1, 2 * maxPacket} {
		size := max(n-eventHeaderSize, 0)
		first, second := eventOf(30, size), eventOf(16, 8)
		d := dumpOf(bytes.NewReader(sent(ok(first), ok(second), ok(first))))
		for i, want := range [][]byte{first, second} {
			e, err := d.Next()
			if err != nil || e.Size != int64(len(want)) || e.Type != want[offEventType] {
				t.Fatalf("%d bytes: Next() = %+v, %v", n, e, err)
			}
			got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(d, 30)))
			if err != nil || !bytes.HasPrefix(want, got) || len(got) != min(30, len(want)) {
				t.Fatalf("%d bytes: event %d begins with %x, %v", n, i, got, err)
			}
			if i == 0 && n%2 == 0 {
				continue // the rest is passed over
			}
			rest, err := io.ReadAll(d)
			if err != nil || !bytes.Equal(append(got, rest...), want) {
				t.Fatalf("%d bytes: event %d has %d, %v", n, i, len(got)+len(rest), err)
			}
		}
		if _, err := d.Next(); err != nil {
			t.Errorf("%d bytes: Next() = %v", n, err)
		}
		if _, err := d.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: Next() at the end of the connection = %v", n, err)
		}
	}
}

func TestDumpProtocol(t *testing.T) {
	event := eventOf(30, 10)
	short := bytes.Clone(event)
	binary.LittleEndian.PutUint32(short[offEventLength:], uint32(len(event)-1))
	long := bytes.Clone(event)
	binary.LittleEndian.PutUint32(long[offEventLength:], uint32(len(event)+1))
	tiny := bytes.Clone(event)
	binary.LittleEndian.PutUint32(tiny[offEventLength:], 3)
	reordered := sent(ok(event))
	reordered[3] = 7
	for name, b := range map[string][]byte{
		"a message that is longer":   sent(ok(short)),
		"a message that is shorter":  sent(ok(long)),
		"an event without a header":  sent(ok(tiny)),
		"a message of two bytes":     sent([]byte{0, 1}),
		"an empty message":           sent(nil),
		"something else":             sent([]byte{0x42, 1, 2}),
		"an error without a number":  sent([]byte{packetError, 1}),
		"packets in the wrong order": reordered,
	} {
		d := dumpOf(bytes.NewReader(b))
		_, err := d.Next()
		if err == nil {
			_, err = io.ReadAll(d)
		}
		if !errors.Is(err, ErrDumpProtocol) {
			t.Errorf("%s: %v, want ErrDumpProtocol", name, err)
		}
		if _, again := d.Next(); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: Next() after an error = %v, want %v", name, again, err)
		}
	}
	d := dumpOf(bytes.NewReader(sent(append([]byte{packetError, 0xd4, 4}, "#HY000no\nsuch\x00thing"...))))
	if _, err := d.Next(); !IsDumpRefused(err) || bytes.ContainsAny([]byte(err.Error()), "\n\x00") {
		t.Errorf("Next() = %v, want 1236 on one line", err)
	}
	whole := sent(ok(event), ok(event))
	for n := range len(whole) { // cut anywhere
		d := dumpOf(bytes.NewReader(whole[:n]))
		var err error
		for err == nil {
			if _, err = d.Next(); err == nil {
				_, err = io.ReadAll(d)
			}
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// FuzzDump reads what a hostile server sends: it never panics, hands out exactly as many bytes as an event's header says, and repeats its error.
func FuzzDump(f *testing.F) {
	f.Add(sent(ok(eventOf(30, 100)), ok(eventOf(27, 20)), ok(eventOf(16, 8))))
	f.Add(sent(ok(eventOf(30, 100)), []byte{packetEOF, 0, 0, 0, 0}))
	f.Add(sent([]byte{packetError, 0xd4, 4, '#', 'H', 'Y', '0', '0', '0', 'x'}))
	f.Add([]byte{0xff, 0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := dumpOf(bytes.NewReader(b))
		for i := 0; ; i++ {
			e, err := d.Next()
			if err == nil && i%2 == 0 {
				var n int64
				if n, err = io.Copy(io.Discard, d); err == nil && n != e.Size {
					t.Fatalf("read %d bytes of an event of %d", n, e.Size)
				}
			}
			if err != nil {
				if _, again := d.Next(); again == nil || again.Error() != err.Error() {
					t.Fatalf("after %v comes %v", err, again)
				}
				return
			}
		}
	})
}
