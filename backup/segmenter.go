package backup

import (
	"fmt"
	"sync"

	"ordinal/stream"
)

// A segmenter encodes events and cuts what comes out into segments, each a stream of its own that goes on where the one before it has ended.
//
// A segment never ends between the end of a stage and the start of the next, so that at each border all changes by DDL that were announced have been made:
// a Directory can be saved there.
type segmenter struct {
	id    string // of the backup
	hello stream.Hello
	limit int // bytes from which on a segment is cut
	// memory returns what a segment is to be written to, and deliver takes one that is full. Both may wait.
	memory  func() ([]byte, error)
	deliver func(segment) error

	mu     sync.Mutex
	index  int // of the segment being filled; 0 before the first
	at     Position
	frames *stream.Writer
	buf    *growing
	events int
	batch  []stream.File // of DDL, announced since the last stage ended
	err    error         // returned from now on
}

// A segment is one that has been filled.
type segment struct {
	index  int
	events int
	raw    []byte
}

// A growing is a buffer that frames are written to.
type growing struct{ b []byte }

func (g *growing) Write(p []byte) (int, error) {
	if len(g.b)+len(p) > MaxSegmentBytes {
		return 0, fmt.Errorf("a segment of more than %d bytes", MaxSegmentBytes)
	}
	g.b = append(g.b, p...)
	return len(p), nil
}

// carries reports whether a stage has anything in it that is kept.
func carries(s stream.Stage) bool { return s >= stream.StageFileCopy && s <= stream.StageRedoCopy }

var _ Taker = (*segmenter)(nil)

// StageStart implements Taker.
func (s *segmenter) StageStart(start stream.StageStart) error {
	if !carries(start.Stage) {
		return nil
	}
	return s.do(func() error {
		for _, f := range s.batch {
			if err := s.frames.File(f); err != nil {
				return err
			}
			s.events++
		}
		s.batch = nil
		if err := s.frames.StageStart(start); err != nil {
			return err
		}
		s.at = Position{Stage: start.Stage}
		return nil
	})
}

// File implements Taker.
func (s *segmenter) File(meta stream.File) error {
	s.mu.Lock()
	if s.at.Ended && s.err == nil {
		defer s.mu.Unlock()
		if len(s.batch) >= maxBatch {
			return fmt.Errorf("more than %d files have changed in one stage", maxBatch)
		}
		s.batch = append(s.batch, meta)
		return nil
	}
	s.mu.Unlock()
	return s.do(func() error { return s.frames.File(meta) })
}

// maxBatch bounds the memory for changes by DDL. Nobody else has announced them to be kept.
const maxBatch = 4 << 20

// Data implements Taker.
func (s *segmenter) Data(h stream.DataHeader, data []byte) error {
	h.Encoding, h.RawLen = stream.Plain, 0
	return s.do(func() error { return s.frames.Data(h, data) })
}

// StageEnd implements Taker.
func (s *segmenter) StageEnd(stage stream.Stage) error {
	if !carries(stage) {
		return nil
	}
	return s.do(func() error {
		if _, err := s.frames.StageEnd(stage); err != nil {
			return err
		}
		s.at.Ended = true
		return nil
	})
}

// Interrupt implements Taker.
func (s *segmenter) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch = nil
}

// finish ends the last segment and hands it over. All stages must have ended.
func (s *segmenter) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.frames == nil {
		s.err = fmt.Errorf("%w: nothing has come", ErrFrames)
	}
	if s.err == nil {
		s.err = s.frames.End()
		s.events++
	}
	if s.err == nil {
		s.err = s.deliver(s.filled())
	}
	return s.err
}

// do writes an event, into a new segment if need be, and cuts when the segment is full.
func (s *segmenter) do(write func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.frames == nil {
		s.err = s.begin()
	}
	if s.err == nil {
		s.err = write()
		s.events++
	}
	if s.err == nil && len(s.buf.b) >= s.limit && !s.at.Ended {
		if s.err = s.deliver(s.filled()); s.err == nil {
			s.err = s.begin()
		}
	}
	return s.err
}

// filled is the segment that is being filled, as it is now.
func (s *segmenter) filled() segment { return segment{index: s.index, events: s.events, raw: s.buf.b} }

// begin begins the next segment.
func (s *segmenter) begin() error {
	if s.index >= MaxSegments {
		return fmt.Errorf("more than %d segments: make them larger", MaxSegments)
	}
	memory, err := s.memory()
	if err != nil {
		return err
	}
	s.index++
	s.buf, s.events = &growing{memory[:0]}, 1
	s.frames = stream.NewWriter(s.buf)
	return s.frames.Hello(s.greeting())
}

// greeting begins a segment. The first one says all that is known of the donor, and each where it stands.
func (s *segmenter) greeting() stream.Hello {
	h := s.hello
	if s.index > 1 {
		h = stream.Hello{DonorPod: h.DonorPod, ClusterID: h.ClusterID, ServerVersion: h.ServerVersion, PageSize: h.PageSize}
	}
	h.SessionID, h.Attempt, h.Lane, h.Lanes = s.id, s.index, 0, 1
	h.Resumes, h.ResumesEnded = s.at.Stage, s.at.Ended
	return h
}
