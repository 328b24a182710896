package binlog

import (
	"os"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// TestLogged: what a server says that it has executed is what its binlogs have, over several of them, and no index is no transactions.
func TestLogged(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	for _, statement := range []string{"CREATE DATABASE one", "FLUSH BINARY LOGS", "CREATE TABLE one.t (id INT PRIMARY KEY)", "INSERT INTO one.t VALUES (1)"} {
		s.Exec(t, statement)
	}
	want, err := mysqlx.ParseGTIDSet(s.QueryString(t, "SELECT @@gtid_executed"))
	if err != nil {
		t.Fatal(err)
	}
	s.Kill9(t)
	dir, err := os.OpenRoot(s.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if got, err := Logged(t.Context(), dir, "binlog"); err != nil || !got.Equal(want) {
		t.Errorf("Logged() = %v, %v, want %v", got, err, want)
	}
	if got, err := Logged(t.Context(), dir, "relay"); err != nil || !got.IsEmpty() {
		t.Errorf("Logged() without an index = %v, %v", got, err)
	}
}
