package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	same := func(f float64) float64 { return f }
	for _, test := range []struct {
		figures []float64
		want    spread
	}{
		{nil, spread{}},
		{[]float64{2}, spread{2, 2, 2}},
		{[]float64{3, 1, 2}, spread{1, 2, 3}},
		{[]float64{4, 1, 2, 3}, spread{1, 2.5, 4}},
	} {
		if got := spreadOf(test.figures, same); got != test.want {
			t.Errorf("spreadOf(%v) = %v, want %v", test.figures, got, test.want)
		}
	}
	// Round by round: not the ratio of the medians.
	if got, want := ratios([]float64{2, 30, 9}, []float64{1, 10, 9}, same), (spread{1, 2, 3}); got != want {
		t.Errorf("ratios() = %v, want %v", got, want)
	}
	if got := ratios([]float64{1, 2}, nil, same); got != (spread{}) {
		t.Errorf("ratios() to nothing = %v", got)
	}
}

// measured returns a result in which all aims are met, on a disk and in memory.
func measured() *result {
	run := func(seconds, cpuSeconds float64) []copied {
		c := copied{Bytes: 2e9, Received: 2e9, Copy: seconds, Whole: seconds + 0.2, Ready: seconds + 2, SidecarHWM: 20 << 20, RecipientHWM: 30 << 20}
		c.CPU = cpu{Donor: cpuSeconds / 4, Sender: cpuSeconds / 4, Recipient: cpuSeconds / 2}
		return []copied{c, c}
	}
	copies := func() []figures {
		return []figures{
			{Name: "direct", Kind: byAgent, Args: []string{"--copy=direct"}, Runs: run(4, 2)},
			{Name: nameAutotune, Kind: byServer, Runs: run(6, 4)},
			{Name: nameTar, Kind: byTar, Runs: run(4.2, 3)},
			{Name: nameWrite, Kind: byWrite, Runs: run(2, 0.5)},
		}
	}
	writes := func() []written {
		return []written{
			{Name: "direct", Kind: byAgent, Runs: []window{{Alone: 1000, During: 600, Seconds: 4, Complete: true}}},
			{Name: "direct, limited", Kind: byAgent, Args: []string{"--copy=direct", "--max-rate=1"}, Runs: []window{{Alone: 1000, During: 950, Seconds: 20}}},
			{Name: nameAutotune, Kind: byServer, Runs: []window{{Alone: 1000, During: 400, Seconds: 6, Complete: true}}},
		}
	}
	large := run(16, 8)[0]
	large.Bytes = 8e9
	return &result{
		Rounds: 2, Way: "direct", Binary: 12e6, Server: "9.7.4", Agent: "v1",
		Sites: []found{
			{Place: placeDisk, FileSystem: "ext4", Copies: copies(), Writes: writes(), Starts: []float64{0.1, 0.9},
				Memory: []watched{{"direct", run(4, 2)[0]}, {"direct", large}},
				Tables: &tables{Count: 20000, Created: 50, Copies: copies()}},
			{Place: placeMemory, FileSystem: "tmpfs", Copies: copies(), Writes: writes()},
		},
	}
}

func TestAims(t *testing.T) {
	aims := measured().aims()
	if len(aims) != 3+2+2+2+2 {
		t.Errorf("%d aims, want 3 of copies on a disk, 2 in memory, 2 of writes each, 2 of memory", len(aims))
	}
	for _, a := range aims {
		if a.verdict() != "met" {
			t.Errorf("%s on %s: %v, wanted %s: %s", a.what, a.where, a.found, a.wantedText(), a.verdict())
		}
	}
	for name, spoil := range map[string]func(*result){
		"rate / CLONE INSTANCE's, CPU is the limit": func(r *result) { slower(r.Sites[1].Copies[0].Runs, 1.1) },
		"rate / CLONE INSTANCE's":                   func(r *result) { slower(r.Sites[0].Copies[1].Runs, 0.7) },
		"rate / cold copy's":                        func(r *result) { slower(r.Sites[0].Copies[2].Runs, 0.8) },
		"CPU / CLONE INSTANCE's, all processes": func(r *result) {
			r.Sites[0].Copies[0].Runs[0].CPU.Donor += 0.1
			r.Sites[0].Copies[0].Runs[1].CPU.Sender += 0.1
		},
		"transactions kept, direct, limited":             func(r *result) { r.Sites[1].Writes[1].Runs[0].During = 899 },
		"transactions left, no limit / CLONE INSTANCE's": func(r *result) { r.Sites[0].Writes[2].Runs[0].During = 401 },
		"memory of the recipient, 8.0 / 2.0 GB":          func(r *result) { r.Sites[0].Memory[1].Run.RecipientHWM = 40 << 20 },
	} {
		r := measured()
		spoil(r)
		var missed []string
		for _, a := range r.aims() {
			if a.verdict() != "met" {
				missed = append(missed, a.what)
			}
		}
		if len(missed) != 1 || missed[0] != name {
			t.Errorf("%s: not met are %q", name, missed)
		}
	}
	r := measured()
	r.Sites[0].Copies = r.Sites[0].Copies[:1] // nobody to compare with
	if got := r.aims()[0].verdict(); got != "not measured" {
		t.Errorf("without a clone by the server: %s", got)
	}
	if got := (aim{found: spread{math.NaN(), math.NaN(), math.NaN()}}).verdict(); got != "not measured" {
		t.Errorf("a ratio of nothing to nothing: %s", got)
	}
}

