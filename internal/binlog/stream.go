package binlog

import (
	"fmt"
	"io"
	"strings"
	"time"

	"ordinal/mysqlx"
)

// Magic is what a binlog begins with, before its first event.
const Magic = magic

// NewStream reads events that come from a server and not from a file: src begins with [Magic] all the same, and each format description in it says
// how the events after it are. Positions are counted from the beginning of src. An end in the middle of an event is an error even if the server was
// still writing. Errors: as NewReader.
func NewStream(name string, src io.Reader) (*Reader, error) {
	r, err := NewReader(name, src)
	if err == nil {
		r.Live = false
	}
	return r, err
}

// Begins says whether the event is the first one of a transaction.
func (e Event) Begins() bool { return begins(e.Type) }

// StandsAlone says whether the event belongs to the file and not to a transaction.
func (e Event) StandsAlone() bool { return standsAlone(e) }

// A Beginning is what the first event of a transaction says.
type Beginning struct {
	// Source is what the GTID has before its last colon, server UUID and perhaps tag, and Number what it has behind it. Source is "" for a
	// transaction without a GTID.
	Source    string
	Number    uint64
	Committed time.Time // by the server that wrote this binlog
	// OriginallyCommitted is the time on the server where the transaction is from.
	OriginallyCommitted time.Time
	Bytes               int64 // of all events of the transaction, this one included
}

// GTID returns the GTID, "" if there is none.
func (b Beginning) GTID() string {
	if b.Source == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", b.Source, b.Number)
}

// Beginning reads an event that Begins a transaction and is Whole. The error is a *DamageError that knows no file's name but the reader's.
func (r *Reader) Beginning(e Event) (Beginning, error) {
	if !e.Begins() || !e.Whole {
		return Beginning{}, r.fail(e, fmt.Errorf("%v of %d bytes does not begin a transaction", e.Type, e.Size))
	}
	b, err := parseBeginning(e.Type, e.Data)
	if err != nil {
		return Beginning{}, r.fail(e, fmt.Errorf("%v: %w", e.Type, err))
	}
	out := Beginning{Committed: b.committed, OriginallyCommitted: b.original, Bytes: b.length}
	if at := strings.LastIndexByte(b.gtid, ':'); at > 0 {
		out.Source = b.gtid[:at]
		if _, err := fmt.Sscanf(b.gtid[at+1:], "%d", &out.Number); err != nil || out.Number < 1 || out.Number > maxTransactionNo {
			return Beginning{}, r.fail(e, fmt.Errorf("%v: transaction number %s", e.Type, b.gtid[at+1:]))
		}
	}
	return out, nil
}

// At returns the format description event for a position of another, complete file. The time at which the server started is left out: who executes
// the event would take it for the restart of a source and throw away its temporary tables. It is empty for a Description that no event was read for.
func (d Description) At(position int64) []byte {
	if d.event == nil {
		return nil
	}
	return d.at(position)
}

// Previous returns a previous GTIDs event for a position: the transactions of set come before.
func (d Description) Previous(set mysqlx.GTIDSet, position int64) []byte {
	event := d.newEvent(TypePreviousGTIDs, set.AppendEncoded(nil))
	event[offFlags] = flagIgnorable
	return seal(event, position, d.Checksums)
}

// Stop returns a Stop event for a position: the end of a file.
func (d Description) Stop(position int64) []byte { return d.stop(position) }
