package archive

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"ordinal/backup"
	"ordinal/mysqlx"
)

var fuzzKeys = backup.Keys{Seal: [][]byte{bytes.Repeat([]byte{7}, 32)}}

func example(f testing.TB) header {
	f.Helper()
	set := func(text string) mysqlx.GTIDSet {
		g, err := mysqlx.ParseGTIDSet(text)
		if err != nil {
			f.Fatal(err)
		}
		return g
	}
	const uuid = "11111111-2222-3333-4444-555555555555"
	at := time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)
	digest := backup.Digest([]byte("x"))
	return header{Cluster: "c", Set: "s", Written: at, Encryption: []backup.Encryption{{Scheme: "age", Recipients: []string{"age1"}}}, Members: []member{
		{previous: set(uuid + ":1-10"), gtids: set(uuid + ":11-20"), Transactions: 10, First: at, Last: at.Add(time.Second), Size: 100, Raw: 200, Digest: digest, Cut: at},
		{
			previous: set(uuid + ":1-20"), gtids: set(uuid + ":21"), abandons: set(uuid + ":tag:5"), Transactions: 1, First: at, Last: at, Size: 1, Raw: 2, Digest: digest,
			Cut: at, Series: "01234567-1", Part: 2, LastPart: true, Encryption: 1,
		},
		{previous: set(uuid + ":1-5"), gtids: set(uuid + ":heal:6"), Transactions: 1, First: at, Last: at, Size: 1, Raw: 2, Digest: digest, Cut: at},
	}}
}

// sealed makes an object's beginning of any header: what is behind the seal is to be fuzzed too.
func sealed(text []byte) []byte {
	seal, err := fuzzKeys.Sign(sealSegments, text)
	if err != nil {
		panic(err)
	}
	sealText, err := json.Marshal(seal)
	if err != nil {
		panic(err)
	}
	b := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(text)))
	return append(append(binary.BigEndian.AppendUint32(b, uint32(len(sealText))), text...), sealText...)
}

// FuzzObject reads headers: whatever is taken says the same after it was written again.
func FuzzObject(f *testing.F) {
	whole, err := encodeObject(example(f), fuzzKeys)
	if err != nil {
		f.Fatal(err)
	}
	n := int(binary.BigEndian.Uint32(whole[len(magic):]))
	f.Add(whole[prefaceSize:prefaceSize+n], int64(len(whole)+102))
	f.Add([]byte(`{"format":"ordinal binlog archive","version":1,"segments":[{}]}`), int64(0))
	f.Fuzz(func(t *testing.T, text []byte, size int64) {
		for _, b := range [][]byte{sealed(text), text} {
			h, err := decodeObject(b, size, fuzzKeys)
			if err != nil {
				continue
			}
			again, err := encodeObject(h, fuzzKeys)
			if err != nil {
				t.Fatal(err)
			}
			body := int64(0)
			for _, m := range h.Members {
				body += m.Size
			}
			back, err := decodeObject(again, int64(len(again))+body, fuzzKeys)
			if err != nil || len(back.Members) != len(h.Members) {
				t.Fatalf("written again it is %v", err)
			}
			for i, m := range back.Members {
				o := h.Members[i]
				if !m.gtids.Equal(o.gtids) || !m.previous.Equal(o.previous) || !m.abandons.Equal(o.abandons) || m.Size != o.Size || m.Digest != o.Digest || m.Part != o.Part {
					t.Fatalf("segment %d was %+v, is %+v", i, o, m)
				}
			}
		}
	})
}

// FuzzWatermark reads watermarks, sealed ones and others.
func FuzzWatermark(f *testing.F) {
	f.Add([]byte(`{"format":"ordinal binlog watermark","version":1,"writer":"01234567","at":"2026-11-21T12:00:00Z","gtid_set":"11111111-2222-3333-4444-555555555555:1-5"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if _, err := decodeWatermark(content, fuzzKeys); err == nil {
			t.Fatal("a watermark without a seal is taken")
		}
		if !json.Valid(content) {
			return
		}
		seal, err := fuzzKeys.Sign(sealWatermark, content)
		if err != nil {
			t.Fatal(err)
		}
		b := append(append(append([]byte(`{"content":`), content...), `,"seal":`...), must(json.Marshal(seal))...)
		w, err := decodeWatermark(append(b, '}'), fuzzKeys)
		if err != nil {
			return
		}
		again, err := encodeWatermark(w, fuzzKeys)
		if err != nil {
			t.Skip() // a time that JSON cannot write
		}
		if back, err := decodeWatermark(again, fuzzKeys); err != nil || !back.GTIDs.Equal(w.GTIDs) || !back.At.Equal(w.At) {
			t.Fatalf("%+v became %+v, %v", w, back, err)
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
