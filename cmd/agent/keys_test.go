package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"ordinal/agent"
)

func TestRecipients(t *testing.T) {
	one, two := identity(t), identity(t)
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	secret := one.String()
	for _, tt := range []struct {
		texts []string
		want  string // part of the error; "": none
	}{
		{nil, ""},
		{[]string{one.Recipient().String()}, ""},
		{[]string{one.Recipient().String(), two.Recipient().String()}, ""},
		{[]string{quantum.Recipient().String()}, ""},
		{[]string{one.Recipient().String(), quantum.Recipient().String()}, "cannot be used together"},
		{[]string{one.Recipient().String(), "age1hunter2"}, "value 2 must be an age recipient"},
		{[]string{"ssh-ed25519 AAAAhunter2"}, "value 1 must be an age recipient"},
		{[]string{secret}, "value 1 is an identity, which decrypts"},
		{[]string{strings.ToLower(secret)}, "value 1 is an identity, which decrypts"},
	} {
		got, err := parseRecipients("AGENT_ENCRYPT_TO", tt.texts)
		if tt.want == "" {
			if err != nil || len(got) != len(tt.texts) {
				t.Errorf("parseRecipients(%q) = %v, %v", tt.texts, got, err)
			}
			for i, r := range got {
				if r.Name != tt.texts[i] {
					t.Errorf("recipient %d is called %q", i, r.Name)
				}
			}
			continue
		}
		if exitCode(err) != agent.ExitUsage || !strings.HasPrefix(err.Error(), "AGENT_ENCRYPT_TO: ") || !strings.Contains(err.Error(), tt.want) || hintOf(err) == "" {
			t.Errorf("parseRecipients(%q) error = %v, want %q", tt.texts, err, tt.want)
		}
		if said := fmt.Sprint(err, hintOf(err)); strings.Contains(said, "hunter2") || strings.Contains(strings.ToUpper(said), secret) {
			t.Errorf("the error repeats what was given: %s", said)
		}
	}
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// What is wrong with a file with keys is said, and nothing of what is in it.
func TestKeyFiles(t *testing.T) {
	id := identity(t)
	file := filepath.Join(t.TempDir(), "keys")
	for _, tt := range []struct {
		content                string
		identities, passphrase string // what is wrong; "": nothing
	}{
		{"", "no age identity in it", "it is empty"},
		{"\n\n", "no age identity in it", "it is empty"},
		{"# made today\r\n" + id.String() + "\r\n", "", "more than one line"},
		{id.String() + "\n\n" + identity(t).String(), "", "more than one line"},
		{"hunter2 hunter2\n", "line 1 is no age identity", ""},
		{"hunter2", "line 1 is no age identity", ""},
		{"\n" + id.String()[:60] + "hunter2", "line 2 is no age identity", "more than one line"},
		{"\xff\xfehunter2", "line 1 is no age identity", ""},
		{strings.Repeat("hunter2", 1+maxKeyFile/7), "longer than", "longer than"},
	} {
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readIdentities("--identity-file", file)
		checkKeyFile(t, err, tt.identities, file)
		passphrase, err := readPassphrase("--passphrase-file", file)
		checkKeyFile(t, err, tt.passphrase, file)
		if err == nil && passphrase != strings.TrimRight(tt.content, "\r\n") {
			t.Errorf("readPassphrase() = %q of %q", passphrase, tt.content)
		}
	}
	for path, want := range map[string]string{filepath.Join(file, "x"): "not a directory", file + "x": "no such file", filepath.Dir(file): "is a directory"} {
		_, err := readPassphrase("AGENT_PASSPHRASE_FILE", path)
		checkKeyFile(t, err, want, path)
	}
}

func checkKeyFile(t *testing.T, err error, want, path string) {
	t.Helper()
	switch {
	case want == "" && err == nil:
	case want == "" || err == nil:
		t.Errorf("error = %v, want %q", err, want)
	case exitCode(err) != agent.ExitConfig || !strings.Contains(err.Error(), path+": "+want) && !strings.Contains(err.Error(), want) || hintOf(err) == "" || strings.Contains(err.Error(), "hunter2"):
		t.Errorf("error = %v (%d), want %q", err, exitCode(err), want)
	}
}

// Keys never show themselves, whatever prints the settings that they came from.
func TestStoreKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s := defaults()
	s.passphraseFile = write("passphrase", "correct horse\n")
	s.identityFile = write("identity", identity(t).String())
	s.SecretFile = write("secret", strings.Repeat("s", 40))
	k, err := s.storeKeys(nil, false)
	if err != nil || k.Passphrase != "correct horse" || len(k.Identities) != 1 || len(k.Seal) != 1 || k.IgnoreSeal {
		t.Fatalf("storeKeys() = %d seals, %d identities, %v", len(k.Seal), len(k.Identities), err)
	}
	if text := fmt.Sprintf("%v %+v %#v", k, k, s); strings.Contains(text, "horse") || strings.Contains(text, identityPrefix) {
		t.Errorf("keys print as %s", text)
	}
	if _, err := (&settings{}).storeKeys(nil, false); exitCode(err) != agent.ExitConfig || !strings.HasPrefix(err.Error(), "--secret-file is missing") {
		t.Errorf("without a secret: %v", err)
	}
	if k, err := (&settings{}).storeKeys(nil, true); err != nil || !k.IgnoreSeal {
		t.Errorf("without a secret and without seals: %v", err)
	}
}
