package e2e

import (
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"ordinal/internal/testing/localset"
)

// A valve stands before a pod's data plane, at another address. Closed, it lets some bytes pass on their way back and then nothing: so
// a copy is held in the middle, for as long as a test likes. Trust does not depend on addresses, so both ends notice nothing else.
type valve struct {
	listener net.Listener
	target   string

	opened chan struct{}
	open   func()
	closed chan struct{} // by shut

	mu   sync.Mutex
	left int // bytes that may still pass
}

// oneStream makes what a valve lets pass whole blocks: those of several streams would all be cut.
const oneStream = "--clone-streams=1"

// newValve lets bytes pass from target, and all once it is opened. It listens for ordinal at hosts.
func newValve(t *testing.T, hosts string, ordinal int, target string, bytes int) *valve {
	t.Helper()
	port := strconv.Itoa(localset.DataPort)
	l, err := net.Listen("tcp4", net.JoinHostPort(hostOf(hosts, ordinal), port))
	must(t, err)
	v := &valve{listener: l, target: net.JoinHostPort(target, port), opened: make(chan struct{}), closed: make(chan struct{}), left: bytes}
	v.open = sync.OnceFunc(func() { close(v.opened) })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go v.serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		v.open() // what still is held goes on to its end
	})
	return v
}

// serve joins two connections. The end of one is the end of the other; while bytes are held only the near one's is noticed.
func (v *valve) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp4", v.target)
	if err != nil {
		return // the pod is down: so are we
	}
	defer far.Close()
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	go func() {
		defer end()
		_, _ = io.Copy(far, near)
	}()
	go func() {
		defer end()
		v.back(near, far, over)
	}()
	select {
	case <-over:
	case <-v.closed:
	}
}

func (v *valve) back(near, far net.Conn, over <-chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := far.Read(buf)
		if !v.pass(n) {
			select {
			case <-v.opened:
			case <-over:
				return
			}
		}
		if _, writeErr := near.Write(buf[:n]); writeErr != nil || err != nil {
			return
		}
	}
}

// shut is the loss of the pod behind the valve, as far as those before it can tell: nobody listens any more, and what was connected is cut.
func (v *valve) shut() {
	_ = v.listener.Close()
	close(v.closed)
}

// refill lets some more bytes pass.
func (v *valve) refill(bytes int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left = bytes
}

// pass reports whether n more bytes may pass now.
func (v *valve) pass(n int) bool {
	select {
	case <-v.opened:
		return true
	default:
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left -= n
	return v.left >= 0
}
