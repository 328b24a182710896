package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"ordinal/backup/store"
	"ordinal/backup/store/location"
)

const (
	s3Bucket = "backups"
	s3Key    = "AKIAPLANTEDKEY"
)

// An s3Server is an S3-compatible server over TLS that can be killed and started again, on the same port. What it has stored outlives it, uploads that
// were not complete do not.
type s3Server struct {
	t       *testing.T
	backend *s3mem.Backend
	address string
	cert    tls.Certificate
	caFile  string
	secret  string // that goes with s3Key; the server does not check signatures

	mu       sync.Mutex
	running  *http.Server // nil: killed
	requests int          // in all of its lives
	strange  string       // a request that was not signed with our key; "": none
}

func newS3Server(t *testing.T) *s3Server {
	t.Helper()
	sample := httptest.NewTLSServer(nil) // whose certificate is good for 127.0.0.1
	defer sample.Close()
	s := &s3Server{
		t: t, backend: s3mem.New(), address: "127.0.0.1:0", cert: sample.TLS.Certificates[0], caFile: filepath.Join(t.TempDir(), "ca.pem"),
		secret: "planted-S3/secret+key/" + rand.Text(),
	}
	must(t, os.WriteFile(s.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sample.Certificate().Raw}), 0o644))
	must(t, s.backend.CreateBucket(s3Bucket))
	s.start()
	t.Cleanup(func() {
		s.kill9()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.strange != "" {
			t.Errorf("a request was not signed with the key of the environment: %s", s.strange)
		}
	})
	return s
}

// start lets the server listen again.
func (s *s3Server) start() {
	s.t.Helper()
	l, err := net.Listen("tcp4", s.address)
	must(s.t, err)
	fake := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSkewLimit(0)).Server()
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			s.requests++
			if !strings.Contains(r.Header.Get("Authorization"), "Credential="+s3Key+"/") {
				s.strange = r.Method + " " + r.URL.Path
			}
			s.mu.Unlock()
			fake.ServeHTTP(w, r)
		}),
	}
	s.mu.Lock()
	s.address, s.running = l.Addr().String(), server
	s.mu.Unlock()
	go func() { _ = server.ServeTLS(l, "", "") }()
}

// kill9 ends the server and all its connections in the middle of whatever they do.
func (s *s3Server) kill9() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		_ = s.running.Close() // of the listener, which is ours
		s.running = nil
	}
}

// asked is how many requests there were.
func (s *s3Server) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// url is that of a store in the server's bucket.
func (s *s3Server) url(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "s3://" + s3Bucket + "/" + prefix + "?endpoint=" + url.QueryEscape("https://"+s.address) + "&path-style=true&ca-file=" + url.QueryEscape(s.caFile)
}

// env is what signs requests.
func (s *s3Server) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s3Key, "AWS_SECRET_ACCESS_KEY=" + s.secret}
}

// s3Environment is the environment of who looks into the store from here.
func s3Environment(name string) string {
	return map[string]string{"AWS_ACCESS_KEY_ID": s3Key, "AWS_SECRET_ACCESS_KEY": "any"}[name]
}

// A stored is an object of a store.
type stored struct {
	name    string
	content []byte
}

// objects reads what is in a store: all that somebody sees who can read there.
func objects(t *testing.T, at, prefix string) (all []stored) {
	t.Helper()
	where, err := location.Parse(at)
	must(t, err)
	place, err := where.Open(location.Options{Getenv: s3Environment})
	must(t, err)
	for info, err := range place.List(t.Context(), prefix, "") {
		must(t, err)
		r, err := place.Open(t.Context(), info.Name, 0, -1)
		if errors.Is(err, store.ErrNotFound) { // put together with others
			continue
		}
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, errors.Join(err, r.Close()))
		all = append(all, stored{info.Name, content})
	}
	return all
}

// objectNames returns the names of what is in a store.
func objectNames(t *testing.T, at, prefix string) (names []string) {
	t.Helper()
	where, err := location.Parse(at)
	must(t, err)
	place, err := where.Open(location.Options{Getenv: s3Environment})
	must(t, err)
	for info, err := range place.List(t.Context(), prefix, "") {
		must(t, err)
		names = append(names, info.Name)
	}
	return names
}
