package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"ordinal/internal/atomicfile"
	"ordinal/mysqlx"
)

const (
	journalFormat  = "ordinal replay"
	journalVersion = 1
	maxJournal     = 16 << 20 // bytes; GTID sets are the long part
)

// A Journal says that a replay is wanted, or under way: as long as its file is there, the server beside it is not to take writes. See docs/formats/replay.md.
type Journal struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Target  Target `json:"target"`
	// Archive and Backup are for people, and for who goes on with the replay: where the archive is, without a secret, and what was restored.
	Archive string    `json:"archive,omitempty"`
	Backup  string    `json:"backup,omitempty"`
	Created time.Time `json:"created_at"`
	// From is what the server had executed when the replay began, and Until what it will have in the end. Until is empty before Run made its plan.
	From  mysqlx.GTIDSet `json:"from,omitzero"`
	Until mysqlx.GTIDSet `json:"until,omitzero"`
	Last  Point          `json:"last,omitzero"`
	// Settings are the server's own, to be restored, as long as its server_id is ServerID.
	Settings map[string]string `json:"settings,omitempty"`
	ServerID uint32            `json:"server_id,omitempty"`
}

// WriteIntent writes a journal for a replay that is still to be planned, before the data that it is for is put in its place. path is that of the file; its
// directory must exist. An unfinished replay's journal is replaced.
func WriteIntent(path string, target Target, archive, backup string) error {
	if err := target.Validate(); err != nil {
		return err
	}
	j := Journal{Target: target, Archive: archive, Backup: backup, Created: time.Now().UTC()}
	return j.write(path)
}

func (j *Journal) write(path string) error {
	j.Format, j.Version = journalFormat, journalVersion
	text, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = atomicfile.WriteFile(path, append(text, '\n'), 0o640)
	}
	if err != nil {
		return fmt.Errorf("note the replay that is under way: %w", err)
	}
	return nil
}

// ReadJournal returns the journal of an unfinished replay. Without one the error matches fs.ErrNotExist. A journal that cannot be read is an error: nobody
// knows then whether the server may take writes.
func ReadJournal(path string) (*Journal, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxJournal) {
		err = fmt.Errorf("no file of at most %d bytes", maxJournal)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal of a replay: %w", err)
	}
	j, err := parseJournal(text)
	if err != nil {
		return nil, fmt.Errorf("read the journal of a replay %s: %w", path, err)
	}
	return j, nil
}

func parseJournal(text []byte) (*Journal, error) {
	j := new(Journal)
	if err := json.Unmarshal(text, j); err != nil {
		return nil, err
	}
	switch {
	case j.Format != journalFormat:
		return nil, fmt.Errorf("it is a %.60q", j.Format)
	case j.Version != journalVersion:
		return nil, fmt.Errorf("version %d, known is %d", j.Version, journalVersion)
	case !j.Until.Contains(j.From):
		return nil, errors.New("it ends before it begins")
	case len(j.Settings) > 0 && j.ServerID == 0:
		return nil, errors.New("settings without the server_id that says whether they are in force")
	}
	return j, j.Target.Validate()
}

// remove ends a replay.
func removeJournal(path string) error {
	err := os.Remove(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = atomicfile.SyncDir(dirOf(path))
	}
	if err != nil {
		return fmt.Errorf("end the replay: %w", err)
	}
	return nil
}
