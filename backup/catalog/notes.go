package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ordinal/backup"
	"ordinal/backup/store"
)

// Names of the notes beside a backup.
const (
	markObject     = "mark.json"
	verifiedObject = "verified.json"
	claimObject    = "owner.json"
	aliveObject    = "alive.json"
)

const (
	maxNote  = 1 << 20 // bytes of a note
	maxText  = 1000    // bytes of what a person writes
	version1 = 1
)

// header is how every note begins.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
}

// decodeNote reads a note of a format, whose fields are only ever added. It trusts nothing in it.
func decodeNote(data []byte, format string, into any) error {
	var h header
	if err := json.Unmarshal(data, &h); err != nil {
		return err
	}
	if h.Format != format || h.Version != version1 {
		return fmt.Errorf("it is of format %.60q, version %d", h.Format, h.Version)
	}
	return json.Unmarshal(data, into)
}

// put writes a note, and replaces the one before.
func put(ctx context.Context, s store.Writer, name string, note any) error {
	data, err := json.Marshal(note)
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if len(data) > maxNote {
		return fmt.Errorf("%s would have %d bytes, at most %d are allowed", name, len(data), maxNote)
	}
	return s.Put(ctx, name, int64(len(data)), bytes.NewReader(data))
}

// A Mark is what a person has said of a backup.
type Mark struct {
	Keep bool      `json:"keep"` // no retention removes it
	Note string    `json:"note,omitempty"`
	At   time.Time `json:"at"`
}

const markFormat = "ordinal backup mark"

type markFile struct {
	header
	Mark
}

// SetMark marks a backup, in place of the mark that it had. The note is one line of at most 1000 bytes. [backup.ErrNoBackup] if there is no manifest.
func SetMark(ctx context.Context, s store.Store, id string, m Mark) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("mark backup %s: %w", id, err)
	}
	if err := mustHaveManifest(ctx, s, id); err != nil {
		return err
	}
	m.At = m.At.UTC().Truncate(time.Second)
	if err := put(ctx, s, backup.Dir(id)+markObject, markFile{header{markFormat, version1}, m}); err != nil {
		return fmt.Errorf("mark backup %s: %w", id, err)
	}
	return nil
}

// RemoveMark removes the mark of a backup, if it has one.
func RemoveMark(ctx context.Context, s store.Store, id string) error {
	if err := mustHaveManifest(ctx, s, id); err != nil {
		return err
	}
	if err := s.Delete(ctx, backup.Dir(id)+markObject); err != nil {
		return fmt.Errorf("unmark backup %s: %w", id, err)
	}
	return nil
}

func (m *Mark) check() error {
	if len(m.Note) > maxText || !utf8.ValidString(m.Note) || strings.ContainsFunc(m.Note, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("the note is not one line of at most %d bytes", maxText)
	}
	return nil
}

func mustHaveManifest(ctx context.Context, s store.Reader, id string) error {
	if _, err := backup.ParseID(id); err != nil {
		return err
	}
	_, err := s.Stat(ctx, backup.ManifestName(id))
	if errors.Is(err, store.ErrNotFound) {
		return &backup.DamageError{Backup: id, Kind: backup.ErrNoBackup}
	}
	return err
}

// readMark returns the mark of a backup, nil if there is none. A mark that cannot be read keeps the backup: whoever made it wanted something.
func readMark(ctx context.Context, s store.Reader, id string) (*Mark, error) {
	data, err := store.ReadSmall(ctx, s, backup.Dir(id)+markObject, maxNote)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil && !errors.Is(err, store.ErrSize) {
		return nil, err
	}
	var m markFile
	if err == nil {
		err = decodeNote(data, markFormat, &m)
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return &Mark{Keep: true, Note: "(the mark cannot be read: the backup is kept)"}, nil
	}
	return &m.Mark, nil
}

// decodeOne decodes a JSON value with nothing after it but white space.
func decodeOne(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows its end")
	}
	return nil
}
