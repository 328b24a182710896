package coalesce

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// gather is what is gathered at most, in bytes. BenchmarkTLS: 64 KiB save half of what can be saved, more than 256 KiB nothing.
	gather = 256 << 10
	// patience is how long a gathered byte waits at most, while the connection below takes what it is given.
	patience = 2 * time.Millisecond
	// closeWithin bounds what Close does for a peer that does not read.
	closeWithin = time.Second
)

// A Conn is a connection whose writes can be gathered. As any net.Conn it may be used concurrently; a nil *Conn has the methods Flush and
// SetCoalescing, which do nothing.
//
// While writes are gathered, Write returns before the bytes are on their way. An error of a later attempt to send them is returned by every call of
// Write and Flush from then on.
type Conn struct {
	net.Conn // below
	size     int

	waiting atomic.Bool // buf is not empty

	mu    sync.Mutex
	on    bool
	buf   []byte // what was gathered; nil while nothing has to be
	since time.Time
	timer *time.Timer // nil until gathering was turned on
	armed bool        // timer is about to call expire
	err   error       // of a gathered write
}

func newConn(below net.Conn, size int) *Conn { return &Conn{Conn: below, size: size} }

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// SetCoalescing turns the gathering of writes on or off. It is off at first. Turning it off sends what was gathered and returns Flush's error.
func (c *Conn) SetCoalescing(on bool) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = on
	if on {
		if c.timer == nil {
			c.timer = time.AfterFunc(time.Hour, c.expire)
			c.timer.Stop()
		}
		return c.err
	}
	err := c.flush()
	c.buf = nil
	return err
}

// Flush sends what was gathered; it returns when the connection below has taken it. Its write deadline holds for it.
func (c *Conn) Flush() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flush()
}

// Write gathers p or, if gathering is off, passes it on.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if !c.on {
		return c.Conn.Write(p) // nothing is gathered: turning it off has sent it
	}
	if len(c.buf)+len(p) > c.size {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if len(p) >= c.size {
			return c.Conn.Write(p)
		}
	}
	if c.buf == nil {
		c.buf = make([]byte, 0, c.size)
	}
	if len(c.buf) == 0 {
		c.waiting.Store(true)
		c.since = time.Now()
		c.arm(patience)
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

// flush sends what was gathered. c.mu is held.
func (c *Conn) flush() error {
	if c.err != nil || len(c.buf) == 0 {
		return c.err
	}
	_, c.err = c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	c.waiting.Store(false)
	return c.err
}

// arm makes expire run after d, if it is not going to run anyway. It is not moved for each buffer that is filled: that costs more. c.mu is held.
func (c *Conn) arm(d time.Duration) {
	if !c.armed {
		c.armed = true
		c.timer.Reset(d)
	}
}

// expire sends what has waited for long enough.
func (c *Conn) expire() {
	if !c.mu.TryLock() { // somebody sends at this moment
		c.timer.Reset(patience)
		return
	}
	defer c.mu.Unlock()
	c.armed = false
	if len(c.buf) == 0 {
		return
	}
	if rest := patience - time.Since(c.since); rest > 0 {
		c.arm(rest)
		return
	}
	_ = c.flush() // the next Write returns it
}

// Read reads from the connection below. What was gathered is sent first, or rather beside it: the peer may want to read before it writes, or write before
// it reads.
func (c *Conn) Read(p []byte) (int, error) {
	if c.waiting.Load() && c.mu.TryLock() { // if it is locked, somebody sends at this moment
		if len(c.buf) > 0 {
			c.since, c.armed = time.Time{}, true
			c.timer.Reset(0)
		}
		c.mu.Unlock()
	}
	return c.Conn.Read(p)
}

// Close sends what was gathered, unless a write under way shows that the peer does not take it, and closes the connection. It waits for a
// second at most.
func (c *Conn) Close() error {
	if c.mu.TryLock() {
		if len(c.buf) > 0 && c.err == nil {
			// By now crypto/tls has set a deadline in the past, to keep everybody else from writing.
			_ = c.Conn.SetWriteDeadline(time.Now().Add(closeWithin)) // if it cannot be set, writing will tell
			_ = c.flush()                                            // there is nobody left to tell
		}
		if c.timer != nil {
			c.timer.Stop()
		}
		c.mu.Unlock()
	}
	return c.Conn.Close()
}
