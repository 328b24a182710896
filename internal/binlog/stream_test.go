package binlog_test

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A set in a previous GTIDs event of ours is read as the same set: with tags and without.
func TestPreviousRoundTrip(t *testing.T) {
	tr := newTree(t)
	r, err := binlog.NewReader("some", bytes.NewReader(tr.files[tr.names[0]]))
	if err != nil {
		t.Fatal(err)
	}
	d := r.Description()
	rapid.Check(t, func(rt *rapid.T) {
		text := ""
		for range rapid.IntRange(0, 6).Draw(rt, "parts") {
			text += fmt.Sprintf("%08x-0000-0000-0000-00000000000a", rapid.Uint32Range(0, 3).Draw(rt, "uuid"))
			if tag := rapid.StringMatching(`([a-z_][a-z0-9_]{0,31})?`).Draw(rt, "tag"); tag != "" {
				text += ":" + tag
			}
			first := rapid.Uint64Range(1, 1<<62).Draw(rt, "first")
			text += fmt.Sprintf(":%d-%d,", first, first+rapid.Uint64Range(0, 1<<40).Draw(rt, "count"))
		}
		set, err := mysqlx.ParseGTIDSet(text)
		if err != nil {
			rt.Fatal(err)
		}
		file := []byte(binlog.Magic)
		file = append(file, d.At(int64(len(file)))...)
		file = append(file, d.Previous(set, int64(len(file)))...)
		file = append(file, d.Stop(int64(len(file)))...)
		got, err := binlog.NewStream("round trip", bytes.NewReader(file))
		if err != nil {
			rt.Fatal(err)
		}
		if back, ok, err := got.PreviousGTIDs(); err != nil || !ok || !back.Equal(set) {
			rt.Fatalf("%v became %v, %v, %v", set, back, ok, err)
		}
	})
}
