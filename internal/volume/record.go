package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"ordinal/internal/atomicfile"
	"ordinal/internal/plan"
)

// Origin says how the data of a generation came to be.
type Origin string

// The origins, as they are spelled in a record.
const (
	OriginClone       Origin = "clone"       // copied from a donor
	OriginInitialised Origin = "initialised" // made by the image's own first initialisation
	OriginAdopted     Origin = "adopted"     // a data directory that was in the volume's root
	OriginRestored    Origin = "restored"    // from a backup
)

// State says whether a generation may be served.
type State string

// The states, as they are spelled in a record.
const (
	StateBuilding State = "building" // perhaps not whole: never to be served
	StateComplete State = "complete" // whole and durable
)

// Record is what is durably known of one generation.
type Record struct {
	Format int    `json:"format"` // a reader refuses a higher one than it knows
	Number int    `json:"number"` // 1 to 999999
	Origin Origin `json:"origin"`
	State  State  `json:"state"`
	// Donor is the pod that the data comes from, or the name of the backup; empty if it was made here.
	Donor string `json:"donor,omitempty"`
	Facts
	CreatedAt   time.Time  `json:"created_at"`
	CompletedAt *time.Time `json:"completed_at,omitempty"`
	// Replaces says which generation this one was made for, and why that one cannot go on; nil: none was there, or nobody said.
	Replaces *Replacement `json:"replaces,omitempty"`
	// ServedAt is when the pod was ready on this generation for the first time; nil: never yet. See MarkServed.
	ServedAt *time.Time `json:"served_at,omitempty"`
}

// Replacement says why a generation gives way to a newer one. What is written here goes into quarantine with it.
type Replacement struct {
	Generation int    `json:"generation"` // older than the one whose record this is
	Reason     string `json:"reason"`     // a code: letters, digits, `_`, `-`
	Message    string `json:"message,omitempty"`
	// OnlyHere is the GTID set of the transactions that no other pod has; "" if there are none.
	OnlyHere string `json:"only_here"`
}

func (r *Replacement) validate(number int) error {
	switch {
	case r == nil:
		return nil
	case r.Generation < 1 || r.Generation >= number:
		return fmt.Errorf("it replaces generation %d, which is not an older one", r.Generation)
	case !reasonPattern.MatchString(r.Reason):
		return fmt.Errorf("%q is not a reason code", r.Reason)
	}
	return nil
}

// Facts is what is known of the data for sure only when it is complete. Empty fields are unknown.
type Facts struct {
	ClusterID     string `json:"cluster_id,omitempty"`
	GTIDExecuted  string `json:"gtid_executed,omitempty"`
	ServerVersion string `json:"server_version,omitempty"`
}

// or returns f with the unknown fields taken from old.
func (f Facts) or(old Facts) Facts {
	if f.ClusterID == "" {
		f.ClusterID = old.ClusterID
	}
	if f.GTIDExecuted == "" {
		f.GTIDExecuted = old.GTIDExecuted
	}
	if f.ServerVersion == "" {
		f.ServerVersion = old.ServerVersion
	}
	return f
}

// Identity is what the volume says of the pod that it belongs to.
type Identity struct {
	Format     int       `json:"format"`
	ClusterID  string    `json:"cluster_id,omitempty"`
	Pod        string    `json:"pod,omitempty"`
	ServerUUID string    `json:"server_uuid,omitempty"`
	UpdatedAt  time.Time `json:"updated_at"`
}

const (
	recordFormat   = 1
	identityFormat = 1
	maxJSON        = 16 << 20 // bytes; a GTID set can have a megabyte

	fileMode fs.FileMode = 0o640
	dirMode  fs.FileMode = 0o750
)

const (
	agentDir      = "agent"
	genDir        = "gen"
	quarantineDir = "quarantine"
	currentLink   = "current"
	lockFile      = "agent/lock"
	planFile      = "agent/plan.json"
	identityFile  = "agent/identity.json"

	cloneDir   = "#clone"
	markerFile = "#clone/#status_in_progress" // CLONE_INNODB_IN_PROGRESS_FILE in the server's source
)

