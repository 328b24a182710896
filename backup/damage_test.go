package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"ordinal/backup/store"
	"ordinal/backup/store/memstore"
	"ordinal/stream"
)

// counting is an Applier that takes everything.
type counting struct{ events int }

func (c *counting) StageStart(stream.StageStart) error   { c.events++; return nil }
func (c *counting) File(stream.File) error               { c.events++; return nil }
func (c *counting) Data(stream.DataHeader, []byte) error { return nil }
func (c *counting) StageEnd(stream.Stage) error          { c.events++; return nil }

// content returns an object.
func content(t testing.TB, s store.Reader, name string) []byte {
	t.Helper()
	b, err := store.ReadSmall(t.Context(), s, name, store.MaxSmall)
	must(t, err)
	return b
}

func replace(t testing.TB, s store.Store, name string, b []byte) {
	t.Helper()
	must(t, s.Put(t.Context(), name, int64(len(b)), bytes.NewReader(b)))
}

// copyStore returns a store with the same objects.
func copyStore(t testing.TB, from store.Store) store.Store {
	t.Helper()
	to := new(memstore.Store)
	for info, err := range from.List(t.Context(), "", "") {
		must(t, err)
		replace(t, to, info.Name, content(t, from, info.Name))
	}
	return to
}

// wantDamage checks that both ways to read a backup find the same kind of damage, in that object.
func wantDamage(t *testing.T, what string, s store.Store, m *Manifest, k Keys, kind error, object string) {
	t.Helper()
	for how, err := range map[string]error{
		"Verify":  Verify(t.Context(), s, m, Reading{Keys: k}),
		"Restore": Restore(t.Context(), s, m, new(counting), Reading{Keys: k}),
	} {
		var damage *DamageError
		if !errors.As(err, &damage) || damage.Kind != kind || !errors.Is(err, kind) || damage.Object != object || damage.ExitCode() != 82 || damage.Hint() == "" {
			t.Errorf("%s: %s() = %v, want %v of %s", what, how, err, kind, object)
		}
	}
}

// Every segment that is missing, cut, longer, changed or another one's is found out, and said so.
func TestDamagedSegments(t *testing.T) {
	t.Parallel()
	for how, k := range everyKeys(t) {
		if k.Passphrase != "" {
			continue // once it has been opened it is like one for recipients
		}
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			whole := new(memstore.Store)
			j := job(k)
			j.SegmentBytes = 8 * blockSize
			m := made(t, whole, j, handmade(6))
			segments := m.Segments
			if k.encrypts() {
				segments = segments[:1] // the rest is no different from what is not encrypted
			}
			for _, segment := range segments {
				name := SegmentName(m.ID, segment.Index)
				good := content(t, whole, name)
				damage := func(what string, kind error, change func(s store.Store)) {
					t.Helper()
					s := copyStore(t, whole)
					change(s)
					wantDamage(t, fmt.Sprintf("%s %s", name, what), s, m, k, kind, name)
				}
				damage("missing", ErrMissing, func(s store.Store) { must(t, s.Delete(t.Context(), name)) })
				for _, n := range []int{0, 1, len(good) / 2, len(good) - 1} {
					damage(fmt.Sprintf("cut to %d bytes", n), ErrTruncated, func(s store.Store) { replace(t, s, name, good[:n]) })
				}
				damage("longer", ErrLonger, func(s store.Store) { replace(t, s, name, append(slices.Clone(good), 0)) })
				damage("much longer", ErrLonger, func(s store.Store) { replace(t, s, name, append(slices.Clone(good), good...)) })
				for _, at := range []int{0, len(good) / 3, len(good) - 1} {
					damage(fmt.Sprintf("byte %d changed", at), ErrDigest, func(s store.Store) {
						bad := slices.Clone(good)
						bad[at] ^= 0x10
						replace(t, s, name, bad)
					})
				}
				other := SegmentName(m.ID, segment.Index%len(m.Segments)+1)
				damage("swapped", ErrSwapped, func(s store.Store) { replace(t, s, name, content(t, whole, other)) })
			}
			s := copyStore(t, whole)
			replace(t, s, Dir(m.ID)+"checksums.json", []byte("[]\n"))
			if err := Verify(t.Context(), s, m, Reading{Keys: k}); !errors.Is(err, ErrDigest) {
				t.Errorf("another attachment: Verify() = %v, want %v", err, ErrDigest)
			}
		})
	}
}

