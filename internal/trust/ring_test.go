package trust

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Three secrets of one cluster, one after the other.
var secrets = []string{testSecret, strings.Repeat("the second one. ", 2), strings.Repeat("the third one. ", 3)}

// A ringFiles is the directory of a ring's files, changed as an operator does.
type ringFiles struct {
	t    testing.TB
	path string
	now  time.Time
	ring *Ring
}

// newRingFiles loads a ring whose clock stands still.
func newRingFiles(t testing.TB, current, previous string) *ringFiles {
	t.Helper()
	f := &ringFiles{t: t, path: filepath.Join(t.TempDir(), "secret"), now: time.Now()}
	f.write(current, previous)
	derive := func(s Secret) (*Keys, error) { return twin(keysOf(t, s.reveal()), time.Now), nil }
	ring, err := (&Ring{path: f.path, now: func() time.Time { return f.now }, derive: derive}).load()
	if err != nil {
		t.Fatal(err)
	}
	f.ring = ring
	return f
}

// write replaces the files; an empty previous one is removed.
func (f *ringFiles) write(current, previous string) {
	f.t.Helper()
	if previous == "" {
		os.Remove(f.path + PreviousSuffix)
	} else {
		put(f.t, f.path+PreviousSuffix, previous)
	}
	put(f.t, f.path, current)
}

// settle looks until what is in the files has been taken.
func (f *ringFiles) settle() {
	f.t.Helper()
	for range 2 {
		if err := f.ring.Reload(); err != nil {
			f.t.Fatal(err)
		}
	}
}

// holds says that exactly these secrets are held, the current one first.
func (f *ringFiles) holds(want ...string) {
	f.t.Helper()
	all := f.ring.All()
	same := slices.EqualFunc(all, want, func(k *Keys, secret string) bool { return k.fingerprint == keysOf(f.t, secret).fingerprint })
	if !same || f.ring.Current() != all[0] {
		f.t.Errorf("the ring holds %s", f.names())
	}
	s := f.ring.State()
	shown := []string{s.Current.Fingerprint}
	for _, k := range s.Accepted {
		shown = append(shown, k.Fingerprint)
	}
	if !slices.EqualFunc(all, shown, func(k *Keys, shown string) bool { return k.Fingerprint() == shown }) {
		f.t.Errorf("the ring holds %s, but shows %q", f.names(), shown)
	}
}

