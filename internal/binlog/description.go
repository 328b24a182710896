package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Layout of the data of a format description event: version[2] server[50] created[4] header_size[1] post_header_sizes[n] checksum_algorithm[1].
// A checksum of its own follows whatever the algorithm of the other events is.
const (
	descriptionVersion    = 4
	descriptionServerSize = 50
	offDescriptionServer  = 2
	offDescriptionCreated = 52
	offDescriptionHeader  = 56
	offDescriptionSizes   = 57 // of event type 1
	maxDescription        = 4 << 10

	checksumNone  = 0
	checksumCRC32 = 1
)

// postHeaderSizes are the lengths of fixed parts that this package relies on. They have not changed since 5.7.
var postHeaderSizes = map[Type]byte{TypeQuery: queryPostHeader, TypeTableMap: tableMapPostHeader, TypeGTID: gtidPostHeader}

// A Description is what a format description event says of the events after it.
type Description struct {
	ServerVersion string // of the server that wrote them, like "9.7.4"
	Checksums     bool   // whether each of them ends with a CRC-32

	event []byte // the whole event as it was read
}

// checksumSize is the number of bytes that follow the data of an event.
func (d Description) checksumSize() int64 {
	if d.Checksums {
		return checksumSize
	}
	return 0
}

// parseDescription takes a whole event, its checksum verified, and keeps a copy.
func parseDescription(event []byte) (Description, error) {
	data := event[headerSize : len(event)-checksumSize]
	if len(data) < offDescriptionSizes+int(TypePreviousGTIDs)+1 {
		return Description{}, fmt.Errorf("format description of %d bytes is too short", len(event))
	}
	if v := binary.LittleEndian.Uint16(data); v != descriptionVersion {
		return Description{}, fmt.Errorf("binlog format %d, known is %d", v, descriptionVersion)
	}
	if n := data[offDescriptionHeader]; n != headerSize {
		return Description{}, fmt.Errorf("event headers of %d bytes, known are %d", n, headerSize)
	}
	sizes, algorithm := data[offDescriptionSizes:len(data)-1], data[len(data)-1]
	for t, want := range postHeaderSizes {
		if got := sizes[t-1]; got != want {
			return Description{}, fmt.Errorf("%v with a fixed part of %d bytes, known is %d", t, got, want)
		}
	}
	if algorithm != checksumNone && algorithm != checksumCRC32 {
		return Description{}, fmt.Errorf("checksum algorithm %d is unknown", algorithm)
	}
	server, _, _ := bytes.Cut(data[offDescriptionServer:offDescriptionCreated], []byte{0})
	return Description{ServerVersion: printable(string(server)), Checksums: algorithm == checksumCRC32, event: bytes.Clone(event)}, nil
}

// at returns the event for another place: at this position of a file that is complete. The time at which the server started is left out: who
// executes the event would take it for the restart of a source and throw away its temporary tables.
func (d Description) at(position int64) []byte {
	event := bytes.Clone(d.event)
	clear(event[headerSize+offDescriptionCreated : headerSize+offDescriptionHeader])
	return seal(event, position, true)
}

// noneBefore returns a previous GTIDs event, with an empty set, for position. A server refuses a file without one as relay log or binlog.
func (d Description) noneBefore(position int64) []byte {
	event := d.newEvent(TypePreviousGTIDs, make([]byte, 8))
	event[offFlags] = flagIgnorable
	return seal(event, position, d.Checksums)
}

// stop returns a Stop event for position: the end of a file.
func (d Description) stop(position int64) []byte {
	return seal(d.newEvent(TypeStop, nil), position, d.Checksums)
}

// newEvent returns an event in the form that d describes. It must be sealed.
func (d Description) newEvent(t Type, data []byte) []byte {
	event := make([]byte, headerSize+int64(len(data))+d.checksumSize())
	event[offType] = byte(t)
	copy(event[offServerID:offSize], d.event[offServerID:])
	copy(event[headerSize:], data)
	return event
}

// seal fills in what depends on an event's place and content.
func seal(event []byte, position int64, checksum bool) []byte {
	binary.LittleEndian.PutUint32(event[offSize:], uint32(len(event)))
	binary.LittleEndian.PutUint32(event[offNext:], uint32(position+int64(len(event))))
	event[offFlags] &^= flagInUse
	if checksum {
		n := len(event) - checksumSize
		binary.LittleEndian.PutUint32(event[n:], crc32.ChecksumIEEE(event[:n]))
	}
	return event
}
