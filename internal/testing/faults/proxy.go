package faults

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// dialWithin bounds the way to the target.
const dialWithin = 5 * time.Second

// A Proxy passes connections on to its target, with faults. Its methods may be called concurrently.
type Proxy struct {
	target string
	l      net.Listener
	stop   context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	pending Schedule
	hits    []Hit
	bytes   [2]int64 // by direction
	conns   int
	links   map[*link]bool // the open ones
	stalled time.Time      // until when a stall holds up new connections, too
}

// A Hit is a fault that has happened.
type Hit struct {
	Fault
	Conn int // whose byte it befell
}

// Listen begins to accept connections at listen and to pass them on to target, host:port each, on loopback addresses. Port 0 of listen
// means a free one: see Address. It goes on in the background until ctx ends or Close is called; then all connections are reset.
func Listen(ctx context.Context, listen, target string, s Schedule) (*Proxy, error) {
	for _, address := range []string{listen, target} {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("fault proxy: address %s: want the IP address and port of a loopback interface", address)
		}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	p := &Proxy{target: target, l: l, stop: stop, ended: make(chan struct{}), pending: slices.Clone(s), links: make(map[*link]bool)}
	go func() {
		defer close(p.ended)
		p.serve(ctx)
	}()
	return p, nil
}

// Address is where it listens, host:port.
func (p *Proxy) Address() string { return p.l.Addr().String() }

// Close ends everything and returns when nothing of it runs any more.
func (p *Proxy) Close() {
	p.stop()
	<-p.ended
}

// Add makes one more fault happen: At and Conn 0 count from what has passed by now. It is how a fault is tied to something that a
// test has seen. A fault that makes no sense panics.
func (p *Proxy) Add(f Fault) {
	if err := f.check(); err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.Conn == 0 {
		f.At += p.bytes[f.Toward]
	}
	p.pending = append(p.pending, f)
}

// Bytes returns how many bytes have passed in a direction, over all connections. Bytes that a sender has written and a fault has
// swallowed are not among them.
func (p *Proxy) Bytes(d Direction) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes[d]
}

// Conns returns how many connections there were.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// Hits returns the faults that have happened, in their order.
func (p *Proxy) Hits() []Hit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.hits)
}

// String returns what has happened and what has not, in one line.
func (p *Proxy) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	words := make([]string, len(p.hits))
	for i, h := range p.hits {
		words[i] = fmt.Sprintf("%v on #%d", h.Fault, h.Conn)
	}
	return fmt.Sprintf("%d connections, %d bytes to the client, %d to the server; happened: [%s], pending: [%v]",
		p.conns, p.bytes[ToClient], p.bytes[ToServer], strings.Join(words, ", "), p.pending)
}

// serve accepts connections and returns when all of them have ended.
func (p *Proxy) serve(ctx context.Context) {
	var links sync.WaitGroup
	defer links.Wait()
	defer p.stop() // for the end of the listener without the end of ctx
	defer context.AfterFunc(ctx, func() { _ = p.l.Close() })()
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns++
		number := p.conns
		p.mu.Unlock()
		links.Go(func() { p.connect(ctx, number, client.(*net.TCPConn)) })
	}
}

// connect passes one connection on until it has ended.
func (p *Proxy) connect(ctx context.Context, number int, client *net.TCPConn) {
	conn, err := (&net.Dialer{Timeout: dialWithin}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		reset(client) // what comes closest to a refused connection
		return
	}
	l := newLink(p, number, client, conn.(*net.TCPConn))
	p.mu.Lock()
	l.until = p.stalled
	p.links[l] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	l.run(ctx)
}

// claim counts bytes that a connection is about to pass: as many as there are before the next fault, want at most. The fault that stops
// it there, if any, is the caller's to make, by befall. passed is what the connection has passed before in this direction.
func (p *Proxy) claim(toward Direction, conn int, passed int64, want int) (n int, f *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = want
	found := -1
	for i, f := range p.pending {
		if f.Toward != toward || f.Conn != 0 && f.Conn != conn {
			continue
		}
		left := f.At - passed
		if f.Conn == 0 {
			left = f.At - p.bytes[toward]
		}
		if left = max(left, 0); left < int64(n) {
			n, found = int(left), i
		}
	}
	p.bytes[toward] += int64(n)
	if found >= 0 {
		f = new(p.pending[found])
		p.pending = slices.Delete(p.pending, found, found+1)
	}
	return n, f
}

// giveBack takes back what was claimed and has not passed, because the connection has ended before. The fault waits for the next byte.
func (p *Proxy) giveBack(toward Direction, n int, f *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes[toward] -= int64(n)
	if f != nil {
		p.pending = append(p.pending, *f)
	}
}

// befall makes a fault happen to a connection, or to all of them. Whoever sees it in Hits sees what it does, too.
func (p *Proxy) befall(l *link, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hits = append(p.hits, Hit{Fault: f, Conn: l.number})
	l.suffer(f)
	if !f.All {
		return
	}
	for other := range p.links {
		if other != l {
			other.suffer(f)
		}
	}
	if f.Kind == Stall {
		p.stalled = later(p.stalled, time.Now().Add(f.For))
	}
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
