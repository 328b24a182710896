package protocol

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestChunkSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunk := rapid.Uint32Range(1, 200)
		model := map[uint32]bool{}
		var s ChunkSet
		for range rapid.IntRange(0, 50).Draw(t, "steps") {
			c := chunk.Draw(t, "chunk")
			if rapid.Bool().Draw(t, "add") {
				s.Add(c)
				model[c] = true
			} else {
				s.Remove(c)
				delete(model, c)
			}
		}
		b, err := json.Marshal(s)
		var back ChunkSet
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil {
			t.Fatal(err)
		}
		var twice ChunkSet
		twice.Union(back)
		twice.Union(s)
		for _, s := range []ChunkSet{s, back, twice} {
			if s.Count() != len(model) {
				t.Errorf("Count() = %d, want %d", s.Count(), len(model))
			}
			var last uint32
			for c := range uint32(300) {
				if s.Has(c) != model[c] {
					t.Errorf("Has(%d) = %v", c, s.Has(c))
				}
				if model[c] {
					last = c
				}
			}
			if s.last() != last {
				t.Errorf("last() = %d, want %d", s.last(), last)
			}
		}
		n := rapid.Uint32Range(0, 200).Draw(t, "n")
		if all := allChunks(n); all.Count() != int(n) || all.last() != n || len(all) != chunkWords(n) {
			t.Errorf("allChunks(%d) = %x", n, all)
		}
	})
	if (ChunkSet{}).Has(0) || (ChunkSet{math.MaxUint32}).Has(0) {
		t.Error("there is a chunk 0")
	}
	for _, text := range []string{`1`, `"AAA="`, `"AAAAAA"`, `"\u0000"`, `["AAAAAA=="]`} {
		var s ChunkSet
		if err := json.Unmarshal([]byte(text), &s); err == nil {
			t.Errorf("%s is %x", text, s)
		}
	}
	// What a chunk is in the bitmap is the donor's, byte by byte.
	var s ChunkSet
	s.Add(1)
	s.Add(34)
	if b, _ := json.Marshal(s); string(b) != `"AQAAAAIAAAA="` {
		t.Errorf("chunks 1 and 34 are %s", b)
	}
}

