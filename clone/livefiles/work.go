package livefiles

import (
	"sync/atomic"

	"ordinal/clone/protocol"
)

// A Work hands out what one recipient lacks, each chunk once, to several producers. Its methods may be called concurrently.
type Work struct {
	layout
	pieces []Piece
	bytes  uint64
	next   atomic.Int64
}

// A Piece is a chunk of a file, or the rest of one.
type Piece struct {
	file  *file
	chunk uint32
	held  uint32 // blocks of the chunk that the recipient has
	layout
}

// Chunk is its number in FILE_COPY.
func (p Piece) Chunk() uint32 { return p.chunk }

// Bytes is the number of bytes to deliver.
func (p Piece) Bytes() uint64 { return p.end() - p.start() }

// start and end are offsets in the file.
func (p Piece) start() uint64 { return min(p.origin()+uint64(p.held)*p.block, p.end()) }
func (p Piece) end() uint64   { return min(p.origin()+p.layout.chunk, p.file.size) }

// origin is where the chunk begins.
func (p Piece) origin() uint64 { return uint64(p.chunk-p.file.first) * p.layout.chunk }

// Lacking returns the work that is left for a recipient that holds have: the chunks of the set that it does not have, and the
// rest of those that it has in part. That is everything before FILE_COPY, and nothing after it. have was checked.
func (s *Set) Lacking(have protocol.Progress) *Work {
	w := &Work{layout: s.layout}
	if have.State > protocol.StateFileCopy || have.State == protocol.StateFileCopy && have.Ended {
		return w
	}
	inPart := make(map[uint32]uint32, len(have.Partial))
	if have.State == protocol.StateFileCopy {
		for _, p := range have.Partial {
			inPart[p.Chunk] = p.Blocks
		}
	} else {
		have.Chunks = nil
	}
	for _, f := range s.files {
		last := f.first + uint32(s.layout.chunks(f.size)) - 1
		for chunk := f.first; chunk <= last; chunk++ {
			p := Piece{file: f, chunk: chunk, layout: s.layout}
			if have.Chunks.Has(chunk) {
				blocks, part := inPart[chunk]
				if !part {
					continue
				}
				p.held = blocks
			}
			if n := p.Bytes(); n > 0 {
				w.pieces = append(w.pieces, p)
				w.bytes += n
			}
		}
	}
	return w
}

// Next returns a piece that nobody else got; false when there is none.
func (w *Work) Next() (Piece, bool) {
	i := w.next.Add(1) - 1
	if i >= int64(len(w.pieces)) {
		return Piece{}, false
	}
	return w.pieces[i], true
}

// Bytes is the size of all pieces together, handed out or not.
func (w *Work) Bytes() uint64 { return w.bytes }

// Pieces is their number.
func (w *Work) Pieces() int { return len(w.pieces) }