// reseal writes a manifest anew, as somebody could who has the secret: then what it says about segments is not right, and they have to be doubted
// themselves.
func reseal(t testing.TB, s store.Store, m *Manifest, k Keys) *Manifest {
	t.Helper()
	data, err := m.encode(k)
	must(t, err)
	replace(t, s, ManifestName(m.ID), data)
	again, err := Open(t.Context(), s, m.ID, k)
	must(t, err)
	return again
}

// lie makes the manifest fit what is in the store.
func lie(m *Manifest, index int, stored []byte, raw int64) {
	m.Segments[index-1].Size, m.Segments[index-1].Digest = int64(len(stored)), Digest(stored)
	if raw > 0 {
		m.Segments[index-1].Raw = raw
	}
}

// What is in a segment is doubted even if its digest is right.
func TestWrongSegments(t *testing.T) {
	t.Parallel()
	whole := new(memstore.Store)
	good := made(t, whole, job(plainKeys), handmade(8))
	packer, err := NewPacker(plainKeys, 1)
	must(t, err)
	defer packer.Close()
	rawOf := func(index int) []byte {
		raw, err := packer.Unpack(nil, content(t, whole, SegmentName(good.ID, index)), good.Segments[index-1].Raw)
		must(t, err)
		return raw
	}
	pack := func(raw []byte) []byte {
		stored, err := packer.Pack(nil, raw)
		must(t, err)
		return stored
	}
	last := len(good.Segments)
	bomb := pack(make([]byte, 200<<20))
	for name, c := range map[string]struct {
		index  int
		kind   error
		stored []byte
		change func(m *Manifest)
	}{
		"bomb":              {2, ErrBomb, bomb, nil},
		"huge window":       {2, ErrBomb, hugeWindow(t), nil},
		"not packed":        {2, ErrPacked, []byte(strings.Repeat("not packed ", 100)), nil},
		"half packed":       {2, ErrPacked, pack(rawOf(2))[:1000], nil},
		"less than it says": {2, ErrPacked, pack(rawOf(2)[:1000]), nil},
		"no stream":         {2, ErrFrames, pack(make([]byte, good.Segments[1].Raw)), nil},
		"another segment":   {2, ErrFrames, pack(rawOf(3)), func(m *Manifest) { m.Segments[1] = m.Segments[2]; m.Segments[1].Index = 2 }},
		"one event less":    {2, ErrFrames, pack(rawOf(2)), func(m *Manifest) { m.Segments[1].Events-- }},
		"one event more":    {2, ErrFrames, pack(rawOf(2)), func(m *Manifest) { m.Segments[1].Events++ }},
		"without the end":   {last, ErrFrames, pack(rawOf(last)), func(m *Manifest) { m.Segments[last-1].Events-- }},
		"changed inside":    {2, ErrFrames, pack(flipped(rawOf(2), 5000)), nil},
	} {
		s := copyStore(t, whole)
		m := *good
		m.Segments = slices.Clone(good.Segments)
		if c.change != nil {
			c.change(&m)
		}
		lie(&m, c.index, c.stored, 0)
		replace(t, s, SegmentName(m.ID, c.index), c.stored)
		wantDamage(t, name, s, reseal(t, s, &m, plainKeys), plainKeys, c.kind, SegmentName(m.ID, c.index))
	}

	// A backup that ends too early, in a manifest that says so.
	s := copyStore(t, whole)
	m := *good
	m.Segments = slices.Clone(good.Segments[:last-1])
	short := reseal(t, s, &m, plainKeys)
	for how, err := range map[string]error{
		"Verify":  Verify(t.Context(), s, short, Reading{Keys: plainKeys}),
		"Restore": Restore(t.Context(), s, short, new(counting), Reading{Keys: plainKeys}),
	} {
		if !errors.Is(err, ErrFrames) {
			t.Errorf("without its last segment: %s() = %v, want %v", how, err, ErrFrames)
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

// hugeWindow is a zstd stream that asks for more memory than we give.
func hugeWindow(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(zstd.MaxWindowSize), zstd.WithEncoderConcurrency(1))
	must(t, err)
	_, err = w.Write(bytes.Repeat([]byte("x"), 1<<20))
	must(t, errors.Join(err, w.Flush()))
	_, err = w.Write(bytes.Repeat([]byte("x"), 1<<20))
	must(t, errors.Join(err, w.Close()))
	return b.Bytes()
}

// A bomb takes no more memory than the manifest has for the segment.
func TestBombTakesNoMemory(t *testing.T) {
	packer, err := NewPacker(plainKeys, 1)
	must(t, err)
	defer packer.Close()
	bomb, err := packer.Pack(nil, make([]byte, 512<<20))
	must(t, err)
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := packer.Unpack(nil, bomb, 1<<20); !errors.Is(err, ErrBomb) {
				b.Fatalf("Unpack() = %v, want %v", err, ErrBomb)
			}
		}
	})
	if got := result.AllocedBytesPerOp(); got > 4<<20 {
		t.Errorf("a bomb of %d bytes took %d bytes of memory", len(bomb), got)
	}
}

