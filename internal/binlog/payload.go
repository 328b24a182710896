package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Layout of the data of a transaction payload event: (field length value)* 0 payload, all numbers packed. The payload is the transaction's events without
// their checksums. See the source documentation of Transaction_payload_event.
const (
	payloadEnd         = 0
	payloadSize        = 1
	payloadCompression = 2
	payloadUnpacked    = 3

	compressionZstd = 0
	compressionNone = 255

	maxWindow   = 128 << 20 // what zstd's highest level takes
	maxUnpacked = 64 << 30  // bytes; a server packs no transaction of which it holds more than some GiB
)

// A payload is what the beginning of a payload event says of it.
type payload struct {
	size        uint64
	compression uint64
	unpacked    uint64
}

// parsePayload returns what follows the head.
func parsePayload(data []byte) (p payload, rest []byte, err error) {
	p.compression = compressionNone
	for {
		var field, length, value uint64
		if field, data, err = packedInt(data); err != nil {
			return p, nil, err
		}
		if field == payloadEnd {
			return p, data, nil
		}
		if length, data, err = packedInt(data); err != nil {
			return p, nil, err
		}
		if uint64(len(data)) < length {
			return p, nil, errShort
		}
		if field <= payloadUnpacked {
			if value, _, err = packedInt(data[:length]); err != nil {
				return p, nil, err
			}
		}
		switch field {
		case payloadSize:
			p.size = value
		case payloadCompression:
			p.compression = value
		case payloadUnpacked:
			p.unpacked = value
		}
		data = data[length:]
	}
}

// An unpacker unpacks payloads, with the memory of the one before.
type unpacker struct{ decoder *zstd.Decoder }

func (u *unpacker) reset(src io.Reader) (io.Reader, error) {
	if u.decoder == nil {
		var err error
		u.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
	}
	return u.decoder, u.decoder.Reset(src)
}

// addPayload notes what the events in a compressed transaction show. It reads the payload as it comes: neither it nor what it unpacks to is held. What cannot
// be unpacked, while its checksum is right, makes the transaction an unclear one and is no damage.
func (r *Reader) addPayload(t *Transaction, e Event) error {
	src := &payloadReader{reader: r, data: e.Data}
	events, err := r.unpacker.events(src)
	if err == nil {
		err = r.tables.addAll(t, events)
	}
	if src.err != nil {
		return src.err // of the file; or of its end, where it is live
	}
	if err != nil {
		t.addEffect(Effect{Action: ActionUnclear})
	}
	return nil
}

// events returns what a payload event has packed.
func (u *unpacker) events(src *payloadReader) (events io.Reader, err error) {
	p, rest, err := parsePayload(src.data)
	if err != nil {
		return nil, err
	}
	src.data, events = rest, src
	switch {
	case p.unpacked > maxUnpacked:
		err = fmt.Errorf("it unpacks to %d bytes", p.unpacked)
	case p.compression == compressionZstd:
		events, err = u.reset(src)
	case p.compression != compressionNone:
		err = fmt.Errorf("compression %d is unknown", p.compression)
	}
	return io.LimitReader(events, int64(min(p.unpacked, maxUnpacked))), err
}

// addAll notes what events without checksums show.
func (m *mapped) addAll(t *Transaction, src io.Reader) error {
	buf := make([]byte, headerSize, headerSize+maxData)
	for {
		buf = buf[:headerSize]
		if _, err := io.ReadFull(src, buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		e := parseHeader(buf, 0)
		size := int64(binary.LittleEndian.Uint32(buf[offSize:])) - headerSize
		if size < 0 {
			return errors.New("an event that is shorter than its header")
		}
		first := min(size, maxData)
		buf = buf[:headerSize+first]
		if _, err := io.ReadFull(src, buf[headerSize:]); err != nil {
			return err
		}
		e.Data, e.Whole = buf[headerSize:], first == size
		if err := m.add(t, e, true); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, src, size-first); err != nil {
			return err
		}
	}
}

// payloadReader reads the data of the event that the reader is at: first what is in memory, then the rest from the file. The event is verified at its end.
type payloadReader struct {
	reader *Reader
	data   []byte
	err    error
}

func (p *payloadReader) Read(b []byte) (int, error) {
	for len(p.data) == 0 {
		r := p.reader
		if p.err != nil {
			return 0, p.err
		}
		if r.rest == 0 {
			return 0, io.EOF
		}
		if err := r.more(); err != nil {
			p.err = err
			return 0, err
		}
		p.data = r.buf
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}
