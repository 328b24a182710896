package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"
)

const (
	tableMapPostHeader = 8 // table[6] flags[2]; then schema and table, each with its length before and a zero behind
	maxTables          = 100
	maxStatements      = 20
)

// What a transaction does, as in Transaction.Kinds.
const (
	KindInsert    = "insert"
	KindUpdate    = "update"
	KindDelete    = "delete"
	KindStatement = "statement"  // DDL, or DML that is logged as a statement
	KindXAPrepare = "xa_prepare" // the first phase: nothing is committed yet
	KindIncident  = "incident"   // the server could not log something
)

// A Transaction is what a binlog shows of one. The JSON form is that of docs/formats/errant-transactions.md.
type Transaction struct {
	GTID      string    `json:"gtid"`                  // "" for a transaction without
	Committed time.Time `json:"committed_at,omitzero"` // by the server that wrote this binlog
	// OriginallyCommitted is the time on the server where the transaction is from. It equals Committed if that wrote this binlog.
	OriginallyCommitted time.Time `json:"originally_committed_at,omitzero"`
	Binlog              string    `json:"binlog"`   // the name that NewReader was given
	Position            int64     `json:"position"` // of its first byte there
	Bytes               int64     `json:"bytes"`
	// Kinds says what it does, in order, and Tables which tables' rows it changes, like "shop.orders". A table's DDL is in Statements.
	Kinds      []string    `json:"kinds"`
	Tables     []string    `json:"tables"`
	Statements []Statement `json:"statements"`
	// Incomplete says that there are more tables or statements than are listed here.
	Incomplete bool `json:"incomplete,omitempty"`
	// Compressed says that what the transaction does is compressed, and nothing of it is listed.
	Compressed bool `json:"compressed"`
}

