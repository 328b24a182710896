package archive

import (
	"errors"
	"io"

	"ordinal/internal/binlog"
)

// errDumpEnded is what a reader of events sees in place of the dump's own error: io.EOF in that one's chain would look like the end of a file.
var errDumpEnded = errors.New("the dump ended")

// A feed makes one stream of a dump's events, as [binlog.NewStream] reads it: what the server made up is left out.
type feed struct {
	dump   Dump
	idle   func() error // called for each heartbeat, between two events
	magic  string       // what is left of it
	inside bool         // an event is under way
	err    error        // why it ended
}

func newFeed(d Dump, idle func() error) *feed { return &feed{dump: d, idle: idle, magic: binlog.Magic} }

// Read returns errDumpEnded after any failure, which f.err has.
func (f *feed) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, errDumpEnded
	}
	if len(f.magic) > 0 {
		n := copy(p, f.magic)
		f.magic = f.magic[n:]
		return n, nil
	}
	for {
		n, err := f.read(p)
		if err != nil {
			f.err = err
			return n, errDumpEnded
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

// read returns 0 and nil after an event.
func (f *feed) read(p []byte) (int, error) {
	if f.inside {
		n, err := f.dump.Read(p)
		if err == io.EOF {
			f.inside, err = false, nil
		}
		return n, err
	}
	e, err := f.dump.Next()
	switch {
	case err != nil:
		return 0, err
	case e.Heartbeat():
		return 0, f.idle()
	case !e.Artificial():
		f.inside = true
	}
	return 0, nil
}
