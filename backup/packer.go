package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"lukechampine.com/blake3"
)

// scrypt's work factors: what is written, and the most that is taken from a manifest. Each step doubles time and memory; 16 takes 64 MiB for a moment.
const (
	workFactor    = 16
	maxWorkFactor = 18
)

const (
	maxWrappedKey = 4 << 10 // bytes of a backup's key in its encrypted form
	packMargin    = 64 << 10
)

// A Packer turns content into what lies in the store and back: compressed with zstd, then encrypted with age if there are keys for that. Its methods may
// be called concurrently; as many packings and unpackings as it was made for run at a time, others wait. What it packs is good for nothing but this
// backup or archive: how it is encrypted is said by Encryption, which has to be kept with it.
type Packer struct {
	encryption *Encryption
	recipients []age.Recipient
	identities []age.Identity
	encoders   chan *zstd.Encoder
	decoder    *zstd.Decoder
}

// NewPacker returns a Packer for a new backup or archive. It encrypts to the recipients among the keys, else with the passphrase, else not at all. It
// unpacks what it has packed if the keys allow that; with a passphrase they do.
func NewPacker(k Keys, concurrency int) (*Packer, error) {
	p := newPacker(concurrency)
	switch {
	case len(k.Recipients) > 0:
		p.encryption = &Encryption{Scheme: EncryptionAge}
		for _, r := range k.Recipients {
			p.recipients = append(p.recipients, r.Recipient)
			p.encryption.Recipients = append(p.encryption.Recipients, r.Name)
		}
		p.identities = k.Identities
	case k.Passphrase != "":
		own, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		wrapped, err := wrapKey(own, k.Passphrase)
		if err != nil {
			return nil, fmt.Errorf("encrypt the key with the passphrase: %w", err)
		}
		p.encryption = &Encryption{Scheme: EncryptionAge, Passphrase: true, Key: wrapped}
		p.recipients, p.identities = []age.Recipient{own.Recipient()}, []age.Identity{own}
	}
	return p, nil
}

// OpenPacker returns a Packer that unpacks what was encrypted as e says, and packs more of it if the keys allow that. A nil e means that nothing is encrypted.
// Errors: [*WrongKeyError]; a [*DamageError] of kind [ErrManifest] if e cannot be.
func OpenPacker(e *Encryption, k Keys, concurrency int) (*Packer, error) {
	p := newPacker(concurrency)
	if e == nil {
		return p, nil
	}
	if err := e.check(); err != nil {
		return nil, damaged(ErrManifest, "%w", err)
	}
	p.encryption = e
	if !e.Passphrase {
		if len(k.Identities) == 0 {
			return nil, &WrongKeyError{What: "decryption", Remedy: "it is encrypted to " + strings.Join(e.Recipients, ", ") + ": give an identity of one of them"}
		}
		p.identities = k.Identities
		for _, r := range k.Recipients {
			p.recipients = append(p.recipients, r.Recipient)
		}
		return p, nil
	}
	own, err := unwrapKey(e.Key, k.Passphrase)
	if err != nil {
		return nil, err
	}
	p.recipients, p.identities = []age.Recipient{own.Recipient()}, []age.Identity{own}
	return p, nil
}

func newPacker(concurrency int) *Packer {
	concurrency = max(concurrency, 1)
	p := &Packer{encoders: make(chan *zstd.Encoder, concurrency)}
	for range concurrency {
		p.encoders <- nil // made when it is needed
	}
	var err error
	p.decoder, err = zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(concurrency),
		zstd.WithDecoderMaxMemory(MaxSegmentBytes),
		zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecodeAllCapLimit(true),
	)
	if err != nil {
		panic(err) // the options contradict each other
	}
	return p
}

// maxWindow is the largest window in bytes that an object may ask for; what is written has one of 8 MiB.
const maxWindow = 64 << 20

// Encryption says how the Packer's content is encrypted; nil: it is not.
func (p *Packer) Encryption() *Encryption { return p.encryption }

// Close frees what the Packer holds.
func (p *Packer) Close() { p.decoder.Close() }

