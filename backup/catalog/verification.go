package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ordinal/backup"
	"ordinal/backup/bootcheck"
	"ordinal/backup/store"
)

// A Verification is what the last checks of a backup have come to: of each kind the last one.
type Verification struct {
	// ID and Manifest say of which backup: its id, and the MAC of its manifest's seal, so that the record cannot stand for another one.
	ID       string `json:"id"`
	Manifest string `json:"manifest_mac"`

	Segments *SegmentsCheck    `json:"segments,omitempty"` // nil: never done
	Boot     *bootcheck.Result `json:"boot,omitempty"`
}

// A SegmentsCheck is what became of reading all segments.
type SegmentsCheck struct {
	OK       bool      `json:"ok"`
	Finished time.Time `json:"finished_at"`
	Segments int       `json:"segments"`
	Bytes    int64     `json:"bytes"` // that were read
	Problem  string    `json:"problem,omitempty"`
}

// Verdict is Verified if something was checked and nothing failed the last time.
func (v *Verification) Verdict() Verdict {
	switch {
	case v.Segments == nil && v.Boot == nil:
		return NotVerified
	case v.Segments != nil && !v.Segments.OK, v.Boot != nil && !v.Boot.OK:
		return Failed
	}
	return Verified
}

// Last returns when the last check was finished.
func (v *Verification) Last() (t time.Time) {
	if v.Segments != nil {
		t = v.Segments.Finished
	}
	if v.Boot != nil && v.Boot.Finished.After(t) {
		t = v.Boot.Finished
	}
	return t
}

const (
	verificationFormat = "ordinal backup verification"
	sealVerification   = "ordinal backup verification v1"
	maxProblem         = 1000 // bytes
)

// verificationFile is the record in the store. The seal is over the bytes of Record.
type verificationFile struct {
	header
	Record json.RawMessage `json:"record"`
	Seal   backup.Seal     `json:"seal"`
}

// Record keeps the results of checks beside the backup with manifest m, as [backup.Open] returned it: those that are not nil, in place of earlier ones of the same kind.
// The record is sealed, so that nobody who can merely write to the store makes retention take a bad backup for a good one. Two calls at a time for
// the same backup may lose the result of one.
func Record(ctx context.Context, s store.Store, m *backup.Manifest, keys backup.Keys, segments *SegmentsCheck, boot *bootcheck.Result) error {
	if err := record(ctx, s, m, keys, segments, boot); err != nil {
		return fmt.Errorf("record the verification of backup %s: %w", m.ID, err)
	}
	return nil
}

func record(ctx context.Context, s store.Store, m *backup.Manifest, keys backup.Keys, segments *SegmentsCheck, boot *bootcheck.Result) error {
	if err := mustHaveManifest(ctx, s, m.ID); err != nil {
		return err
	}
	v, err := readVerification(ctx, s, m, keys)
	if err != nil {
		return err
	}
	if v == nil {
		v = &Verification{ID: m.ID, Manifest: m.Seal.MAC}
	}
	if segments != nil {
		short := *segments
		short.Problem = clip(short.Problem, maxProblem)
		short.Finished = short.Finished.UTC()
		v.Segments = &short
	}
	if boot != nil {
		v.Boot = boot
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	seal, err := keys.Sign(sealVerification, data)
	if err != nil {
		return err
	}
	return put(ctx, s, backup.Dir(m.ID)+verifiedObject, verificationFile{header{verificationFormat, version1}, data, seal})
}

// readVerification returns the record of a backup, nil if there is none that can be trusted. Its errors are those of the store.
func readVerification(ctx context.Context, s store.Reader, m *backup.Manifest, keys backup.Keys) (*Verification, error) {
	data, err := store.ReadSmall(ctx, s, backup.Dir(m.ID)+verifiedObject, maxNote)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrSize) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := decodeVerification(data, m, keys)
	if err != nil {
		return nil, nil // as if it had never been verified
	}
	return v, nil
}

func decodeVerification(data []byte, m *backup.Manifest, keys backup.Keys) (*Verification, error) {
	var f verificationFile
	if err := decodeNote(data, verificationFormat, &f); err != nil {
		return nil, err
	}
	if err := keys.CheckSeal(sealVerification, f.Record, f.Seal); err != nil {
		return nil, err
	}
	v := new(Verification)
	if err := decodeOne(f.Record, v); err != nil {
		return nil, err
	}
	if v.ID != m.ID || v.Manifest != m.Seal.MAC {
		return nil, errors.New("it is of another backup")
	}
	return v, nil
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
