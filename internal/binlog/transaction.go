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
	// ServerID is that of the server which executed it first.
	ServerID uint32 `json:"-"`
	// Incomplete says that there are more tables or statements than are listed here.
	Incomplete bool `json:"incomplete,omitempty"`
	// Effects says what it does to what, in order, if the reader was asked for it: see Reader.Detail. Unlike Statements it is complete unless Incomplete is
	// set, and has names only.
	Effects []Effect `json:"-"`
	// Compressed says that what the transaction does is compressed, and nothing of it is listed unless Reader.Detail is set.
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
	if t, err = r.begin(event); err != nil {
		return t, err
	}
	t.Kinds, t.Tables, t.Statements = []string{}, []string{}, []Statement{}
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
		if err := r.add(&t, event); err != nil {
			return t, err
		}
	}
}

// begin reads the first event of a transaction.
func (r *Reader) begin(event Event) (Transaction, error) {
	b, err := parseBeginning(event.Type, event.Data)
	if err != nil {
		return Transaction{}, r.fail(event, fmt.Errorf("%v: %w", event.Type, err))
	}
	return Transaction{
		GTID: b.gtid, Committed: b.committed, OriginallyCommitted: b.original, Binlog: r.name, Position: event.Position, Bytes: b.length,
		ServerID: event.ServerID,
	}, nil
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

// add notes what the event that was read shows.
func (r *Reader) add(t *Transaction, e Event) error {
	if belongsToFile(e.Type) || begins(e.Type) {
		return r.fail(e, fmt.Errorf("%v in the middle of a transaction of %d bytes", e.Type, t.Bytes))
	}
	if e.Type == TypeTransactionPayload {
		t.Compressed = true
		if r.Detail {
			return r.addPayload(t, e)
		}
	}
	if err := r.tables.add(t, e, r.Detail); err != nil {
		return r.fail(e, err)
	}
	return nil
}

// mapped has the names of the tables that the rows of a transaction are of, by the numbers that its events use.
type mapped map[uint64]Effect

// add notes what one event shows. detail: what it does to what, too.
func (m *mapped) add(t *Transaction, e Event, detail bool) error {
	switch e.Type {
	case TypeQuery:
		return t.addStatement(e, detail)
	case TypeTableMap:
		return m.addTable(t, e, detail)
	case TypeWriteRows:
		return m.addRows(t, e, KindInsert, detail)
	case TypeUpdateRows, TypePartialUpdateRows:
		return m.addRows(t, e, KindUpdate, detail)
	case TypeDeleteRows:
		return m.addRows(t, e, KindDelete, detail)
	case TypeXAPrepare:
		if onePhase := len(e.Data) > 0 && e.Data[0] == 1; !onePhase {
			t.addKind(KindXAPrepare)
		}
	case TypeIncident:
		t.addKind(KindIncident)
	}
	return nil
}

// addRows notes that rows of a table are changed.
func (m *mapped) addRows(t *Transaction, e Event, kind string, detail bool) error {
	t.addKind(kind)
	if !detail {
		return nil
	}
	effect := Effect{Action: ActionUnclear} // of a table that is not kept
	if number, err := tableNumber(e); err == nil {
		if table, ok := (*m)[number]; ok {
			effect = table
			effect.Action = Action(kind)
		}
	}
	t.addEffect(effect)
	return nil
}

// tableNumber reads the first bytes of a table map or of rows: six of them are the number.
func tableNumber(e Event) (uint64, error) {
	if len(e.Data) < tableMapPostHeader {
		return 0, fmt.Errorf("%v: %w", e.Type, errShort)
	}
	var full [8]byte
	copy(full[:], e.Data[:6])
	return binary.LittleEndian.Uint64(full[:]), nil
}

func (t *Transaction) addKind(kind string) {
	if !slices.Contains(t.Kinds, kind) {
		t.Kinds = append(t.Kinds, kind)
	}
}

func (m *mapped) addTable(t *Transaction, e Event, detail bool) error {
	number, err := tableNumber(e)
	if err != nil {
		return err
	}
	schema, rest, err := countedName(e.Data[tableMapPostHeader:])
	if err != nil {
		return fmt.Errorf("%v: %w", e.Type, err)
	}
	table, _, err := countedName(rest)
	if err != nil {
		return fmt.Errorf("%v: %w", e.Type, err)
	}
	if detail {
		if *m == nil || len(*m) >= maxEffects {
			*m = make(mapped) // of those that are forgotten, the rows would be unclear
		}
		(*m)[number] = Effect{Object: ObjectTable, Schema: schema, Name: table}
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

func (t *Transaction) addStatement(e Event, detail bool) error {
	q, err := parseQuery(e.Data)
	if err != nil {
		return fmt.Errorf("%v: %w", e.Type, err)
	}
	if isFrame(q.text) {
		return nil
	}
	t.addKind(KindStatement)
	if detail {
		for _, effect := range q.effects(!e.Whole) {
			t.addEffect(effect)
		}
	}
	if len(t.Statements) == maxStatements {
		t.Incomplete = true
		return nil
	}
	t.Statements = append(t.Statements, newStatement(q.schema, q.text, !e.Whole))
	return nil
}
