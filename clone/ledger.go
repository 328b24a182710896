package clone

import (
	"cmp"
	"slices"

	"ordinal/clone/protocol"
	"ordinal/stream"
)

// Bounds on what a stage may consist of, as in package protocol.
const (
	maxChunks = 1 << 23
	maxBlocks = 4096 // of a chunk
)

// A ledger counts what has been written of a stage in the unit in which a donor goes on after a break: blocks of chunks. A task,
// one of the connections that share a stage, sends its chunks one after the other and the blocks of a chunk in order. What
// arrives is announced to the ledger in that order, and is written in any. A chunk is whole when its task has gone on to another
// one, or the stage has ended, and everything that was announced of it is written: its number of blocks is not told.
//
// Not safe for concurrent use.
type ledger struct {
	count uint32             // chunks of the stage: 1 to count
	held  protocol.ChunkSet  // chunks of which anything has been announced
	open  map[uint32]*parcel // those of them that are not known to be whole
	at    map[uint16]uint32  // chunk that each task is working on
}

// A parcel is a chunk that is not known to be whole.
type parcel struct {
	done    uint32  // number of the last block of those from the first one on that are written; 0: none
	waiting []block // announced after it, in order
	left    bool    // its task has gone on to another chunk
}

type block struct {
	no      uint32
	written bool
}

func newLedger(count uint32) ledger {
	return ledger{count: count, open: make(map[uint32]*parcel), at: make(map[uint16]uint32)}
}

// expect announces a block, in the order in which its task sends them.
func (l *ledger) expect(h stream.DataHeader) {
	if !l.knows(h) {
		return // refused when it comes to be written
	}
	if before := l.at[h.Task]; before != h.Chunk {
		l.leave(before)
		l.at[h.Task] = h.Chunk
	}
	p := l.open[h.Chunk]
	if p == nil {
		if l.held.Has(h.Chunk) {
			return // it is whole, and sent once more
		}
		p = new(parcel)
		l.open[h.Chunk] = p
		l.held.Add(h.Chunk)
	}
	p.left = false
	if h.Block > p.done {
		p.waiting = append(p.waiting, block{no: h.Block})
	}
}

// knows reports whether there can be such a block.
func (l *ledger) knows(h stream.DataHeader) bool {
	return h.Chunk != 0 && h.Chunk <= l.count && h.Block != 0 && h.Block <= maxBlocks
}

// leave notes that a task has gone on from a chunk.
func (l *ledger) leave(chunk uint32) {
	if p := l.open[chunk]; p != nil {
		p.left = true
		l.settle(chunk, p)
	}
}

// written notes that an announced block is on disk.
func (l *ledger) written(h stream.DataHeader) {
	p := l.open[h.Chunk]
	if p == nil {
		return
	}
	for i := range p.waiting {
		if b := &p.waiting[i]; b.no == h.Block && !b.written {
			b.written = true
			break
		}
	}
	l.settle(h.Chunk, p)
}

// settle moves the blocks that follow without a gap to those that are done.
func (l *ledger) settle(chunk uint32, p *parcel) {
	n := 0
	for ; n < len(p.waiting) && p.waiting[n].written; n++ {
		p.done = max(p.done, p.waiting[n].no)
	}
	p.waiting = slices.Delete(p.waiting, 0, n)
	if p.left && len(p.waiting) == 0 {
		delete(l.open, chunk)
	}
}

// gone counts the chunks first to last as held: their file is gone, and nothing of it will come.
func (l *ledger) gone(first, last uint32) {
	for c := max(first, 1); c <= min(last, l.count); c++ {
		l.held.Add(c)
		delete(l.open, c)
	}
}

// interrupt ends the announcements of an attempt: what is not written is not going to be.
func (l *ledger) interrupt() {
	clear(l.at)
	l.held, l.open = l.resumable()
}

// end closes the stage, of which everything has been written.
func (l *ledger) end() {
	clear(l.at)
	clear(l.open)
	for c := uint32(1); c <= l.count; c++ {
		l.held.Add(c)
	}
}

// resumable is what a next attempt need not send, were this one over now: chunks, and those among them that are incomplete. A donor
// is told of no more than MaxPartial of these; should there be more, those of which least was written are sent again.
func (l *ledger) resumable() (protocol.ChunkSet, map[uint32]*parcel) {
	held, open := slices.Clone(l.held), make(map[uint32]*parcel)
	var begun []protocol.Partial
	for chunk, p := range l.open {
		if p.done > 0 {
			begun = append(begun, protocol.Partial{Chunk: chunk, Blocks: p.done})
		} else {
			held.Remove(chunk)
		}
	}
	slices.SortFunc(begun, func(a, b protocol.Partial) int {
		return cmp.Or(cmp.Compare(b.Blocks, a.Blocks), cmp.Compare(a.Chunk, b.Chunk))
	})
	for i, p := range begun {
		if i < protocol.MaxPartial {
			open[p.Chunk] = &parcel{done: p.Blocks}
		} else {
			held.Remove(p.Chunk)
		}
	}
	return held, open
}

// partials lists incomplete chunks in order.
func partials(open map[uint32]*parcel) []protocol.Partial {
	list := make([]protocol.Partial, 0, len(open))
	for chunk, p := range open {
		list = append(list, protocol.Partial{Chunk: chunk, Blocks: p.done})
	}
	slices.SortFunc(list, func(a, b protocol.Partial) int { return cmp.Compare(a.Chunk, b.Chunk) })
	return list
}