// A manifest that was changed in any byte is not taken, and said to be what it is: changed, no manifest, of another version, or missing.
func TestDamagedManifest(t *testing.T) {
	t.Parallel()
	whole := new(memstore.Store)
	m := made(t, whole, job(plainKeys), handmade(4))
	name := ManifestName(m.ID)
	good := content(t, whole, name)
	open := func(data []byte) error {
		s := new(memstore.Store)
		if data != nil {
			replace(t, s, name, data)
		}
		_, err := Open(t.Context(), s, m.ID, plainKeys)
		return err
	}
	must(t, open(good))
	if err := open(nil); !errors.Is(err, ErrNoBackup) {
		t.Errorf("no manifest: Open() = %v, want %v", err, ErrNoBackup)
	}
	for at := range good {
		bad := flipped(good, at)
		var damage *DamageError
		var wrong *WrongKeyError
		if err := open(bad); !errors.As(err, &damage) && !errors.As(err, &wrong) {
			t.Errorf("byte %d (%.30q) changed: Open() = %v", at, good[max(0, at-15):], err)
		}
		if err := open(good[:at]); !errors.Is(err, ErrManifest) {
			t.Errorf("cut to %d bytes: Open() = %v, want %v", at, err, ErrManifest)
		}
	}
	edit := func(from, to string) []byte {
		if !bytes.Contains(good, []byte(from)) {
			t.Fatalf("the manifest has no %s", from)
		}
		return bytes.Replace(good, []byte(from), []byte(to), 1)
	}
	for what, c := range map[string]struct {
		data []byte
		want error
	}{
		"other GTIDs":         {edit(`"u:1-5"`, `"u:1-4"`), ErrEdited},
		"another cluster":     {edit(`"c0ffee"`, `"decaff"`), ErrEdited},
		"one more member":     {edit(`"set"`, `"extra": 1, "set"`), ErrEdited},
		"other white space":   {edit(`"set": `, `"set":  `), ErrEdited},
		"a member at the end": {edit("}\n}\n", "},\n  \"gtid_at_least\": \"u:1\"\n}\n"), ErrManifest},
		"something after it":  {append(slices.Clone(good), "{}"...), ErrManifest},
		"a later version":     {edit(`"version": 1`, `"version": 2`), ErrVersion},
		"another format":      {edit(Format, "another backup"), ErrManifest},
		"another's":           {bytes.ReplaceAll(good, []byte(m.ID), []byte(NewID(m.Created))), ErrManifest},
		"no seal":             {good[:bytes.LastIndex(good, []byte(sealMember))], ErrManifest},
		"an empty seal":       {append(slices.Clone(good[:bytes.LastIndex(good, []byte(sealMember))]), ",\n  \"seal\": {}\n}\n"...), ErrEdited},
		"too large":           {append(slices.Clone(good), bytes.Repeat([]byte(" "), MaxManifest-len(good))...), ErrManifest},
		"null":                {[]byte("null"), ErrManifest},
	} {
		if err := open(c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: Open() = %v, want %v", what, err, c.want)
		}
	}
}

