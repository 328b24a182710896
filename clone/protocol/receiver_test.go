package protocol_test

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"ordinal/clone/protocol"
	"ordinal/mysqlx"
)

// A receiver is a directory that knows what it holds, over any number of sessions.
type receiver struct {
	*directory
	t *testing.T

	mu       sync.Mutex
	held     protocol.Progress
	expected uint32                             // files of FILE_COPY
	open     map[uint32]uint32                  // blocks of chunks that may be incomplete
	current  map[uint32]uint32                  // chunk by task
	snapshot func() protocol.Snapshot           // of the session under way
	saved    []byte                             // the snapshot as it would lie on the donor's disk
	gone     bool                               // a file of the stage was deleted before it
	starts   []protocol.State                   // StageStart calls
	ends     []protocol.State                   // StageEnd calls
	before   func(context.Context, event) error // called before everything
}

// An event is a call of the sink.
type event struct {
	what  string // "start", "file", "redo" (a redo file), "data", "end"
	state protocol.State
	nth   int // of these calls in this session, from 1
}

func newReceiver(t *testing.T, version string) *receiver {
	v, err := mysqlx.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDirectory(t.TempDir(), uint32(v.Major*10000+v.Minor*100+v.Patch))
	if err != nil {
		t.Fatal(err)
	}
	return &receiver{directory: d, t: t, open: map[uint32]uint32{}, current: map[uint32]uint32{}}
}

// attach prepares for a session.
func (r *receiver) attach(s *protocol.Session) {
	r.snapshot = s.Snapshot
	clear(r.current)
	if r.saved == nil {
		r.save()
	}
}

func (r *receiver) save() {
	b, err := json.Marshal(r.snapshot())
	if err != nil {
		r.t.Error(err)
	}
	r.saved = b
}

// progress returns what is held, as it arrives over a network, and the snapshot as it comes from a disk.
func (r *receiver) progress() (snap protocol.Snapshot, p protocol.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held.Partial = nil
	for chunk, blocks := range r.open {
		r.held.Partial = append(r.held.Partial, protocol.Partial{Chunk: chunk, Blocks: blocks})
	}
	b, err := json.Marshal(r.held)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil {
		err = json.Unmarshal(r.saved, &snap)
	}
	if err == nil {
		err = p.Check()
	}
	if err != nil {
		r.t.Errorf("%s: %v", b, err)
	}
	return snap, p
}

func (r *receiver) hook(ctx context.Context, e event) error {
	if r.before == nil {
		return nil
	}
	return r.before(ctx, e)
}

func (r *receiver) StageStart(ctx context.Context, s protocol.Stage) error {
	if err := r.hook(ctx, event{what: "start", state: s.State}); err != nil {
		return err
	}
	r.save()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts = append(r.starts, s.State)
	err := r.directory.StageStart(ctx, s)
	r.held = protocol.Progress{State: s.State, ChunkCount: s.Chunks, Files: uint32(len(r.files)), AllFiles: s.State > protocol.StateFileCopy}
	r.expected = s.Files
	clear(r.open)
	clear(r.current)
	return err
}

func (r *receiver) File(ctx context.Context, f protocol.FileMeta) error {
	what := "file"
	if f.Redo() {
		what = "redo"
	}
	if err := r.hook(ctx, event{what: what, state: f.State}); err != nil {
		return err
	}
	err := r.directory.File(ctx, f)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.State == protocol.StateFileCopy && r.held.State == f.State && !f.Deleted():
		r.held.Files++
		r.held.AllFiles = r.held.Files == r.expected
	case f.Deleted():
		r.gone = true
	case f.Redo():
		r.held.RedoFiles = uint32(len(r.redo))
	}
	return err
}

func (r *receiver) Data(ctx context.Context, d protocol.Data, b []byte) error {
	if err := r.hook(ctx, event{what: "data", state: d.State}); err != nil {
		return err
	}
	if err := r.directory.Data(ctx, d, b); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.current[d.Task]; ok && last != d.Chunk {
		delete(r.open, last)
	}
	r.current[d.Task] = d.Chunk
	// A page of a file that is gone is left out; nothing else is.
	if at := r.open[d.Chunk]; d.Block <= at || d.Block != at+1 && !(d.State == protocol.StatePageCopy && r.gone) {
		r.t.Errorf("%v: block %d of chunk %d follows block %d", d.State, d.Block, d.Chunk, at)
	}
	r.open[d.Chunk] = d.Block
	r.held.Chunks.Add(d.Chunk)
	return nil
}

func (r *receiver) StageEnd(ctx context.Context, s protocol.Stage) error {
	if err := r.hook(ctx, event{what: "end", state: s.State}); err != nil {
		return err
	}
	if err := r.directory.StageEnd(ctx, s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends = append(r.ends, s.State)
	if s.State != r.held.State || s.Chunks != r.held.ChunkCount {
		r.t.Errorf("StageEnd of %+v in %+v", s, r.held)
	}
	r.held.Ended = true
	return nil
}

// A network lets connections be cut. The first connection of a session is main, the second the auxiliary one.
type network struct {
	dial protocol.Dialer

	mu    sync.Mutex
	conns []*netConn

	dials         atomic.Int64
	cutOnExecute  atomic.Bool  // once main has been told to execute
	cutOnAnswer   atomic.Bool  // instead of the answer to the next acknowledgement
	acknowledging atomic.Int64 // acknowledgements answered
}

type netConn struct {
	net.Conn
	n       *network
	aux     bool
	answers int
}

// expect begins a new session.
func (n *network) expect() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = nil
}

func (n *network) open(ctx context.Context) (net.Conn, error) {
	c, err := n.dial(ctx)
	if err != nil {
		return nil, err
	}
	n.dials.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	nc := &netConn{Conn: c, n: n, aux: len(n.conns) == 1}
	n.conns = append(n.conns, nc)
	return nc, nil
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Conn.Close()
	}
}

func (c *netConn) Write(b []byte) (int, error) {
	k, err := c.Conn.Write(b)
	if len(b) == 5 && b[4] == 4 && c.n.cutOnExecute.CompareAndSwap(true, false) {
		c.n.cut()
	}
	return k, err
}

func (c *netConn) Read(b []byte) (int, error) {
	k, err := c.Conn.Read(b)
	if c.answers++; c.aux && c.answers > 2 { // after those on entering
		if c.n.cutOnAnswer.CompareAndSwap(true, false) {
			c.n.cut()
			return 0, net.ErrClosed
		}
		c.n.acknowledging.Add(1)
	}
	return k, err
}