// Transactions returns the transactions from here to the end of the file, in order. One that is not complete at the end of a live file is left
// out. Errors: as Next; the iteration ends with them. It reads on with Next, so at most one iteration of a reader makes sense.
func (r *Reader) Transactions() iter.Seq2[Transaction, error] {
	return func(yield func(Transaction, error) bool) {
		for {
			t, err := r.transaction()
			if err == io.EOF {
				return
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// transaction returns the next one. The length that its first event gives says where it ends; its events must end exactly there.
func (r *Reader) transaction() (t Transaction, err error) {
	event, err := r.nextBeginning()
	if err != nil {
		return t, err
	}
	b, err := parseBeginning(event.Type, event.Data)
	if err != nil {
		return t, r.fail(event, fmt.Errorf("%v: %w", event.Type, err))
	}
	t = Transaction{
		GTID: b.gtid, Committed: b.committed, OriginallyCommitted: b.original, Binlog: r.name, Position: event.Position, Bytes: b.length,
		Kinds: []string{}, Tables: []string{}, Statements: []Statement{},
	}
	for end := t.Position + t.Bytes; ; {
		switch next := event.Position + event.Size; {
		case next > end:
			return t, r.fail(event, fmt.Errorf("%v is longer than its transaction of %d bytes", event.Type, t.Bytes))
		case next == end:
			return t, r.Copy(io.Discard) // the last event may not have been verified yet
		}
		event, err = r.Next()
		if err == io.EOF && !r.Live {
			err = r.fail(Event{Position: t.Position}, errors.New("the file ends in the middle of a transaction"))
		}
		if err != nil {
			return t, err
		}
		if err := t.add(event); err != nil {
			return t, r.fail(event, err)
		}
	}
}

// nextBeginning returns the event with which the next transaction begins.
func (r *Reader) nextBeginning() (Event, error) {
	for {
		event, err := r.Next()
		if err != nil {
			return event, err
		}
		if begins(event.Type) {
			if !event.Whole {
				return event, r.fail(event, fmt.Errorf("%v of %d bytes", event.Type, event.Size))
			}
			return event, nil
		}
		if !standsAlone(event) {
			return event, r.fail(event, fmt.Errorf("%v outside of a transaction", event.Type))
		}
	}
}

// fail makes an error of the reader that stays.
func (r *Reader) fail(event Event, err error) error {
	r.err = r.damage(event.Position, err.Error())
	return r.err
}

func begins(t Type) bool { return t == TypeGTID || t == TypeAnonymousGTID || t == TypeTaggedGTID }

// standsAlone says whether an event belongs to the file and not to a transaction. An unknown one may.
func standsAlone(e Event) bool {
	switch e.Type {
	case TypeFormatDescription, TypePreviousGTIDs, TypeRotate, TypeStop, TypeHeartbeat, TypeHeartbeat2, TypeIncident, TypeIgnorable:
		return true
	}
	return e.Type > lastKnownType || e.Flags&flagIgnorable != 0
}

// add notes what an event within the transaction shows.
func (t *Transaction) add(e Event) error {
	switch e.Type {
	case TypeGTID, TypeAnonymousGTID, TypeTaggedGTID, TypeFormatDescription, TypePreviousGTIDs, TypeRotate, TypeStop:
		return fmt.Errorf("%v in the middle of a transaction of %d bytes", e.Type, t.Bytes)
	case TypeQuery:
		return t.addStatement(e)
	case TypeTableMap:
		return t.addTable(e)
	case TypeWriteRows:
		t.addKind(KindInsert)
	case TypeUpdateRows, TypePartialUpdateRows:
		t.addKind(KindUpdate)
	case TypeDeleteRows:
		t.addKind(KindDelete)
	case TypeXAPrepare:
		if onePhase := len(e.Data) > 0 && e.Data[0] == 1; !onePhase {
			t.addKind(KindXAPrepare)
		}
	case TypeIncident:
		t.addKind(KindIncident)
	case TypeTransactionPayload:
		t.Compressed = true
	}
	return nil
}

func (t *Transaction) addKind(kind string) {
	if !slices.Contains(t.Kinds, kind) {
		t.Kinds = append(t.Kinds, kind)
	}
}

func (t *Transaction) addTable(e Event) error {
	if len(e.Data) < tableMapPostHeader {
		return fmt.Errorf("%v: %w", e.Type, errShort)
	}
	schema, rest, err := countedName(e.Data[tableMapPostHeader:])
	if err != nil {
		return fmt.Errorf("%v: %w", e.Type, err)
	}
	table, _, err := countedName(rest)
	if err != nil {
		return fmt.Errorf("%v: %w", e.Type, err)
	}
	switch name := printable(schema + "." + table); {
	case slices.Contains(t.Tables, name):
	case len(t.Tables) < maxTables:
		t.Tables = append(t.Tables, name)
	default:
		t.Incomplete = true
	}
	return nil
}

// countedName reads a name with its length before and a zero behind it.
func countedName(b []byte) (name string, rest []byte, err error) {
	n, b, err := packedInt(b)
	if err != nil {
		return "", nil, err
	}
	if uint64(len(b)) <= n {
		return "", nil, errShort
	}
	return string(b[:n]), b[n+1:], nil
}

func (t *Transaction) addStatement(e Event) error {
	if len(e.Data) < queryPostHeader {
		return fmt.Errorf("%v: %w", e.Type, errShort)
	}
	schemaLength := int(e.Data[offQuerySchemaLength])
	text := e.Data[queryPostHeader:]
	skip := int(binary.LittleEndian.Uint16(e.Data[offQueryVariablesLength:]))
	if len(text) < skip+schemaLength+1 {
		return fmt.Errorf("%v: %w", e.Type, errShort)
	}
	text = text[skip:]
	schema, query := string(text[:schemaLength]), string(text[schemaLength+1:])
	if isFrame(query) {
		return nil
	}
	t.addKind(KindStatement)
	if len(t.Statements) == maxStatements {
		t.Incomplete = true
		return nil
	}
	t.Statements = append(t.Statements, newStatement(schema, query, !e.Whole))
	return nil
}
