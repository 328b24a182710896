package clone

import (
	"fmt"
	"slices"
	"testing"

	"ordinal/clone/protocol"
	"ordinal/stream"
)

// What counts as held, in the order of things that a donor keeps and the disk does not. A line of the script is "task chunk.block" for
// an announcement, "+chunk.block" for a block that has been written, "|" for the end of an attempt.
func TestLedger(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script []string
		held   []uint32
		parts  []protocol.Partial
	}{
		"nothing":                       {nil, nil, nil},
		"announced, not written":        {[]string{"0 1.1"}, nil, nil},
		"begun":                         {[]string{"0 1.1", "0 1.2", "+1.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
		"gap":                           {[]string{"0 1.1", "0 1.2", "0 1.3", "+1.1", "+1.3"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
		"first one missing":             {[]string{"0 1.1", "0 1.2", "+1.2"}, nil, nil},
		"gap filled":                    {[]string{"0 1.1", "0 1.2", "0 1.3", "+1.3", "+1.1", "+1.2"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 3}}},
		"all, and the task is there":    {[]string{"0 1.1", "+1.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
		"left":                          {[]string{"0 1.1", "+1.1", "0 2.1"}, []uint32{1}, nil},
		"left by another task":          {[]string{"0 1.1", "+1.1", "1 2.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
		"left before it is written":     {[]string{"0 1.1", "0 1.2", "0 2.1", "+1.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
		"left, then written":            {[]string{"0 1.1", "0 1.2", "0 2.1", "+1.2", "+1.1"}, []uint32{1}, nil},
		"attempt over":                  {[]string{"0 1.1", "0 1.2", "+1.2", "+1.1", "|", "0 2.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 2}}},
		"attempt over with a gap":       {[]string{"0 1.1", "0 1.2", "0 2.1", "+1.2", "|", "0 2.1", "+2.1", "0 3.1"}, []uint32{2}, nil},
		"resumed":                       {[]string{"0 1.1", "+1.1", "|", "3 1.2", "3 1.3", "+1.2"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 2}}},
		"resumed and left":              {[]string{"0 1.1", "+1.1", "|", "3 1.2", "+1.2", "3 2.1"}, []uint32{1}, nil},
		"resumed from its first":        {[]string{"0 1.1", "+1.1", "|", "3 1.1", "3 1.2", "+1.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
		"whole one sent again":          {[]string{"0 1.1", "+1.1", "0 2.1", "+2.1", "0 1.1", "0 1.2", "+1.1"}, []uint32{1, 2}, nil},
		"block sent twice":              {[]string{"0 1.1", "0 1.1", "+1.1", "+1.1", "0 2.1"}, []uint32{1}, nil},
		"block sent twice, once still":  {[]string{"0 1.1", "0 1.1", "0 2.1", "+1.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
		"numbers left out":              {[]string{"0 1.4", "0 1.9", "+1.4"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 4}}},
		"written without announcement":  {[]string{"+1.1"}, nil, nil},
		"chunk 0":                       {[]string{"0 0.1", "+0.1"}, nil, nil},
		"chunk beyond the last":         {[]string{"0 100.1", "+100.1", "0 101.1", "+101.1"}, []uint32{100}, []protocol.Partial{{Chunk: 100, Blocks: 1}}},
		"block beyond the last":         {[]string{"0 1.4096", "+1.4096", "0 1.4097", "0 1.0", "+1.4097"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 4096}}},
		"file gone":                     {[]string{"0 5.1", "x 4-6"}, []uint32{4, 5, 6}, nil},
		"file gone, its data goes on":   {[]string{"0 5.1", "0 5.2", "+5.1", "x 4-6", "+5.2", "0 5.3", "|"}, []uint32{4, 5, 6}, nil},
		"file gone beyond all chunks":   {[]string{"x 99-4294967295"}, []uint32{99, 100}, nil},
		"file gone that had no chunks":  {[]string{"x 0-0"}, nil, nil},
		"two tasks":                     {[]string{"0 1.1", "1 2.1", "+2.1", "1 3.1", "+1.1", "0 4.1"}, []uint32{1, 2}, nil},
		"two tasks in one chunk":        {[]string{"0 1.1", "1 1.2", "+1.2", "+1.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 2}}},
		"task comes back":               {[]string{"0 1.1", "+1.1", "0 2.1", "+2.1", "0 1.2", "+1.2"}, []uint32{1, 2}, nil},
		"task comes back to unfinished": {[]string{"0 1.1", "0 2.1", "0 1.2", "+1.1"}, []uint32{1}, []protocol.Partial{{Chunk: 1, Blocks: 1}}},
	} {
		l := newLedger(100)
		for _, line := range c.script {
			var a, b uint32
			h := stream.DataHeader{}
			if n, _ := fmt.Sscanf(line, "x %d-%d", &a, &b); n == 2 {
				l.gone(a, b)
			} else if n, _ := fmt.Sscanf(line, "+%d.%d", &h.Chunk, &h.Block); n == 2 {
				l.written(h)
			} else if n, _ := fmt.Sscanf(line, "%d %d.%d", &h.Task, &h.Chunk, &h.Block); n == 3 {
				l.expect(h)
			} else {
				l.interrupt()
			}
		}
		held, open := l.resumable()
		var chunks []uint32
		for chunk := range uint32(200) {
			if held.Has(chunk) {
				chunks = append(chunks, chunk)
			}
		}
		if parts := partials(open); !slices.Equal(chunks, c.held) || !slices.Equal(parts, c.parts) {
			t.Errorf("%s: held are %v, in part %v, want %v and %v", name, chunks, parts, c.held, c.parts)
		}
	}
}

// A donor hears of 256 incomplete chunks at most. Those that would cost least are sent again.
func TestLedgerSurplus(t *testing.T) {
	t.Parallel()
	l := newLedger(1000)
	for chunk := uint32(1); chunk <= 300; chunk++ {
		for block := uint32(1); block <= chunk%7+1; block++ {
			h := stream.DataHeader{Task: uint16(chunk), Chunk: chunk, Block: block}
			l.expect(h)
			l.written(h)
		}
	}
	for range 2 { // while the attempt lasts, and after it
		held, open := l.resumable()
		if len(open) != protocol.MaxPartial || held.Count() != protocol.MaxPartial {
			t.Fatalf("%d chunks are held, %d incomplete, want %d", held.Count(), len(open), protocol.MaxPartial)
		}
		for _, p := range partials(open) {
			if p.Blocks == 1 && p.Chunk > 280 {
				t.Errorf("of chunk %d only the first block is held, and it is kept", p.Chunk)
			}
		}
		l.interrupt()
	}
	if len(l.open) != protocol.MaxPartial {
		t.Errorf("%d chunks are open after the attempt", len(l.open))
	}
	l.end()
	if held, open := l.resumable(); held.Count() != 1000 || len(open) != 0 {
		t.Errorf("at the end %d chunks are held, %d in part", held.Count(), len(open))
	}
}

func BenchmarkLedger(b *testing.B) {
	l := newLedger(maxChunks)
	h := stream.DataHeader{Chunk: 1}
	for b.Loop() {
		if h.Block++; h.Block > 64 {
			h.Chunk, h.Block = h.Chunk%maxChunks+1, 1
		}
		l.expect(h)
		l.written(h)
	}
}
