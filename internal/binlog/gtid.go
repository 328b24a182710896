package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Layout of the data of a GTID event, and of one for a transaction without GTID: flags[1] uuid[16] number[8] clock_type[1] last_committed[8]
// sequence_number[8] immediate_commit[7] (original_commit[7]) transaction_length[1-9] …
const (
	gtidPostHeader   = 42
	offGTIDUUID      = 1
	offGTIDNumber    = 17
	commitTimeSize   = 7
	hasOriginal      = 1 << 55 // in immediate_commit: original_commit follows
	maxTag           = 32
	maxTransactionNo = math.MaxInt64 - 1
)

// Fields of the data of a tagged GTID event, in the form of the server's serialization library: version size last_needed (field value)*, all
// numbers of variable length.
const (
	fieldFlags = iota
	fieldUUID
	fieldNumber
	fieldTag
	fieldLastCommitted
	fieldSequence
	fieldImmediate
	fieldOriginal
	fieldLength
	lastFieldNeeded = fieldLength // the others are of no interest here
)

const serializationVersion = 1

var errShort = errors.New("it ends too early")

// beginning is what the first event of a transaction says.
type beginning struct {
	gtid                string // "" for a transaction without
	committed, original time.Time
	length              int64 // bytes of the whole transaction, this event included
}

// parseBeginning reads the event with which a transaction begins.
func parseBeginning(t Type, data []byte) (b beginning, err error) {
	if t == TypeTaggedGTID {
		b, err = parseTagged(data)
	} else {
		b, err = parseUntagged(data)
	}
	if err == nil && (b.length <= 0 || b.length > math.MaxInt64/2) {
		err = fmt.Errorf("a transaction of %d bytes", b.length)
	}
	if t == TypeAnonymousGTID {
		b.gtid = ""
	}
	return b, err
}

func parseUntagged(data []byte) (b beginning, err error) {
	if len(data) < gtidPostHeader+commitTimeSize {
		return b, errShort
	}
	number := binary.LittleEndian.Uint64(data[offGTIDNumber:])
	b.gtid = gtidText([16]byte(data[offGTIDUUID:]), "", number)
	data = data[gtidPostHeader:]
	immediate := commitTime(data)
	original := immediate
	data = data[commitTimeSize:]
	if immediate&hasOriginal != 0 {
		if len(data) < commitTimeSize {
			return b, errShort
		}
		immediate, original, data = immediate&^hasOriginal, commitTime(data), data[commitTimeSize:]
	}
	b.committed, b.original = microseconds(immediate), microseconds(original)
	length, _, err := packedInt(data)
	b.length = int64(min(length, math.MaxInt64))
	return b, err
}

func commitTime(data []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(data)) | uint64(binary.LittleEndian.Uint32(data[3:]))>>8<<32
}

func microseconds(n uint64) time.Time {
	if n == 0 || n > math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMicro(int64(n)).UTC()
}

// packedInt reads an integer of the client protocol: a byte up to 250, or a byte that says how many follow. See refman/8.4 and the source
// documentation, "Protocol::LengthEncodedInteger".
func packedInt(b []byte) (n uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errShort
	}
	size := 0
	switch b[0] {
	case 252:
		size = 2
	case 253:
		size = 3
	case 254:
		size = 8
	case 251, 255:
		return 0, nil, fmt.Errorf("%d is no length of an integer", b[0])
	default:
		return uint64(b[0]), b[1:], nil
	}
	if len(b) < 1+size {
		return 0, nil, errShort
	}
	var full [8]byte
	copy(full[:], b[1:1+size])
	return binary.LittleEndian.Uint64(full[:]), b[1+size:], nil
}

func parseTagged(data []byte) (b beginning, err error) {
	var version, size, needed uint64
	for _, n := range []*uint64{&version, &size, &needed} {
		if *n, data, err = varint(data); err != nil {
			return b, err
		}
	}
	if version != serializationVersion {
		return b, fmt.Errorf("serialization version %d, known is %d", version, serializationVersion)
	}
	var uuid [16]byte
	var number, immediate, original, length uint64
	var tag string
	seen := 0
	for len(data) > 0 {
		var field, ignored uint64
		if field, data, err = varint(data); err != nil {
			return b, err
		}
		if field > lastFieldNeeded {
			break // fields are in order
		}
		if seen&^(1<<field-1) != 0 {
			return b, fmt.Errorf("field %d is not in its place", field)
		}
		seen |= 1 << field
		switch field {
		case fieldUUID:
			for i := range uuid {
				var c uint64
				if c, data, err = varint(data); err == nil && c > math.MaxUint8 {
					err = fmt.Errorf("byte %d of the uuid is %d", i, c)
				}
				if err != nil {
					return b, err
				}
				uuid[i] = byte(c)
			}
		case fieldNumber:
			number, data, err = varint(data)
			if number&1 != 0 {
				return b, fmt.Errorf("a negative transaction number")
			}
			number >>= 1
		case fieldTag:
			tag, data, err = tagText(data)
		case fieldImmediate:
			immediate, data, err = varint(data)
			original = immediate
		case fieldOriginal:
			original, data, err = varint(data)
		case fieldLength:
			length, data, err = varint(data)
		default:
			ignored, data, err = varint(data)
			_ = ignored
		}
		if err != nil {
			return b, err
		}
	}
	if want := 1<<fieldUUID | 1<<fieldNumber | 1<<fieldTag | 1<<fieldLength; seen&want != want {
		return b, errShort
	}
	return beginning{
		gtid:      gtidText(uuid, tag, number),
		committed: microseconds(immediate),
		original:  microseconds(original),
		length:    int64(min(length, math.MaxInt64)),
	}, nil
}

// varint reads a number of the server's serialization library: as many bytes follow the first as it has trailing ones.
func varint(b []byte) (n uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errShort
	}
	size := bits.TrailingZeros8(^b[0]) + 1
	if len(b) < size {
		return 0, nil, errShort
	}
	var full [8]byte
	copy(full[:], b[1:size])
	n = binary.LittleEndian.Uint64(full[:])
	if size <= 8 {
		n = n<<(8-size) | uint64(b[0])>>size
	}
	return n, b[size:], nil
}

// tagText reads the tag of a GTID, "" for none.
func tagText(b []byte) (tag string, rest []byte, err error) {
	n, b, err := varint(b)
	if err != nil {
		return "", nil, err
	}
	if n > maxTag {
		return "", nil, fmt.Errorf("a tag of %d characters", n)
	}
	if uint64(len(b)) < n {
		return "", nil, errShort
	}
	for i, c := range b[:n] {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9' || i == 0) {
			return "", nil, fmt.Errorf("a tag with the byte %#x", c)
		}
	}
	return string(b[:n]), b[n:], nil
}

func gtidText(uuid [16]byte, tag string, number uint64) string {
	return fmt.Sprintf("%s:%d", sourceText(uuid, tag), number)
}

// sourceText returns what comes before the number in a GTID.
func sourceText(uuid [16]byte, tag string) string {
	s := fmt.Sprintf("%x-%x-%x-%x-%x", uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:])
	if tag != "" {
		s += ":" + tag
	}
	return s
}
