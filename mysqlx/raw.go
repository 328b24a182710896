package mysqlx

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// DialRaw logs in and returns the network connection itself, at the boundary between two commands: the next byte that the caller
// writes begins a command packet, sequence number 0. It is for commands that the driver does not know, such as COM_CLONE.
//
// The connection is never encrypted, so Endpoint.TLS must be nil and the server on a unix socket or on the loopback interface. The
// connection has no deadline set, and after DialRaw returns neither ctx nor Endpoint's timeouts apply to it. The caller closes it;
// Close sends no COM_QUIT, and the server sees the end of the connection at once.
func DialRaw(ctx context.Context, e Endpoint) (net.Conn, error) {
	if e.TLS != nil {
		return nil, errors.New("raw connection: tls is not supported; use the unix socket or a loopback address")
	}
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	// The driver asks for nothing after the login: no byte of a later answer can be left in its buffer.
	cfg.Params = nil
	var captured net.Conn
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		captured, err = e.dial(ctx, network, addr)
		return captured, err
	}
	c, err := newConnector(e, cfg)
	if err != nil {
		return nil, err
	}
	session, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := captured.SetDeadline(time.Time{}); err != nil {
		_ = session.Close()
		return nil, fmt.Errorf("raw connection to %s: %w", e.Address, err)
	}
	return &rawConn{Conn: captured, session: session}, nil
}

// rawConn keeps the driver's session object only to end its goroutine; nothing else may use it.
type rawConn struct {
	net.Conn
	session driver.Conn
	once    sync.Once
}

func (c *rawConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		_ = c.session.Close() // fails to say goodbye on the closed connection, as it should: in the middle of a clone that byte would be data
	})
	return err
}
