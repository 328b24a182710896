package mysqltest

import (
	"testing"
	"time"

	"ordinal/mysqlx"
)

// DB returns root's connections over the socket. They are closed with the test.
func (s *Server) DB() *mysqlx.DB { return s.db }

// Root returns the login of root over the socket.
func (s *Server) Root() mysqlx.Endpoint { return s.root }

// Exec runs one statement as root.
func (s *Server) Exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if err := s.db.Exec(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// Query returns all rows of a statement as text, NULL as "NULL".
func (s *Server) Query(t testing.TB, query string, args ...any) [][]string {
	t.Helper()
	rows, err := s.db.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return rows
}

// QueryString returns the only column of the only row of a statement.
func (s *Server) QueryString(t testing.TB, query string, args ...any) string {
	t.Helper()
	rows := s.Query(t, query, args...)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: got %v, want one value", query, rows)
	}
	return rows[0][0]
}

// Eventually polls until ok returns true, and fails the test when that takes longer than a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: test ended", what)
		case <-time.After(pollInterval):
		}
	}
}