func (f *ringFiles) names() string {
	var names []string
	for _, k := range f.ring.All() {
		i := slices.IndexFunc(secrets, func(s string) bool { return keysOf(f.t, s).fingerprint == k.fingerprint })
		names = append(names, fmt.Sprint(i))
	}
	return "secrets " + strings.Join(names, ", ")
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRingFollowsItsFiles(t *testing.T) {
	t.Parallel()
	a, b, c := secrets[0], secrets[1], secrets[2]
	f := newRingFiles(t, a, "")
	f.holds(a)
	first := f.ring.Current()

	f.write(b, a+"\n")
	if err := f.ring.Reload(); err != nil {
		t.Error(err)
	}
	f.holds(a) // seen once: it may be half of what comes
	f.settle()
	f.holds(b, a)
	if f.ring.All()[1] != first {
		t.Error("the same secret was derived twice")
	}
	f.settle()
	if s := f.ring.State(); !s.Accepted[0].Until.IsZero() {
		t.Errorf("%v has an end, want none while the file is there", s.Accepted[0])
	}

	f.now = f.now.Add(10 * grace)
	f.settle()
	f.holds(b, a) // as long as the file is there
	f.write(b, "")
	f.settle()
	f.holds(b) // it was replaced long ago

	// Without a file for it, the former secret is accepted for an hour.
	f.write(c, "")
	f.settle()
	f.holds(c, b)
	if s := f.ring.State(); !s.Accepted[0].Until.Equal(f.now.Add(grace).UTC().Truncate(time.Second)) {
		t.Errorf("%v ends at another time than in an hour", s.Accepted[0])
	}
	f.now = f.now.Add(grace - time.Nanosecond)
	f.settle()
	f.holds(c, b)
	f.now = f.now.Add(time.Nanosecond)
	f.settle()
	f.holds(c)

	// A previous one that disappears within its hour is accepted until that is over: others may not have noticed the change yet.
	f.write(a, c)
	f.settle()
	f.write(a, "")
	f.settle()
	f.holds(a, c)
	// Back again: nothing is derived anew.
	was := f.ring.All()
	f.write(c, "")
	f.settle()
	f.holds(c, a)
	if f.ring.Current() != was[1] || f.ring.All()[1] != was[0] {
		t.Error("a secret that is held was derived again")
	}
	f.write(c, c)
	f.settle()
	f.holds(c, a) // one secret is not held twice
	f.write(c, b)
	f.settle()
	f.holds(c, b, a)
	f.write(c, "")
	f.settle()
	f.holds(c, a) // this process never had b as its current one since it was dropped
}

func TestRingIsBounded(t *testing.T) {
	t.Parallel()
	f := newRingFiles(t, secrets[0], "")
	for i := range 2 * maxHeld {
		f.write(strings.Repeat(string(rune('a'+i)), MinSecret), "")
		f.settle()
	}
	if n := len(f.ring.All()); n != maxHeld {
		t.Errorf("%d secrets are held, want %d", n, maxHeld)
	}
}

func TestRingPasswords(t *testing.T) {
	t.Parallel()
	f := newRingFiles(t, secrets[1], secrets[0])
	now, before := keysOf(t, secrets[1]), keysOf(t, secrets[0])
	if got, want := f.ring.AgentPasswords(), []string{now.AgentPassword(), before.AgentPassword()}; !slices.Equal(got, want) {
		t.Errorf("AgentPasswords() = %q, want %q", got, want)
	}
	if got, want := f.ring.ReplicationPasswords("c"), []string{now.ReplicationPassword("c"), before.ReplicationPassword("c")}; !slices.Equal(got, want) {
		t.Errorf("ReplicationPasswords() = %q, want %q", got, want)
	}
}

// Whatever is wrong with the files: what is held stays, and the state says why.
func TestRingKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	a, b := secrets[0], secrets[1]
	for name, spoil := range map[string]func(t *testing.T, path string){
		"no file":             func(t *testing.T, path string) { os.Remove(path) },
		"empty":               func(t *testing.T, path string) { put(t, path, "") },
		"a newline":           func(t *testing.T, path string) { put(t, path, "\n") },
		"half":                func(t *testing.T, path string) { put(t, path, b[:MinSecret-1]) },
		"too long":            func(t *testing.T, path string) { put(t, path, strings.Repeat("x", maxSecret+1)) },
		"a directory":         func(t *testing.T, path string) { os.Remove(path); os.Mkdir(path, 0o700) },
		"a broken link":       func(t *testing.T, path string) { os.Remove(path); os.Symlink("absent", path) },
		"half a previous one": func(t *testing.T, path string) { put(t, path, b); put(t, path+PreviousSuffix, "half") },
		"previous one too long": func(t *testing.T, path string) {
			put(t, path, b)
			put(t, path+PreviousSuffix, strings.Repeat("x", maxSecret+1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRingFiles(t, a, "")
			spoil(t, f.path)
			for range 3 {
				err := f.ring.Reload()
				var secretErr *SecretError
				if !errors.As(err, &secretErr) || !strings.HasPrefix(secretErr.Path, f.path) {
					t.Errorf("Reload() = %v, want a SecretError with the path", err)
				}
				if got := f.ring.State().Problem; got != err.Error() {
					t.Errorf("the state says %q, Reload() %v", got, err)
				}
				f.holds(a)
			}
			if _, err := LoadRing(f.path); err == nil {
				t.Error("LoadRing() accepts what Reload() does not")
			}
			os.RemoveAll(f.path)
			f.write(b, a)
			f.settle()
			f.holds(b, a)
			if got := f.ring.State().Problem; got != "" {
				t.Errorf("the state still says %q", got)
			}
		})
	}
}

// A template may leave the key of the previous secret in place without a value.
func TestEmptyPreviousIsNone(t *testing.T) {
	t.Parallel()
	for _, empty := range []string{"", "\n"} {
		f := newRingFiles(t, secrets[0], "")
		put(t, f.path+PreviousSuffix, empty)
		f.settle()
		f.holds(secrets[0])
		if _, err := LoadRing(f.path); err != nil {
			t.Error(err)
		}
	}
}

// A secret that is written piece by piece is taken when it has come to rest, and a part of it never.
func TestHalfWrittenSecret(t *testing.T) {
	t.Parallel()
	f := newRingFiles(t, secrets[0], "")
	long := strings.Repeat(secrets[2], 2)
	for n := range len(long) {
		put(t, f.path, long[:n])
		f.ring.Reload() // its error has a test of its own
		f.holds(secrets[0])
	}
	// Found, gone, found: not at rest.
	put(t, f.path, secrets[1])
	f.ring.Reload()
	os.Remove(f.path)
	f.ring.Reload()
	put(t, f.path, secrets[1])
	f.ring.Reload()
	f.holds(secrets[0])
	f.settle()
	f.holds(secrets[1], secrets[0])
}

// An hour is over even if nobody can read the files.
func TestTimePassesWithoutFiles(t *testing.T) {
	t.Parallel()
	f := newRingFiles(t, secrets[0], "")
	f.write(secrets[1], "")
	f.settle()
	os.Remove(f.path)
	f.now = f.now.Add(grace)
	if f.ring.Reload() == nil {
		t.Error("no error without a file")
	}
	f.holds(secrets[1])
}

// A kubelet writes the new files into a directory of their own and moves a symbolic link above them.
func TestRunFollowsAMountedSecret(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	generation := 0
	swap := func(files map[string]string) {
		t.Helper()
		generation++
		dir := fmt.Sprintf("..gen%d", generation)
		if err := os.Mkdir(filepath.Join(mount, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range files {
			put(t, filepath.Join(mount, dir, name), content)
			_ = os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)) // may be there
		}
		if err := os.Symlink(dir, filepath.Join(mount, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(filepath.Join(mount, fmt.Sprintf("..gen%d", generation-1)))
	}
	swap(map[string]string{"secret": secrets[0]})
	r, err := LoadRing(filepath.Join(mount, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	r.every = time.Millisecond
	changes := make(chan RingState, 100)
	r.Changed = func(s RingState) { changes <- s }
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.Run(t.Context()); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Cleanup(done.Wait)
	await := func(what string, want func(RingState) bool) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			select {
			case s := <-changes:
				if want(s) {
					return
				}
			case <-deadline:
				t.Fatalf("%s: not told within 30 s; the state is %+v", what, r.State())
			}
		}
	}
	is := func(i int) string { return keysOf(t, secrets[i]).Fingerprint() }

	swap(map[string]string{"secret": secrets[1], "secret.previous": secrets[0]})
	await("rotation", func(s RingState) bool {
		return s.Current.Fingerprint == is(1) && len(s.Accepted) == 1 && s.Accepted[0].Fingerprint == is(0) && s.Accepted[0].Until.IsZero()
	})
	swap(map[string]string{"secret": secrets[1]}) // the link secret.previous points nowhere
	await("end of the previous one", func(s RingState) bool { return len(s.Accepted) == 1 && !s.Accepted[0].Until.IsZero() })
	swap(map[string]string{"secret": "short"})
	await("mistake", func(s RingState) bool { return s.Problem != "" && s.Current.Fingerprint == is(1) })
	swap(map[string]string{"secret": secrets[2]})
	await("rotation without a previous file", func(s RingState) bool {
		return s.Problem == "" && s.Current.Fingerprint == is(2) && len(s.Accepted) == 2 && s.Accepted[0].Fingerprint == is(1)
	})
}

func TestRingShowsNoSecret(t *testing.T) {
	t.Parallel()
	f := newRingFiles(t, secrets[1], secrets[0])
	var out bytes.Buffer
	for _, v := range []any{f.ring, []*Ring{f.ring}, struct{ R *Ring }{f.ring}, struct{ r *Ring }{f.ring}, f.ring.State(), f.ring.seen, f.ring.held, *f.ring.held[0], f.ring.view.Load(), *f.ring.view.Load()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		fmt.Fprintf(&out, "%s %v\n", b, err)
	}
	for _, k := range f.ring.All() {
		for _, secret := range []string{secrets[0], secrets[1], k.AgentPassword(), fmt.Sprintf("%x", secrets[0]), fmt.Sprintf("%x", k.stretched()), fmt.Sprintf("%x", k.caKey().Seed()), fmt.Sprint(k.caKey()[:4])} {
			if strings.Contains(strings.ToLower(out.String()), strings.ToLower(strings.Trim(secret, "[]"))) {
				t.Errorf("%q is shown", secret)
			}
		}
	}
	if b, err := json.Marshal(f.ring); err != nil || string(b) != `"`+redacted+`"` || fmt.Sprint(f.ring) != redacted {
		t.Errorf("a ring is shown as %v, in JSON as %s, %v", f.ring, b, err)
	}
	if b, err := json.Marshal(f.ring.State()); err != nil || !bytes.Contains(b, []byte(`"accepted":[{"fingerprint":"`+keysOf(t, secrets[0]).Fingerprint())) || bytes.Contains(b, []byte("until")) {
		t.Errorf("the state in JSON is %s, %v", b, err)
	}
	// What a caller does to a state is not the ring's.
	f.ring.State().Accepted[0].Fingerprint = "x"
	f.holds(secrets[1], secrets[0])
}

// Fingerprints stand among the protocols, but none is ever spoken.
func TestServerSpeaksHTTP(t *testing.T) {
	t.Parallel()
	f := newRingFiles(t, secrets[1], secrets[0])
	server := f.ring.ServerTLS("mysql-0")
	if inner, err := server.GetConfigForClient(nil); err != nil || !inner.DynamicRecordSizingDisabled {
		t.Errorf("%v, or a handshake's own configuration begins with small records", err)
	}
	url, _ := serve(t, server)
	for name, tt := range map[string]struct {
		protocols []string
		want      string // "" is a refusal
	}{
		"ours":              {f.ring.ClientTLS("mysql-1", "mysql-0").NextProtos, "http/1.1"},
		"hints first":       {[]string{protocolTrusted + f.ring.Current().fingerprint, "http/1.1"}, "http/1.1"},
		"HTTP/2 as well":    {[]string{"h2", "http/1.1"}, "http/1.1"},
		"HTTP/2 only":       {[]string{"h2"}, ""},
		"nothing but hints": {[]string{protocolTrusted + f.ring.Current().fingerprint}, ""},
	} {
		c := f.ring.ClientTLS("mysql-1", "mysql-0")
		c.NextProtos = tt.protocols
		conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), c)
		if (err == nil) != (tt.want != "") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if got := conn.ConnectionState().NegotiatedProtocol; got != tt.want {
				t.Errorf("%s: %q was chosen, want %q", name, got, tt.want)
			}
			conn.Close()
		}
	}
}
