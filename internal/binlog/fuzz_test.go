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
		list := func(detail bool) (all []binlog.Transaction, err error) {
			r, err := binlog.NewReader("fuzz", bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			r.Live, r.Detail = live, detail
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
		all, err := list(false)
		// A look at what they do changes nothing else: neither which there are nor whether the file is damaged.
		detailed, detailedErr := list(true)
		if len(detailed) != len(all) || (err == nil) != (detailedErr == nil) {
			t.Fatalf("%d transactions, %v; with their effects %d, %v", len(all), err, len(detailed), detailedErr)
		}
		end := int64(len(beginning))
		for _, tx := range all {
			if tx.Position < end || tx.Bytes <= 0 || tx.Position+tx.Bytes > int64(len(file)) {
				t.Fatalf("transaction at %d, %d bytes, in a file of %d after one that ends at %d", tx.Position, tx.Bytes, len(file), end)
			}
			end = tx.Position + tx.Bytes
		}
		// Begin and CopyTransaction find the same ones, and their bytes.
		r, beginErr := binlog.NewReader("fuzz", bytes.NewReader(file))
		if beginErr != nil {
			t.Fatal(beginErr)
		}
		r.Live = live
		_, _, beginErr = r.PreviousGTIDs()
		for i := 0; beginErr == nil; i++ {
			var tx binlog.Transaction
			tx, beginErr = r.Begin()
			var copied bytes.Buffer
			if beginErr == nil {
				beginErr = r.CopyTransaction(&copied)
			}
			if beginErr != nil {
				if beginErr == io.EOF && (i != len(all) || err != nil) {
					t.Fatalf("Begin() ends after %d transactions, Transactions() has %d, %v", i, len(all), err)
				}
				break
			}
			if i < len(all) && (tx.Position != all[i].Position || !bytes.Equal(copied.Bytes(), file[tx.Position:tx.Position+tx.Bytes])) {
				t.Fatalf("Begin() = %+v, %d bytes copied, want %+v", tx, copied.Len(), all[i])
			}
		}
		if err != nil {
			return
		}
		// The same events one by one, copied, are the same bytes up to where the file ends in the middle of an event.
		if r, err = binlog.NewReader("fuzz", bytes.NewReader(file)); err != nil {
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
