package s3store_test

import (
	"net/http"
	"strings"
	"testing"

	"ordinal/backup/store/s3store"
)

// TestAddressing: the bucket is named where it was asked for, as seen in the requests that arrive, or in where they would go.
func TestAddressing(t *testing.T) {
	for name, as := range map[string]s3store.Addressing{"path": s3store.AddressingPath, "auto, and the server has no name": s3store.AddressingAuto} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			seen := make(chan *http.Request, 100)
			s.fault(func(_ http.ResponseWriter, r *http.Request) bool {
				seen <- r
				return false
			})
			place := s.open(t, func(o *s3store.Options) { o.Addressing = as })
			if err := place.PutIfAbsent(t.Context(), "a", []byte("x")); err != nil {
				t.Fatal(err)
			}
			if r := <-seen; !strings.HasPrefix(r.URL.Path, "/"+bucket+"/") || strings.HasPrefix(r.Host, bucket+".") {
				t.Errorf("the first request is for %s at %s", r.URL.Path, r.Host)
			}
		})
	}
	t.Run("host", func(t *testing.T) {
		s := newServer(t)
		place := s.open(t, func(o *s3store.Options) {
			o.Addressing, o.Endpoint = s3store.AddressingHost, strings.Replace(s.URL, "127.0.0.1", "store.invalid", 1)
			o.Patience.Total = -1
		})
		if err := place.PutIfAbsent(t.Context(), "a", []byte("x")); err == nil || !strings.Contains(err.Error(), bucket+".store.invalid") {
			t.Errorf("it does not go to the bucket's own host: %v", err)
		}
	})
}