// With the wrong keys a backup is neither trusted nor opened, and that is another error than damage.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	stranger, err := age.GenerateX25519Identity()
	must(t, err)
	for how, k := range everyKeys(t) {
		s := new(memstore.Store)
		m := made(t, s, job(k), handmade(4))
		wantWrong := func(what string, err error) {
			t.Helper()
			var wrong *WrongKeyError
			if !errors.As(err, &wrong) || !errors.Is(err, ErrWrongKey) || wrong.ExitCode() != 84 || wrong.Hint() == "" || !strings.Contains(err.Error(), m.ID) {
				t.Errorf("%s, %s: %v, want a WrongKeyError", how, what, err)
			}
		}
		other := k
		other.Seal = [][]byte{sealKey('o')}
		_, err := Open(t.Context(), s, m.ID, other)
		wantWrong("another secret", err)
		other.IgnoreSeal = true
		if _, err := Open(t.Context(), s, m.ID, other); err != nil {
			t.Errorf("%s: Open() without the seal = %v", how, err)
		}
		other.Seal = [][]byte{sealKey('o'), sealKey('s')}
		if _, err := Open(t.Context(), s, m.ID, other); err != nil {
			t.Errorf("%s: Open() with the previous secret = %v", how, err)
		}
		if how == "plain" {
			continue
		}
		for what, keys := range map[string]Keys{
			"nothing":            {},
			"another passphrase": {Passphrase: "incorrect horse"},
			"another identity":   {Identities: []age.Identity{stranger}},
		} {
			wantWrong(what+" to verify", Verify(t.Context(), s, m, Reading{Keys: keys}))
			applier := new(counting)
			wantWrong(what+" to restore", Restore(t.Context(), s, m, applier, Reading{Keys: keys}))
			if applier.events > 0 {
				t.Errorf("%s, %s: something was applied", how, what)
			}
		}
	}
}

// What a passphrase was made into, and what is encrypted, is checked as well.
func TestDamagedEncryption(t *testing.T) {
	t.Parallel()
	k := everyKeys(t)["passphrase"]
	s := new(memstore.Store)
	good := made(t, s, job(k), handmade(4))
	m := *good
	e := *good.Encryption
	e.Key = e.Key[:len(e.Key)-8] + "AAAAAAA="
	m.Encryption = &e
	if err := Verify(t.Context(), s, reseal(t, copyStore(t, s), &m, k), Reading{Keys: k}); !errors.Is(err, ErrManifest) {
		t.Errorf("a key that cannot be decrypted: %v, want %v", err, ErrManifest)
	}
	m = *good
	m.Segments = slices.Clone(good.Segments)
	c := copyStore(t, s)
	stored := content(t, s, SegmentName(m.ID, 1))
	stored[len(stored)-1] ^= 1
	replace(t, c, SegmentName(m.ID, 1), stored)
	lie(&m, 1, stored, 0)
	wantDamage(t, "changed and sealed again", c, reseal(t, c, &m, k), k, ErrSealed, SegmentName(m.ID, 1))
}

// The manifest of this version that must always be read.
func TestManifestOfVersion1(t *testing.T) {
	t.Parallel()
	data, err := testdata.ReadFile("testdata/v1-manifest.json")
	must(t, err)
	m, err := DecodeManifest(data)
	must(t, err)
	must(t, m.CheckSeal(plainKeys))
	if m.ID != "20261121T120000Z-0f1e2d3c" || len(m.Segments) != 2 || m.Segments[1].Raw != 33554432 || m.Encryption == nil || len(m.Attachments) != 1 || m.GTIDAtLeast == "" {
		b, _ := json.Marshal(m)
		t.Errorf("it says %s", b)
	}
	if _, err := hex.DecodeString(m.Seal.MAC); err != nil {
		t.Error(err)
	}
}
