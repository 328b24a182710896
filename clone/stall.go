package clone

import (
	"io"
	"time"
)

// A stallReader closes a body that brings nothing for too long: a silent peer whose kernel still answers would otherwise be
// waited for for ever.
type stallReader struct {
	body  io.ReadCloser
	limit time.Duration
	donor string
}

// Read waits at most the limit for at least one byte.
func (s *stallReader) Read(p []byte) (int, error) {
	watch := time.AfterFunc(s.limit, func() {
		_ = s.body.Close() // makes the read below return; that it was us is told by the timer
	})
	n, err := s.body.Read(p)
	if !watch.Stop() {
		return n, &StalledError{Donor: s.donor, After: s.limit}
	}
	return n, err
}
