package catalog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/backup/store"
	"ordinal/backup/store/memstore"
)

const (
	cluster = "0123456789abcdef"
	set     = "mysql"
	uuid    = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
)

var keys = backup.Keys{Seal: [][]byte{bytes.Repeat([]byte{7}, 32)}}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func must(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func place(s store.Store) catalog.Place {
	return catalog.Place{Store: s, Cluster: cluster, Set: set, Keys: keys}
}

func list(t testing.TB, s store.Store) []catalog.Entry {
	t.Helper()
	entries, err := place(s).List(t.Context())
	must(t, err)
	return entries
}

// id returns the id of a backup of the given hour.
func id(hour int, n byte) string {
	return noon.Add(time.Duration(hour)*time.Hour).Format("20060102T150405Z") + "-" + strings.Repeat(fmt.Sprintf("%02x", n), 4)
}

func put(t testing.TB, s store.Store, name, content string) {
	t.Helper()
	must(t, s.Put(t.Context(), name, int64(len(content)), strings.NewReader(content)))
}

// sealed writes a manifest as its text says, with a seal of ours. It is what backup.Create writes, without the copy of a server.
func sealed(t testing.TB, s store.Store, m *backup.Manifest, by backup.Keys) {
	t.Helper()
	m.Seal = backup.Seal{}
	data, err := json.MarshalIndent(m, "", "  ")
	must(t, err)
	head := bytes.TrimSuffix(data, []byte("\n}"))
	seal, err := by.Sign("ordinal backup manifest v1", head)
	must(t, err)
	text, err := json.Marshal(seal)
	must(t, err)
	put(t, s, backup.ManifestName(m.ID), string(head)+",\n  \"seal\": "+string(text)+"\n}\n")
}

// manifest returns one of a backup with three segments that was finished half an hour after its job had begun.
func manifest(id string, gtids string) *backup.Manifest {
	began, err := backup.ParseID(id)
	if err != nil {
		panic(err)
	}
	m := &backup.Manifest{
		Format: backup.Format, Version: backup.Version, ID: id, Cluster: cluster, Set: set, Created: began, Finished: began.Add(30 * time.Minute),
		Donor: backup.Donor{Pod: "mysql-1", Role: "replica"}, ServerVersion: "9.7.4", PageSize: 16384, GTIDAtLeast: gtids, Compression: backup.CompressionZstd,
	}
	for i := 1; i <= 3; i++ {
		m.Segments = append(m.Segments, backup.Segment{Index: i, Size: int64(i), Raw: 100, Events: 1, Digest: backup.Digest([]byte(strings.Repeat("x", i)))})
		m.StoredBytes += uint64(i)
	}
	return m
}

// segments puts the objects that the manifest names.
func segments(t testing.TB, s store.Store, m *backup.Manifest) {
	t.Helper()
	for _, segment := range m.Segments {
		put(t, s, backup.SegmentName(m.ID, segment.Index), strings.Repeat("x", int(segment.Size)))
	}
}

// whole puts a complete backup.
func whole(t testing.TB, s store.Store, id, gtids string) *backup.Manifest {
	t.Helper()
	m := manifest(id, gtids)
	segments(t, s, m)
	sealed(t, s, m, keys)
	m, err := backup.Open(t.Context(), s, id, keys)
	must(t, err)
	return m
}

// verified records what a check has come to.
func verified(t testing.TB, s store.Store, m *backup.Manifest, ok bool) {
	t.Helper()
	must(t, catalog.Record(t.Context(), s, m, keys, &catalog.SegmentsCheck{OK: ok, Finished: noon}, nil))
}

func names(t testing.TB, s store.Store, prefix string) (all []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), prefix, "") {
		must(t, err)
		all = append(all, info.Name)
	}
	return all
}

func get(t testing.TB, s store.Store, id string) catalog.Entry {
	t.Helper()
	e, err := place(s).Get(t.Context(), id)
	if errors.Is(err, backup.ErrNoBackup) {
		return catalog.Entry{ID: id}
	}
	must(t, err)
	return e
}

func newStore() store.Store { return new(memstore.Store) }
