package innodb_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ordinal/internal/innodb"
)

// pages are pages of a 9.7.4 server. Those with other checksums went through innochecksum --write.
var pages = []struct {
	file   string
	flags  innodb.Flags
	space  uint32
	number uint32
}{
	{"index-16k", 0x4021, 12, 4},
	{"fsp-16k", 0x4021, 12, 0},
	{"undo-16k", 0, 4294967279, 3},
	{"system-16k", 0x4800, 0, 5},
	{"dictionary-16k", 0x4800, 4294967294, 1},
	{"zip-1k", 0x4023, 5, 30},
	{"zip-2k", 0x4025, 6, 30},
	{"zip-4k", 0x4027, 7, 30},
	{"zip-8k", 0x4029, 8, 30},
	{"fsp-zip-8k", 0x4029, 8, 0},
	{"zlib-16k", 0x4021, 9, 64},
	{"lz4-16k", 0x4021, 10, 64},
	{"index-16k-innodb", 0x4021, 12, 4},
	{"zip-4k-innodb", 0x4027, 7, 30},
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func isCompressed(page []byte) bool { return binary.BigEndian.Uint16(page[24:]) == 14 }

func TestPagesOfAServer(t *testing.T) {
	for _, tt := range pages {
		page := load(t, tt.file)
		if len(page) != tt.flags.PhysicalSize() {
			t.Errorf("%s: PhysicalSize() = %d, want %d", tt.file, tt.flags.PhysicalSize(), len(page))
		}
		if err := innodb.CheckPageAt(page, tt.flags, tt.space, tt.number); err != nil {
			t.Errorf("%s: %v", tt.file, err)
		}
		for _, other := range []struct{ space, number uint32 }{{tt.space + 1, tt.number}, {tt.space, tt.number + 1}} {
			err := innodb.CheckPageAt(page, tt.flags, other.space, other.number)
			if !errors.Is(err, innodb.ErrMisplaced) || !errors.Is(err, innodb.ErrPage) || errors.Is(err, innodb.ErrChecksum) {
				t.Errorf("%s as page %d of %d: %v, want ErrMisplaced", tt.file, other.number, other.space, err)
			}
		}
		if err := innodb.CheckPage(page[:len(page)-1], tt.flags); !errors.Is(err, innodb.ErrPage) {
			t.Errorf("%s cut: %v, want ErrPage", tt.file, err)
		}
		zero := make([]byte, len(page))
		if err := innodb.CheckPageAt(zero, tt.flags, tt.space, tt.number); err != nil {
			t.Errorf("page of zeros of %s: %v", tt.file, err)
		}
		if n := testing.AllocsPerRun(10, func() {
			if innodb.CheckPage(page, tt.flags) != nil {
				t.Fail()
			}
		}); n != 0 {
			t.Errorf("CheckPage of %s allocates %v times", tt.file, n)
		}
	}
}

// With innodb_checksum_algorithm=none there is nothing to check but the place.
func TestPagesWithoutChecksum(t *testing.T) {
	for _, tt := range []struct {
		file          string
		flags         innodb.Flags
		space, number uint32
	}{
		{"index-16k-none", 0x4021, 12, 4},
		{"zip-4k-none", 0x4027, 7, 30},
	} {
		page := load(t, tt.file)
		if err := innodb.CheckPageAt(page, tt.flags, tt.space, tt.number); err != nil {
			t.Errorf("%s: %v", tt.file, err)
		}
		if err := innodb.CheckPageAt(page, tt.flags, tt.space, tt.number+1); !errors.Is(err, innodb.ErrMisplaced) {
			t.Errorf("%s in a wrong place: %v, want ErrMisplaced", tt.file, err)
		}
	}
}

// Every bit that a checksum covers is flipped, one in each byte and all eight in some.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for _, tt := range pages {
		page := load(t, tt.file)
		if isCompressed(page) {
			continue // its checksum is that of the page before compression
		}
		for at := range page {
			uncovered := at >= 26 && at < 34 || tt.flags.Zip() && at >= 16 && at < 24
			for bit := range 8 {
				if at%64 != 0 && bit != at%8 {
					continue
				}
				page[at] ^= 1 << bit
				err := innodb.CheckPageAt(page, tt.flags, tt.space, tt.number)
				page[at] ^= 1 << bit
				if uncovered {
					continue
				}
				var bad *innodb.PageError
				if !errors.As(err, &bad) || bad.Page != tt.number || bad.Stored == bad.Want {
					t.Fatalf("%s, bit %d of byte %d flipped: %v, want a PageError of page %d", tt.file, bit, at, err, tt.number)
				}
			}
		}
		if err := innodb.CheckPage(page, tt.flags); err != nil {
			t.Fatalf("%s is not what it was: %v", tt.file, err)
		}
	}
}

