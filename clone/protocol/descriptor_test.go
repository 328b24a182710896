package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fromDonor are descriptors with the values that a 9.7.4 donor sent, and what they mean.
var fromDonor = []struct {
	name, hex string
	want      any
}{
	{
		"task", "00000064" + "00000018" + "00000002" + "00000001" + "00000000" + "00000000",
		taskMeta{task: 1},
	},
	{
		"start", "00000064" + "0000002e" + "00000003" + "00000002" + "00000000" + "00000019" + "00000013" +
			"0000000024a7220f" + "0000000028f2538f" + "0001",
		stateMeta{state: StateFileCopy, chunks: 25, files: 19, bytes: 614933007, diskBytes: 686969743, flags: 1},
	},
	{
		"keep-alive", "00000064" + "0000002e" + "00000003" + "00000002" + "00000000" + "00000019" + "00000013" +
			"0000000000000000" + "0000000000000000" + "0002",
		stateMeta{state: StateFileCopy, chunks: 25, files: 19, flags: 2},
	},
	{
		"file", "00000064" + "0000005e" + "00000004" + "00000002" + "000000000001c000" + "000000000001d000" +
			"00004021" + "00001000" + "0000" + "0000000c" + "0000000d" + "00000014" + "00000014" + "00000020" +
			hex.EncodeToString([]byte("./d/odd@002dn@0kme@002ex#p0.ibd\x00")),
		FileMeta{
			State: StateFileCopy, Index: 13, SpaceID: 12, FSPFlags: 0x4021, BlockSize: 4096, Size: 114688,
			AllocSize: 118784, FirstChunk: 20, LastChunk: 20, Name: "./d/odd@002dn@0kme@002ex#p0.ibd",
		},
	},
	{
		"redo file", "00000064" + "0000003e" + "00000004" + "00000004" + "0000000000320000" + "0000000000000000" +
			"ffffffff" + "00000000" + "0000" + "fffffff0" + "00000000" + "00000001" + "00000001" + "00000000",
		FileMeta{
			State: StateRedoCopy, SpaceID: SpaceRedo, FSPFlags: NoFSPFlags, Size: 3276800, FirstChunk: 1, LastChunk: 1,
		},
	},
	{
		"data", "00000064" + "00000034" + "00000005" + "00000003" + "00000002" + "00000007" + "00000001" + "00000004" +
			"00004000" + "0000000000010000" + "0000000000200000",
		dataMeta{Data{State: StatePageCopy, Task: 2, Chunk: 7, Block: 1, File: 4, Offset: 65536, FileSize: 2 << 20}, 16384},
	},
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var unexported = cmp.AllowUnexported(taskMeta{}, stateMeta{}, dataMeta{})

func TestDescriptorsOfADonor(t *testing.T) {
	for _, tt := range fromDonor {
		t.Run(tt.name, func(t *testing.T) {
			b := mustHex(t, tt.hex)
			got, err := decodeDescriptor(b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, unexported); d != "" {
				t.Errorf("decodeDescriptor (-want +got):\n%s", d)
			}
			if again := encode(got); !bytes.Equal(again, b) {
				t.Errorf("encoded again:\n%x, want\n%x", again, b)
			}
		})
	}
}

func encode(m any) []byte {
	return m.(interface{ encode() []byte }).encode()
}

func TestDescriptorsCutAndPadded(t *testing.T) {
	for _, tt := range fromDonor {
		b := mustHex(t, tt.hex)
		for n := range b {
			if _, err := decodeDescriptor(b[:n]); !errors.Is(err, ErrProtocol) {
				t.Errorf("%s cut to %d bytes: %v, want ErrProtocol", tt.name, n, err)
			}
			// Also when the length field agrees.
			if n >= 8 {
				c := bytes.Clone(b[:n])
				binary.BigEndian.PutUint32(c[4:], uint32(n))
				if _, err := decodeDescriptor(c); !errors.Is(err, ErrProtocol) {
					t.Errorf("%s of %d bytes: %v, want ErrProtocol", tt.name, n, err)
				}
			}
		}
		if _, err := decodeDescriptor(append(bytes.Clone(b), 0)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s with one byte more: %v, want ErrProtocol", tt.name, err)
		}
	}
}

func TestHostileDescriptors(t *testing.T) {
	file := func(change func(f *FileMeta)) []byte {
		f := FileMeta{State: StateFileCopy, Name: "./a/b.ibd"}
		change(&f)
		return f.encode()
	}
	data := func(change func(d *dataMeta)) []byte {
		d := dataMeta{Data{State: StateFileCopy, Chunk: 1, Block: 1, FileSize: 1}, 1}
		change(&d)
		return d.encode()
	}
	poke := func(b []byte, at int, v uint32) []byte {
		binary.BigEndian.PutUint32(b[at:], v)
		return b
	}
	for name, b := range map[string][]byte{
		"version 101":        poke(data(func(*dataMeta) {}), 0, 101),
		"type 6":             poke(data(func(*dataMeta) {}), 8, 6),
		"locator":            poke(data(func(*dataMeta) {}), 8, typeLocator),
		"state 0":            stateMeta{state: 0}.encode(),
		"state 6":            stateMeta{state: 6}.encode(),
		"unknown state flag": stateMeta{state: 2, flags: 4}.encode(),
		"file of INIT":       file(func(f *FileMeta) { f.State = StateInit }),
		"file of DONE":       file(func(f *FileMeta) { f.State = StateDone }),
		"unknown file flag":  file(func(f *FileMeta) { f.Flags = 64 }),
		"no name":            file(func(f *FileMeta) { f.Name = "" }),
		"NUL in the name":    file(func(f *FileMeta) { f.Name = "./a/\x00b.ibd" }),
		"name of NUL":        file(func(f *FileMeta) { f.Name = "\x00" }),
		"name of 4096":       file(func(f *FileMeta) { f.Name = strings.Repeat("x", 4096) }),
		"name not ended":     func() []byte { b := file(func(*FileMeta) {}); b[len(b)-1] = 'x'; return b }(),
		"name too long":      poke(file(func(*FileMeta) {}), 58, 100),
		"name near 2^32":     poke(file(func(*FileMeta) {}), 58, 0xffffffff),
		"key missing":        file(func(f *FileMeta) { f.Flags = FileKeyAppended }),
		"huge file":          file(func(f *FileMeta) { f.Size = 1 << 63 }),
		"redo in FILE_COPY":  file(func(f *FileMeta) { f.SpaceID = SpaceRedo }),
		"data of INIT":       data(func(d *dataMeta) { d.State = StateInit }),
		"no data":            data(func(d *dataMeta) { d.length = 0 }),
		"too much data":      data(func(d *dataMeta) { d.length = MaxData + 1 }),
		"data near 2^32":     data(func(d *dataMeta) { d.length = 0xffffffff }),
		"offset near 2^64":   data(func(d *dataMeta) { d.Offset = 1<<64 - 1 }),
		"size near 2^64":     data(func(d *dataMeta) { d.FileSize = 1<<64 - 1 }),
	} {
		if m, err := decodeDescriptor(b); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: got %+v, %v, want ErrProtocol", name, m, err)
		}
	}
	if _, err := decodeDescriptor(file(func(f *FileMeta) { f.Name = strings.Repeat("x", 4095) })); err != nil {
		t.Errorf("name of 4095 bytes: %v", err)
	}
}

