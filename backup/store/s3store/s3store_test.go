package s3store_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"ordinal/backup/store"
	"ordinal/backup/store/s3store"
	"ordinal/backup/store/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(writerEndpoint) != "" {
		os.Exit(write())
	}
	goleak.VerifyTestMain(m)
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Implementation{New: func(t *testing.T) store.Store { return newServer(t).open(t, nil) }})
}

// Bodies go out as they are: in chunks with signatures gofakes3 stores the signatures over plain HTTP, and it is not alone.
func TestWays(t *testing.T) {
	for name, change := range map[string]func(*server, *s3store.Options){
		"md5":          func(_ *server, o *s3store.Options) { o.Checksum = s3store.ChecksumMD5 },
		"none":         func(_ *server, o *s3store.Options) { o.Checksum = s3store.ChecksumNone },
		"one part":     func(_ *server, o *s3store.Options) { o.Parallel = 1 },
		"whole bucket": func(_ *server, o *s3store.Options) { o.Prefix = "" },
		"plain HTTP": func(s *server, o *s3store.Options) {
			plain := httptest.NewServer(s.Config.Handler)
			t.Cleanup(plain.Close)
			o.Endpoint = plain.URL
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			server.fault(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("X-Amz-Trailer") != "" || strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") || r.ContentLength < 0 {
					t.Errorf("%s goes out in chunks: %v", r.URL, r.Header)
				}
				if r.URL.Scheme == "http" && r.Header.Get("X-Amz-Content-Sha256") == "UNSIGNED-PAYLOAD" {
					t.Errorf("%s is not signed", r.URL)
				}
				return false
			})
			s := server.open(t, func(o *s3store.Options) { change(server, o) })
			for _, size := range []int{0, 10, 11<<20 + 5} {
				data := storetest.Content(size)
				if err := s.Put(t.Context(), "a/b", -1, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				if err := read(t, s, "a/b", data); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.Claim(t.Context(), server.open(t, func(o *s3store.Options) { o.Prefix = "other" }), "c", "s", now); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func read(t *testing.T, s store.Reader, name string, want []byte) error {
	t.Helper()
	r, err := s.Open(t.Context(), name, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%d bytes, want %d", len(got), len(want))
	}
	return err
}

// What a huge object needs is a few parts, however large it is. The server forgets what it gets.
func TestMemory(t *testing.T) {
	var mu sync.Mutex
	var size int64
	var id string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Method == http.MethodPost && r.URL.Query().Has("uploads"):
			id = r.Header.Get("X-Amz-Meta-Ordinal-Upload")
			fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><UploadId>u</UploadId></InitiateMultipartUploadResult>", bucket)
		case r.Method == http.MethodPut:
			size += n
			w.Header().Set("ETag", `"e"`)
		case r.Method == http.MethodPost:
			fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><ETag>e</ETag></CompleteMultipartUploadResult>", bucket)
		default:
			w.Header().Set("Content-Length", fmt.Sprint(size))
			w.Header().Set("X-Amz-Meta-Ordinal-Upload", id)
			w.Header().Set("Last-Modified", now.Format(http.TimeFormat))
		}
	}))
	defer server.Close()
	s, err := s3store.New(s3store.Options{Bucket: bucket, Endpoint: server.URL, PartSize: 5 << 20, Parallel: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const huge = 200 << 20
	before := heap()
	source := &source{left: huge}
	if err := s.Put(t.Context(), "huge", -1, source); err != nil {
		t.Fatal(err)
	}
	if size != huge {
		t.Errorf("%d bytes arrived, want %d", size, huge)
	}
	// A part more than there are in flight: the pool keeps one for a while.
	if grown := source.peak - min(before, source.peak); grown > 4*(5<<20)+4<<20 {
		t.Errorf("a Put of %d MiB holds %d MiB", huge>>20, grown>>20)
	} else {
		t.Logf("a Put of %d MiB holds %d MiB", huge>>20, grown>>20)
	}
}

type source struct {
	left, read int64
	peak       uint64
}

func (s *source) Read(p []byte) (int, error) {
	n := int(min(int64(len(p)), s.left))
	if n == 0 {
		return 0, io.EOF
	}
	s.left -= int64(n)
	if s.read += int64(n); s.read > 10<<20 {
		s.read = 0
		s.peak = max(s.peak, heap())
	}
	return n, nil
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