func slower(runs []copied, factor float64) {
	for i := range runs {
		runs[i].Copy *= factor
	}
}

func TestOverLimit(t *testing.T) {
	if err := measured().overLimit(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*result){
		"sidecar":      func(r *result) { r.Sites[0].Memory[1].Run.SidecarHWM = 65 << 20 },
		"recipient":    func(r *result) { r.Sites[1].Copies[0].Runs[1].RecipientHWM = 64<<20 + 1 },
		"small tables": func(r *result) { r.Sites[0].Tables.Copies[0].Runs[1].RecipientHWM = 64<<20 + 1 },
		"start":        func(r *result) { r.Sites[0].Starts[0] = 1 },
		"binary":       func(r *result) { r.Binary = 20e6 },
		"not measured": func(r *result) {
			r.Sites = r.Sites[1:]
			for i := range r.Sites[0].Copies[0].Runs {
				r.Sites[0].Copies[0].Runs[i].SidecarHWM = 0
			}
		},
	} {
		r := measured()
		spoil(r)
		if r.overLimit() == nil {
			t.Errorf("%s: overLimit() = nil", name)
		}
	}
}

func TestReport(t *testing.T) {
	r := measured()
	r.Sites[1].Copies[0].Runs[1].Fallback = true
	for _, table := range r.tables() {
		for _, row := range table.rows {
			if len(row) != len(table.head) {
				t.Errorf("%s: row %q has %d cells, the head has %d", table.title, row, len(row), len(table.head))
			}
		}
	}
	text, markdown := r.text(), r.markdown()
	for _, want := range []string{"direct", "CLONE INSTANCE", "1.50", "500", "met", "950", "20000 small tables", "8.0", "1 fell back"} {
		if !strings.Contains(text, want) || !strings.Contains(markdown, want) {
			t.Errorf("%q is missing in\n%s\n%s", want, text, markdown)
		}
	}
	if !strings.Contains(markdown, `tar \| tcp \| tar`) {
		t.Errorf("a cell is split:\n%s", markdown)
	}
	if strings.Contains(text+markdown, "NaN") || strings.Contains(text+markdown, "%!") {
		t.Errorf("nonsense in\n%s", text)
	}

	// What -json prints, -from reads.
	content, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again := new(result)
	if err := json.Unmarshal(content, again); err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("read again: %v, %+v", err, again)
	}
}

func TestWithResults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := resultsMarks, backupsMarks
	write("before\n" + first.begin + "old\n" + first.end + "between\n" + second.begin + "kept\n" + second.end + "after\n")
	for _, text := range []string{"first\n", "second\n"} { // again and again
		got, err := withResults(path, section{first, text})
		if err != nil {
			t.Fatal(err)
		}
		if want := "before\n" + first.begin + "\n" + text + "\n" + first.end + "between\n" + second.begin + "kept\n" + second.end + "after\n"; string(got) != want {
			t.Errorf("withResults() = %q, want %q", got, want)
		}
		write(string(got))
	}
	if got, err := withResults(path, section{second, "new\n"}, section{first, "new\n"}); err != nil || strings.Count(string(got), "new") != 2 {
		t.Errorf("withResults() of two sections = %q, %v", got, err)
	}
	for _, content := range []string{"", first.begin, first.end + first.begin, second.begin + second.end} {
		write(content)
		if got, err := withResults(path, section{first, "new"}); err == nil {
			t.Errorf("withResults() of %q = %q, want an error", content, got)
		}
	}
}

// make bench DOCS=1 finds its places.
func TestDocumentHasMarks(t *testing.T) {
	if _, err := withResults("../../../docs/benchmarks.md", section{marks: resultsMarks}, section{marks: backupsMarks}); err != nil {
		t.Error(err)
	}
}
