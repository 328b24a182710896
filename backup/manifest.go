package backup

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What a manifest of this package is called, and the only version of it that is read and written.
const (
	Format  = "ordinal backup"
	Version = 1
)

// Bounds on what a manifest may say.
const (
	// MaxManifest is the size of the largest manifest in bytes: what every store writes in one piece.
	MaxManifest = 16 << 20
	// MaxSegments is how many segments a backup may have, so that its manifest fits.
	MaxSegments = 110_000
	// MaxSegmentBytes is the size of the largest segment, before it is compressed, in bytes.
	MaxSegmentBytes = 1 << 30
	// MaxAttachment is the size of the largest attachment in bytes.
	MaxAttachment  = 16 << 20
	maxAttachments = 100
)

// A Manifest names everything that a backup consists of. Without it there is no backup: it is the last object that is written. See
// docs/formats/backup.md. A Manifest that was read is not to be changed.
type Manifest struct {
	Format  string `json:"format"`  // [Format]
	Version int    `json:"version"` // [Version]
	ID      string `json:"id"`      // see [NewID]
	Cluster string `json:"cluster_id"`
	Set     string `json:"set"`

	Created  time.Time `json:"created_at"`  // when the job began, UTC
	Finished time.Time `json:"finished_at"` // when all of its data was in the store and had been looked at, UTC

	Donor         Donor  `json:"donor"`
	ServerVersion string `json:"server_version"`
	PageSize      uint32 `json:"page_size"` // innodb_page_size, in bytes

	// GTIDExecuted is what a server that starts on the restored data has executed, exactly; "" if that was not known when the backup was made.
	GTIDExecuted string `json:"gtid_executed,omitempty"`
	// GTIDAtLeast is what the donor had executed before the copy began, so what the restored data has at least. Enough to begin a replay at: what was
	// executed already is skipped. "" if not known.
	GTIDAtLeast string `json:"gtid_at_least,omitempty"`
	// GTIDAtMost is what the donor had executed after the copy had ended, so the restored data has nothing beyond it; "" if not known.
	GTIDAtMost string `json:"gtid_at_most,omitempty"`
	// SourceGTID is what the source had executed when the job began; "" if not known.
	SourceGTID string  `json:"source_gtid_executed,omitempty"`
	LagSeconds float64 `json:"lag_seconds,omitempty"` // of the donor behind the source when the job began

	Files       int    `json:"files"`        // of the data directory
	Bytes       uint64 `json:"bytes"`        // of data in the stream, as in the data directory's files
	Pages       uint64 `json:"pages"`        // InnoDB pages that were checked on their way
	RawBytes    uint64 `json:"raw_bytes"`    // of all segments before compression
	StoredBytes uint64 `json:"stored_bytes"` // of all segments as they lie in the store

	Compression string       `json:"compression"`          // [CompressionZstd]
	Encryption  *Encryption  `json:"encryption,omitempty"` // nil: not encrypted
	Attachments []Attachment `json:"attachments,omitempty"`
	Segments    []Segment    `json:"segments"` // in order; the first has index 1

	// Seal proves that who wrote the manifest had the cluster's secret. It is checked by [Manifest.CheckSeal] against the bytes that were read.
	Seal Seal `json:"-"`

	sealed []byte // what the seal is over: the bytes of the manifest before its seal, as they were read or written
}

// Donor is the pod that a backup was made from.
type Donor struct {
	Pod        string `json:"pod"`
	Role       string `json:"role"` // "source" or "replica"
	ServerUUID string `json:"server_uuid,omitempty"`
}

// CompressionZstd is how segments are compressed: each is one zstd stream.
const CompressionZstd = "zstd"