func TestKeyIsNotKept(t *testing.T) {
	f := FileMeta{State: StatePageCopy, Flags: FileKeyAppended | FileEncrypted, Name: "./a/b.ibd"}
	b := append(f.encode(), bytes.Repeat([]byte{0xAA}, keyLength)...)
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)))
	got, err := decodeDescriptor(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, got); d != "" {
		t.Errorf("decodeDescriptor (-want +got):\n%s", d)
	}
}

func TestResponses(t *testing.T) {
	for _, tt := range []struct {
		name string
		typ  byte
		b    string
		want any
	}{
		{"plugin", respPlugin, "\x03\x00\x00\x00abc", plugin{name: "abc"}},
		{"plugin with library", respPluginV2, "\x01\x00\x00\x00a\x04\x00\x00\x00a.so", plugin{"a", "a.so"}},
		{"built in", respPluginV2, "\x01\x00\x00\x00a\x00\x00\x00\x00", plugin{"a", ""}},
		{"collation", respCollation, "\x03\x00\x00\x00bin", collation("bin")},
		{"setting", respConfig, "\x01\x00\x00\x00a\x01\x00\x00\x00b", setting{"a", "b"}},
		{"complete", respComplete, "", complete{}},
		{"error", respError, "\x32\x0e\x00\x00Too many\n", failure{3634, "Too many"}},
		{"negative error", respError, "\xff\xff\xff\xff", failure{-1, ""}},
	} {
		got, err := decodeResponse(tt.typ, []byte(tt.b))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(plugin{}, setting{}, failure{}), cmpopts.EquateComparable(complete{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	for name, b := range map[string]string{
		"unknown":                 "\x0a",
		"data":                    "\x03abc",
		"completion with payload": "\x63x",
		"short error":             "\x64abc",
		"string too long":         "\x04\x04\x00\x00\x00abc",
		"string near 2^32":        "\x04\xff\xff\xff\xffabc",
		"bytes left":              "\x04\x02\x00\x00\x00abc",
		"one string of two":       "\x05\x01\x00\x00\x00a",
		"other engine":            "\x02\x0d\x00",
		"second locator":          "\x02\x0c\x01",
		"no locator":              "\x01\x03\x01\x00\x00",
		"short locator":           "\x01\x03\x01\x00\x00\x0c\x00\x00\x00\x00",
	} {
		if m, err := decodeResponse(b[0], []byte(b[1:])); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: got %+v, %v, want ErrProtocol", name, m, err)
		}
	}
}

func TestLocatorsMayBePadded(t *testing.T) {
	want := versionLocator()
	want[33] = 1
	b := []byte("\x03\x01\x00\x00\x0c\x80\x00\x00\x00")
	b = append(b, want[:]...)
	b = append(b, make([]byte, 128-len(want))...)
	got, err := decodeResponse(respLocators, b)
	if err != nil {
		t.Fatal(err)
	}
	if got != (locators{0x0103, want}) {
		t.Errorf("decodeResponse = %+v, want version 0x103 and %x", got, want)
	}
}

// Whatever decodes means the same bytes again: nothing in a descriptor is ignored.
func FuzzDescriptor(f *testing.F) {
	for _, tt := range fromDonor {
		f.Add(mustHex(f, tt.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeDescriptor(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("%v is not ErrProtocol", err)
			}
			return
		}
		if file, ok := m.(FileMeta); ok && (file.Flags&FileKeyAppended != 0 || len(file.Name) >= maxName || strings.Contains(file.Name, "\x00")) {
			if file.Flags&FileKeyAppended == 0 {
				t.Fatalf("name %q", file.Name)
			}
			return // the key is dropped
		}
		if again := encode(m); !bytes.Equal(again, b) {
			t.Fatalf("decoded %+v, encoded\n%x, want\n%x", m, again, b)
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, tt := range fromDonor {
		f.Add(byte(respDesc), append([]byte{engineInnoDB, 0}, mustHex(f, tt.hex)...))
	}
	l := versionLocator()
	f.Add(byte(respLocators), append([]byte("\x03\x01\x00\x00\x0c\x22\x00\x00\x00"), l[:]...))
	f.Add(byte(respPlugin), []byte("\x03\x00\x00\x00abc"))
	f.Add(byte(respPluginV2), []byte("\x01\x00\x00\x00a\x04\x00\x00\x00a.so"))
	f.Add(byte(respError), []byte("\x32\x0e\x00\x00Too many"))
	f.Add(byte(respComplete), []byte(nil))
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		m, err := decodeResponse(typ, b)
		if err != nil && !errors.Is(err, ErrProtocol) {
			t.Fatalf("%v is not ErrProtocol", err)
		}
		if e, ok := m.(failure); ok && err == nil && len(e.message) > 3*maxErrorText {
			t.Fatalf("message of %d bytes", len(e.message))
		}
	})
}
