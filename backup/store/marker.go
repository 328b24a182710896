package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// MarkerName is the object that says whose place it is. docs/formats/backup-store.md describes it.
const MarkerName = ".ordinal"

const (
	markerFormat  = "ordinal backup store"
	markerVersion = 1
	maxMarker     = 64 << 10
	maxID         = 200 // bytes of a cluster's id and of a set's name
)

// A Marker says to which cluster and set a place belongs.
type Marker struct {
	Cluster string    // identity of the cluster, which travels with its data; 1 to 200 printable ASCII characters without spaces
	Set     string    // name of the set, such as mysql for mysql-0; the same characters
	Created time.Time // when the place was claimed; to the second, in UTC
}

// markerFile is the marker's form in the store. Fields are only ever added.
type markerFile struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Cluster string    `json:"cluster_id"`
	Set     string    `json:"set"`
	Created time.Time `json:"created_at"`
}

// ErrForeign matches every [*ForeignError].
var ErrForeign = errors.New("the place is not this cluster's")

// A ForeignError refuses a place that is somebody else's, or whose owner is not known.
type ForeignError struct {
	Reason string
	Remedy string
}

func (e *ForeignError) Error() string { return ErrForeign.Error() + ": " + e.Reason }
func (e *ForeignError) Unwrap() error { return ErrForeign }
func (e *ForeignError) Hint() string  { return e.Remedy }

// Claim makes an empty place that of a cluster and set, or returns nil if it is that already. It refuses with a [*ForeignError] a place that belongs to
// another cluster or set, one that is not empty and has no marker, and a marker that it does not understand. Every writer calls it before it
// writes anything. It may be called concurrently: of several who find the place empty, one gets it.
func Claim(ctx context.Context, s Store, cluster, set string, now time.Time) error {
	mine := Marker{Cluster: cluster, Set: set, Created: now.UTC().Truncate(time.Second)}
	data, err := mine.encode()
	if err != nil {
		return err
	}
	err = Check(ctx, s, cluster, set)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	found, err := s.Anything(ctx)
	if err != nil {
		return fmt.Errorf("claim the place: %w", err)
	}
	// A set that is claiming it at this moment has put nothing there but the marker, which Check will find.
	if found != "" && found != MarkerName {
		return &ForeignError{
			Reason: fmt.Sprintf("it holds %.200q and no marker %s", found, MarkerName),
			Remedy: "choose an empty directory or prefix; backups never share a place with anything else",
		}
	}
	if err := s.PutIfAbsent(ctx, MarkerName, data); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("claim the place: %w", err)
	}
	return Check(ctx, s, cluster, set) // whoever was faster has it
}

// Check returns nil if a place has the marker of a cluster and set, [ErrNotFound] if it has none, and else a [*ForeignError] or why it cannot be read. It
// writes nothing.
func Check(ctx context.Context, s Reader, cluster, set string) error {
	m, err := ReadMarker(ctx, s)
	if err != nil {
		return err
	}
	if m.Cluster != cluster || m.Set != set {
		return &ForeignError{
			Reason: fmt.Sprintf("it belongs to set %q of cluster %s, this is set %q of cluster %s", m.Set, m.Cluster, set, cluster),
			Remedy: "give each set its own directory or prefix; restoring from another cluster's backups is a different command than writing to them",
		}
	}
	return nil
}

// ReadMarker returns the marker of a place. [ErrNotFound] if it has none; a [*ForeignError] if that is no marker, or one of a version that is not known.
func ReadMarker(ctx context.Context, s Reader) (Marker, error) {
	data, err := ReadSmall(ctx, s, MarkerName, maxMarker)
	if errors.Is(err, ErrSize) {
		return Marker{}, &ForeignError{Reason: MarkerName + " is too large to be a marker"}
	}
	if err != nil {
		return Marker{}, fmt.Errorf("read the marker: %w", err)
	}
	return decodeMarker(data)
}

func decodeMarker(data []byte) (Marker, error) {
	var f markerFile
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&f); err != nil || f.Format != markerFormat {
		return Marker{}, &ForeignError{Reason: MarkerName + " is not a marker of a backup store"}
	}
	if _, err := d.Token(); err != io.EOF {
		return Marker{}, &ForeignError{Reason: MarkerName + " has something after its end"}
	}
	if f.Version != markerVersion {
		return Marker{}, &ForeignError{
			Reason: fmt.Sprintf("%s has version %d, this agent knows %d", MarkerName, f.Version, markerVersion),
			Remedy: "use the version of the agent that wrote it, or a later one",
		}
	}
	m := Marker{Cluster: f.Cluster, Set: f.Set, Created: f.Created}
	if err := m.check(); err != nil {
		return Marker{}, &ForeignError{Reason: fmt.Sprintf("%s is damaged: %v", MarkerName, err)}
	}
	return m, nil
}

func (m Marker) encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("claim the place: %w", err)
	}
	data, err := json.MarshalIndent(markerFile{markerFormat, markerVersion, m.Cluster, m.Set, m.Created}, "", "  ")
	return append(data, '\n'), err
}

func (m Marker) check() error {
	for what, text := range map[string]string{"cluster": m.Cluster, "set": m.Set} {
		if text == "" || len(text) > maxID || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return fmt.Errorf("the name of the %s is not 1 to %d printable ASCII characters", what, maxID)
		}
	}
	return nil
}
