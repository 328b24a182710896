package s3store_test

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"ordinal/backup/store"
	"ordinal/backup/store/s3store"
)

const (
	bucket   = "backups"
	secretID = "AKIAPLANTEDID"
	secret   = "planted+secret/0123456789"
)

// server is an S3-compatible server over TLS: over plain HTTP gofakes3 would store what signs a chunk as data.
type server struct {
	*httptest.Server
	backend *s3mem.Backend

	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) (answered bool) // see fault

	ended chan struct{} // closed with the test
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{backend: s3mem.New(), ended: make(chan struct{})}
	if err := s.backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSkewLimit(0)).Server()
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before := s.before
		s.mu.Unlock()
		if before == nil || !before(w, r) {
			fake.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(func() {
		close(s.ended)
		s.Close()
	})
	return s
}

// silence keeps a request waiting until the client gives up, or the test ends: of a body that nobody reads net/http does not notice the former.
func (s *server) silence(r *http.Request) bool {
	select {
	case <-r.Context().Done():
	case <-s.ended:
	}
	return true
}

// fault lets f see each request first. It answers, or returns false and leaves it to the server.
func (s *server) fault(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *server) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func (s *server) options() s3store.Options {
	return s3store.Options{
		Bucket: bucket, Prefix: "set/mysql", Endpoint: s.URL, RootCAs: s.roots(), Credentials: s3store.Static(secretID, secret, ""), PartSize: 5 << 20,
		Patience: store.Patience{Pause: time.Millisecond, Longest: 10 * time.Millisecond, Total: 5 * time.Second},
	}
}

// open returns a store on the server; change may be nil.
func (s *server) open(t testing.TB, change func(*s3store.Options)) *s3store.Store {
	t.Helper()
	o := s.options()
	if change != nil {
		change(&o)
	}
	out, err := s3store.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

// uploads is how many multipart uploads are unfinished.
func uploads(t testing.TB, s *s3store.Store) int {
	t.Helper()
	n, err := s.Sweep(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
