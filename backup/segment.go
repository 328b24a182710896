package backup

import (
	"bytes"
	"errors"
	"fmt"

	"ordinal/stream"
)

// A Position is where a sequence of events, or what was built from it, stands: in a stage, or after it.
type Position struct {
	Stage stream.Stage `json:"stage"` // 0: before the first
	Ended bool         `json:"ended"`
}

// before reports whether p comes before q.
func (p Position) before(q Position) bool {
	return p.Stage < q.Stage || p.Stage == q.Stage && !p.Ended && q.Ended
}

// after reports whether p comes after q.
func (p Position) after(q Position) bool { return q.before(p) }

// whole is where a backup ends.
var whole = Position{Stage: stream.StageRedoCopy, Ended: true}

func (p Position) String() string {
	switch {
	case p.Stage == 0:
		return "the beginning"
	case p.Ended:
		return "the end of " + p.Stage.String()
	}
	return p.Stage.String()
}

// events reads the events of a segment that has been unpacked. Each is what it was when it was written, and they are all there.
type events struct {
	m     *Manifest
	index int
	last  bool
	left  int
	rest  *bytes.Reader
	r     *stream.Reader
	at    Position // after the last event returned
}

// readSegment begins to read a segment: its greeting, which says where it stands. Errors are causes for an [ErrFrames].
func readSegment(m *Manifest, index int, raw []byte, buf []byte) (*events, error) {
	in := bytes.NewReader(raw)
	e := &events{m: m, index: index, last: index == len(m.Segments), left: m.Segments[index-1].Events, rest: in, r: stream.NewReader(in)}
	first, err := e.r.Next(buf)
	switch {
	case err != nil:
		return nil, err
	case first.Kind != stream.KindHello:
		return nil, fmt.Errorf("it begins with %v", first.Kind)
	case first.Hello.SessionID != m.ID || first.Hello.Attempt != index || first.Hello.Lane != 0:
		return nil, fmt.Errorf("it is segment %d of %.100q", first.Hello.Attempt, first.Hello.SessionID)
	case index == 1 && first.Hello.Resumes != 0:
		return nil, errors.New("it begins in the middle")
	}
	e.left--
	e.at = Position{Stage: first.Hello.Resumes, Ended: first.Hello.ResumesEnded}
	return e, nil
}

// next returns the next event, or ok = false after the last one. It is of kind StageStart, File, Data or StageEnd. Data is in buf, as [stream.Reader.Next] says.
func (e *events) next(buf []byte) (f stream.Frame, ok bool, err error) {
	if e.left == 0 {
		if e.rest.Len() > 0 {
			return stream.Frame{}, false, fmt.Errorf("%d bytes follow its last event", e.rest.Len())
		}
		if !e.last && e.at.Ended {
			return stream.Frame{}, false, errors.New("it ends between two stages")
		}
		return stream.Frame{}, false, nil
	}
	f, err = e.r.Next(buf)
	if err != nil {
		return f, false, err
	}
	e.left--
	switch f.Kind {
	case stream.KindStageStart:
		e.at = Position{Stage: f.StageStart.Stage}
	case stream.KindStageEnd:
		e.at.Ended = true
	case stream.KindData:
		if f.Data.Encoding != stream.Plain {
			return f, false, errors.New("data that is packed by itself")
		}
	case stream.KindFile:
	case stream.KindEnd:
		if !e.last || e.left != 0 {
			return f, false, errors.New("the end comes too early")
		}
		return stream.Frame{}, false, nil
	default:
		return f, false, fmt.Errorf("%v does not belong there", f.Kind)
	}
	if e.last && e.left == 0 {
		return f, false, errors.New("the end is missing")
	}
	return f, true, nil
}
