package protocol

import "fmt"

const (
	// MaxPartial is how many incomplete chunks a receiver may name: the donor reads no more.
	MaxPartial = 256

	maxChunks = 1 << 23 // of a stage; a bitmap of them fits into the smallest message that a donor must take
	maxBlocks = 4096    // of a chunk: its pages, one by one
)

// Progress is what a receiver holds safely, in the donor's own chunks and blocks: they mean the same whoever reads the files on the
// donor. It is counted at the receiver, from what is written, because the donor never goes back a stage.
type Progress struct {
	State      State     `json:"state"`       // the stage it is in; 0: it has received nothing
	Ended      bool      `json:"ended"`       // it holds all of State, durably: acknowledged without asking the sink again
	Files      uint32    `json:"files"`       // data files it knows: indexes 0 … Files-1. Those of a batch count from its StageStart on
	AllFiles   bool      `json:"all_files"`   // it knows every file that FILE_COPY announces
	RedoFiles  uint32    `json:"redo_files"`  // redo files it knows: indexes 0 … RedoFiles-1
	ChunkCount uint32    `json:"chunk_count"` // chunks in State, as its StageStart said
	Chunks     ChunkSet  `json:"chunks"`      // chunks of State that it holds, whole or, if in Partial, in part
	Partial    []Partial `json:"partial"`     // at most MaxPartial
}

// A Partial is a chunk of which a receiver holds the first blocks.
type Partial struct {
	Chunk  uint32 `json:"chunk"`  // from 1, also in Progress.Chunks
	Blocks uint32 `json:"blocks"` // Data.Block of the last one it holds
}

// Check refuses what no receiver can hold. It says nothing about whether the donor has such a snapshot.
func (p *Progress) Check() error {
	if err := p.check(); err != nil {
		return fmt.Errorf("progress in %v: %w", p.State, err)
	}
	return nil
}

func (p *Progress) check() error {
	switch {
	case p.State > StateRedoCopy:
		return fmt.Errorf("there is nothing to receive in this state")
	case p.Files > maxFiles:
		return fmt.Errorf("%d files, at most %d", p.Files, maxFiles)
	case p.RedoFiles > maxRedoFiles:
		return fmt.Errorf("%d redo files, at most %d", p.RedoFiles, maxRedoFiles)
	case p.ChunkCount > maxChunks:
		return fmt.Errorf("%d chunks, at most %d", p.ChunkCount, maxChunks)
	case len(p.Chunks) > chunkWords(p.ChunkCount) || p.Chunks.last() > p.ChunkCount:
		return fmt.Errorf("chunk %d of %d in %d words", p.Chunks.last(), p.ChunkCount, len(p.Chunks))
	case len(p.Partial) > MaxPartial:
		return fmt.Errorf("%d incomplete chunks, at most %d", len(p.Partial), MaxPartial)
	case p.State <= StateInit && (p.Files != 0 || p.ChunkCount != 0 || p.AllFiles || p.Ended):
		return fmt.Errorf("files and chunks before FILE_COPY")
	case p.State != StateRedoCopy && p.RedoFiles != 0:
		return fmt.Errorf("%d redo files before REDO_COPY", p.RedoFiles)
	case p.Ended && !p.AllFiles, p.State > StateFileCopy && !p.AllFiles:
		return fmt.Errorf("files are missing")
	}
	seen := make(map[uint32]bool, len(p.Partial))
	for _, part := range p.Partial {
		switch {
		case !p.Chunks.Has(part.Chunk):
			return fmt.Errorf("chunk %d is incomplete and not held", part.Chunk)
		case seen[part.Chunk]:
			return fmt.Errorf("chunk %d is incomplete twice", part.Chunk)
		case part.Blocks == 0 || part.Blocks > maxBlocks:
			return fmt.Errorf("%d blocks of chunk %d, want 1 to %d", part.Blocks, part.Chunk, maxBlocks)
		}
		seen[part.Chunk] = true
	}
	return nil
}

// with returns p for a receiver that is given whole chunks as well.
func (p Progress) with(chunks ChunkSet) Progress {
	p.Chunks = append(ChunkSet(nil), p.Chunks...)
	p.Chunks.Union(chunks)
	var partial []Partial
	for _, part := range p.Partial {
		if !chunks.Has(part.Chunk) {
			partial = append(partial, part)
		}
	}
	p.Partial = partial
	return p
}
