package mysqlx

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "4f22fb58-71ca-11e1-9e33-c80aa9429562"
)

func mustParse(t interface {
	Helper()
	Fatal(...any)
}, s string) GTIDSet {
	t.Helper()
	set, err := ParseGTIDSet(s)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestParseGTIDSet(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{" \n,, ", ""},
		{uuidA + ":1", uuidA + ":1"},
		{uuidA + ":1-1", uuidA + ":1"},
		{strings.ToUpper(uuidA) + ":5:1-3:4", uuidA + ":1-5"},
		{uuidB + ":1,\n" + uuidA + ":7-9:1-2", uuidA + ":1-2:7-9," + uuidB + ":1"},
		{uuidA + ":1," + uuidA + ":2", uuidA + ":1-2"},
		{" " + uuidA + " : 1 - 5 : t : 1", uuidA + ":1-5:t:1"},
		{uuidA + ":9:TagB:4:taga:1:tagb:5," + uuidA + ":_:007", uuidA + ":9:_:7:taga:1:tagb:4-5"},
		{uuidA + ":1-9223372036854775806", uuidA + ":1-9223372036854775806"},
	} {
		got, err := ParseGTIDSet(test.in)
		if err != nil || got.String() != test.want {
			t.Errorf("ParseGTIDSet(%q) = %q, %v, want %q", test.in, got, err, test.want)
		}
	}
}

func TestParseGTIDSetRefuses(t *testing.T) {
	for _, in := range []string{
		"x", uuidA, uuidA + ":", uuidA + ":t", uuidA + ":t:", uuidA + ":1:", uuidA + ":1:t", uuidA + "::1",
		uuidA + ":0", uuidA + ":0-5", uuidA + ":5-3", uuidA + ":1-", uuidA + ":-1", uuidA + ":+1", uuidA + ":1--2", uuidA + ":1-2-3",
		uuidA + ":9223372036854775807", uuidA + ":1-18446744073709551616", uuidA + ":t-x:1", uuidA + ":té:1",
		uuidA + ":a23456789012345678901234567890123:1", uuidA + ":1;" + uuidB + ":1", uuidA + " " + uuidB + ":1",
		strings.ReplaceAll(uuidA, "-", "") + ":1", "{" + uuidA + "}:1", "3e11fa47-71ca-11e1-9e33-c80aa942956g:1",
		strings.Repeat(",", maxGTIDText+1),
	} {
		if got, err := ParseGTIDSet(in); err == nil {
			t.Errorf("ParseGTIDSet(%.80q) = %q, want an error", in, got)
		}
	}
}

func TestGTIDSetCount(t *testing.T) {
	for _, test := range []struct {
		in   string
		want uint64
	}{
		{"", 0},
		{uuidA + ":1-5:7:t:1", 7},
		{uuidA + ":1-9223372036854775806", math.MaxInt64 - 1},
		{uuidA + ":1-9223372036854775806:t:1-9223372036854775806:u:1-9223372036854775806", math.MaxUint64},
	} {
		if got := mustParse(t, test.in).Count(); got != test.want {
			t.Errorf("Count() of %q = %d, want %d", test.in, got, test.want)
		}
	}
}

func TestGTIDSetJSON(t *testing.T) {
	in := struct{ Executed GTIDSet }{mustParse(t, uuidA+":1-5")}
	b, err := json.Marshal(in)
	if want := `{"Executed":"` + uuidA + `:1-5"}`; err != nil || string(b) != want {
		t.Fatalf("Marshal() = %s, %v, want %s", b, err, want)
	}
	out := in
	out.Executed = GTIDSet{}
	if err := json.Unmarshal(b, &out); err != nil || !out.Executed.Equal(in.Executed) {
		t.Errorf("Unmarshal() = %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"Executed":"x"}`), &out); err == nil {
		t.Error("Unmarshal() accepts a damaged set")
	}
}

// gtidText draws sets in which few servers, tags and numbers meet often, some of them written in an unusual way.
func gtidText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var parts []string
		for range rapid.IntRange(0, 4).Draw(t, "parts") {
			part := rapid.SampledFrom([]string{uuidA, uuidB, strings.ToUpper(uuidA), "ffffffff-ffff-ffff-ffff-ffffffffffff"}).Draw(t, "uuid")
			for i := range rapid.IntRange(1, 3).Draw(t, "tags") {
				if i > 0 || rapid.Bool().Draw(t, "tagged") {
					part += ":" + rapid.SampledFrom([]string{"a", "_", "a1", "Zz", "a_b"}).Draw(t, "tag")
				}
				for range rapid.IntRange(1, 4).Draw(t, "intervals") {
					first := rapid.Uint64Range(1, 30).Draw(t, "first")
					part += fmt.Sprintf(":%d", first)
					if rapid.Bool().Draw(t, "range") {
						part += fmt.Sprintf("-%d", first+rapid.Uint64Range(0, 12).Draw(t, "length"))
					}
				}
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, rapid.SampledFrom([]string{",", ",\n", " , "}).Draw(t, "separator"))
	})
}

func TestGTIDSetLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := mustParse(t, gtidText().Draw(t, "a")), mustParse(t, gtidText().Draw(t, "b"))
		textA, textB := a.String(), b.String()
		union, surplus := a.Union(b), a.Subtract(b)
		both := a.Subtract(surplus)
		for name, ok := range map[string]bool{
			"text round trip":               mustParse(t, textA).Equal(a),
			"union has both":                union.Contains(a) && union.Contains(b),
			"union commutes":                union.Equal(b.Union(a)),
			"surplus is of a, not of b":     a.Contains(surplus) && surplus.Subtract(b).Equal(surplus),
			"surplus and common part are a": surplus.Union(both).Equal(a) && b.Contains(both),
			"counts":                        union.Count() == surplus.Count()+b.Count(),
			"contains is empty difference":  b.Contains(a) == surplus.IsEmpty(),
			"equal is containing both ways": a.Equal(b) == (a.Contains(b) && b.Contains(a)),
			"empty":                         a.Subtract(a).IsEmpty() && a.Union(GTIDSet{}).Equal(a) && a.Contains(GTIDSet{}),
			"values do not change":          a.String() == textA && b.String() == textB,
		} {
			if !ok {
				t.Errorf("%s does not hold for %q and %q", name, a, b)
			}
		}
	})
}

func FuzzParseGTIDSet(f *testing.F) {
	f.Add(uuidA + ":1-5:7:t:1," + uuidB + ":3")
	f.Add(uuidA + ":5-3")
	f.Fuzz(func(t *testing.T, s string) {
		set, err := ParseGTIDSet(s)
		if err != nil {
			return
		}
		again, err := ParseGTIDSet(set.String())
		if err != nil || !again.Equal(set) || again.String() != set.String() {
			t.Errorf("ParseGTIDSet(%q) = %q, whose text reads as %q, %v", s, set, again, err)
		}
	})
}
