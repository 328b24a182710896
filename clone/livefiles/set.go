package livefiles

import (
	"errors"
	"fmt"

	"ordinal/clone/protocol"
)

// A Set holds the data files that can be read beside the server, open and checked. It is safe for concurrent use, except Close.
type Set struct {
	layout
	files  []*file // by their chunks
	chunks protocol.ChunkSet
	bytes  uint64
	left   []Left
}

// Left is a file that is left to the server, and why.
type Left struct {
	Name string // as announced
	Why  error
}

// Chunks are those of FILE_COPY that producers can deliver: all chunks of each file of the set. The result is the caller's.
func (s *Set) Chunks() protocol.ChunkSet { return append(protocol.ChunkSet(nil), s.chunks...) }

// Bytes is the size of all of them together.
func (s *Set) Bytes() uint64 { return s.bytes }

// Files is the number of files in the set.
func (s *Set) Files() int { return len(s.files) }

// Left returns the files that are not in the set, in the order in which they were announced.
func (s *Set) Left() []Left { return s.left }

// Close closes all files. Every Run on a Work of the set must have returned.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close live data files: %w", err)
	}
	return nil
}