// Pack appends the packed form of raw to dst and returns it, as [bytes.Buffer] would: dst needs no room. raw has at most [MaxSegmentBytes].
func (p *Packer) Pack(dst, raw []byte) ([]byte, error) {
	if len(raw) > MaxSegmentBytes {
		return nil, fmt.Errorf("pack %d bytes: at most %d are taken", len(raw), MaxSegmentBytes)
	}
	encoder := <-p.encoders
	defer func() { p.encoders <- encoder }()
	if encoder == nil {
		var err error
		if encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, fmt.Errorf("pack: %w", err)
		}
	}
	if p.encryption == nil {
		return encoder.EncodeAll(raw, dst), nil
	}
	if len(p.recipients) == 0 {
		return nil, errors.New("pack: there is nobody to encrypt to")
	}
	out := bytes.NewBuffer(dst)
	sealed, err := age.Encrypt(out, p.recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	encoder.Reset(sealed)
	_, err = encoder.Write(raw)
	if err = errors.Join(err, encoder.Close()); err == nil {
		err = sealed.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return out.Bytes(), nil
}

// Unpack appends to dst what stored was packed from, which must have exactly rawLen bytes, and returns it. Nothing beyond rawLen bytes is ever written, nor
// memory taken for it. Errors are a [*DamageError] of kind
// [ErrBomb], [ErrPacked] or [ErrSealed], which does not say of what, or a [*WrongKeyError].
func (p *Packer) Unpack(dst, stored []byte, rawLen int64) ([]byte, error) {
	if rawLen < 0 || rawLen > MaxSegmentBytes {
		return nil, damaged(ErrBomb, "%d bytes, at most %d are taken", rawLen, MaxSegmentBytes)
	}
	if p.encryption != nil {
		plain, err := p.decrypt(stored)
		if err != nil {
			return nil, err
		}
		stored = plain
	}
	begin := len(dst)
	if cap(dst)-begin < int(rawLen) {
		dst = append(make([]byte, 0, begin+int(rawLen)), dst...)
	}
	out, err := p.decoder.DecodeAll(stored, dst[:begin:begin+int(rawLen)])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, damaged(ErrBomb, "more than %d bytes: %w", rawLen, err)
	case err != nil:
		return nil, damaged(ErrPacked, "%w", err)
	case len(out)-begin != int(rawLen):
		return nil, damaged(ErrPacked, "%d bytes come out instead of %d", len(out)-begin, rawLen)
	}
	return out, nil
}

// decrypt returns the compressed form, which has fewer bytes than stored.
func (p *Packer) decrypt(stored []byte) ([]byte, error) {
	in, err := age.Decrypt(bytes.NewReader(stored), p.identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, &WrongKeyError{What: "decryption", Remedy: "give an identity of one of the recipients it was encrypted to: " + strings.Join(p.encryption.Recipients, ", ")}
	case err != nil:
		return nil, damaged(ErrSealed, "%w", err)
	}
	plain := bytes.NewBuffer(make([]byte, 0, len(stored)))
	if _, err := io.Copy(plain, in); err != nil {
		return nil, damaged(ErrSealed, "%w", err)
	}
	return plain.Bytes(), nil
}

// Digest returns the BLAKE3-256 of what lies in the store, as manifests have it.
func Digest(stored []byte) string {
	sum := blake3.Sum256(stored)
	return hex.EncodeToString(sum[:])
}

func hexDigest(h *blake3.Hasher) string { return hex.EncodeToString(h.Sum(nil)) }

// wrapKey encrypts an identity with a passphrase.
func wrapKey(own *age.X25519Identity, passphrase string) (string, error) {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return "", err
	}
	to.SetWorkFactor(workFactor)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(w, own.String()); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// unwrapKey is the reverse of wrapKey. Nothing of the key or the passphrase is in its errors.
func unwrapKey(wrapped, passphrase string) (*age.X25519Identity, error) {
	if passphrase == "" {
		return nil, &WrongKeyError{What: "decryption", Remedy: "it is encrypted with a passphrase: give the file with it"}
	}
	sealed, err := base64.StdEncoding.DecodeString(wrapped)
	if err != nil {
		return nil, damaged(ErrManifest, "its key is no base64")
	}
	from, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	from.SetMaxWorkFactor(maxWorkFactor)
	in, err := age.Decrypt(bytes.NewReader(sealed), from)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, &WrongKeyError{What: "decryption", Remedy: "the passphrase is not the one that it was encrypted with"}
	case err != nil:
		return nil, damaged(ErrManifest, "its key cannot be decrypted: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxWrappedKey))
	if err != nil {
		return nil, damaged(ErrManifest, "its key cannot be decrypted: %w", err)
	}
	own, err := age.ParseX25519Identity(string(text))
	if err != nil {
		return nil, damaged(ErrManifest, "its key is none")
	}
	return own, nil
}

// check refuses what cannot be. It comes from a store.
func (e *Encryption) check() error {
	switch {
	case e.Scheme != EncryptionAge:
		return fmt.Errorf("unknown encryption %.40q", e.Scheme)
	case e.Passphrase == (len(e.Recipients) > 0):
		return errors.New("the encryption is neither to recipients nor with a passphrase, or both")
	case e.Passphrase == (e.Key == "") || len(e.Key) > maxWrappedKey:
		return errors.New("the encryption's key is missing, out of place, or too long")
	case len(e.Recipients) > maxRecipients:
		return fmt.Errorf("%d recipients, at most %d are allowed", len(e.Recipients), maxRecipients)
	}
	for _, r := range e.Recipients {
		if r == "" || len(r) > maxRecipientName || strings.ContainsFunc(r, func(c rune) bool { return c < ' ' || c >= 0x7f }) {
			return errors.New("the name of a recipient is not printable ASCII, or too long")
		}
	}
	return nil
}

const (
	maxRecipients    = 100
	maxRecipientName = 4 << 10 // those of post-quantum keys are long
)
