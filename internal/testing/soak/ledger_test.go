package main

import (
	"fmt"
	"strings"
	"testing"

	"ordinal/internal/testing/mysqltest"
)

// What the ledger is for: one acknowledged row that is missing is seen, although a row whose answer got lost is there instead.
func TestLedgerSeesWhatIsLost(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	l := &ledger{}
	for _, statement := range []string{"CREATE DATABASE ledger", "CREATE TABLE ledger.rows_written (id INT PRIMARY KEY)"} {
		if err := s.DB().Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		number := l.next()
		if err := s.DB().Exec(t.Context(), fmt.Sprintf("INSERT INTO ledger.rows_written VALUES (%d)", number)); err != nil {
			t.Fatal(err)
		}
		if number != 3 { // its answer gets lost
			l.ack(number)
		}
	}
	if err := l.check(t.Context(), s.DB()); err != nil || l.acked() != 4 {
		t.Errorf("check() = %v with all rows, %d acknowledged", err, l.acked())
	}
	for _, test := range []struct{ do, undo, want string }{
		{"DELETE FROM ledger.rows_written WHERE id = 2", "INSERT INTO ledger.rows_written VALUES (2)", "lost 1 acknowledged rows: 2"},
		{"INSERT INTO ledger.rows_written VALUES (1000)", "DELETE FROM ledger.rows_written WHERE id = 1000", "nobody wrote row 1000"},
		{"DELETE FROM ledger.rows_written WHERE id = 3", "INSERT INTO ledger.rows_written VALUES (3)", ""},
	} {
		if err := s.DB().Exec(t.Context(), test.do); err != nil {
			t.Fatal(err)
		}
		err := l.check(t.Context(), s.DB())
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("check() after %s = %v, want %q", test.do, err, test.want)
		}
		if err := s.DB().Exec(t.Context(), test.undo); err != nil {
			t.Fatal(err)
		}
	}
}