var recordName = regexp.MustCompile(`^generation-([0-9]{6})\.json$`)

func genName(n int) string    { return fmt.Sprintf("%06d", n) }
func genPath(n int) string    { return path.Join(genDir, genName(n)) }
func recordPath(n int) string { return path.Join(agentDir, "generation-"+genName(n)+".json") }

// parseGenName is the reverse of genName; false for every other name, so also for 000000 and 7.
func parseGenName(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && n > 0 && genName(n) == name && len(name) == 6
}

func (r Record) validate(n int) error {
	switch {
	case r.Format < 1 || r.Format > recordFormat:
		return fmt.Errorf("format %d, this version knows %d", r.Format, recordFormat)
	case r.Number != n:
		return fmt.Errorf("it is for generation %d", r.Number)
	case r.State != StateBuilding && r.State != StateComplete:
		return fmt.Errorf("unknown state %q", r.State)
	}
	switch r.Origin {
	case OriginClone, OriginInitialised, OriginAdopted, OriginRestored:
		return r.Replaces.validate(n)
	}
	return fmt.Errorf("unknown origin %q", r.Origin)
}

// readRecord reads the record of generation n. The error is fs.ErrNotExist if it has none.
func readRecord(root *os.Root, n int) (Record, error) {
	var r Record
	if err := readJSON(root, recordPath(n), &r); err != nil {
		return r, err
	}
	if err := r.validate(n); err != nil {
		return r, damagedFile(root, recordPath(n), err)
	}
	return r, nil
}

func writeRecord(root *os.Root, r Record) error { return writeJSON(root, recordPath(r.Number), r) }

// Identity reads the volume's identity. The error is [fs.ErrNotExist] if none was written yet.
func (v *Volume) Identity() (Identity, error) {
	var id Identity
	if err := readJSON(v.root, identityFile, &id); err != nil {
		return Identity{}, err
	}
	if id.Format < 1 || id.Format > identityFormat {
		return Identity{}, damagedFile(v.root, identityFile, fmt.Errorf("format %d, this version knows %d", id.Format, identityFormat))
	}
	return id, nil
}

// SetIdentity durably replaces the volume's identity; it fills in Format and UpdatedAt.
func (v *Volume) SetIdentity(id Identity) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	id.Format, id.UpdatedAt = identityFormat, now()
	return v.writable(writeJSON(v.root, identityFile, id))
}

func readJSON(root *os.Root, name string, into any) error {
	return readBounded(root, name, maxJSON, into)
}

// readRegular reads a regular file of at most limit bytes; it follows no link and waits for nobody.
func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	full := filepath.Join(root.Name(), name)
	if err := plan.CheckDir(root, path.Dir(name)); err != nil {
		return nil, err
	}
	st, err := root.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", full, err)
	}
	if !st.Mode().IsRegular() {
		return nil, damagedFile(root, name, errors.New("it is not a regular file"))
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", full, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", full, err)
	case int64(len(data)) > limit:
		return nil, damagedFile(root, name, fmt.Errorf("it is longer than %d bytes", limit))
	}
	return data, nil
}

func writeJSON(root *os.Root, name string, value any) error {
	data, err := marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(root.Name(), name), err)
	}
	return atomicfile.WriteRoot(root, name, data, fileMode)
}

func marshal(value any) ([]byte, error) {
	data, err := json.MarshalIndent(value, "", "\t")
	if err == nil && len(data) >= maxJSON { // nobody would read it
		err = fmt.Errorf("%T has %d bytes, at most %d are allowed", value, len(data)+1, maxJSON)
	}
	return append(data, '\n'), err
}

func damagedFile(root *os.Root, name string, err error) error {
	return damaged("keep the volume as it is and look at the file; the agent writes it in one piece, so something else did this",
		"%s: %v", filepath.Join(root.Name(), name), err)
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
