package backup

import (
	"fmt"
	"io"

	"filippo.io/age"
)

// Keys are what backups are sealed, encrypted and opened with. They print as "[redacted]".
type Keys struct {
	// Seal holds keys derived from cluster secrets, of at least 32 bytes, the newest first: that one seals, each may have sealed what is read.
	Seal [][]byte
	// IgnoreSeal takes manifests whose seal is by a key that is not here. For those who have lost the secret and trust the store.
	IgnoreSeal bool

	// Recipients encrypt what is written; any of their identities opens it. Without recipients and without Passphrase nothing is encrypted.
	Recipients []Recipient
	// Identities open what was encrypted to their recipients.
	Identities []age.Identity
	// Passphrase encrypts what is written, unless there are Recipients, and opens what was encrypted with it.
	Passphrase string
}

// A Recipient is whom a backup is encrypted to.
type Recipient struct {
	age.Recipient
	Name string // its public form, which the manifest shows
}

const redacted = "[redacted]"

// Format implements fmt.Formatter: every verb prints "[redacted]".
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]", for encoding/json and others.
func (Keys) MarshalText() ([]byte, error) { return []byte(redacted), nil }
