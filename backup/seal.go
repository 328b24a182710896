package backup

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// SealScheme is how things are sealed: HMAC-SHA-256.
const SealScheme = "hmac-sha-256"

// Purposes of seals. What is sealed for one purpose cannot be passed off as something else.
const (
	sealManifest = "ordinal backup manifest v1"
	sealKeyID    = "ordinal backup seal key id v1"
)

const (
	keyIDBytes = 8
	minSealKey = 32 // bytes
)

// errEdited is the cause within this package; callers say of what.
var errEdited = errors.New("the seal does not fit the content")

// Sign seals content with the newest key. purpose says what content is; it is part of what the seal covers, is never empty and holds no NUL byte.
func (k Keys) Sign(purpose string, content []byte) (Seal, error) {
	if len(k.Seal) == 0 {
		return Seal{}, errors.New("seal: no key: the cluster secret is needed")
	}
	key := k.Seal[0]
	if len(key) < minSealKey {
		return Seal{}, fmt.Errorf("seal: the key is shorter than %d bytes", minSealKey)
	}
	return Seal{Scheme: SealScheme, KeyID: keyID(key), MAC: hex.EncodeToString(mac(key, purpose, content))}, nil
}

// CheckSeal checks that content was sealed for this purpose by one of the keys. Errors: [*WrongKeyError] when the seal is by another key, [ErrEdited] when
// it is by one of ours and does not fit the content. With IgnoreSeal in the keys, a seal by another key passes, and one of ours is still checked.
func (k Keys) CheckSeal(purpose string, content []byte, s Seal) error {
	if s.Scheme != SealScheme {
		return fmt.Errorf("%w: seal of an unknown scheme %.40q", ErrEdited, s.Scheme)
	}
	for _, key := range k.Seal {
		if keyID(key) != s.KeyID {
			continue
		}
		got, err := hex.DecodeString(s.MAC)
		if err != nil || !hmac.Equal(got, mac(key, purpose, content)) {
			return fmt.Errorf("%w: %w", ErrEdited, errEdited)
		}
		return nil
	}
	if k.IgnoreSeal {
		return nil
	}
	return &WrongKeyError{
		What:   "the seal",
		Remedy: "it was made under another cluster secret: give that one (a file with the secret's name and .previous beside it counts as well), or tell to go on without the seal if you trust whoever can write to the store",
	}
}

// mac covers the purpose and the content; the purpose has no NUL, so no two pairs are the same bytes.
func mac(key []byte, purpose string, content []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(content)
	return h.Sum(nil)
}

// keyID is what a key is known by.
func keyID(key []byte) string { return hex.EncodeToString(mac(key, sealKeyID, nil)[:keyIDBytes]) }
