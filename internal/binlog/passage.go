package binlog

import (
	"errors"
	"fmt"
	"io"
)

// Begin returns the next transaction as its first event shows it: GTID, times, position and length. Kinds, Tables and Statements are nil. What is left of
// the transaction before is read and verified first. It returns io.EOF at the end; in a live file, also where the next transaction's first event is not
// complete. Other errors: as Next.
//
// It is for who copies transactions from a source that can be read once: CopyTransaction follows, or the next Begin.
func (r *Reader) Begin() (Transaction, error) {
	if err := r.restOfTransaction(io.Discard); err != nil {
		return Transaction{}, err
	}
	event, err := r.nextBeginning()
	if err != nil {
		return Transaction{}, err
	}
	t, err := r.begin(event)
	if err != nil {
		return Transaction{}, err
	}
	r.end = t.Position + t.Bytes
	return t, nil
}

// CopyTransaction writes the transaction that Begin returned to w, byte for byte, and verifies it. After an error an unknown part was written; io.EOF
// says that the file is live and that the transaction is not complete. Other errors: as Next, and w's.
func (r *Reader) CopyTransaction(w io.Writer) error { return r.restOfTransaction(w) }

// restOfTransaction goes from the event that was read to the end of its transaction, which must be the end of an event.
func (r *Reader) restOfTransaction(w io.Writer) error {
	for r.end > 0 {
		if err := r.Copy(w); err != nil {
			return err
		}
		switch event := r.event; {
		case r.position > r.end:
			return r.fail(event, fmt.Errorf("%v is longer than its transaction", event.Type))
		case r.position == r.end:
			r.end = 0
			return nil
		}
		event, err := r.Next()
		if err == io.EOF && !r.Live {
			err = r.fail(Event{Position: r.position}, errors.New("the file ends in the middle of a transaction"))
		}
		if err != nil {
			return err
		}
		if belongsToFile(event.Type) || begins(event.Type) {
			return r.fail(event, fmt.Errorf("%v in the middle of a transaction", event.Type))
		}
	}
	return nil
}

// belongsToFile says whether an event is one that a transaction never has.
func belongsToFile(t Type) bool {
	return t == TypeFormatDescription || t == TypePreviousGTIDs || t == TypeRotate || t == TypeStop
}