func TestProgressCheck(t *testing.T) {
	good := func() Progress {
		return Progress{
			State: StateFileCopy, Files: 7, AllFiles: true, ChunkCount: 40,
			Chunks: ChunkSet{1 << 4, 1 << 7}, Partial: []Partial{{Chunk: 40, Blocks: 3}},
		}
	}
	for name, p := range map[string]Progress{
		"nothing": {}, "INIT": {State: StateInit}, "FILE_COPY": good(),
		"some files":                {State: StateFileCopy, Files: 3, ChunkCount: 40},
		"files to be announced":     {State: StateFileCopy, Files: 3, ChunkCount: 40, Chunks: ChunkSet{1}},
		"no chunk in the last word": {State: StateFileCopy, AllFiles: true, ChunkCount: 40, Chunks: ChunkSet{1, 0}},
		"a stage without chunks":    {State: StatePageCopy, AllFiles: true, Ended: true},
		"REDO_COPY":                 {State: StateRedoCopy, AllFiles: true, RedoFiles: 3, ChunkCount: 5},
	} {
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(p *Progress){
		"DONE":                    func(p *Progress) { p.State = StateDone },
		"unknown state":           func(p *Progress) { p.State = math.MaxUint32 },
		"files before FILE_COPY":  func(p *Progress) { *p = Progress{State: StateInit, Files: 1} },
		"chunks before FILE_COPY": func(p *Progress) { *p = Progress{ChunkCount: 1, Chunks: ChunkSet{1}} },
		"ended before FILE_COPY":  func(p *Progress) { *p = Progress{State: StateInit, Ended: true} },
		"redo before REDO_COPY":   func(p *Progress) { p.RedoFiles = 1 },
		"too many files":          func(p *Progress) { p.Files = maxFiles + 1 },
		"too many redo files":     func(p *Progress) { p.State, p.RedoFiles = StateRedoCopy, maxRedoFiles+1 },
		"too many chunks":         func(p *Progress) { p.ChunkCount = maxChunks + 1 },
		"chunk 41 of 40":          func(p *Progress) { p.Chunks.Add(41) },
		"a word too many":         func(p *Progress) { p.Chunks = append(p.Chunks, 0) },
		"chunk 64 of 40":          func(p *Progress) { p.Chunks.Add(64) },
		"incomplete and not held": func(p *Progress) { p.Chunks.Remove(40) },
		"incomplete chunk 0":      func(p *Progress) { p.Partial[0].Chunk = 0 },
		"incomplete twice":        func(p *Progress) { p.Partial = append(p.Partial, p.Partial[0]) },
		"no block":                func(p *Progress) { p.Partial[0].Blocks = 0 },
		"too many blocks":         func(p *Progress) { p.Partial[0].Blocks = maxBlocks + 1 },
		"too many incomplete":     func(p *Progress) { p.Partial = slices.Repeat(p.Partial, MaxPartial+1) },
		"ended without files":     func(p *Progress) { p.Ended, p.AllFiles = true, false },
		"PAGE_COPY without files": func(p *Progress) { p.State, p.AllFiles = StatePageCopy, false },
	} {
		p := good()
		change(&p)
		if err := p.Check(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Which progress fits which snapshot.
func TestSnapshotFits(t *testing.T) {
	at := func(s State, chunks uint32) Snapshot {
		return Snapshot{Version: VersionLatest, Stage: Stage{State: s, Chunks: chunks}}
	}
	held := func(s State, chunks uint32, ended bool) Progress {
		return Progress{State: s, ChunkCount: chunks, AllFiles: s > StateInit, Ended: ended}
	}
	for name, tt := range map[string]struct {
		snap Snapshot
		p    Progress
		fits bool
	}{
		"nothing":                {at(StateInit, 0), Progress{}, true},
		"nothing of FILE_COPY":   {at(StateFileCopy, 9), Progress{}, true},
		"nothing of PAGE_COPY":   {at(StatePageCopy, 9), Progress{}, false},
		"same stage":             {at(StateFileCopy, 9), held(StateFileCopy, 9, false), true},
		"ended":                  {at(StateFileCopy, 9), held(StateFileCopy, 9, true), true},
		"other chunks":           {at(StateFileCopy, 8), held(StateFileCopy, 9, false), false},
		"donor ahead, ended":     {at(StatePageCopy, 2), held(StateFileCopy, 9, true), true},
		"donor ahead, not ended": {at(StatePageCopy, 2), held(StateFileCopy, 9, false), false},
		"donor two ahead":        {at(StateRedoCopy, 2), held(StateFileCopy, 9, true), false},
		"receiver ahead":         {at(StateFileCopy, 9), held(StatePageCopy, 9, false), false},
		"receiver far ahead":     {at(StateInit, 0), held(StateRedoCopy, 0, false), false},
	} {
		err := tt.snap.check(tt.p)
		if fits := err == nil; fits != tt.fits || !fits && !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("%s: check = %v, want fit %v or ErrSnapshotGone", name, err, tt.fits)
		}
	}
	for _, version := range []uint32{0, 0xff, VersionLatest + 1} {
		snap := at(StateInit, 0)
		snap.Version = version
		if err := snap.check(Progress{}); err == nil {
			t.Errorf("version %#x: no error", version)
		}
	}
}

func TestSnapshotJSON(t *testing.T) {
	want := Snapshot{Locator: versionLocator(), Version: VersionLatest, Started: 1795257600, Stage: Stage{State: StatePageCopy, Chunks: 3, Files: 5}}
	want.Locator[20] = 0xfe
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Snapshot
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("%s: %+v, %v", b, got, err)
	}
	for _, text := range []string{`{"locator":""}`, `{"locator":"AAAA"}`, `{"locator":"!"}`} {
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// decodeRestart reads a restart locator as a donor does.
func decodeRestart(t *testing.T, b []byte) (l Locator, p Progress) {
	be := binary.BigEndian
	if n := be.Uint32(b[4:]); n != uint32(len(b)) {
		t.Fatalf("locator says %d bytes, has %d", n, len(b))
	}
	copy(l[:], b)
	p.State, p.AllFiles = State(b[locatorState]), b[locatorMetadata] == 1
	b = b[locatorLength:]
	n := be.Uint32(b)
	for b = b[4:]; n > 0; n-- {
		p.Partial = append(p.Partial, Partial{be.Uint32(b), be.Uint32(b[4:])})
		b = b[8:]
	}
	n = be.Uint32(b)
	for b = b[4:]; n > 0; n-- {
		p.Chunks = append(p.Chunks, be.Uint32(b))
		b = b[4:]
	}
	if len(b) != 0 {
		t.Fatalf("%d bytes are left", len(b))
	}
	return l, p
}

// Progress that passes its check makes a restart locator that says the same and fits into a message, whatever the receiver sent.
func FuzzProgress(f *testing.F) {
	for _, p := range []Progress{
		{},
		{State: StateFileCopy, Files: 7, AllFiles: true, ChunkCount: 40, Chunks: ChunkSet{16, 128}, Partial: []Partial{{40, 3}, {5, 64}}},
		{State: StateRedoCopy, AllFiles: true, Ended: true, RedoFiles: 3, ChunkCount: 5, Chunks: ChunkSet{31}},
	} {
		b, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Progress
		if json.Unmarshal(b, &p) != nil || p.Check() != nil {
			return
		}
		l := versionLocator()
		l[19], l[27], l[31] = 3, 4, 5
		restart := l.restart(p)
		if len(restart) > 2<<20 {
			t.Fatalf("restart locator of %d bytes", len(restart))
		}
		if p.State <= StateInit {
			if _, err := decodeLocator(restart); err != nil {
				t.Fatal(err)
			}
			return
		}
		gotLocator, got := decodeRestart(t, restart)
		if gotLocator.names() != l.names() {
			t.Fatalf("it names %x, want %x", gotLocator.names(), l.names())
		}
		if last := got.Chunks.last(); last > p.ChunkCount {
			t.Fatalf("chunk %d of %d", last, p.ChunkCount)
		}
		said := Progress{State: p.State, AllFiles: p.AllFiles, Chunks: p.Chunks, Partial: p.Partial}
		if d := cmp.Diff(said, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("restart locator (-want +got):\n%s", d)
		}
		with := p.with(allChunks(p.ChunkCount))
		if err := with.Check(); err != nil || len(with.Partial) != 0 {
			t.Fatalf("with all chunks: %v, %d incomplete", err, len(with.Partial))
		}
	})
}

func TestUptime(t *testing.T) {
	if n, err := parseUptime("Uptime: 812  Threads: 2  Questions: 9"); n != 812 || err != nil {
		t.Errorf("parseUptime = %d, %v, want 812", n, err)
	}
	if n, err := parseUptime("Uptime: 18446744073709480044  Threads: 2"); n != -71572 || err != nil {
		t.Errorf("parseUptime of a server whose clock was set back = %d, %v", n, err)
	}
	for _, s := range []string{"", "Uptime: ", "Uptime: x  Threads: 2", "Uptime: -1  Threads: 2", "Uptime: 99999999999  T", "812"} {
		if n, err := parseUptime(s); !errors.Is(err, ErrProtocol) {
			t.Errorf("parseUptime(%q) = %d, %v, want ErrProtocol", s, n, err)
		}
	}
}

func TestMoreWorkers(t *testing.T) {
	for _, tt := range []struct {
		now, most    int
		before, rate uint64
		count        int
		again        bool
	}{
		{0, 0, 0, 100, 0, false}, // none are wanted
		{1, 1, 0, 100, 1, false},
		{1, 8, 0, 0, 1, true},      // nothing was to be seen
		{1, 8, 0, 100, 2, true},    // the first look
		{2, 8, 100, 110, 4, true},  // a tenth more
		{2, 8, 100, 109, 2, false}, // less than that
		{2, 8, 100, 50, 2, false},
		{4, 8, 100, 200, 8, false},
		{4, 6, 100, 200, 6, false},
		{64, 127, 100, 200, 127, false},
	} {
		count, again := moreWorkers(tt.now, tt.most, tt.before, tt.rate)
		if count != tt.count || again != tt.again {
			t.Errorf("moreWorkers(%d, %d, %d, %d) = %d, %v, want %d, %v", tt.now, tt.most, tt.before, tt.rate, count, again, tt.count, tt.again)
		}
	}
}
