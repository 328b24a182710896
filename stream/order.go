package stream

import (
	"errors"
	"fmt"
)

// order is the grammar of a stream and its totals. Writer and Reader follow the same one, so that a Writer never produces what a Reader refuses.
type order struct {
	hello bool  // seen
	side  bool  // a lane beside the main one
	open  Stage // 0: between stages
	last  Stage // the last stage that was closed; 0: none
	ended bool  // End or Abort

	stageBytes, stageFrames uint64
	totalBytes              uint64
}

var errOnSide = errors.New("on a lane that carries Data only")

// begin is asked before every frame but Hello and Abort.
func (o *order) begin(kind Kind) error {
	if !o.hello {
		return fmt.Errorf("%v before Hello", kind)
	}
	return nil
}

func (o *order) sayHello(h *Hello) error {
	if o.hello {
		return errors.New("a second Hello")
	}
	o.hello = true
	switch {
	case h.Lane > 0:
		o.side, o.open = true, StageFileCopy
	case h.ResumesEnded:
		o.last = h.Resumes
	case h.Resumes != 0:
		o.open, o.last = h.Resumes, h.Resumes-1
	}
	return nil
}

// mayFollow reports whether s is a stage that may come next. INIT and DONE may be left out.
func (o *order) mayFollow(s Stage) bool {
	return s.valid() && (s == o.last+1 || o.last == 0 && s == StageFileCopy)
}

func (o *order) stageStart(s Stage) error {
	if o.side {
		return errOnSide
	}
	if o.open != 0 {
		return fmt.Errorf("start of %v within %v", s, o.open)
	}
	if !o.mayFollow(s) {
		return fmt.Errorf("start of %v after %v", s, o.after())
	}
	o.open, o.stageBytes, o.stageFrames = s, 0, 0
	return nil
}

func (o *order) file(s Stage) error {
	if o.side {
		return errOnSide
	}
	batch := o.open == 0 && o.mayFollow(s) // what DDL changed during the stage before
	if !hasFiles(s) || s != o.open && !batch {
		return fmt.Errorf("File of %v %s", s, o.where())
	}
	return nil
}

func (o *order) data(s Stage, n int) error {
	if !hasFiles(s) || s != o.open {
		return fmt.Errorf("Data of %v %s", s, o.where())
	}
	o.stageFrames++
	o.stageBytes += uint64(n)
	o.totalBytes += uint64(n)
	return nil
}

func (o *order) stageEnd(s Stage) (StageEnd, error) {
	if o.side {
		return StageEnd{}, errOnSide
	}
	if s == 0 || s != o.open {
		return StageEnd{}, fmt.Errorf("end of %v %s", s, o.where())
	}
	o.open, o.last = 0, s
	return StageEnd{Stage: s, DataBytes: o.stageBytes, DataFrames: o.stageFrames}, nil
}

func (o *order) end() error {
	if o.side {
		return nil
	}
	if o.open != 0 || o.last < StageRedoCopy {
		return fmt.Errorf("End %s", o.where())
	}
	return nil
}

func (o *order) where() string {
	if o.open != 0 {
		return "within " + o.open.String()
	}
	return "after " + o.after()
}

func (o *order) after() string {
	if o.last == 0 {
		return "Hello"
	}
	return o.last.String()
}

func hasFiles(s Stage) bool { return s >= StageFileCopy && s <= StageRedoCopy }
