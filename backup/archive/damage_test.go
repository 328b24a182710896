package archive_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"ordinal/backup"
	"ordinal/backup/archive"
	"ordinal/backup/store"
	"ordinal/backup/store/memstore"
)

// reseal makes an event's checksum right again.
func reseal(event []byte) {
	n := len(event) - 4
	binary.LittleEndian.PutUint32(event[n:], crc32.ChecksumIEEE(event[:n]))
}

// TestDamage: an object that is not as it was written is either left out and named, or found out when it is read; it never makes up transactions.
func TestDamage(t *testing.T) {
	r := record(t)
	var full memstore.Store
	fillStore(t, r, options(r, &full))
	var names []string
	for info := range full.List(t.Context(), "archive/segments/", "") {
		names = append(names, info.Name)
	}
	name := names[3]
	object, err := store.ReadSmall(t.Context(), &full, name, store.MaxSmall)
	if err != nil {
		t.Fatal(err)
	}
	other, err := store.ReadSmall(t.Context(), &full, names[5], store.MaxSmall)
	if err != nil {
		t.Fatal(err)
	}
	header := int(binary.BigEndian.Uint32(object[8:]))
	cases := []struct {
		name string
		now  []byte
		kind error // nil: only the order of things
	}{
		{"empty", nil, backup.ErrManifest},
		{"cut in the preface", object[:9], backup.ErrManifest},
		{"cut in the header", object[:16+header/2], backup.ErrTruncated},
		{"cut in the content", object[:len(object)-1], backup.ErrTruncated},
		{"longer", append(bytes.Clone(object), 0), backup.ErrLonger},
		{"another format", append([]byte("X"), object[1:]...), backup.ErrManifest},
		{"a huge header", append([]byte("ORDBINLG\xff\xff\xff\xff\x00\x00\x00\x10"), object[16:]...), backup.ErrManifest},
		{"edited", flip(object, 16+header/3), backup.ErrEdited},
		{"content", flip(object, len(object)-3), backup.ErrDigest},
		{"another's", other, nil},
	}
	for _, c := range cases {
		kept := clone(t, &full)
		if err := kept.Put(t.Context(), name, int64(len(c.now)), bytes.NewReader(c.now)); err != nil {
			t.Fatal(err)
		}
		x := loadIndex(t, kept)
		if c.kind == backup.ErrDigest {
			var found error
			for _, s := range x.Segments() {
				body, err := x.Open(t.Context(), s)
				if err == nil {
					_, err = io.ReadAll(body)
				}
				found = errors.Join(found, err)
			}
			if !errors.Is(found, c.kind) {
				t.Errorf("%s: reading everything = %v, want %v", c.name, found, c.kind)
			}
			continue
		}
		if c.kind != nil && (len(x.Damaged()) != 1 || !errors.Is(x.Damaged()[0], c.kind)) {
			t.Errorf("%s: Damaged() = %v, want %v", c.name, x.Damaged(), c.kind)
		}
		var unreachable *archive.UnreachableError
		if err := x.Check(r.begin, time.Time{}); !errors.As(err, &unreachable) || unreachable.Missing.IsEmpty() || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: Check() = %v", c.name, err)
		}
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}
