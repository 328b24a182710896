package faults

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// bufferSize and buffers bound what a direction of a connection holds: bytes that were taken and not yet passed on.
	bufferSize = 32 << 10
	buffers    = 16
	// socketBuffer bounds what the kernel holds besides, so that both ends are about as far as the proxy is.
	socketBuffer = 256 << 10
	// paceEvery is how long one piece of a slow direction takes.
	paceEvery = 20 * time.Millisecond
)

// A link is one connection, from a client to the target.
type link struct {
	proxy          *Proxy
	number         int
	client, server *net.TCPConn
	pipes          [2]*pipe // by direction

	done chan struct{} // closed when nothing passes any more
	once sync.Once

	mu      sync.Mutex
	until   time.Time // nothing passes before
	blocked bool      // nothing passes any more, and neither end may hear why
}

func newLink(p *Proxy, number int, client, server *net.TCPConn) *link {
	l := &link{proxy: p, number: number, client: client, server: server, done: make(chan struct{})}
	for _, conn := range []*net.TCPConn{client, server} {
		_ = conn.SetReadBuffer(socketBuffer) // a wish: see tcp(7)
		_ = conn.SetWriteBuffer(socketBuffer)
	}
	l.pipes[ToClient] = newPipe(l, ToClient, server, client)
	l.pipes[ToServer] = newPipe(l, ToServer, client, server)
	return l
}

// run returns when the connection has ended in both directions. The end of ctx resets it.
func (l *link) run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { l.end(reset) })()
	var g sync.WaitGroup
	for _, p := range l.pipes {
		g.Go(p.take)
		g.Go(p.deliver)
	}
	g.Wait()
	l.end(closeInOrder) // unless it was ended otherwise before
}

// end closes both ends in the given way.
func (l *link) end(way func(*net.TCPConn)) {
	l.once.Do(func() {
		close(l.done)
		way(l.client)
		way(l.server)
	})
}

// reset makes the other side of a connection see a reset.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // see socket(7): close discards what is unsent and sends a reset
	_ = c.Close()
}

// closeInOrder makes the other side read what is on its way, and then the end.
func closeInOrder(c *net.TCPConn) {
	_ = c.CloseWrite() // of its own: a close with bytes unread sends a reset alone
	_ = c.Close()
}

// suffer makes a fault happen here.
func (l *link) suffer(f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f.Kind {
	case Reset:
		l.end(reset)
	case Close:
		l.end(closeInOrder)
	case LoseClient:
		l.blocked = true
		reset(l.client)
	case LoseServer:
		l.blocked = true
		reset(l.server)
	case Blackhole:
		l.blocked = true
	case Stall:
		l.until = later(l.until, time.Now().Add(f.For))
	case Slow:
		l.pipes[f.Toward].rate, l.pipes[f.Toward].slowLeft = f.Rate, f.Bytes
	case Delay:
		l.pipes[f.Toward].delay, l.pipes[f.Toward].delayLeft = f.For, f.Bytes
	}
}

// wait waits until something may pass that is not due before due. It reports false if nothing will.
func (l *link) wait(due time.Time) bool {
	for {
		l.mu.Lock()
		until, blocked := later(l.until, due), l.blocked
		l.mu.Unlock()
		if blocked {
			<-l.done
			return false
		}
		if d := time.Until(until); d > 0 {
			if !l.pause(d) {
				return false
			}
			continue
		}
		select {
		case <-l.done:
			return false
		default:
			return true
		}
	}
}

// pause waits. It reports false if the link has ended.
func (l *link) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.done:
		return false
	case <-timer.C:
		return true
	}
}

// A pipe is one direction of a link. One goroutine takes bytes, another delivers them: what is delayed does not keep the next bytes
// from being taken.
type pipe struct {
	link     *link
	toward   Direction
	from, to *net.TCPConn
	queue    chan parcel
	free     chan []byte
	passed   int64 // only deliver's

	// Guarded by link.mu.
	rate, slowLeft int64
	delay          time.Duration
	delayLeft      int64
}

