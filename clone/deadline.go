package clone

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"ordinal/internal/coalesce"
)

// lastWords is how long an ended attempt may take to tell its recipient why.
const lastWords = time.Second

// deadlineWriter gives up on a recipient that takes nothing for writeStall. A deadline for the whole response would kill a
// healthy copy that is merely large.
type deadlineWriter struct {
	w       io.Writer
	control *http.ResponseController
	conn    *coalesce.Conn // gathers the TLS records of a frame; nil: nothing does

	mu    sync.Mutex
	until time.Time
	final bool // the deadline moves no more

	writing sync.Mutex // held by every write and flush
	left    bool       // the handler has returned
}

// errLeft is what is written after the handler's end.
var errLeft = errors.New("the stream is over")

// leave waits for a write under way and refuses those to come: the response is no longer to be touched once its handler returns, and
// others write to it.
func (d *deadlineWriter) leave() {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.left = true
}

// Write moves the deadline ahead of the write.
func (d *deadlineWriter) Write(p []byte) (int, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.left {
		return 0, errLeft
	}
	if err := d.extend(); err != nil {
		return 0, fmt.Errorf("set write deadline: %w", err)
	}
	return d.w.Write(p)
}

// extend moves the deadline; not at every write, because that costs a timer each.
func (d *deadlineWriter) extend() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.final || d.until.Sub(now) >= writeStall-time.Second {
		return nil
	}
	d.until = now.Add(writeStall)
	return d.control.SetWriteDeadline(d.until)
}

// hurry ends a write that a recipient does not take: the attempt is over.
func (d *deadlineWriter) hurry() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.final = true
	_ = d.control.SetWriteDeadline(time.Now().Add(lastWords)) // the connection may be gone
}

// FlushError sends what is buffered. The stream's Writer calls it after every frame that somebody waits for.
func (d *deadlineWriter) FlushError() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.left {
		return errLeft
	}
	if err := d.control.Flush(); err != nil {
		return err
	}
	return d.conn.Flush()
}
