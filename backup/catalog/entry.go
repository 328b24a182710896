package catalog

import (
	"encoding/json"
	"time"

	"ordinal/backup"
	"ordinal/mysqlx"
)

// State says what an entry of the catalog is.
type State string

// The states of an entry. Only what is complete can be restored.
const (
	Complete   State = "complete"   // it has a manifest that is whole, ours, and sealed by a key that we have, and its first segment
	Unfinished State = "unfinished" // no manifest: a job works on it, or one was killed, or a removal was
	Damaged    State = "damaged"    // the manifest is damaged, edited, of an unknown version, or without its first segment
	Foreign    State = "foreign"    // of another cluster or set
	WrongKey   State = "wrong key"  // the manifest is sealed by a key that we have not got: nothing it says counts
)

// An Entry is what the catalog knows of one backup. It is not to be changed.
type Entry struct {
	ID      string    `json:"id"`
	State   State     `json:"state"`
	Problem string    `json:"problem,omitempty"` // why it is not complete, unless it is merely unfinished
	Err     error     `json:"-"`                 // the same, to be matched
	Began   time.Time `json:"began_at"`          // as the id says

	// Manifest has everything but the list of segments, whose number is in Segments. Nil if it is unfinished, or if the manifest cannot be read. Of an entry in the
	// state WrongKey it is not to be trusted.
	Manifest *backup.Manifest `json:"manifest,omitempty"`
	Segments int              `json:"segments"`

	// What was seen in the store of an unfinished backup.
	Objects int       `json:"objects,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"`
	Newest  time.Time `json:"newest,omitzero"` // when its newest object was written, by the clock of the store
	Owner   *Owner    `json:"owner,omitempty"` // who said last that it works on it; nil if nobody did

	Mark         *Mark         `json:"mark,omitempty"`
	Verification *Verification `json:"verification,omitempty"`
}

// Verdict is what checks have come to.
type Verdict string

// Verdicts.
const (
	NotVerified Verdict = "not verified"
	Verified    Verdict = "verified"
	Failed      Verdict = "failed"
)

// Verdict returns what the last checks of the backup have come to.
func (e *Entry) Verdict() Verdict {
	if e.Verification == nil {
		return NotVerified
	}
	return e.Verification.Verdict()
}

// Kept says whether somebody has marked the backup to be kept.
func (e *Entry) Kept() bool { return e.Mark != nil && e.Mark.Keep }

// GTIDs returns transactions that the restored data has, as many as are known for certain: what was found when it was started, else what the manifest says.
func (e *Entry) GTIDs() mysqlx.GTIDSet {
	var texts []string
	if v := e.Verification; v != nil && v.Boot != nil {
		texts = append(texts, v.Boot.GTIDExecuted)
	}
	if m := e.Manifest; m != nil {
		texts = append(texts, m.GTIDExecuted, m.GTIDAtLeast)
	}
	for _, text := range texts {
		if set, err := mysqlx.ParseGTIDSet(text); err == nil && !set.IsEmpty() {
			return set
		}
	}
	return mysqlx.GTIDSet{}
}

// Stored returns how many bytes of the store it takes, as far as is known.
func (e *Entry) Stored() int64 {
	if e.Manifest != nil {
		return int64(e.Manifest.StoredBytes)
	}
	return e.Bytes
}

// headOf returns a manifest without its segments: of a large backup they are some megabytes.
func headOf(m *backup.Manifest) (*backup.Manifest, error) {
	segments := m.Segments
	m.Segments = nil
	data, err := json.Marshal(m)
	m.Segments = segments
	if err != nil {
		return nil, err
	}
	head := &backup.Manifest{Seal: m.Seal}
	return head, json.Unmarshal(data, head)
}
