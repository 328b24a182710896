package bootcheck

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ordinal/mysqlx"
)

// ChecksumsName is what the recorded checksums are called among a backup's attachments.
const ChecksumsName = "checksums.json"

const (
	recordedFormat  = "ordinal table checksums"
	recordedVersion = 1
	// MaxRecorded is the size of the largest file of recorded checksums, in bytes: some hundred thousand tables.
	MaxRecorded = 16 << 20
	maxName     = 256 // bytes of a schema's or table's name: 64 characters
)

// ErrRecorded means that what should be recorded checksums is something else, or of a version that is not known.
var ErrRecorded = errors.New("no checksums of tables that this program understands")

// Recorded is what a backup knows of the contents of its tables. Every InnoDB table of users that the donor had is in one of the lists, unless NotListed says
// otherwise.
type Recorded struct {
	Format  string `json:"format"`
	Version int    `json:"version"`

	ServerUUID    string  `json:"server_uuid"` // of the donor
	ServerVersion string  `json:"server_version"`
	BudgetSeconds float64 `json:"budget_seconds,omitempty"` // that the donor had for each of the two readings; 0: any number
	BeforeSeconds float64 `json:"before_seconds"`           // that it took
	AfterSeconds  float64 `json:"after_seconds"`

	// Tables have not changed from before the copy until after it: the restored ones must have these checksums.
	Tables []RecordedTable `json:"tables"`
	// Changed are tables that were changed, made or dropped meanwhile, or that may have been.
	Changed []mysqlx.TableName `json:"changed"`
	// LeftOut are tables of which nothing is known.
	LeftOut []LeftOut `json:"left_out"`
	// NotListed is how many tables are in none of the lists, which have become too long.
	NotListed int `json:"not_listed,omitempty"`
}

// A RecordedTable is what a table holds.
type RecordedTable struct {
	mysqlx.TableName
	Checksum uint32 `json:"checksum"` // CHECKSUM TABLE
	Rows     uint64 `json:"rows"`
}

// A LeftOut is a table without a checksum.
type LeftOut struct {
	mysqlx.TableName
	Bytes  uint64 `json:"bytes"`  // about
	Reason string `json:"reason"` // one of mysqlx.Skipped…
}

// Match makes of what a donor read before a copy began and after it had ended what is known of the copy. A table counts as unchanged only if checksum, number of
// rows and the server's own times are the same, and if the last change that the server knows of was not in the second in which it was read before: then
// a change and one that takes it back could have hidden in it.
func Match(before, after mysqlx.TableChecksums, budget time.Duration) (Recorded, error) {
	if before.ServerUUID != after.ServerUUID || before.ServerVersion != after.ServerVersion {
		return Recorded{}, fmt.Errorf("match checksums: those before the copy are of server %s (%s), those after it of %s (%s)",
			before.ServerUUID, before.ServerVersion, after.ServerUUID, after.ServerVersion)
	}
	r := Recorded{
		Format: recordedFormat, Version: recordedVersion,
		ServerUUID: before.ServerUUID, ServerVersion: before.ServerVersion,
		BudgetSeconds: budget.Seconds(), BeforeSeconds: before.Seconds, AfterSeconds: after.Seconds,
	}
	then := make(map[mysqlx.TableName]mysqlx.TableChecksum, len(after.Tables))
	for _, t := range after.Tables {
		then[t.TableName] = t
	}
	skipped := make(map[mysqlx.TableName]mysqlx.SkippedTable, len(after.Skipped))
	for _, t := range after.Skipped {
		skipped[t.TableName] = t
	}
	known := make(map[mysqlx.TableName]bool, len(before.Tables)+len(before.Skipped))
	for _, b := range before.Tables {
		known[b.TableName] = true
		a, found := then[b.TableName]
		s, wasSkipped := skipped[b.TableName]
		switch {
		case found && unchanged(b, a):
			r.Tables = append(r.Tables, RecordedTable{b.TableName, b.Checksum, b.Rows})
		case !found && wasSkipped:
			r.skip(s)
		default:
			r.Changed = append(r.Changed, b.TableName)
		}
	}
	for _, b := range before.Skipped {
		known[b.TableName] = true
		r.skip(b)
	}
	for _, a := range after.Tables {
		if !known[a.TableName] {
			r.Changed = append(r.Changed, a.TableName)
		}
	}
	r.sort()
	return r, nil
}

