package s3store_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/backup/store"
	"ordinal/backup/store/s3store"
	"ordinal/backup/store/storetest"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// answer writes an error as S3 does.
func answer(w http.ResponseWriter, status int, code, message string) bool {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	return true
}

// hangUp closes the connection without an answer.
func hangUp() bool { panic(http.ErrAbortHandler) }

func isPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}

// Busy servers and lost connections cost time, and nothing else.
func TestPartsAreTriedAgain(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	var requests, faults atomic.Int64
	server.fault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete || r.Method == http.MethodGet {
			return false
		}
		switch requests.Add(1) % 5 {
		case 1:
			faults.Add(1)
			return answer(w, 503, "SlowDown", "Please reduce your request rate.")
		case 2:
			faults.Add(1)
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			return hangUp()
		case 3:
			faults.Add(1)
			w.WriteHeader([]int{500, 502, 504, 429}[requests.Load()/5%4])
			return true
		}
		return false
	})
	s := server.open(t, nil)
	data := storetest.Content(22 << 20)
	for _, size := range []int{100, 22 << 20} {
		if err := s.Put(t.Context(), "x", -1, struct{ io.Reader }{bytes.NewReader(data[:size])}); err != nil {
			t.Fatal(err)
		}
		if err := read(t, s, "x", data[:size]); err != nil {
			t.Fatal(err)
		}
	}
	if faults.Load() < 10 {
		t.Errorf("only %d faults", faults.Load())
	}
	if n := uploads(t, s); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// An upload that fails for good leaves nothing, neither an object nor parts that cost.
func TestFailedUploadIsAborted(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := server.open(t, nil)
	for _, part := range []string{"1", "2", "5"} {
		server.fault(func(w http.ResponseWriter, r *http.Request) bool {
			return isPart(r) && r.URL.Query().Get("partNumber") == part && answer(w, 403, "AccessDenied", "no")
		})
		if err := s.Put(t.Context(), "x", -1, bytes.NewReader(storetest.Content(22<<20))); !errors.Is(err, store.ErrPermission) || hint(err) == "" {
			t.Errorf("Put() = %v, hint %q", err, hint(err))
		}
		if n := uploads(t, s); n != 0 {
			t.Errorf("%d uploads are left", n)
		}
		if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Stat() = %v", err)
		}
	}
}

// The answer to the last request is lost, after the server did what it was asked to.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	fake := server.Config.Handler
	var lost atomic.Int64
	lose := func(match func(*http.Request) bool) {
		var once sync.Once
		server.fault(func(_ http.ResponseWriter, r *http.Request) (answered bool) {
			if !match(r) {
				return false
			}
			once.Do(func() {
				server.fault(nil)
				fake.ServeHTTP(httptest.NewRecorder(), r)
				lost.Add(1)
				answered = true
			})
			return answered && hangUp()
		})
	}
	s := server.open(t, nil)
	data := storetest.Content(11 << 20)
	lose(func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") })
	if err := s.Put(t.Context(), "x", -1, bytes.NewReader(data)); err != nil {
		t.Errorf("Put() = %v", err)
	}
	if err := read(t, s, "x", data); err != nil {
		t.Error(err)
	}
	lose(func(r *http.Request) bool { return r.Method == http.MethodPut })
	if err := s.PutIfAbsent(t.Context(), "m", []byte("mine")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("PutIfAbsent() = %v, want %v", err, store.ErrUnavailable)
	}
	again := store.Retry(s, store.Patience{Pause: time.Millisecond})
	lose(func(r *http.Request) bool { return r.Method == http.MethodPut })
	if err := again.PutIfAbsent(t.Context(), "n", []byte("mine")); err != nil {
		t.Errorf("PutIfAbsent() whose answer was lost, and tried again = %v", err)
	}
	if lost.Load() != 3 {
		t.Errorf("%d answers were lost, want 3", lost.Load())
	}
}

// A server that says nothing, before its answer or within it.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := server.open(t, func(o *s3store.Options) { o.Stall, o.Patience.Total = 200*time.Millisecond, -1 })
	if err := s.Put(t.Context(), "x", -1, bytes.NewReader(make([]byte, 1<<20))); err != nil {
		t.Fatal(err)
	}
	for name, partly := range map[string]bool{"no answer": false, "half an answer": true} {
		server.fault(func(w http.ResponseWriter, r *http.Request) bool {
			if partly && r.Method == http.MethodGet {
				w.Header().Set("Content-Length", "1048576")
				w.Header().Set("Last-Modified", now.Format(http.TimeFormat))
				_, _ = w.Write(make([]byte, 1000))
				w.(http.Flusher).Flush()
			}
			return server.silence(r)
		})
		if err := read(t, s, "x", nil); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "no byte moved") {
			t.Errorf("%s: read = %v, want %v", name, err, store.ErrUnavailable)
		}
		if err := s.Put(t.Context(), "y", -1, bytes.NewReader(make([]byte, 11<<20))); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: Put() = %v, want %v", name, err, store.ErrUnavailable)
		}
	}
}