// Encryption says how segments are encrypted. It holds nothing secret.
type Encryption struct {
	Scheme     string   `json:"scheme"`               // [EncryptionAge]
	Recipients []string `json:"recipients,omitempty"` // public keys, any of whose identities opens the segments
	Passphrase bool     `json:"passphrase,omitempty"` // a passphrase opens them; then there are no recipients
	// Key is, with a passphrase, the identity that opens the segments, encrypted with the passphrase: an age file in base64. So that the costly
	// step from a passphrase to a key is made once for a backup and not for every segment.
	Key string `json:"key,omitempty"`
}

// EncryptionAge is the scheme of encryption: age, see https://age-encryption.org/v1.
const EncryptionAge = "age"

// A Segment is a part of the backup's event stream, an object of its own.
type Segment struct {
	Index  int    `json:"index"`  // 1, 2, 3 …
	Size   int64  `json:"size"`   // as it lies in the store, in bytes
	Raw    int64  `json:"raw"`    // before compression, in bytes
	Events int    `json:"events"` // frames in it
	Digest string `json:"blake3"` // BLAKE3-256 of the stored bytes, in 64 lower-case hexadecimal digits
}

// An Attachment is an object beside the segments that the backup's maker put there before the manifest, such as checksums of tables.
type Attachment struct {
	Name   string `json:"name"` // below the backup's directory, such as "checksums.json"
	Size   int64  `json:"size"` // in bytes
	Digest string `json:"blake3"`
}

// A Seal is a MAC by a key that is derived from a cluster secret.
type Seal struct {
	Scheme string `json:"scheme"` // [SealScheme]
	KeyID  string `json:"key_id"` // tells keys apart and says nothing about them
	MAC    string `json:"mac"`    // in lower-case hexadecimal digits
}

// Names of objects.
const (
	// Prefix is what the names of all backups' objects begin with.
	Prefix         = "backups/"
	manifestObject = "manifest.json"
	segmentsDir    = "segments/"
	idTime         = "20060102T150405Z"
	idChance       = 4 // bytes
)

var idForm = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)

// NewID makes the id of a backup whose job began at start. Ids sort by time as text.
func NewID(start time.Time) string {
	var b [idChance]byte
	_, _ = rand.Read(b[:]) // it never fails
	return start.UTC().Format(idTime) + "-" + hex.EncodeToString(b[:])
}

// ParseID returns when the job of the backup with that id began, or an error if id is none.
func ParseID(id string) (time.Time, error) {
	if !idForm.MatchString(id) {
		return time.Time{}, fmt.Errorf("%.100q is not the id of a backup, such as 20261121T120000Z-0f1e2d3c", id)
	}
	start, err := time.Parse(idTime, id[:len(idTime)])
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not the id of a backup: %w", id, err)
	}
	return start, nil
}

// Dir is what the names of a backup's objects begin with. id is one for which [ParseID] has no error.
func Dir(id string) string { return Prefix + id + "/" }

// ManifestName is the name of a backup's manifest in the store.
func ManifestName(id string) string { return Dir(id) + manifestObject }

// SegmentName is the name of a backup's segment in the store.
func SegmentName(id string, index int) string {
	return fmt.Sprintf("%s%s%06d", Dir(id), segmentsDir, index)
}

// SplitName takes the name of an object apart: the id of the backup that it belongs to and its name within it. ok is false for what is no
// object of any backup.
func SplitName(name string) (id, rest string, ok bool) {
	id, rest, ok = strings.Cut(strings.TrimPrefix(name, Prefix), "/")
	_, err := ParseID(id)
	return id, rest, ok && rest != "" && err == nil && strings.HasPrefix(name, Prefix)
}

// SegmentIndex returns the index of the segment that an object within a backup is; ok is false if it is none.
func SegmentIndex(rest string) (index int, ok bool) {
	digits, ok := strings.CutPrefix(rest, segmentsDir)
	if !ok || len(digits) < 6 || len(digits) > 9 {
		return 0, false
	}
	index, err := strconv.Atoi(digits)
	return index, err == nil && index > 0 && rest == fmt.Sprintf("%s%06d", segmentsDir, index)
}