func unchanged(before, after mysqlx.TableChecksum) bool {
	return before.Checksum == after.Checksum && before.Rows == after.Rows &&
		before.Created == after.Created && before.Updated == after.Updated && before.Updated < before.At
}

func (r *Recorded) skip(t mysqlx.SkippedTable) {
	if t.Reason == mysqlx.SkippedChanged {
		r.Changed = append(r.Changed, t.TableName)
		return
	}
	r.LeftOut = append(r.LeftOut, LeftOut(t))
}

func (r *Recorded) sort() {
	slices.SortFunc(r.Tables, func(a, b RecordedTable) int { return a.Compare(b.TableName) })
	slices.SortFunc(r.Changed, mysqlx.TableName.Compare)
	slices.SortFunc(r.LeftOut, func(a, b LeftOut) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), a.Compare(b.TableName)) })
}

// Encode returns the content of the file: at most MaxRecorded bytes. If the lists are too long they lose entries, first those of tables of which nothing is
// known; NotListed counts them.
func (r Recorded) Encode() ([]byte, error) {
	r.Format, r.Version = recordedFormat, recordedVersion
	for {
		data, err := json.Marshal(r)
		if err != nil || len(data) < MaxRecorded {
			return append(data, '\n'), err
		}
		// About as much as it is too long, and a bit, so that a few rounds do.
		drop := 1 + (len(data)-MaxRecorded)/64
		r.NotListed += cut(&r.LeftOut, &drop)
		r.NotListed += cut(&r.Changed, &drop)
		r.NotListed += cut(&r.Tables, &drop)
	}
}

// cut takes at most *drop entries from the end of a list, and from *drop.
func cut[T any](list *[]T, drop *int) int {
	n := min(*drop, len(*list))
	*list = (*list)[:len(*list)-n]
	*drop -= n
	return n
}

// DecodeRecorded reads the content of the file. It trusts nothing in it. Its errors are ErrRecorded.
func DecodeRecorded(data []byte) (Recorded, error) {
	var r Recorded
	if err := decodeJSON(data, MaxRecorded, &r); err != nil {
		return Recorded{}, fmt.Errorf("%w: %w", ErrRecorded, err)
	}
	if err := r.check(); err != nil {
		return Recorded{}, fmt.Errorf("%w: %w", ErrRecorded, err)
	}
	return r, nil
}

// decodeJSON reads one JSON value with nothing after it but white space.
func decodeJSON(data []byte, limit int, v any) error {
	if len(data) > limit {
		return fmt.Errorf("%d bytes are more than %d", len(data), limit)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows its end")
	}
	return nil
}

func (r *Recorded) check() error {
	if r.Format != recordedFormat {
		return fmt.Errorf("format %.100q", r.Format)
	}
	if r.Version != recordedVersion {
		return fmt.Errorf("version %d, this agent knows %d", r.Version, recordedVersion)
	}
	if r.NotListed < 0 {
		return errors.New("a negative number of tables")
	}
	seen := make(map[mysqlx.TableName]bool, len(r.Tables))
	for _, t := range r.Tables {
		if err := checkName(t.TableName); err != nil {
			return err
		}
		if seen[t.TableName] {
			return fmt.Errorf("table %q twice", t.TableName)
		}
		seen[t.TableName] = true
	}
	for _, name := range r.Changed {
		if err := checkName(name); err != nil {
			return err
		}
	}
	for _, t := range r.LeftOut {
		if err := checkName(t.TableName); err != nil {
			return err
		}
	}
	return nil
}

// checkName returns nil for what can be the name of a table.
func checkName(n mysqlx.TableName) error {
	for _, part := range []string{n.Schema, n.Table} {
		if part == "" || len(part) > maxName || !utf8.ValidString(part) || strings.ContainsRune(part, 0) {
			return fmt.Errorf("%.100q is no name of a table", n)
		}
	}
	return nil
}