// A parcel is what one read has brought.
type parcel struct {
	bytes   []byte
	arrived time.Time
	err     error // io.EOF: the sender has ended in good order
}

func newPipe(l *link, toward Direction, from, to *net.TCPConn) *pipe {
	p := &pipe{link: l, toward: toward, from: from, to: to, queue: make(chan parcel, buffers+1), free: make(chan []byte, buffers)}
	for range buffers {
		p.free <- nil // made when it is needed
	}
	return p
}

// take reads until the sender's end, whatever it is like.
func (p *pipe) take() {
	for {
		var buf []byte
		select {
		case buf = <-p.free:
		case <-p.link.done:
			return
		}
		if buf == nil {
			buf = make([]byte, bufferSize)
		}
		n, err := p.from.Read(buf)
		p.queue <- parcel{buf[:n], time.Now(), err} // there is room for every buffer
		if err != nil {
			return
		}
	}
}

// deliver passes on what was taken, in order, and the sender's end after it.
func (p *pipe) deliver() {
	for {
		var next parcel
		select {
		case next = <-p.queue:
		case <-p.link.done:
			return
		}
		if !p.pass(next.bytes, next.arrived) {
			return
		}
		if next.err != nil {
			if !p.link.wait(next.arrived) {
				return
			}
			if errors.Is(next.err, io.EOF) {
				_ = p.to.CloseWrite() // fails if the receiver is gone, which the other direction notices
			} else {
				p.link.end(reset)
			}
			return
		}
		p.free <- next.bytes[:bufferSize]
	}
}

// pass passes bytes on, with the faults that are due among them. It reports false if the link has ended.
func (p *pipe) pass(b []byte, arrived time.Time) bool {
	proxy := p.link.proxy
	for len(b) > 0 {
		if !p.link.wait(arrived) {
			return false
		}
		claimed, fault := proxy.claim(p.toward, p.link.number, p.passed, len(b))
		n, ok := p.send(b[:claimed], arrived)
		p.passed += int64(n)
		if !ok {
			proxy.giveBack(p.toward, claimed-n, fault)
			return false
		}
		b = b[n:]
		if fault == nil {
			continue
		}
		if fault.Kind == Flip {
			b[0] ^= fault.Bits
		}
		proxy.befall(p.link, *fault)
	}
	return true
}

// send writes bytes without a fault among them, at the pace that earlier ones have set. It returns how many, and false if the link has
// ended.
func (p *pipe) send(b []byte, arrived time.Time) (sent int, ok bool) {
	for sent < len(b) {
		n, due, takes := p.pace(len(b)-sent, arrived)
		if !p.link.wait(due) {
			return sent, false
		}
		if _, err := p.to.Write(b[sent : sent+n]); err != nil {
			// The receiver is gone. If nothing may pass, the sender may not know.
			if p.link.wait(arrived) {
				p.link.end(reset)
			}
			return sent, false
		}
		sent += n
		if takes > 0 && !p.link.pause(takes) {
			return sent, false
		}
	}
	return sent, true
}

// pace says how many of n bytes to send in one piece, when, and how long that takes on top.
func (p *pipe) pace(n int, arrived time.Time) (piece int, due time.Time, takes time.Duration) {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	left := int64(n)
	if p.delayLeft > 0 {
		left = min(left, p.delayLeft)
		due = arrived.Add(p.delay)
	}
	if p.slowLeft > 0 {
		left = min(left, p.slowLeft, max(1, int64(float64(p.rate)*paceEvery.Seconds())))
		takes = time.Duration(float64(left) / float64(p.rate) * float64(time.Second))
		p.slowLeft -= left
	}
	if p.delayLeft > 0 {
		p.delayLeft -= left
	}
	return int(left), due, takes
}
