package archive

import (
	"sync"
	"time"

	"ordinal/mysqlx"
)

// States of an [Archiver].
const (
	StateStopped   = "stopped"   // Run is not running
	StateStarting  = "starting"  // it finds out what is archived
	StateArchiving = "archiving" // the server sends its log
	StateWaiting   = "waiting"   // something is in the way: see Err
)

// A Status is what an archiver knows of itself.
type Status struct {
	State string `json:"state"`
	// Archived is what is archived and what comes before, up to the place that the archiver has reached; ArchivedTo is up to when that is everything,
	// by the source's clock.
	Archived   mysqlx.GTIDSet `json:"archived_gtid_set"`
	ArchivedTo time.Time      `json:"archived_to,omitzero"`
	// RPO is how many seconds ago that was; nil if it is not known.
	RPO *float64 `json:"rpo_seconds,omitempty"`
	// Gap is what the archive lacks: it was purged before it was archived. A backup that was made after it is not concerned.
	Gap mysqlx.GTIDSet `json:"archive_gap"`
	// Abandoned was archived and is no part of the server's history: it was lost with a server that others went on without.
	Abandoned mysqlx.GTIDSet `json:"abandoned_gtid_set"`

	Segments    uint64    `json:"segments"`     // stored since the start
	RawBytes    uint64    `json:"raw_bytes"`    // of binary log
	StoredBytes uint64    `json:"stored_bytes"` // in the store
	LastStored  time.Time `json:"last_stored_at,omitzero"`

	// Error is the latest one while it is in the way, in one line; Err is the same for programs.
	Error   string    `json:"last_error,omitempty"`
	ErrorAt time.Time `json:"last_error_at,omitzero"`
	Err     error     `json:"-"`
	// CompactError is why small objects were not put together the last time.
	CompactError string `json:"compact_error,omitempty"`
}

// board is where the parts of an archiver put down what they know.
type board struct {
	mu      sync.Mutex
	status  Status
	samples samples
	failed  map[string]failure // by what failed
}

type failure struct {
	err error
	at  time.Time
}

// update changes the status under the lock.
func (b *board) update(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
}

// report notes that what failed, or with nil that it is over.
func (b *board) report(what string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		b.failed = map[string]failure{}
	}
	if err == nil {
		delete(b.failed, what)
		return
	}
	b.failed[what] = failure{err, time.Now().UTC()}
}

// snapshot returns the status as of now.
func (b *board) snapshot() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	if c := b.samples.covered; !c.seen.IsZero() {
		s.ArchivedTo = c.at
		rpo := time.Since(c.seen).Seconds()
		s.RPO = &rpo
	}
	var latest failure
	for _, f := range b.failed {
		if f.at.After(latest.at) {
			latest = f
		}
	}
	if latest.err != nil {
		s.Err, s.Error, s.ErrorAt = latest.err, oneLine(latest.err), latest.at
		if s.State == StateArchiving {
			s.State = StateWaiting
		}
	}
	return s
}

func oneLine(err error) string {
	const most = 500
	text := []byte(err.Error())
	for i, c := range text {
		if c < ' ' {
			text[i] = ' '
		}
	}
	return string(text[:min(len(text), most)])
}

// sampled notes what the source had executed.
func (b *board) sampled(one sample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.samples.add(one)
	b.samples.cover(b.status.Archived)
}

// stored notes what is archived now.
func (b *board) stored(archived mysqlx.GTIDSet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Archived = archived
	b.samples.cover(archived)
}

// covered returns the last moment up to which everything is archived, and what is.
func (b *board) covered() (sample, mysqlx.GTIDSet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.samples.covered, b.status.Archived
}