// A reader that is cut goes on where it was.
func TestResume(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := server.open(t, nil)
	data := storetest.Content(3 << 20)
	if err := s.Put(t.Context(), "x", -1, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	fake := server.Config.Handler
	server.fault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || r.Header.Get("X-Test") != "" {
			return false
		}
		r.Header.Set("X-Test", "1")
		whole := httptest.NewRecorder()
		server.fault(nil)
		fake.ServeHTTP(whole, r)
		for k, v := range whole.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		return hangUp()
	})
	if err := read(t, s, "x", data); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("read of half an answer = %v, want %v", err, store.ErrUnavailable)
	}
	if err := read(t, store.Retry(s, store.Patience{}), "x", data); err != nil {
		t.Error(err)
	}
}

func TestConditionIsIgnored(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]bool{"ignored": false, "refused": true} {
		server := newServer(t)
		server.fault(func(w http.ResponseWriter, r *http.Request) bool {
			if refuse && r.Header.Get("If-None-Match") != "" {
				return answer(w, 501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
			}
			r.Header.Del("If-None-Match")
			return false
		})
		s := server.open(t, nil)
		if err := s.PutIfAbsent(t.Context(), "m", []byte("one")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.PutIfAbsent(t.Context(), "m", []byte("two")); !errors.Is(err, store.ErrExists) {
			t.Errorf("%s: second PutIfAbsent() = %v, want %v", name, err, store.ErrExists)
		}
		if err := read(t, s, "m", []byte("one")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// Another writer between the look and the put, and after it.
		var once sync.Once
		server.fault(func(w http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("If-None-Match")
			if r.Method == http.MethodGet {
				once.Do(func() {
					if _, err := server.backend.PutObject(bucket, "set/mysql/n", map[string]string{"X-Amz-Meta-Ordinal-Upload": "other"}, strings.NewReader("other"), 5, nil); err != nil {
						t.Error(err)
					}
				})
			}
			return false
		})
		if err := s.PutIfAbsent(t.Context(), "n", []byte("mine")); !errors.Is(err, store.ErrExists) {
			t.Errorf("%s: PutIfAbsent() that was written over = %v, want %v", name, err, store.ErrExists)
		}
	}
}

func TestServerDamagesContent(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := server.open(t, func(o *s3store.Options) { o.Checksum = s3store.ChecksumNone })
	server.fault(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("garbage"), r.Body))
			r.ContentLength += 7
			r.Header.Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		return false
	})
	for _, size := range []int{10, 11 << 20} {
		if err := s.Put(t.Context(), "x", -1, bytes.NewReader(make([]byte, size))); !errors.Is(err, store.ErrSize) {
			t.Errorf("Put() of %d bytes = %v, want %v", size, err, store.ErrSize)
		}
		if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Stat() = %v: the damaged object is still there", err)
		}
	}
}

