package coalesce

import (
	"context"
	"net"
)

// Listener returns a listener whose connections are [*Conn]s. It is to stand directly below TLS: what wraps its connections hides them
// from [FromContext].
func Listener(l net.Listener) net.Listener { return &listener{l} }

type listener struct{ net.Listener }

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	below, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(below, gather), nil
}

type contextKey struct{}

// ConnContext makes a request's connection known to [FromContext]. It is for the field of this name in http.Server.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	for {
		switch c := conn.(type) {
		case *Conn:
			return context.WithValue(ctx, contextKey{}, c)
		case interface{ NetConn() net.Conn }: // as a *tls.Conn is
			conn = c.NetConn()
		default:
			return ctx
		}
	}
}

// FromContext returns the connection that a request came on: nil, which is of use too, if it came from no [Listener] or if the server does not have
// [ConnContext].
func FromContext(ctx context.Context) *Conn {
	c, _ := ctx.Value(contextKey{}).(*Conn)
	return c
}