func TestErrorNamesValues(t *testing.T) {
	page := load(t, "index-16k")
	stored := binary.BigEndian.Uint32(page)
	page[5000] ^= 1
	err := innodb.CheckPageAt(page, 0x4021, 12, 4)
	var bad *innodb.PageError
	if !errors.As(err, &bad) || !errors.Is(err, innodb.ErrChecksum) || bad.Field != innodb.FieldChecksum || bad.Stored != stored {
		t.Fatalf("CheckPageAt = %v, want the stored checksum %#x", err, stored)
	}
	if want := fmt.Sprintf("page 4: checksum is %#08x, want %#08x", stored, bad.Want); err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestTornCompressedPage(t *testing.T) {
	page := load(t, "zlib-16k")
	binary.BigEndian.PutUint16(page[32:], 16384-38+1)
	if err := innodb.CheckPage(page, 0x4021); !errors.Is(err, innodb.ErrChecksum) {
		t.Errorf("compressed length beyond the page: %v, want ErrChecksum", err)
	}
}

func TestInitialPage0(t *testing.T) {
	for _, flags := range []innodb.Flags{0, 0x4021, 0x4023, 0x4029, 0x40e1, 0x41a1} {
		page := innodb.InitialPage0(90704, 77, flags)
		if len(page) != flags.PhysicalSize() {
			t.Errorf("flags %#x: %d bytes, want %d", flags, len(page), flags.PhysicalSize())
		}
		if err := innodb.CheckPageAt(page, flags, 77, 0); err != nil {
			t.Errorf("flags %#x: %v", flags, err)
		}
		f, err := innodb.ReadFile("x", bytes.NewReader(page))
		if err != nil || f.Space != 77 || f.Flags != flags {
			t.Errorf("flags %#x: ReadFile = %+v, %v", flags, f, err)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		flags             innodb.Flags
		physical, logical int
		zip, bad          bool
	}{
		{flags: 0, physical: 16384, logical: 16384},
		{flags: 0x4800, physical: 16384, logical: 16384},
		{flags: 0x4021, physical: 16384, logical: 16384},
		{flags: 0x4023, physical: 1024, logical: 16384, zip: true},
		{flags: 0x4029, physical: 8192, logical: 16384, zip: true},
		{flags: 0x40e1, physical: 4096, logical: 4096},
		{flags: 0x41a1, physical: 32768, logical: 32768},
		{flags: 0x41e1, physical: 65536, logical: 65536},
		{flags: 0x4041, physical: 1024, logical: 1024, bad: true},
		{flags: 15 << 6, physical: 16 << 20, logical: 16 << 20, bad: true},
		{flags: 15 << 1, physical: 16 << 20, logical: 16384, zip: true, bad: true},
	} {
		p, l, z := innodb.PageSize(tt.flags)
		if p != tt.physical || l != tt.logical || z != tt.zip || (tt.flags.Check() != nil) != tt.bad {
			t.Errorf("flags %#x: %d, %d, %v, %v, want %+v", tt.flags, p, l, z, tt.flags.Check(), tt)
		}
	}
	for size, want := range map[int]int{4096: 1 << 20, 16384: 1 << 20, 32768: 2 << 20, 65536: 4 << 20} {
		if got := innodb.ExtentBytes(size); got != want {
			t.Errorf("ExtentBytes(%d) = %d, want %d", size, got, want)
		}
	}
}

func BenchmarkCheckPage(b *testing.B) {
	for _, name := range []string{"index-16k", "zip-8k"} {
		for _, tt := range pages {
			if tt.file != name {
				continue
			}
			b.Run(name, func(b *testing.B) {
				page := load(b, tt.file)
				b.SetBytes(int64(len(page)))
				b.ReportAllocs()
				for b.Loop() {
					if err := innodb.CheckPage(page, tt.flags); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
