package doctor

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/backup/store/location"
)

var noNames = resolverAt("127.0.0.1:1")

// openStore opens a store as the program does, and gives up at once on one that does not answer.
func openStore(url string) (store.Store, error) {
	where, err := location.Parse(url)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "doctor", "AWS_SECRET_ACCESS_KEY": "doctor-secret"}
	return where.Open(location.Options{Getenv: func(name string) string { return keys[name] }, Patience: store.Patience{Total: -1}})
}

func directory(t *testing.T) string { t.Helper(); return "file://" + t.TempDir() }

func noKeys() (backup.Keys, error) { return backup.Keys{}, errPassphrase }

func someKeys() (backup.Keys, error) { return backup.Keys{}, nil }

// s3 is a server over TLS with one bucket, and the part of a URL that leads there.
func s3(t *testing.T, wrap func(http.Handler) http.Handler) (query string) {
	t.Helper()
	backend := s3mem.New()
	must(t, backend.CreateBucket("backups"))
	handler := http.Handler(gofakes3.New(backend).Server())
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return "?endpoint=" + server.URL + "&path-style=true&ca-file=" + authority(t, server.Certificate().Raw)
}

func TestStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make func(t *testing.T, cfg *agent.Config)
		want []string
		id   string
		says []string
	}{
		"nobody's yet": {make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.Store = directory(t) }},
		"ours":         {make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.Store = claimed(t, "mysql") }},
		"another set's": {
			make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.Store = claimed(t, "bakery") },
			want: []string{"store"}, id: "store", says: []string{`"bakery"`, "another prefix"},
		},
		"no such directory": {
			make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.Store = directory(t) + "/gone" },
			want: []string{"store"}, id: "store", says: []string{"gone"},
		},
		"a bucket": {make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.Store = "s3://backups/mysql" + s3(t, nil) }},
		"no such bucket": {
			make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.Store = "s3://backup/mysql" + s3(t, nil) },
			want: []string{"store"}, id: "store", says: []string{"make the bucket backup"},
		},
		"no permission": {
			make: func(t *testing.T, cfg *agent.Config) {
				cfg.Backups.Store = "s3://backups/mysql" + s3(t, always("AccessDenied"))
			},
			want: []string{"store"}, id: "store", says: []string{"AccessDenied", "let these credentials"},
		},
		"the clock": {
			make: func(t *testing.T, cfg *agent.Config) {
				cfg.Backups.Store = "s3://backups/mysql" + s3(t, always("RequestTimeTooSkewed"))
			},
			want: []string{"store"}, id: "store", says: []string{"set this machine's clock"},
		},
		"nobody there": {
			make: func(t *testing.T, cfg *agent.Config) {
				cfg.Backups.Store = "s3://backups/mysql?endpoint=https://127.0.0.1:1"
			},
			want: []string{"store"}, id: "store", says: []string{"not available"},
		},
		"binlogs are to be kept for none": {
			make: func(_ *testing.T, cfg *agent.Config) { cfg.Backups.KeepBinlogs = 1 << 30 },
			want: []string{"store"}, id: "store", says: []string{"AGENT_STORE"},
		},
		"nothing to restore from": {
			make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.RestoreFrom = directory(t) + "/gone@latest" },
			want: []string{"restore-from"}, id: "restore-from", says: []string{"gone"},
		},
		"an empty place to restore from": {
			make: func(t *testing.T, cfg *agent.Config) { cfg.Backups.RestoreFrom = directory(t) + "@latest" },
			want: []string{"restore-from"}, id: "restore-from", says: []string{"nobody has ever made a backup"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := lone(t)
			cfg.Backups.Keys = someKeys
			test.make(t, &cfg)
			r := Examine(t.Context(), Surroundings{Ring: cachedRing, Config: cfg, Resolver: noNames, Open: openStore})
			wants(t, r, test.want...)
			if test.id != "" {
				says(t, r, test.id, test.says...)
			}
		})
	}
}

// claimed is a place that belongs to a set.
func claimed(t *testing.T, set string) string {
	t.Helper()
	url := directory(t)
	s, err := openStore(url)
	must(t, err, store.Claim(t.Context(), s, "0123456789abcdef", set, time.Now()))
	return url
}

// always answers every request with an error of S3.
func always(code string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>` + code + `</Code><Message>no</Message></Error>`))
		})
	}
}

// A store that takes connections and says nothing holds nobody up.
func TestStoreThatHangs(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	cfg := lone(t)
	cfg.Backups.Store, cfg.Backups.Keys = "s3://backups/mysql?endpoint=https://"+silent.Addr().String(), someKeys
	began := time.Now()
	r := Examine(t.Context(), Surroundings{Ring: cachedRing, Config: cfg, Resolver: noNames, Open: openStore})
	wants(t, r, "store")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Examine() took %v, want 10 s at most", took)
	}
}

// authority is the file of a server's certificate.
func authority(t *testing.T, certificate []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	return path
}
