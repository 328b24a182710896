package trust

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// keysOf derives the keys of a secret once for all tests: deriving is slow on purpose.
func keysOf(t testing.TB, secret string) *Keys {
	t.Helper()
	once, _ := derived.LoadOrStore(secret, sync.OnceValues(func() (*Keys, error) {
		s, err := NewSecret(secret)
		if err != nil {
			return nil, err
		}
		return s.Derive()
	}))
	k, err := once.(func() (*Keys, error))()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var derived sync.Map

func TestLoadSecret(t *testing.T) {
	dir := t.TempDir()
	load := func(content string) (Secret, error) {
		path := filepath.Join(dir, "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadSecret(path)
	}
	for _, tt := range []struct{ content, want string }{
		{testSecret, testSecret},
		{testSecret + "\n", testSecret},
		{testSecret + "\n\n", testSecret + "\n"}, // exactly one
		{" " + testSecret + " ", " " + testSecret + " "},
		{strings.Repeat("\x00", 32), strings.Repeat("\x00", 32)},
		{strings.Repeat("x", maxSecret), strings.Repeat("x", maxSecret)},
	} {
		if s, err := load(tt.content); err != nil || s.reveal() != tt.want {
			t.Errorf("LoadSecret() of %.50q: %v, or not trimmed right", tt.content, err)
		}
	}
	for _, content := range []string{"", "\n", "hunter2", testSecret[1:], testSecret[1:] + "\n", strings.Repeat("x", maxSecret+1)} {
		_, err := load(content)
		var secretErr *SecretError
		if !errors.As(err, &secretErr) {
			t.Fatalf("LoadSecret() of %d bytes = %v, want a SecretError", len(content), err)
		}
		if short := len(content) < 100; errors.Is(err, ErrShortSecret) != short {
			t.Errorf("LoadSecret() of %d bytes = %v", len(content), err)
		}
		if !strings.Contains(err.Error(), filepath.Join(dir, "secret")) {
			t.Errorf("%q does not name the file", err)
		}
		said := strings.ReplaceAll(err.Error(), dir, "")
		if strings.Contains(said, "hunter2") || strings.Contains(said, "31") || strings.Contains(said, " 7 ") {
			t.Errorf("%q tells about the content", err)
		}
		if want := "head -c 32 /dev/urandom | base64 > " + filepath.Join(dir, "secret"); !strings.HasSuffix(secretErr.Hint(), want) {
			t.Errorf("Hint() = %q, want the command %q", secretErr.Hint(), want)
		}
	}
	_, err := LoadSecret(filepath.Join(dir, "absent"))
	if !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), dir) != 1 {
		t.Errorf("LoadSecret() of an absent file = %v, want fs.ErrNotExist and the path once", err)
	}
	if _, err := LoadSecret(dir); err == nil || strings.Count(err.Error(), dir) != 1 {
		t.Errorf("LoadSecret() of a directory = %v, want an error with the path once", err)
	}
	if hint := (&SecretError{Path: "/a b/it's"}).Hint(); !strings.HasSuffix(hint, `> '/a b/it'\''s'`) {
		t.Errorf("Hint() = %q: the path is not quoted for a shell", hint)
	}
	if hint := (&SecretError{}).Hint(); !strings.HasSuffix(hint, "> FILE") {
		t.Errorf("Hint() = %q", hint)
	}
}

func TestNothingShowsTheSecret(t *testing.T) {
	s, err := NewSecret(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	k := keysOf(t, testSecret)
	type hidden struct {
		s Secret
		k *Keys
	}
	var out bytes.Buffer
	for _, v := range []any{s, &s, k, hidden{s, k}, &hidden{s, k}, []Secret{s}, map[string]*Keys{"k": k}, struct{ S Secret }{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		fmt.Fprintf(&out, "%s %v\n", b, err)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	fmt.Fprintln(&out, s.String(), fmt.Errorf("wrapped %v %w", s, &SecretError{Err: ErrShortSecret}))
	text := strings.ToLower(out.String())
	for _, secret := range []string{testSecret, hex.EncodeToString([]byte(testSecret)), hex.EncodeToString(k.stretched()), k.AgentPassword(), hex.EncodeToString(k.caKey().Seed()), "48 49 50", fmt.Sprint(k.stretched()[:4]), fmt.Sprint([]byte(k.caKey()[:4]))} {
		if strings.Contains(text, strings.ToLower(strings.Trim(secret, "[]"))) {
			t.Errorf("%q is shown in:\n%s", secret, out.String())
		}
	}
	if !strings.Contains(text, redacted) {
		t.Error("nothing was printed at all")
	}
}

// These values were computed with Python's hashlib and OpenSSL as well. If this test fails, a new release would be locked out of
// every cluster that exists: do not change the values, change the code back.
func TestDerivationNeverChanges(t *testing.T) {
	k := keysOf(t, testSecret)
	if got, want := k.AgentPassword(), "flED5c_w8-WCmDtxfFY2tfv2LTE-aA1"; got != want {
		t.Errorf("AgentPassword() = %q, want %q", got, want)
	}
	if got, want := k.ReplicationPassword("0123456789abcdef"), "CKJNOhXrEyGRVK1FItqICOk95Bk-aA1"; got != want {
		t.Errorf("ReplicationPassword() = %q, want %q", got, want)
	}
	if got, want := hex.EncodeToString(k.caKey()[32:]), "a339e8fbcd21df1e9d21151de1e90c3aaa2d198466010efe858b664f049030a9"; got != want {
		t.Errorf("public key of the authority = %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(k.BackupKey()), "d54b69325592c152aa1e465cdb5e3e87876d09388b04d7af30bf63648bae7438"; got != want {
		t.Errorf("BackupKey() = %s, want %s", got, want)
	}
	if got, want := k.Fingerprint(), "c063ffdd0e4c2007"; got != want {
		t.Errorf("Fingerprint() = %q, want %q", got, want)
	}
}

func TestPasswords(t *testing.T) {
	k, other := keysOf(t, testSecret), keysOf(t, testSecret[1:]+"x")
	seen := map[string]bool{}
	for _, p := range []string{
		k.AgentPassword(), k.ReplicationPassword("a"), k.ReplicationPassword("b"), other.AgentPassword(), other.ReplicationPassword("a"),
	} {
		if seen[p] {
			t.Errorf("the password %q serves twice", p)
		}
		seen[p] = true
		if len(p) > 31 {
			t.Errorf("%q has %d characters, want at most 31", p, len(p))
		}
		// validate_password.policy = MEDIUM: length 8, 1 digit, 1 upper, 1 lower, 1 special. See refman/8.4 validate-password-options-variables.
		is := func(f func(rune) bool) bool { return strings.ContainsFunc(p, f) }
		special := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
		if len(p) < 8 || !is(unicode.IsDigit) || !is(unicode.IsUpper) || !is(unicode.IsLower) || !is(special) {
			t.Errorf("%q does not satisfy validate_password at MEDIUM", p)
		}
		if strings.ContainsAny(p, "'\"\\ \x00") {
			t.Errorf("%q needs quoting", p)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("ReplicationPassword(\"\") returned: the fence of the cluster's identity would be gone")
		}
	}()
	k.ReplicationPassword("")
}

func TestNoSecretNoKeys(t *testing.T) {
	if k, err := (Secret{}).Derive(); err == nil || k != nil {
		t.Errorf("Derive() of the zero Secret = %v, %v, want an error", k, err)
	}
}

func BenchmarkDerive(b *testing.B) {
	s, err := NewSecret(testSecret)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Derive(); err != nil {
			b.Fatal(err)
		}
	}
}
