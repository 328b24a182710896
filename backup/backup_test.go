package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"ordinal/backup/store"
	"ordinal/backup/store/dirstore"
	"ordinal/backup/store/memstore"
	"ordinal/clone"
	"ordinal/stream"
)

// everyKeys are all ways to protect a backup.
func everyKeys(t testing.TB) map[string]Keys {
	t.Helper()
	one, err := age.GenerateX25519Identity()
	must(t, err)
	two, err := age.GenerateX25519Identity()
	must(t, err)
	seal := [][]byte{sealKey('s')}
	return map[string]Keys{
		"plain":      {Seal: seal},
		"recipients": {Seal: seal, Recipients: []Recipient{{one.Recipient(), one.Recipient().String()}, {two.Recipient(), two.Recipient().String()}}, Identities: []age.Identity{two}},
		"passphrase": {Seal: seal, Passphrase: "correct horse battery staple"},
	}
}

// What comes out of a backup is what went in, whatever it is kept in and however it is protected.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	steps := handmade(12)
	want := built(t, steps)
	for how, k := range everyKeys(t) {
		for where, make := range map[string]func(t *testing.T) store.Store{
			"memory": func(*testing.T) store.Store { return new(memstore.Store) },
			"directory": func(t *testing.T) store.Store {
				s, err := dirstore.New(scratch(t))
				must(t, err)
				return s
			},
		} {
			t.Run(how+" in "+where, func(t *testing.T) {
				t.Parallel()
				s := make(t)
				m := made(t, s, job(k), steps)
				if len(m.Segments) < 8 {
					t.Fatalf("%d segments: too few for what is tested here", len(m.Segments))
				}
				must(t, Verify(t.Context(), s, m, Reading{Keys: k}))
				root := generation(t)
				d := clone.NewDirectory(root, nine)
				must(t, Restore(t.Context(), s, m, d, Reading{Keys: k}))
				finish(t, d)
				sameTree(t, tree(t, root), want)
				content, err := ReadAttachment(t.Context(), s, m, "checksums.json")
				if err != nil || string(content) != "{}\n" {
					t.Errorf("ReadAttachment() = %q, %v", content, err)
				}
			})
		}
	}
}

// The manifest says what was copied and when, and nothing that is secret.
func TestManifestSays(t *testing.T) {
	t.Parallel()
	for how, k := range everyKeys(t) {
		s := new(memstore.Store)
		m := made(t, s, job(k), handmade(4))
		if m.GTIDAtLeast != "u:1-5" || m.GTIDAtMost != "u:1-9" || m.SourceGTID != "u:1-7" || m.LagSeconds != 1.5 || m.Donor.Pod != "mysql-2" ||
			m.Files != 7 || m.Bytes != 4711 || m.Pages != 11 || m.PageSize != pageSize || m.Cluster != "c0ffee" || m.Set != "mysql" {
			t.Errorf("%s: the manifest is %+v", how, m)
		}
		var stored, raw uint64
		for _, segment := range m.Segments {
			stored, raw = stored+uint64(segment.Size), raw+uint64(segment.Raw)
		}
		if stored != m.StoredBytes || raw != m.RawBytes || stored >= raw {
			t.Errorf("%s: %d bytes in the store of %d, the manifest has %d of %d", how, stored, raw, m.StoredBytes, m.RawBytes)
		}
		data, err := store.ReadSmall(t.Context(), s, ManifestName(m.ID), MaxManifest)
		must(t, err)
		for _, secret := range []string{"correct horse", "AGE-SECRET", string(sealKey('s'))} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s: the manifest has %q in it", how, secret)
			}
			if text := fmt.Sprintf("%v %+v %#v", k, k, k); strings.Contains(text, secret) {
				t.Errorf("keys print as %s", text)
			}
		}
	}
}

// Every segment can be read by itself, and none ends between two stages.
func TestBorders(t *testing.T) {
	t.Parallel()
	s := new(memstore.Store)
	j := job(plainKeys)
	j.SegmentBytes = 1 // a border wherever one may be
	m := made(t, s, j, handmade(6))
	p, err := OpenPacker(nil, plainKeys, 1)
	must(t, err)
	defer p.Close()
	buf := make([]byte, stream.MaxFrame)
	for _, segment := range slices.Backward(m.Segments) {
		stored, err := m.object(segment.Index).read(t.Context(), s, nil, nil)
		must(t, err)
		raw, err := p.Unpack(nil, stored, segment.Raw)
		must(t, err)
		e, err := readSegment(m, segment.Index, raw, buf)
		must(t, err)
		if e.at.Ended {
			t.Errorf("segment %d begins after %v", segment.Index, e.at)
		}
		for ok := true; ok; {
			_, ok, err = e.next(buf)
			must(t, err)
		}
	}
}

// A copy that has not ended, or that was refused, becomes no backup, and leaves nothing behind.
func TestUnfinishedCopy(t *testing.T) {
	t.Parallel()
	steps := handmade(6)
	sentinel := errors.New("no")
	for name, broken := range map[string][]step{
		"nothing":    nil,
		"cut short":  steps[:len(steps)/2],
		"no end":     steps[:len(steps)-1],
		"it failed":  append(slices.Clone(steps), func(Taker) error { return sentinel }),
		"misordered": append(slices.Clone(steps[:3]), begin(stream.StageRedoCopy)),
	} {
		s := new(memstore.Store)
		_, err := Create(t.Context(), s, job(plainKeys), play(broken))
		if err == nil {
			t.Errorf("%s: Create() = nil", name)
		}
		if name == "it failed" && !errors.Is(err, sentinel) {
			t.Errorf("%s: Create() = %v, want the copy's error", name, err)
		}
		for info := range s.List(t.Context(), "", "") {
			t.Errorf("%s: %s is left", name, info.Name)
		}
	}
}
