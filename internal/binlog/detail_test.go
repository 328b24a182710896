package binlog_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"ordinal/internal/binlog"
)

// effects returns what each transaction of a file does, by GTID without its server.
func effects(t *testing.T, r *binlog.Reader) map[string]string {
	t.Helper()
	all := map[string]string{}
	r.Detail = true
	for tx, err := range r.Transactions() {
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range tx.Effects {
			list = append(list, strings.TrimSpace(string(e.Action)+" "+e.Object+" "+strings.Trim(e.Schema+"."+e.Name, ".")))
		}
		_, number, _ := strings.Cut(tx.GTID, ":")
		all[number] = strings.Join(list, "; ")
	}
	return all
}

// TestDetail reads what a server has written, compressed rows among it.
func TestDetail(t *testing.T) {
	tr := newTree(t)
	all := map[string]string{}
	for _, name := range tr.names {
		r, err := binlog.NewReader(name, bytes.NewReader(tr.files[name]))
		if err != nil {
			t.Fatal(err)
		}
		for gtid, what := range effects(t, r) {
			all[gtid] = what
		}
	}
	for gtid, want := range map[string]string{
		"1": "create schema shop", "2": "create table shop.orders", "3": "insert table shop.orders", "4": "update table shop.orders",
		"5":      "insert table shop.orders", // compressed
		"6":      "insert table shop.orders; delete table shop.orders",
		"heal:3": "drop table shop.copies",
	} {
		if all[gtid] != want {
			t.Errorf("%s does %q, want %q", gtid, all[gtid], want)
		}
	}
	accounts, odd := 0, false
	for _, what := range all {
		if strings.HasSuffix(what, " account") {
			accounts++
		}
		odd = odd || what == "insert table shop.odd  \"name"
	}
	if accounts != 3 || !odd {
		t.Errorf("%d transactions about accounts, odd name found: %t: %q", accounts, odd, all)
	}
}

// newPayload makes a transaction with a payload event of these events.
func newPayload(t *testing.T, compression byte, unpacked uint64, packed []byte) []byte {
	t.Helper()
	head := []byte{2, 3, 252, compression, 0, 3, 9, 254}
	head = binary.LittleEndian.AppendUint64(head, unpacked)
	head = append(head, 1, 9, 254)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(packed)))
	data := append(append(head, 0), packed...)
	event := newEvent(binlog.TypeTransactionPayload, int64(19+len(data)), data...)
	return append(newGTID(1, int64(gtidSize+len(event))), event...)
}

func zstdOf(t *testing.T, raw []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(raw, nil)
}

// tableMap and rows are events about table 7.
func tableMap(schema, table string) []byte {
	data := append([]byte{7, 0, 0, 0, 0, 0, 0, 0, byte(len(schema))}, schema...)
	data = append(append(data, 0, byte(len(table))), table...)
	data = append(data, 0, 1, 3, 0, 0)
	return newEvent(binlog.TypeTableMap, int64(19+len(data)), data...)
}

func rows(kind binlog.Type, size int) []byte {
	data := make([]byte, size)
	data[0] = 7
	return newEvent(kind, int64(19+size), data...)
}

func TestCompressedTransactions(t *testing.T) {
	events := slices.Concat(tableMap("shop", "orders"), rows(binlog.TypeWriteRows, 300_000), rows(binlog.TypeDeleteRows, 20))
	n := uint64(len(events))
	packed := zstdOf(t, events)
	for name, c := range map[string]struct {
		transaction []byte
		want        string
	}{
		"zstd":               {newPayload(t, 0, n, packed), "insert table shop.orders; delete table shop.orders"},
		"none":               {newPayload(t, 255, n, events), "insert table shop.orders; delete table shop.orders"},
		"unknown":            {newPayload(t, 7, n, events), "unclear"},
		"not zstd":           {newPayload(t, 0, n, events), "unclear"},
		"cut off":            {newPayload(t, 0, n, packed[:len(packed)-5]), "unclear"},
		"less than it says":  {newPayload(t, 0, n+1, packed), "insert table shop.orders; delete table shop.orders"},
		"more than it says":  {newPayload(t, 0, n-1, packed), "unclear"},
		"bomb":               {newPayload(t, 0, 1<<62, packed), "unclear"},
		"event too short":    {newPayload(t, 255, 19, newEvent(binlog.TypeStop, 3)), "unclear"},
		"rows of nothing":    {newPayload(t, 255, 39, rows(binlog.TypeUpdateRows, 20)), "unclear"},
		"rows without table": {newPayload(t, 255, 22, newEvent(binlog.TypeUpdateRows, 22, 1, 2, 3)), "unclear"},
	} {
		file := append(withoutChecksums(t), c.transaction...)
		r, err := binlog.NewReader("b", bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		got := effects(t, r)["1"]
		// What was understood before it went wrong may be listed too.
		if got != c.want && (c.want != "unclear" || !strings.HasSuffix(got, "; unclear")) {
			t.Errorf("%s: does %q, want %q", name, got, c.want)
		}
	}
}

// TestBeginAndCopy: the transactions of a file, one at a time from a source that is read once.
func TestBeginAndCopy(t *testing.T) {
	tr := newTree(t)
	for _, name := range tr.names {
		file := tr.files[name]
		r, err := binlog.NewReader(name, bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			tx, err := r.Begin()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 1 {
				continue // the next Begin goes on behind it
			}
			var b bytes.Buffer
			if err := r.CopyTransaction(&b); err != nil || !bytes.Equal(b.Bytes(), file[tx.Position:tx.Position+tx.Bytes]) {
				t.Errorf("%s: CopyTransaction() of %s: %v, %d bytes, want %d", name, tx.GTID, err, b.Len(), tx.Bytes)
			}
		}
		if !r.Ended() {
			t.Errorf("%s was not read to its end", name)
		}
	}
}
