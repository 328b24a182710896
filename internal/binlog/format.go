package binlog

import (
	"encoding/binary"
	"strconv"
)

// All integers of a binlog are little-endian.
const (
	magic          = "\xfebin"
	encryptedMagic = "\xfdbin"

	headerSize   = 19 // time[4] type[1] server_id[4] size[4] next[4] flags[2]
	offType      = 4
	offServerID  = 5
	offSize      = 9
	offNext      = 13 // position of the next event, modulo 2^32
	offFlags     = 17
	checksumSize = 4

	flagInUse     = 0x01 // in the header of the format description event: the server has not closed the file
	flagIgnorable = 0x80 // who does not know the event may pass it over
)

// A Type is the kind of an event.
type Type byte

// The types of events that mean something to this package. A server knows more, and newer servers will know others.
const (
	TypeQuery              Type = 2
	TypeStop               Type = 3 // the server shut down
	TypeRotate             Type = 4 // the server went on in the next file
	TypeFormatDescription  Type = 15
	TypeTableMap           Type = 19
	TypeIncident           Type = 26
	TypeHeartbeat          Type = 27
	TypeIgnorable          Type = 28
	TypeWriteRows          Type = 30
	TypeUpdateRows         Type = 31
	TypeDeleteRows         Type = 32
	TypeGTID               Type = 33
	TypeAnonymousGTID      Type = 34 // begins a transaction without a GTID
	TypePreviousGTIDs      Type = 35
	TypeXAPrepare          Type = 38
	TypePartialUpdateRows  Type = 39 // an update of parts of JSON documents
	TypeTransactionPayload Type = 40 // all events of a transaction but the first, compressed
	TypeHeartbeat2         Type = 41
	TypeTaggedGTID         Type = 42 // a GTID with a tag, from 8.3 on
	lastKnownType               = TypeTaggedGTID
)

// String returns the type's number.
func (t Type) String() string { return "event type " + strconv.Itoa(int(t)) }

// An Event is one event of a binlog.
type Event struct {
	Type      Type
	Timestamp uint32 // seconds since 1970: when its statement began
	ServerID  uint32 // of the server that executed it first
	Flags     uint16
	Position  int64 // of its first byte in the file
	Size      int64 // bytes in the file, header and checksum included
	// Data is what lies between header and checksum, or the first part of it if it is long. The next call of a method of the Reader
	// overwrites it.
	Data []byte
	// Whole says that Data is complete and that its checksum was verified. Otherwise that has not happened yet: the next call of Copy or
	// Next does it.
	Whole bool

	next uint32 // as in the header
}

func parseHeader(b []byte, position int64) Event {
	return Event{
		Timestamp: binary.LittleEndian.Uint32(b),
		Type:      Type(b[offType]),
		ServerID:  binary.LittleEndian.Uint32(b[offServerID:]),
		Size:      int64(binary.LittleEndian.Uint32(b[offSize:])),
		Flags:     binary.LittleEndian.Uint16(b[offFlags:]),
		next:      binary.LittleEndian.Uint32(b[offNext:]),
		Position:  position,
	}
}
