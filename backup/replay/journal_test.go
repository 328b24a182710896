package replay

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ordinal/mysqlx"
)

func set(t testing.TB, text string) mysqlx.GTIDSet {
	t.Helper()
	s, err := mysqlx.ParseGTIDSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func anyJournal(t testing.TB) *Journal {
	const uuid = "6a8c0000-0000-0000-0000-000000000000"
	return &Journal{
		Target: Target{Before: set(t, uuid+":991")}, Archive: "s3://backups/mysql", Backup: "20261121T120000Z-0f1e2d3c",
		Created: time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC), From: set(t, uuid+":1-200"), Until: set(t, uuid+":1-990:heal:1-2"),
		Last:     Point{Executed: set(t, uuid+":1-990:heal:1-2"), GTID: uuid + ":990", Committed: time.Date(2026, 11, 21, 13, 59, 58, 117847000, time.UTC)},
		Settings: map[string]string{"server_id": "100", "replica_parallel_workers": "4"}, ServerID: 2147483748,
	}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replay.json")
	if _, err := ReadJournal(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadJournal() without one: %v", err)
	}
	j := anyJournal(t)
	if err := j.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Until.Equal(j.Until) || !got.From.Equal(j.From) || !sameTarget(got.Target, j.Target) || !reflect.DeepEqual(got.Settings, j.Settings) || got.ServerID != j.ServerID ||
		got.Last.GTID != j.Last.GTID || !got.Last.Committed.Equal(j.Last.Committed) {
		t.Errorf("ReadJournal() = %+v, want %+v", got, j)
	}
	for range 2 {
		if err := removeJournal(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteIntent(path, Target{Time: time.Now(), Before: j.Target.Before}, "", ""); err == nil {
		t.Error("WriteIntent() to two targets: no error")
	}
	if err := WriteIntent(path, Target{}, "file:///b", ""); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "until") || strings.Contains(string(text), "settings") {
		t.Errorf("an intent: %s, %v", text, err)
	}
	if got, err := ReadJournal(path); err != nil || !got.Until.IsEmpty() || !sameTarget(got.Target, Target{}) {
		t.Errorf("ReadJournal() of an intent = %+v, %v", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadJournal(path); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadJournal() of a directory: %v", err)
	}
}

func TestJournalRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"half":               `{"format": "ordinal replay", "ver`,
		"other format":       `{"format": "ordinal backup", "version": 1}`,
		"other version":      `{"format": "ordinal replay", "version": 2}`,
		"ends first":         `{"format": "ordinal replay", "version": 1, "from": "6a8c0000-0000-0000-0000-000000000000:1-3", "until": "6a8c0000-0000-0000-0000-000000000000:1-2"}`,
		"no set":             `{"format": "ordinal replay", "version": 1, "until": "x"}`,
		"settings of nobody": `{"format": "ordinal replay", "version": 1, "settings": {"server_id": "1"}}`,
		"two targets":        `{"format": "ordinal replay", "version": 1, "target": {"time": "2026-11-21T12:00:00Z", "gtids": "6a8c0000-0000-0000-0000-000000000000:1"}}`,
	} {
		if j, err := parseJournal([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, j)
		}
	}
	if _, err := parseJournal([]byte(`{"format": "ordinal replay", "version": 1, "later": {"field": [1]}}`)); err != nil {
		t.Errorf("a field that is not known: %v", err)
	}
}

func FuzzJournal(f *testing.F) {
	text, err := json.Marshal(anyJournal(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format": "ordinal replay", "version": 1, "target": {"gtids": ""}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := parseJournal(text)
		if err != nil {
			return
		}
		if j.Until.Contains(j.From) != true || j.Target.Validate() != nil {
			t.Fatalf("%+v", j)
		}
	})
}

func TestAnotherID(t *testing.T) {
	for _, c := range []struct {
		own   uint32
		taken []uint32
		want  uint32
	}{
		{100, nil, 1<<31 | 100}, {1<<31 | 100, nil, 100}, {1 << 31, nil, 1}, {100, []uint32{1<<31 | 100, 1<<31 | 101}, 1<<31 | 102}, {1<<31 - 1, []uint32{1<<32 - 1}, 1},
	} {
		taken := map[uint32]bool{}
		for _, id := range c.taken {
			taken[id] = true
		}
		if got := anotherID(c.own, taken); got != c.want {
			t.Errorf("anotherID(%d, %v) = %d, want %d", c.own, c.taken, got, c.want)
		}
	}
}