// Each answer has its meaning, in every method.
func TestAnswers(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := server.open(t, func(o *s3store.Options) { o.Patience.Total = -1 })
	var status int
	var code string
	server.fault(func(w http.ResponseWriter, _ *http.Request) bool {
		return answer(w, status, code, "a message\nwith \u202e and "+strings.Repeat("long ", 100))
	})
	for _, test := range []struct {
		status int
		code   string
		want   error
		hint   string
	}{
		{403, "AccessDenied", store.ErrPermission, "bucket backups"},
		{403, "InvalidAccessKeyId", store.ErrPermission, "credentials"},
		{403, "SignatureDoesNotMatch", store.ErrPermission, "credentials"},
		{403, "RequestTimeTooSkewed", store.ErrPermission, "clock"},
		{401, "Unauthorized", store.ErrPermission, ""},
		{403, "QuotaExceeded", store.ErrNoSpace, "make room"},
		{507, "XMinioStorageFull", store.ErrNoSpace, "make room"},
		{507, "Other", store.ErrNoSpace, "make room"},
		{404, "NoSuchBucket", store.ErrNoPlace, "make the bucket"},
		{404, "NoSuchKey", store.ErrNotFound, ""},
		{412, "PreconditionFailed", store.ErrExists, ""},
		{409, "ConditionalRequestConflict", store.ErrUnavailable, "retry"},
		{500, "InternalError", store.ErrUnavailable, "retry"},
		{503, "SlowDown", store.ErrUnavailable, "retry"},
		{429, "TooManyRequests", store.ErrUnavailable, "retry"},
		{400, "RequestTimeout", store.ErrUnavailable, "retry"},
		{400, "BadDigest", store.ErrUnavailable, "retry"},
		{400, "ExpiredToken", store.ErrUnavailable, "retry"},
		{400, "AuthorizationHeaderMalformed", nil, "region"},
		{301, "PermanentRedirect", nil, "region"},
		{400, "InvalidArgument", nil, ""},
	} {
		status, code = test.status, test.code
		_, openErr := s.Open(t.Context(), "x", 0, -1)
		var listErr error
		for _, listErr = range s.List(t.Context(), "", "") {
		}
		for op, err := range map[string]error{"Open": openErr, "List": listErr, "Put": s.Put(t.Context(), "x", 1, strings.NewReader("x"))} {
			var known []error
			for _, kind := range []error{store.ErrNotFound, store.ErrExists, store.ErrPermission, store.ErrNoSpace, store.ErrUnavailable, store.ErrNoPlace} {
				if errors.Is(err, kind) {
					known = append(known, kind)
				}
			}
			if err == nil || test.want == nil && len(known) > 0 || test.want != nil && (len(known) != 1 || known[0] != test.want) || !strings.Contains(hint(err), test.hint) {
				t.Errorf("%s() after %d %s = %v, hint %q, want %v and a hint about %q", op, test.status, test.code, err, hint(err), test.want, test.hint)
			}
			if strings.ContainsAny(err.Error(), "\n\u202e") || len(err.Error()) > 400 {
				t.Errorf("%s() after %d %s has the server's text as it came: %q", op, test.status, test.code, err)
			}
		}
	}
}

func hint(err error) string {
	var e *store.Error
	if errors.As(err, &e) {
		return e.Hint()
	}
	return ""
}

// A bucket that is not there is never one in which nothing is.
func TestNoBucket(t *testing.T) {
	t.Parallel()
	s := newServer(t).open(t, func(o *s3store.Options) { o.Bucket = "missing" })
	_, statErr := s.Stat(t.Context(), "x")
	_, openErr := s.Open(t.Context(), "x", 0, -1)
	_, anyErr := s.Anything(t.Context())
	var listErr error
	for _, listErr = range s.List(t.Context(), "", "") {
	}
	for op, err := range map[string]error{"Stat": statErr, "Open": openErr, "Anything": anyErr, "List": listErr,
		"Put": s.Put(t.Context(), "x", 1, strings.NewReader("x")), "PutIfAbsent": s.PutIfAbsent(t.Context(), "x", nil), "Delete": s.Delete(t.Context(), "x"),
		"Claim": store.Claim(t.Context(), s, "c", "s", now)} {
		if !errors.Is(err, store.ErrNoPlace) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s() without a bucket = %v, want %v", op, err, store.ErrNoPlace)
		}
	}
}

func TestUntrustedServer(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	for name, change := range map[string]func(*s3store.Options){
		"unknown authority": func(o *s3store.Options) { o.RootCAs = x509.NewCertPool() },
		"no TLS": func(o *s3store.Options) {
			plain := httptest.NewServer(server.Config.Handler)
			t.Cleanup(plain.Close)
			o.Endpoint = strings.Replace(plain.URL, "http:", "https:", 1)
		},
	} {
		_, err := server.open(t, change).Stat(t.Context(), "x")
		if err == nil || errors.Is(err, store.ErrUnavailable) || hint(err) == "" {
			t.Errorf("%s: Stat() = %v, hint %q", name, err, hint(err))
		}
	}
	server.Server.Close()
	if _, err := server.open(t, nil).Stat(t.Context(), "x"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("nobody listens: Stat() = %v, want %v", err, store.ErrUnavailable)
	}
}

// Credentials are nowhere but in a request's header, and there only as a signature.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	o := server.options()
	s := server.open(t, nil)
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&shown, verb+"\n", o.Credentials)
		fmt.Fprintf(&shown, verb+"\n", s)
		fmt.Fprintf(&shown, verb+"\n", o)
	}
	server.fault(func(w http.ResponseWriter, r *http.Request) bool {
		fmt.Fprintln(&shown, r.URL, r.Header.Values("X-Amz-Security-Token"), strings.ReplaceAll(r.Header.Get("Authorization"), secretID, ""))
		return answer(w, 403, "AccessDenied", "no")
	})
	_, err := s.Stat(t.Context(), "x")
	fmt.Fprintf(&shown, "%v %+v %#v", err, err, err)
	for _, planted := range []string{secret, secretID} {
		if strings.Contains(shown.String(), planted) {
			t.Errorf("%s is shown: %s", planted, &shown)
		}
	}
}

