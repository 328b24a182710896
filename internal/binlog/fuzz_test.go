package binlog_test

import (
	"bytes"
	"io"
	"testing"

	"ordinal/internal/binlog"
)

// FuzzReader reads what stands after the beginning of a file without checksums: nothing in it stops a wrong value before it is parsed.
func FuzzReader(f *testing.F) {
	beginning := withoutChecksums(f)
	tr := newTree(f)
	for _, name := range tr.names {
		f.Add(tr.files[name][descriptionEnd(tr.files[name]):], false)
	}
	f.Add(tr.files["binlog.000003"][len(beginning):], true)
	f.Add(append(newGTID(1, gtidSize), newEvent(binlog.TypeTransactionPayload, 1<<31)...), true)
	f.Fuzz(func(t *testing.T, data []byte, live bool) {
		file := append(bytes.Clone(beginning), data...)
		list := func() (all []binlog.Transaction, err error) {
			r, err := binlog.NewReader("fuzz", bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			r.Live = live
			if _, _, err := r.PreviousGTIDs(); err != nil {
				return nil, err
			}
			for tx, err := range r.Transactions() {
				if err != nil {
					return all, err
				}
				all = append(all, tx)
			}
			return all, nil
		}
		all, err := list()
		end := int64(len(beginning))
		for _, tx := range all {
			if tx.Position < end || tx.Bytes <= 0 || tx.Position+tx.Bytes > int64(len(file)) {
				t.Fatalf("transaction at %d, %d bytes, in a file of %d after one that ends at %d", tx.Position, tx.Bytes, len(file), end)
			}
			end = tx.Position + tx.Bytes
		}
		if err != nil {
			return
		}
		// The same events one by one, copied, are the same bytes up to where the file ends in the middle of an event.
		r, err := binlog.NewReader("fuzz", bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		r.Live = live
		var copied bytes.Buffer
		for {
			if _, err = r.Next(); err != nil {
				break
			}
			whole := copied.Len()
			if err = r.Copy(&copied); err != nil {
				copied.Truncate(whole)
				break
			}
		}
		if err != io.EOF || !bytes.HasPrefix(data, copied.Bytes()) || !live && copied.Len() != len(data) {
			t.Fatalf("copied %d of %d bytes, %v", copied.Len(), len(data), err)
		}
	})
}
