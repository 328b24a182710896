package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ordinal/mysqlx"
)

// Layout of the data of a previous GTIDs event: count[8] (uuid[16] (tag) n[8] (first[8] end[8])*n)*count. With tags, which come as a
// length of variable size and characters, the highest and the lowest byte of count are 1 and the number is between them.
const (
	maxPrevious   = 16 << 20 // bytes: a million intervals
	previousChunk = 512 << 10
	taggedFormat  = 1
)

// PreviousGTIDs returns the GTIDs of the transactions in all binlogs before this one, as the second event of the file says. It is called
// before Next, which returns all events all the same. ok is false if there is no such event. Errors: as Next.
func (r *Reader) PreviousGTIDs() (set mysqlx.GTIDSet, ok bool, err error) {
	event, err := r.Next()
	if err == io.EOF {
		r.err = nil // found again by Next
		return set, false, nil
	}
	if err != nil {
		return set, false, err
	}
	r.again = true
	if event.Type != TypePreviousGTIDs {
		return set, false, nil
	}
	if err = r.load(maxPrevious); err == nil {
		if set, err = parsePrevious(r.event.Data); err != nil {
			err = r.damage(event.Position, "previous gtids: "+err.Error())
		}
	}
	if err != nil {
		r.err, r.again = err, false
	}
	return set, err == nil, err
}

func parsePrevious(b []byte) (set mysqlx.GTIDSet, err error) {
	if len(b) < 8 {
		return set, errShort
	}
	count := binary.LittleEndian.Uint64(b)
	format := count >> 56
	switch format {
	case 0:
	case taggedFormat:
		count = count << 8 >> 16
	default:
		return set, fmt.Errorf("format %d is unknown", format)
	}
	// The text form is the only way into a GTIDSet, and its length is limited: a large set comes in parts.
	var text strings.Builder
	flush := func() error {
		part, err := mysqlx.ParseGTIDSet(text.String())
		set = set.Union(part)
		text.Reset()
		return err
	}
	for b = b[8:]; count > 0; count-- {
		if len(b) < 16 {
			return set, errShort
		}
		uuid, tag := [16]byte(b), ""
		b = b[16:]
		if format == taggedFormat {
			if tag, b, err = tagText(b); err != nil {
				return set, err
			}
		}
		if len(b) < 8 {
			return set, errShort
		}
		intervals := binary.LittleEndian.Uint64(b)
		for b = b[8:]; intervals > 0; intervals-- {
			if len(b) < 16 {
				return set, errShort
			}
			first, end := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
			b = b[16:]
			if first < 1 || end <= first || end-1 > maxTransactionNo {
				return set, fmt.Errorf("an interval from %d to before %d", first, end)
			}
			text.WriteString(sourceText(uuid, tag) + ":" + strconv.FormatUint(first, 10) + "-" + strconv.FormatUint(end-1, 10) + ",")
			if text.Len() > previousChunk {
				if err := flush(); err != nil {
					return set, err
				}
			}
		}
	}
	if len(b) > 0 {
		return set, errors.New("more bytes than it says")
	}
	return set, flush()
}
