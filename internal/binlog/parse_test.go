package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"testing"

	"ordinal/mysqlx"
)

// appendVarint is the opposite of varint.
func appendVarint(b []byte, n uint64) []byte {
	size := min(9, max(1, (bits.Len64(n)+6)/7))
	if size == 9 {
		return binary.LittleEndian.AppendUint64(append(b, 0xff), n)
	}
	n = n<<size | (1<<(size-1) - 1)
	for range size {
		b = append(b, byte(n))
		n >>= 8
	}
	return b
}

func TestVarint(t *testing.T) {
	for shift := range 64 {
		for _, n := range []uint64{1 << shift, 1<<shift - 1, 1<<shift + 1, 0xa5a5a5a5a5a5a5a5 >> shift} {
			b := append(appendVarint(nil, n), 1, 2, 3)
			got, rest, err := varint(b)
			if err != nil || got != n || !bytes.Equal(rest, []byte{1, 2, 3}) {
				t.Errorf("varint(%x) = %d, %x, %v, want %d", b, got, rest, err, n)
			}
			for cut := range len(b) - 3 {
				if _, _, err := varint(b[:cut]); err == nil {
					t.Errorf("varint(%x): no error", b[:cut])
				}
			}
		}
	}
	// As in the description of the server's serialization library.
	if n, _, err := varint([]byte{0xfb, 0xff, 0x07}); n != 65535 || err != nil {
		t.Errorf("varint() = %d, %v, want 65535", n, err)
	}
}

func TestPackedInt(t *testing.T) {
	for text, want := range map[string]int64{
		"\x00": 0, "\xfa": 250, "\xfc\x01\x02": 0x0201, "\xfd\x01\x02\x03": 0x030201, "\xfe\x01\x02\x03\x04\x05\x06\x07\x08": 0x0807060504030201,
		"": -1, "\xfb": -1, "\xff": -1, "\xfc\x01": -1, "\xfd\x01\x02": -1, "\xfe\x01\x02\x03\x04\x05\x06\x07": -1,
	} {
		n, rest, err := packedInt([]byte(text))
		if (err != nil) != (want < 0) || err == nil && (n != uint64(want) || len(rest) != 0) {
			t.Errorf("packedInt(%q) = %d, %x, %v, want %d", text, n, rest, err, want)
		}
	}
}

// previous encodes a set as the server does.
func previous(tagged bool, groups ...[]byte) []byte {
	count := uint64(len(groups))
	if tagged {
		count = 1<<56 | count<<8 | 1
	}
	return append(binary.LittleEndian.AppendUint64(nil, count), bytes.Join(groups, nil)...)
}

func group(uuid byte, tag string, tagged bool, numbers ...uint64) []byte {
	b := bytes.Repeat([]byte{uuid}, 16)
	if tagged {
		b = append(appendVarint(b, uint64(len(tag))), tag...)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(numbers)/2))
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

func TestParsePrevious(t *testing.T) {
	const a, b = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":          {previous(false), ""},
		"empty, tagged":  {previous(true), ""},
		"plain":          {previous(false, group(0xaa, "", false, 1, 4, 7, 8), group(0xbb, "", false, 5, 6)), a + ":1-3:7," + b + ":5"},
		"tagged":         {previous(true, group(0xaa, "", true, 1, 4), group(0xaa, "heal_1", true, 1, 3)), a + ":1-3:heal_1:1-2"},
		"largest":        {previous(false, group(0xaa, "", false, 1, math.MaxInt64)), a + fmt.Sprintf(":1-%d", math.MaxInt64-1)},
		"backwards":      {previous(false, group(0xaa, "", false, 4, 1)), "error"},
		"empty interval": {previous(false, group(0xaa, "", false, 4, 4)), "error"},
		"from zero":      {previous(false, group(0xaa, "", false, 0, 4)), "error"},
		"beyond":         {previous(false, group(0xaa, "", false, 1, math.MaxInt64+1)), "error"},
		"more than said": {append(previous(false), 0), "error"},
		"upper case tag": {previous(true, group(0xaa, "Heal", true, 1, 3)), "error"},
		"long tag":       {previous(true, group(0xaa, strings.Repeat("t", 33), true, 1, 3)), "error"},
		"unknown format": {[]byte{0, 0, 0, 0, 0, 0, 0, 2}, "error"},
		"millions":       {[]byte{255, 255, 255, 255, 255, 255, 255, 0}, "error"},
	} {
		got, err := parsePrevious(c.data)
		text := got.String()
		if err != nil {
			text = "error"
		}
		if text != c.want {
			t.Errorf("%s: parsePrevious() = %q, %v, want %q", name, text, err, c.want)
		}
		for cut := range c.data {
			if name == "more than said" {
				break
			}
			if _, err := parsePrevious(c.data[:cut]); err == nil {
				t.Errorf("%s: parsePrevious() of %d of %d bytes: no error", name, cut, len(c.data))
			}
		}
	}
}

