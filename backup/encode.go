package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"ordinal/backup/store"
)

// sealMember begins the last member of a manifest. What is before it is sealed.
const sealMember = ",\n  \"seal\": "

const manifestEnd = "\n}\n"

// encode returns the manifest as it is written to the store, sealed with the newest key. It checks itself as it checks what it reads.
func (m *Manifest) encode(k Keys) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	head := *m
	head.Segments = nil
	b, err := json.MarshalIndent(&head, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	// One line for each segment: there may be many.
	const none = "\"segments\": null\n}"
	b, found := bytes.CutSuffix(b, []byte(none))
	if !found {
		return nil, errors.New("encode the manifest: segments are not its last member")
	}
	b = append(b, "\"segments\": ["...)
	for i, s := range m.Segments {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("encode the manifest: %w", err)
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, "\n    "...), line...)
	}
	b = append(b, "\n  ]"...)
	m.sealed = bytes.Clone(b)
	if m.Seal, err = k.Sign(sealManifest, m.sealed); err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	seal, err := json.Marshal(m.Seal)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	b = append(append(append(b, sealMember...), seal...), manifestEnd...)
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("encode the manifest: it has %d bytes, at most %d are allowed", len(b), MaxManifest)
	}
	return b, nil
}

// DecodeManifest reads a manifest and checks everything but its seal: whether what it says can be. Errors are a [*DamageError] of kind [ErrManifest] or
// [ErrVersion]. It takes memory in proportion to data, whatever that says.
func DecodeManifest(data []byte) (*Manifest, error) {
	m, err := decodeManifest(data)
	if err == nil {
		return m, nil
	}
	if errors.Is(err, ErrVersion) {
		return nil, &DamageError{Object: manifestObject, Kind: ErrVersion, Err: errors.Unwrap(err)}
	}
	return nil, &DamageError{Object: manifestObject, Kind: ErrManifest, Err: err}
}

// A versionError is the cause of an ErrVersion.
type versionError struct{ found int }

func (e *versionError) Error() string {
	return fmt.Sprintf("it has version %d, this agent knows %d", e.found, Version)
}
func (e *versionError) Is(target error) bool { return target == ErrVersion }

func decodeManifest(data []byte) (*Manifest, error) {
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("%d bytes, at most %d are taken", len(data), MaxManifest)
	}
	var what struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &what); err != nil {
		return nil, err
	}
	if what.Format != Format {
		return nil, fmt.Errorf("it is not the manifest of a backup: its format is %.60q", what.Format)
	}
	if what.Version != Version {
		return nil, fmt.Errorf("%w", &versionError{what.Version})
	}
	// Only what is sealed is ever looked at: a member after the seal, or a second one of a name, must not change what the manifest says.
	at := bytes.LastIndex(data, []byte(sealMember))
	if at < 0 {
		return nil, errors.New("it has no seal where it belongs")
	}
	sealed, rest := data[:at], data[at+len(sealMember):]
	rest, found := bytes.CutSuffix(rest, []byte(manifestEnd))
	if !found {
		return nil, errors.New("it does not end after its seal")
	}
	m := new(Manifest)
	if err := json.Unmarshal(append(bytes.Clone(sealed), manifestEnd...), m); err != nil {
		return nil, err
	}
	if err := decodeOne(rest, &m.Seal); err != nil {
		return nil, fmt.Errorf("the seal: %w", err)
	}
	m.sealed = bytes.Clone(sealed)
	return m, m.check()
}

// decodeOne decodes a JSON value with nothing after it.
func decodeOne(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows it")
	}
	return nil
}

// CheckSeal checks that a manifest that was read is as it was written, by somebody who has the cluster's secret. Errors: [*DamageError] of kind
// [ErrEdited]; [*WrongKeyError].
func (m *Manifest) CheckSeal(k Keys) error {
	err := k.CheckSeal(sealManifest, m.sealed, m.Seal)
	if wrong := (*WrongKeyError)(nil); errors.As(err, &wrong) {
		wrong.Backup = "backup " + m.ID
		return wrong
	}
	if err != nil {
		return &DamageError{Backup: m.ID, Object: ManifestName(m.ID), Kind: ErrEdited, Err: errEdited}
	}
	return nil
}

// check refuses what no manifest says. It comes from a store.
func (m *Manifest) check() error {
	if _, err := ParseID(m.ID); err != nil {
		return err
	}
	switch {
	case m.Format != Format || m.Version != Version:
		return errors.New("it contradicts itself about its format")
	case !printable(m.Cluster) || !printable(m.Set):
		return errors.New("cluster or set is not 1 to 200 printable ASCII characters")
	case m.PageSize < 4<<10 || m.PageSize > 64<<10 || m.PageSize&(m.PageSize-1) != 0:
		return fmt.Errorf("page size %d", m.PageSize)
	case m.Compression != CompressionZstd:
		return fmt.Errorf("unknown compression %.40q", m.Compression)
	case len(m.Segments) == 0 || len(m.Segments) > MaxSegments:
		return fmt.Errorf("%d segments, want 1 to %d", len(m.Segments), MaxSegments)
	case len(m.Attachments) > maxAttachments:
		return fmt.Errorf("%d attachments, at most %d are allowed", len(m.Attachments), maxAttachments)
	}
	if m.Encryption != nil {
		if err := m.Encryption.check(); err != nil {
			return err
		}
	}
	for i, s := range m.Segments {
		if err := s.check(i + 1); err != nil {
			return fmt.Errorf("segment %d: %w", i+1, err)
		}
	}
	names := make(map[string]bool, len(m.Attachments))
	for _, a := range m.Attachments {
		if err := a.check(); err != nil {
			return fmt.Errorf("attachment: %w", err)
		}
		if names[a.Name] {
			return fmt.Errorf("two attachments are named %q", a.Name)
		}
		names[a.Name] = true
	}
	return nil
}

func printable(s string) bool {
	return s != "" && len(s) <= 200 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func (s *Segment) check(index int) error {
	switch {
	case s.Index != index:
		return fmt.Errorf("it has index %d", s.Index)
	case s.Size < 1 || s.Size > maxStored:
		return fmt.Errorf("%d bytes in the store, want 1 to %d", s.Size, int64(maxStored))
	case s.Raw < 1 || s.Raw > MaxSegmentBytes:
		return fmt.Errorf("%d bytes before compression, want 1 to %d", s.Raw, MaxSegmentBytes)
	case s.Events < 1 || int64(s.Events) > s.Raw:
		return fmt.Errorf("%d events in %d bytes", s.Events, s.Raw)
	}
	return checkDigest(s.Digest)
}

// maxStored is the size of the largest segment in the store, in bytes: what cannot be compressed becomes a little larger.
const maxStored = MaxSegmentBytes + MaxSegmentBytes/64

func (a *Attachment) check() error {
	if err := store.CheckName(a.Name); err != nil || strings.Contains(a.Name, "/") || a.Name == manifestObject || !strings.HasSuffix(a.Name, ".json") {
		return fmt.Errorf("%.100q is not a name for an attachment", a.Name)
	}
	if a.Size < 0 || a.Size > MaxAttachment {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", a.Name, a.Size, MaxAttachment)
	}
	return checkDigest(a.Digest)
}

func checkDigest(d string) error {
	if len(d) != 64 || strings.Trim(d, "0123456789abcdef") != "" {
		return fmt.Errorf("%.80q is no digest", d)
	}
	return nil
}
