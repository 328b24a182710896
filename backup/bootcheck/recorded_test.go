package bootcheck_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ordinal/backup/bootcheck"
	"ordinal/mysqlx"
)

func name(table string) mysqlx.TableName { return mysqlx.TableName{Schema: "s", Table: table} }

func TestMatch(t *testing.T) {
	type table = mysqlx.TableChecksum
	before := mysqlx.TableChecksums{ServerUUID: "u", ServerVersion: "9.7.4", Seconds: 1, Tables: []table{
		{TableName: name("same"), Checksum: 1, Rows: 2, At: 100, Created: 10, Updated: 50},
		{TableName: name("never"), Checksum: 1, Rows: 2, At: 100, Created: 10},
		{TableName: name("content"), Checksum: 1, Rows: 2, At: 100, Created: 10, Updated: 50},
		{TableName: name("rows"), Checksum: 1, Rows: 2, At: 100, Created: 10, Updated: 50},
		{TableName: name("back"), Checksum: 1, Rows: 2, At: 100, Created: 10, Updated: 50},
		{TableName: name("anew"), Checksum: 1, Rows: 2, At: 100, Created: 10, Updated: 50},
		{TableName: name("forgotten"), Checksum: 1, Rows: 2, At: 100, Created: 10, Updated: 50},
		{TableName: name("second"), Checksum: 1, Rows: 2, At: 100, Created: 10, Updated: 100},
		{TableName: name("skipped"), Checksum: 1, Rows: 2, At: 100, Created: 10},
		{TableName: name("late"), Checksum: 1, Rows: 2, At: 100, Created: 10},
		{TableName: name("unreadable"), Checksum: 1, Rows: 2, At: 100, Created: 10},
		{TableName: name("dropped"), Checksum: 1, Rows: 2, At: 100, Created: 10},
	}, Skipped: []mysqlx.SkippedTable{
		{TableName: name("large"), Bytes: 1 << 40, Reason: mysqlx.SkippedBudget},
		{TableName: name("moving"), Bytes: 5, Reason: mysqlx.SkippedChanged},
	}}
	after := mysqlx.TableChecksums{ServerUUID: "u", ServerVersion: "9.7.4", Seconds: 2, Tables: []table{
		{TableName: name("same"), Checksum: 1, Rows: 2, At: 200, Created: 10, Updated: 50},
		{TableName: name("never"), Checksum: 1, Rows: 2, At: 200, Created: 10},
		{TableName: name("content"), Checksum: 9, Rows: 2, At: 200, Created: 10, Updated: 50},
		{TableName: name("rows"), Checksum: 1, Rows: 9, At: 200, Created: 10, Updated: 50},
		{TableName: name("back"), Checksum: 1, Rows: 2, At: 200, Created: 10, Updated: 150},
		{TableName: name("anew"), Checksum: 1, Rows: 2, At: 200, Created: 150, Updated: 50},
		{TableName: name("forgotten"), Checksum: 1, Rows: 2, At: 200, Created: 10},
		{TableName: name("second"), Checksum: 1, Rows: 2, At: 200, Created: 10, Updated: 100},
		{TableName: name("made"), Checksum: 1, Rows: 2, At: 200, Created: 150},
	}, Skipped: []mysqlx.SkippedTable{
		{TableName: name("skipped"), Reason: mysqlx.SkippedChanged},
		{TableName: name("late"), Bytes: 7, Reason: mysqlx.SkippedBudget},
		{TableName: name("unreadable"), Bytes: 8, Reason: mysqlx.SkippedUnreadable},
	}}
	got, err := bootcheck.Match(before, after, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	want := bootcheck.Recorded{
		Format: "ordinal table checksums", Version: 1, ServerUUID: "u", ServerVersion: "9.7.4", BudgetSeconds: 30, BeforeSeconds: 1, AfterSeconds: 2,
		Tables: []bootcheck.RecordedTable{{TableName: name("never"), Checksum: 1, Rows: 2}, {TableName: name("same"), Checksum: 1, Rows: 2}},
		Changed: []mysqlx.TableName{
			name("anew"), name("back"), name("content"), name("dropped"), name("forgotten"), name("made"), name("moving"), name("rows"), name("second"), name("skipped"),
		},
		LeftOut: []bootcheck.LeftOut{
			{TableName: name("large"), Bytes: 1 << 40, Reason: "budget"}, {TableName: name("unreadable"), Bytes: 8, Reason: "unreadable"},
			{TableName: name("late"), Bytes: 7, Reason: "budget"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Match() differs (-want +got):\n%s", diff)
	}
	after.ServerUUID = "other"
	if _, err := bootcheck.Match(before, after, 0); err == nil {
		t.Error("Match() of two servers = nil")
	}
}

// Whatever two readings say, every table of the first is in exactly one list, and one whose content differs is never taken for unchanged.
func TestMatchLosesNothing(t *testing.T) {
	table := rapid.Custom(func(t *rapid.T) mysqlx.TableChecksum {
		small := rapid.IntRange(0, 2)
		return mysqlx.TableChecksum{
			TableName: name(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")), Checksum: uint32(small.Draw(t, "sum")),
			Rows: uint64(small.Draw(t, "rows")), Created: int64(small.Draw(t, "created")), Updated: int64(small.Draw(t, "updated")), At: int64(small.Draw(t, "at")),
		}
	})
	byName := func(t mysqlx.TableChecksum) mysqlx.TableName { return t.TableName }
	rapid.Check(t, func(t *rapid.T) {
		before := mysqlx.TableChecksums{Tables: rapid.SliceOfNDistinct(table, 0, 4, byName).Draw(t, "before")}
		after := mysqlx.TableChecksums{Tables: rapid.SliceOfNDistinct(table, 0, 4, byName).Draw(t, "after")}
		r, err := bootcheck.Match(before, after, 0)
		if err != nil {
			t.Fatal(err)
		}
		lists := map[mysqlx.TableName]int{}
		for _, x := range r.Tables {
			lists[x.TableName]++
			a := after.Tables[slices.IndexFunc(after.Tables, func(a mysqlx.TableChecksum) bool { return a.TableName == x.TableName })]
			if a.Checksum != x.Checksum || a.Rows != x.Rows {
				t.Errorf("%+v counts as unchanged, and was %+v afterwards", x, a)
			}
		}
		for _, x := range r.Changed {
			lists[x]++
		}
		for _, x := range append(before.Tables, after.Tables...) {
			if lists[x.TableName] != 1 {
				t.Errorf("%v is in %d lists", x.TableName, lists[x.TableName])
			}
		}
	})
}

func TestRecordedRoundTrip(t *testing.T) {
	want := bootcheck.Recorded{
		ServerVersion: "9.7.4", BudgetSeconds: 1.5, NotListed: 0,
		Tables: []bootcheck.RecordedTable{{TableName: mysqlx.TableName{Schema: "d-`x", Table: "t é'\"<\n"}, Checksum: 1<<32 - 1, Rows: 1 << 60}},
	}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := bootcheck.DecodeRecorded(data)
	want.Format, want.Version = got.Format, got.Version
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("DecodeRecorded() = %v, differs:\n%s", err, diff)
	}
}

// A server with more tables than the file can hold has those with a checksum in it rather than others, and the number of what is missing.
func TestRecordedTooLong(t *testing.T) {
	var r bootcheck.Recorded
	long := strings.Repeat("ſ", 60)
	for i := range 40_000 {
		r.Tables = append(r.Tables, bootcheck.RecordedTable{TableName: name(fmt.Sprint(long, i))})
		r.Changed = append(r.Changed, name(fmt.Sprint(long, "c", i)))
		r.LeftOut = append(r.LeftOut, bootcheck.LeftOut{TableName: name(fmt.Sprint(long, "l", i))})
	}
	data, err := r.Encode()
	if err != nil || len(data) > bootcheck.MaxRecorded {
		t.Fatalf("Encode() = %d bytes, %v, want at most %d", len(data), err, bootcheck.MaxRecorded)
	}
	got, err := bootcheck.DecodeRecorded(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Tables) != 40_000 || got.NotListed == 0 || len(got.Tables)+len(got.Changed)+len(got.LeftOut)+got.NotListed != 120_000 {
		t.Errorf("%d, %d and %d tables, %d not listed, want 120000 in all", len(got.Tables), len(got.Changed), len(got.LeftOut), got.NotListed)
	}
}

func TestDecodeRecordedRefuses(t *testing.T) {
	const head = `{"format":"ordinal table checksums","version":1`
	for _, text := range []string{
		"", "null", "{}", "[]", `{"format":"ordinal table checksums","version":2}`, head, head + `}{`, head + `,"not_listed":-1}`,
		head + `,"tables":[{"schema":"","table":"t"}]}`, head + `,"tables":[{"schema":"s"}]}`, head + `,"changed":[{"schema":"s","table":"a\u0000"}]}`,
		head + `,"left_out":[{"schema":"s","table":"` + strings.Repeat("x", 300) + `"}]}`,
		head + `,"tables":[{"schema":"s","table":"t"},{"schema":"s","table":"t"}]}`, head + `,"tables":[{"schema":"s","table":"t","checksum":4294967296}]}`,
		head + `,"tables":[{"schema":"s","table":"t","rows":-1}]}`, head + "}" + strings.Repeat(" ", bootcheck.MaxRecorded),
	} {
		if r, err := bootcheck.DecodeRecorded([]byte(text)); !errors.Is(err, bootcheck.ErrRecorded) {
			t.Errorf("DecodeRecorded(%.100q) = %+v, %v, want ErrRecorded", text, r, err)
		}
	}
	if _, err := bootcheck.DecodeRecorded([]byte(head + `,"later":[1]} `)); err != nil {
		t.Errorf("DecodeRecorded() with a field of a later version = %v", err)
	}
}

func FuzzDecodeRecorded(f *testing.F) {
	f.Add([]byte(`{"format":"ordinal table checksums","version":1,"tables":[{"schema":"s","table":"t","checksum":1,"rows":2}],"changed":[],"left_out":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := bootcheck.DecodeRecorded(data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !json.Valid(again) {
			t.Errorf("Encode() of what was read: %s, %v", again, err)
		}
	})
}
