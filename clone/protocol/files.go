package protocol

import "sync"

const (
	maxFiles     = 1 << 22 // data files
	maxRedoFiles = 1 << 12
)

// files knows which file indexes there are, so that nothing unknown reaches a sink.
type files struct {
	mu   sync.Mutex
	data uint32   // data files: indexes 0 to data-1
	next uint32   // the one that FILE_COPY announces next; below data, it is announced again
	redo []uint64 // sizes by index; 0 for those whose size the receiver knows, and this session does not
}

// resume makes the files of a receiver known.
func (f *files) resume(p Progress) {
	f.data, f.redo = p.Files, make([]uint64, p.RedoFiles)
	if p.AllFiles {
		f.next = f.data
	}
}

// note takes a file that was announced, in a batch of DDL changes or within a stage, and reports whether
// the sink has to hear of it. f.mu is held.
func (f *files) note(m FileMeta, batch bool) (news bool, err error) {
	if m.State == StateRedoCopy && !batch && !m.Deleted() {
		return f.noteRedo(m)
	}
	switch {
	case m.Redo():
		return false, protocolError("redo file %d among data files", m.Index)
	case !batch && m.State == StateFileCopy && m.Index == f.next && m.Index < f.data && !m.Deleted():
		f.next++
		return false, nil
	case m.Index < f.data:
		if !batch && !m.Deleted() {
			return false, protocolError("file %d is announced again", m.Index)
		}
		return true, nil
	case m.Index > f.data:
		return false, protocolError("file %d follows file %d", m.Index, int64(f.data)-1)
	case !batch && m.State != StateFileCopy:
		return false, protocolError("file %d is new in %v", m.Index, m.State)
	case f.data >= maxFiles:
		return false, protocolError("more than %d files", maxFiles)
	}
	f.data++
	if !batch {
		f.next++
	}
	return true, nil
}

func (f *files) noteRedo(m FileMeta) (news bool, err error) {
	switch {
	case !m.Redo():
		return false, protocolError("file %d is announced in %v", m.Index, m.State)
	case m.Index < uint32(len(f.redo)):
		news = m.Size > f.redo[m.Index]
		f.redo[m.Index] = max(m.Size, f.redo[m.Index])
		return news, nil
	case m.Index > uint32(len(f.redo)):
		return false, protocolError("redo file %d follows file %d", m.Index, len(f.redo)-1)
	case len(f.redo) >= maxRedoFiles:
		return false, protocolError("more than %d redo files", maxRedoFiles)
	}
	f.redo = append(f.redo, m.Size)
	return true, nil
}

// check refuses data for a file that was not announced.
func (f *files) check(d Data) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.data
	if d.State == StateRedoCopy {
		known = uint32(len(f.redo))
	}
	if d.File >= known {
		return protocolError("data of unknown file %d in %v", d.File, d.State)
	}
	return nil
}
