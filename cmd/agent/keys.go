package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/internal/trust"
)

// maxKeyFile bounds what is read from a file with a passphrase or with identities, in bytes.
const maxKeyFile = 64 << 10

// contentKeys returns the keys that the content of backups is encrypted and opened with. It reads their files.
func (s *settings) contentKeys(from origins) (k backup.Keys, err error) {
	if k.Recipients, err = parseRecipients(from.source("encrypt-to"), s.recipients); err != nil {
		return backup.Keys{}, err
	}
	if s.identityFile != "" {
		if k.Identities, err = readIdentities(from.source("identity-file"), s.identityFile); err != nil {
			return backup.Keys{}, err
		}
	}
	if s.passphraseFile != "" {
		if k.Passphrase, err = readPassphrase(from.source("passphrase-file"), s.passphraseFile); err != nil {
			return backup.Keys{}, err
		}
	}
	return k, nil
}

// storeKeys is contentKeys with those that seals are made with, from the cluster's secret. Who does without a seal may be without the secret.
func (s *settings) storeKeys(from origins, ignoreSeal bool) (backup.Keys, error) {
	k, err := s.contentKeys(from)
	if err != nil {
		return backup.Keys{}, err
	}
	k.IgnoreSeal = ignoreSeal
	if s.SecretFile == "" {
		if ignoreSeal {
			return k, nil
		}
		return backup.Keys{}, &agent.OptionError{
			Flag: "secret-file", Missing: true, Code: agent.ExitConfig, Allowed: allowed("secret-file"),
			Remedy: "name the file with the set's cluster secret: with it backups are sealed, and without it nobody knows whether one was changed",
		}
	}
	ring, err := trust.LoadRing(s.SecretFile)
	if err != nil {
		return backup.Keys{}, err
	}
	k.Seal = ring.BackupKeys()
	return k, nil
}

// parseRecipients makes recipients of their public forms. No error repeats any of them: one may be an identity, given by mistake.
func parseRecipients(source string, texts []string) ([]backup.Recipient, error) {
	var all []backup.Recipient
	var together []age.Recipient
	for i, text := range texts {
		var r age.Recipient
		var err error
		switch {
		case strings.HasPrefix(strings.ToUpper(text), identityPrefix):
			return nil, &recipientError{
				text: fmt.Sprintf("%s: value %d is an identity, which decrypts; a recipient is needed", source, i+1),
				hint: "keep identities in a file that nobody else can read, and make a new one in place of this, which is in the list of processes now; age-keygen -y shows the recipient of one",
			}
		case strings.HasPrefix(text, "age1pq1"):
			r, err = age.ParseHybridRecipient(text)
		default:
			r, err = age.ParseX25519Recipient(text)
		}
		if err != nil {
			return nil, &recipientError{text: fmt.Sprintf("%s: value %d must be an age recipient (age1…)", source, i+1), hint: "make an identity, and see its recipient, with age-keygen"}
		}
		all, together = append(all, backup.Recipient{Recipient: r, Name: text}), append(together, r)
	}
	if len(together) == 0 {
		return nil, nil
	}
	if _, err := age.Encrypt(io.Discard, together...); err != nil {
		return nil, &recipientError{text: source + ": these recipients cannot be used together", hint: "give either post-quantum recipients (age1pq1…) or others, not both"}
	}
	return all, nil
}

// identityPrefix is what every age identity begins with.
const identityPrefix = "AGE-SECRET-KEY-"

type recipientError struct{ text, hint string }

func (e *recipientError) Error() string { return e.text }
func (e *recipientError) Hint() string  { return e.hint }
func (e *recipientError) ExitCode() int { return agent.ExitUsage }

// readIdentities reads a file with age identities, one in a line, as age-keygen writes it.
func readIdentities(source, path string) ([]age.Identity, error) {
	b, err := readKeyFile(path)
	if err != nil {
		return nil, &keyFileError{source, path, err}
	}
	var all []age.Identity
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, err := age.ParseIdentities(strings.NewReader(line))
		if err != nil { // whose text may have a part of the line
			return nil, &keyFileError{source, path, fmt.Errorf("line %d is no age identity (%s…)", n, identityPrefix)}
		}
		all = append(all, one...)
	}
	if len(all) == 0 {
		return nil, &keyFileError{source, path, errors.New("there is no age identity in it")}
	}
	return all, nil
}

// readPassphrase reads a file whose only line is a passphrase; the end of the line does not count.
func readPassphrase(source, path string) (string, error) {
	b, err := readKeyFile(path)
	if err != nil {
		return "", &keyFileError{source, path, err}
	}
	passphrase := string(bytes.TrimRight(b, "\r\n"))
	switch {
	case passphrase == "":
		return "", &keyFileError{source, path, errors.New("it is empty")}
	case strings.ContainsAny(passphrase, "\r\n"):
		return "", &keyFileError{source, path, errors.New("it has more than one line")}
	}
	return passphrase, nil
}

// readKeyFile reads a small file. Its errors do not name it.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, withoutPath(err)
	case len(b) > maxKeyFile:
		return nil, fmt.Errorf("it is longer than %d bytes", maxKeyFile)
	}
	return b, nil
}

func withoutPath(err error) error {
	var in *fs.PathError
	if errors.As(err, &in) {
		return in.Err
	}
	return err
}

// A keyFileError says why a file with keys cannot be used. It contains nothing of what is in it.
type keyFileError struct {
	source string // the option, or its variable
	path   string
	err    error
}

func (e *keyFileError) Error() string { return fmt.Sprintf("%s %s: %v", e.source, e.path, e.err) }
func (e *keyFileError) Unwrap() error { return e.err }
func (e *keyFileError) ExitCode() int { return agent.ExitConfig }
func (e *keyFileError) Hint() string {
	if errors.Is(e.err, fs.ErrPermission) {
		return fmt.Sprintf("let uid %d read it", os.Getuid())
	}
	return "a file with a passphrase has one line with nothing else in it; one with identities is what age-keygen writes"
}
