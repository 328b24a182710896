package agent

import (
	"net"
	"sync"
)

// limitListener closes connections beyond its limit at once: a flood of idle ones costs descriptors and memory up to a bound,
// and a probe that comes later waits for nobody.
type limitListener struct {
	net.Listener
	slots chan struct{}
}

func newLimitListener(l net.Listener, limit int) net.Listener {
	return &limitListener{Listener: l, slots: make(chan struct{}, limit)}
}

// Accept returns the next connection for which there is room.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			conn.Close() // nothing was read or written: the peer sees a reset
		}
	}
}

type limitedConn struct {
	net.Conn
	release func()
}

// Close frees the slot; a second call frees nothing.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
