package backup

import (
	"errors"
	"testing"

	"ordinal/backup/store/memstore"
	"ordinal/stream"
)

// Whatever is in the place of a manifest: it is read, or refused as what it is, and what was read can be written and read again.
func FuzzManifest(f *testing.F) {
	data, err := testdata.ReadFile("testdata/v1-manifest.json")
	must(f, err)
	f.Add(data)
	f.Add([]byte(`{"format":"ordinal backup","version":1,"segments":[],` + "\n  \"seal\": {}\n}\n"))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(data)
		if err != nil {
			var damage *DamageError
			if !errors.As(err, &damage) || damage.Kind != ErrManifest && damage.Kind != ErrVersion {
				t.Fatalf("DecodeManifest() = %v", err)
			}
			return
		}
		again, err := m.encode(plainKeys)
		if err != nil {
			return // white space may have made it shorter than it is when it is written
		}
		back, err := DecodeManifest(again)
		if err != nil || back.ID != m.ID || len(back.Segments) != len(m.Segments) {
			t.Fatalf("DecodeManifest(%q) = %v, %v", again, back, err)
		}
		must(t, back.CheckSeal(plainKeys))
	})
}

// Whatever is in the place of a segment, reading it ends, with its events or with an error, and takes no memory that nothing was sent for.
func FuzzSegment(f *testing.F) {
	s := new(memstore.Store)
	j := job(plainKeys)
	j.ID = "20261121T120000Z-0f1e2d3c"
	m := made(f, s, j, handmade(3))
	packer, err := OpenPacker(nil, plainKeys, 1)
	must(f, err)
	for _, segment := range m.Segments {
		raw, err := packer.Unpack(nil, content(f, s, SegmentName(m.ID, segment.Index)), segment.Raw)
		must(f, err)
		f.Add(raw, segment.Index)
	}
	packer.Close()
	buf := make([]byte, stream.MaxFrame)
	f.Fuzz(func(t *testing.T, raw []byte, index int) {
		if index < 1 || index > len(m.Segments) {
			return
		}
		e, err := readSegment(m, index, raw, buf)
		for ok := err == nil; ok; {
			if _, ok, err = e.next(buf); err != nil {
				return
			}
		}
	})
}

// Whatever is in the store: it unpacks to what it should, or to nothing.
func FuzzUnpack(f *testing.F) {
	packer, err := NewPacker(Keys{}, 1)
	must(f, err)
	f.Cleanup(packer.Close)
	for _, raw := range []string{"", "x", "some text that is packed, some text that is packed"} {
		stored, err := packer.Pack(nil, []byte(raw))
		must(f, err)
		f.Add(stored, int64(len(raw)))
	}
	f.Fuzz(func(t *testing.T, stored []byte, rawLen int64) {
		if rawLen > 1<<20 {
			return
		}
		raw, err := packer.Unpack(nil, stored, rawLen)
		var damage *DamageError
		if err == nil && int64(len(raw)) != rawLen || err != nil && !errors.As(err, &damage) {
			t.Fatalf("Unpack() = %d bytes, %v, want %d", len(raw), err, rawLen)
		}
	})
}