func TestStandardCredentials(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	var id atomic.Value
	server.fault(func(_ http.ResponseWriter, r *http.Request) bool {
		_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		used, _, _ := strings.Cut(after, "/")
		id.Store(used)
		return false
	})
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("good", "[default]\naws_access_key_id = FILEID\naws_secret_access_key = filesecret\n[other]\naws_access_key_id = OTHERID\naws_secret_access_key = x\n")
	broken := write("broken", "planted-secret-line\n")
	half := write("half", "[default]\naws_access_key_id = planted-secret-half\n")
	for name, test := range map[string]struct {
		env  map[string]string
		want string // id; or, if there is a space in it, a part of the error
	}{
		"environment":     {map[string]string{"AWS_ACCESS_KEY_ID": "ENVID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SHARED_CREDENTIALS_FILE": file}, "ENVID"},
		"half":            {map[string]string{"AWS_ACCESS_KEY_ID": "ENVID", "AWS_SHARED_CREDENTIALS_FILE": file}, "only one of"},
		"file":            {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}, "FILEID"},
		"profile":         {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "other"}, "OTHERID"},
		"missing profile": {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "third"}, "no usable keys"},
		"missing file":    {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file + "x"}, "no such file"},
		"broken file":     {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": broken}, "no usable keys"},
		"half a file":     {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": half}, "no usable keys"},
	} {
		s := server.open(t, func(o *s3store.Options) {
			o.Credentials = s3store.Standard(func(key string) string { return test.env[key] })
		})
		id.Store("none")
		_, err := s.Stat(t.Context(), "x")
		if strings.Contains(test.want, " ") {
			if !errors.Is(err, store.ErrPermission) || !strings.Contains(fmt.Sprint(err), test.want) || strings.Contains(fmt.Sprint(err), "planted") || hint(err) == "" {
				t.Errorf("%s: Stat() = %v, hint %q, want %q", name, err, hint(err), test.want)
			}
			if id.Load() != "none" {
				t.Errorf("%s: a request went out as %q", name, id.Load())
			}
		} else if id.Load() != test.want || !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: signed by %q, %v, want %q", name, id.Load(), err, test.want)
		}
	}
}

const (
	writerEndpoint = "S3STORE_TEST_ENDPOINT"
	writerCA       = "S3STORE_TEST_CA"
)

// write is the process of TestKilled: it puts an object that has no end.
func write() int {
	pem, err := os.ReadFile(os.Getenv(writerCA))
	if err != nil {
		return 1
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	s, err := s3store.New(s3store.Options{Bucket: bucket, Prefix: "set/mysql", Endpoint: os.Getenv(writerEndpoint), RootCAs: roots,
		Credentials: s3store.Static(secretID, secret, ""), PartSize: 5 << 20})
	if err != nil {
		return 1
	}
	fmt.Fprintln(os.Stderr, s.Put(context.Background(), "x", -1, endless{}))
	return 1
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// kill -9 in the middle of an upload: no object, and Sweep finds what is left.
func TestKilled(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, ca, server.Certificate().Raw)
	third := make(chan struct{})
	var parts atomic.Int64
	server.fault(func(_ http.ResponseWriter, r *http.Request) bool {
		if isPart(r) {
			switch n := parts.Add(1); {
			case n == 3:
				close(third)
			case n > 3: // enough of it in memory
				return server.silence(r)
			}
		}
		return false
	})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEndpoint+"="+server.URL, writerCA+"="+ca)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-third:
	case err := <-ended:
		t.Fatalf("the writer ended: %v %s", err, &stderr)
	case <-time.After(time.Minute):
		t.Error("the writer does not come to its third part")
	}
	_ = cmd.Process.Kill()
	<-ended
	server.fault(nil)
	s := server.open(t, nil)
	if found, err := s.Anything(t.Context()); found != "" || err != nil {
		t.Errorf("Anything() = %q, %v, want nothing", found, err)
	}
	other := server.open(t, func(o *s3store.Options) { o.Prefix = "set/mysql2" })
	for _, step := range []struct {
		s    *s3store.Store
		age  time.Duration
		want int
	}{{s, time.Hour, 0}, {other, 0, 0}, {s, 0, 1}, {s, 0, 0}} {
		if n, err := step.s.Sweep(t.Context(), step.age); n != step.want || err != nil {
			t.Errorf("Sweep(%v) = %d, %v, want %d", step.age, n, err, step.want)
		}
	}
}
