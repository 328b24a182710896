package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"ordinal/internal/coalesce"
)

// Limits of the data plane. There is none on how long an answer may take: a copy takes as long as it takes.
const (
	dataHeaderTimeout = 5 * time.Second
	dataMaxHeader     = 8 << 10 // bytes
	dataMaxConns      = 256
	dataDrain         = 5 * time.Second // for copies under way when ctx ends
	// dataSilence is how long the kernel waits for a peer to acknowledge what was sent before it calls the connection dead.
	dataSilence = 30 * time.Second
)

// DataPlane answers the siblings over mTLS: who this pod is, and, in agent run, copies of its data. Whoever has no
// certificate of the cluster's own authority gets nothing.
//
//	GET /v1/peer          the Status as JSON
//	/v1/clone/…           see package clone; agent init refuses, and says what it is doing
//	POST /v1/checksums    what the tables hold, for a backup that is about to be made, or was; not in agent init
type DataPlane struct {
	Listener net.Listener // plain; Run adds TLS and closes it
	TLS      *tls.Config
	Board    *Board
	Clone    http.Handler
	// Checksums answers /v1/checksums; nil: nobody does.
	Checksums http.Handler
}

// Run serves until ctx ends, then cuts copies that do not end by themselves within a moment.
func (d *DataPlane) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/peer", func(w http.ResponseWriter, _ *http.Request) {
		WriteStatus(w, d.Board.Status())
	})
	mux.Handle("/v1/clone/", d.Clone)
	if d.Checksums != nil {
		mux.Handle("POST /v1/checksums", d.Checksums)
	}
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: dataHeaderTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    dataMaxHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // failed handshakes are anybody's to cause
		TLSConfig:         d.TLS,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       coalesce.ConnContext, // so that a copy's records leave in large writes
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), dataDrain)
		defer cancel()
		if server.Shutdown(drain) != nil {
			_ = server.Close() // cuts what is left; there is nobody to tell
		}
	})
	err := server.ServeTLS(coalesce.Listener(newLimitListener(&silenceListener{d.Listener}, dataMaxConns)), "", "")
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// silenceListener makes the kernel give up on peers that vanish without a word.
type silenceListener struct{ net.Listener }

// Accept waits for the next connection.
func (l *silenceListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	setUserTimeout(conn)
	return conn, nil
}

func setUserTimeout(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// A kernel without this option only notices later.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(dataSilence/time.Millisecond))
	})
}