// TestLargePrevious has more text than mysqlx.ParseGTIDSet takes at once, and more bytes than a reader keeps of an event.
func TestLargePrevious(t *testing.T) {
	var numbers []uint64
	for n := uint64(1); n < 100_000; n += 2 {
		numbers = append(numbers, n, n+1)
	}
	data := previous(true, group(0xaa, "", true, numbers...), group(0xaa, "t", true, 1, 2))
	set, err := parsePrevious(data)
	if err != nil || set.Count() != 50_001 {
		t.Fatalf("parsePrevious() = %d transactions, %v", set.Count(), err)
	}
	d, err := parseDescription(description(t))
	if err != nil {
		t.Fatal(err)
	}
	event := seal(d.newEvent(TypePreviousGTIDs, data), 0, true)
	file := append(append([]byte(magic), d.event...), event...)
	file = append(file, d.stop(int64(len(file)))...)
	r, err := NewReader("large", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok, err := r.PreviousGTIDs(); err != nil || !ok || !got.Equal(set) {
		t.Fatalf("PreviousGTIDs() = %d transactions, %t, %v", got.Count(), ok, err)
	}
	var copied bytes.Buffer
	if e, err := r.Next(); err != nil || e.Type != TypePreviousGTIDs || !bytes.Equal(e.Data, data) {
		t.Errorf("Next() = %v, %v", e.Type, err)
	}
	if err := r.Copy(&copied); err != nil || !bytes.Equal(copied.Bytes(), event) {
		t.Errorf("Copy() = %d bytes, %v", copied.Len(), err)
	}
	if e, err := r.Next(); err != nil || e.Type != TypeStop {
		t.Errorf("Next() = %v, %v", e.Type, err)
	}
}

// description returns the first event of a kept file.
func description(t *testing.T) []byte {
	t.Helper()
	data := make([]byte, offDescriptionSizes+int(lastKnownType)+1)
	data[0] = descriptionVersion
	copy(data[offDescriptionServer:], "9.7.4")
	data[offDescriptionHeader] = headerSize
	for kind, size := range postHeaderSizes {
		data[offDescriptionSizes+int(kind)-1] = size
	}
	data[len(data)-1] = checksumCRC32
	event := append(make([]byte, headerSize), append(data, 0, 0, 0, 0)...)
	event[offType] = byte(TypeFormatDescription)
	return seal(event, 4, true)
}

func TestTaggedGTID(t *testing.T) {
	uuid := func(b []byte) []byte {
		b = append(b, fieldUUID<<1)
		for i := range 16 {
			b = appendVarint(b, uint64(0xf0+i))
		}
		return b
	}
	field := func(id byte, n uint64) func([]byte) []byte {
		return func(b []byte) []byte { return appendVarint(append(b, id<<1), n) }
	}
	tag := func(text string) func([]byte) []byte {
		return func(b []byte) []byte { return append(appendVarint(append(b, fieldTag<<1), uint64(len(text))), text...) }
	}
	build := func(version uint64, fields ...func([]byte) []byte) []byte {
		b := append(appendVarint(nil, version), 0, 0)
		for _, f := range fields {
			b = f(b)
		}
		return b
	}
	flags, number, last, seq := field(fieldFlags, 1), field(fieldNumber, 5<<1), field(fieldLastCommitted, 4), field(fieldSequence, 6)
	immediate, original, length := field(fieldImmediate, 1_700_000_000_000_000), field(fieldOriginal, 1_600_000_000_000_000), field(fieldLength, 1<<40)
	all := build(1, flags, uuid, number, tag("heal"), last, seq, immediate, original, length, field(fieldLength+1, 90704), field(30, 7))
	b, err := parseBeginning(TypeTaggedGTID, all)
	if err != nil || b.gtid != "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff:heal:5" || b.length != 1<<40 ||
		b.committed.UnixMicro() != 1_700_000_000_000_000 || b.original.UnixMicro() != 1_600_000_000_000_000 {
		t.Errorf("parseBeginning() = %+v, %v", b, err)
	}
	if b, err = parseBeginning(TypeTaggedGTID, build(1, flags, uuid, number, tag(""), last, seq, immediate, length)); err != nil ||
		b.gtid != "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff:5" || !b.original.Equal(b.committed) {
		t.Errorf("parseBeginning() without tag and original = %+v, %v", b, err)
	}
	for name, data := range map[string][]byte{
		"version":    build(2, flags, uuid, number, tag("heal"), length),
		"no uuid":    build(1, flags, number, tag("heal"), length),
		"no number":  build(1, flags, uuid, tag("heal"), length),
		"no length":  build(1, flags, uuid, number, tag("heal")),
		"order":      build(1, uuid, number, flags, tag("heal"), length),
		"twice":      build(1, flags, uuid, number, number, tag("heal"), length),
		"negative":   build(1, flags, uuid, field(fieldNumber, 5<<1|1), tag("heal"), length),
		"bad tag":    build(1, flags, uuid, number, tag("he al"), length),
		"digit tag":  build(1, flags, uuid, number, tag("1heal"), length),
		"too long":   build(1, flags, uuid, number, tag("heal"), field(fieldLength, math.MaxUint64)),
		"no content": build(1),
		"nothing":    nil,
	} {
		if b, err := parseBeginning(TypeTaggedGTID, data); err == nil {
			t.Errorf("%s: parseBeginning() = %+v", name, b)
		}
	}
	for cut := range all[:len(all)-6] {
		if b, err := parseBeginning(TypeTaggedGTID, all[:cut]); err == nil {
			t.Errorf("cut at %d: parseBeginning() = %+v", cut, b)
		}
	}
	if _, err := mysqlx.ParseGTIDSet("f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff:heal:5"); err != nil {
		t.Error(err)
	}
}

func TestStatements(t *testing.T) {
	shown := []string{
		"CREATE TABLE t (i INT)", "create table users (id int, email text)", "ALTER TABLE authors ADD COLUMN user_name TEXT", "DROP TABLE `t`",
		"/* ApplicationName=x */ CREATE INDEX i ON t (a)", "CREATE OR REPLACE VIEW v AS SELECT 1", "TRUNCATE TABLE t", "XA COMMIT X'31',X'',1",
		"INSERT INTO t VALUES (1)", "CREATE DEFINER=`root`@`localhost` PROCEDURE p() SELECT 1", "-- why\nDROP VIEW v", "CREATE TABLE t (i INT) ENCRYPTION='N'",
	}
	for _, text := range shown {
		if s := newStatement("shop", text, false); s.Withheld || s.Text == "" {
			t.Errorf("%q is withheld", text)
		}
	}
	withheld := []string{
		"CREATE USER 'u'@'%' IDENTIFIED WITH 'caching_sha2_password' AS '$A$005$'", "alter user u identified by 'x'", "DROP USER u",
		"GRANT ALL ON *.* TO u", "REVOKE ALL ON *.* FROM u", "SET PASSWORD FOR u = 'x'", "RENAME USER a TO b", "CREATE ROLE r",
		"CREATE /* x */ USER u", "CREATE\n\tUSER u", "/**/CREATE USER u", "CREATE USER IF NOT EXISTS u", "CREATE OR REPLACE USER u", "# x\nCREATE USER u",
		"CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h')", "ALTER SERVER s OPTIONS (USER 'x')", "/*!80000 CREATE USER u */",
		"UPDATE people SET passwd = 'x'", "INSERT INTO logins (pwd) VALUES ('x')", "UPDATE t SET api_key = 'x'", "UPDATE t SET token = 'x'",
		"INSERT INTO t VALUES (AES_ENCRYPT('text', 'key'))", "INSERT INTO mysql.user VALUES (1)", "INSERT INTO `mysql`.`user` VALUES (1)",
		"CREATE PROCEDURE p() CREATE USER u IDENTIFIED BY 'x'", "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'x'", "SOMETHING NEW", "", "'", "UNINSTALL PLUGIN p",
	}
	for _, text := range withheld {
		if s := newStatement("shop", text, false); !s.Withheld || s.Text != "" {
			t.Errorf("%q is shown", text)
		}
	}
	if s := newStatement("mysql", "INSERT INTO user VALUES (1)", false); !s.Withheld {
		t.Error("a statement in schema mysql is shown")
	}
	if s := newStatement("a\x1b[31m\x00b", "DROP\tTABLE\n\x1b]0;t\a \xff\u202e", false); s.Schema != "a[31mb" || s.Text != "DROP TABLE ]0;t \ufffd" {
		t.Errorf("newStatement() = %q in %q", s.Text, s.Schema)
	}
	if s := newStatement("shop", "DROP TABLE "+strings.Repeat("ä", 2000), false); len(s.Text) > maxStatementText || len(s.Text) < maxStatementText-2 || !s.Cut {
		t.Errorf("newStatement() of a long text: %d bytes, cut %t", len(s.Text), s.Cut)
	}
}
