package faults

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pattern is n bytes, none of which looks like its neighbours.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

const (
	soon     = 20 * time.Second       // for what happens
	silently = 100 * time.Millisecond // for what does not
)

// serve gives every connection to handle, which gets a deadline soon.
func serve(t testing.TB, handle func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var g sync.WaitGroup
	g.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			g.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(soon))
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		g.Wait()
	})
	return l.Addr().String()
}

// dial connects to a proxy.
func dial(t testing.TB, p *Proxy) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(soon)))
	return conn.(*net.TCPConn)
}

// ends connects a client and a server through a proxy and returns both ends.
func ends(t testing.TB, s Schedule) (client, server *net.TCPConn, p *Proxy) {
	t.Helper()
	accepted, over := make(chan *net.TCPConn, 1), make(chan struct{})
	p = ForTest(t, serve(t, func(conn net.Conn) {
		accepted <- conn.(*net.TCPConn)
		<-over
	}), s)
	t.Cleanup(func() { close(over) })
	client = dial(t, p)
	return client, <-accepted, p
}

// send writes in the background, as far as it gets; the error comes through the channel.
func send(conn net.Conn, b []byte) <-chan error {
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Write(b)
		failed <- err
	}()
	return failed
}

// wantPrefix reads n bytes and compares them.
func wantPrefix(t testing.TB, conn net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d of %d bytes, %v; the bytes are right: %v", n, len(want), err, bytes.Equal(got[:n], want[:n]))
	}
}

// wantEnd reads up to the end of a connection and returns how many bytes that were.
func wantEnd(t testing.TB, conn net.Conn, end error) int64 {
	t.Helper()
	n, err := io.Copy(io.Discard, conn)
	if end == io.EOF && err != nil || end != io.EOF && !errors.Is(err, end) {
		t.Errorf("read of the connection ends with %v, want %v", err, end)
	}
	return n
}

// wantSilence reads for a moment, in which nothing comes: not even the end.
func wantSilence(t testing.TB, conn net.Conn) {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(silently)))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v, want silence", n, err)
	}
	must(t, conn.SetReadDeadline(time.Now().Add(soon)))
}

// wantStuck writes until nothing is taken any more. It fails if the connection ends instead.
func wantStuck(t testing.TB, conn net.Conn) {
	t.Helper()
	must(t, conn.SetWriteDeadline(time.Now().Add(10*silently)))
	if n, err := conn.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d bytes, %v, want them not to be taken", n, err)
	}
}

// wantHits compares the kinds of what has happened.
func wantHits(t testing.TB, p *Proxy, want ...Kind) {
	t.Helper()
	var got []Kind
	for _, h := range p.Hits() {
		got = append(got, h.Kind)
	}
	if len(got) != len(want) {
		t.Fatalf("happened: %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("happened: %v, want %v", got, want)
		}
	}
}

// errReset is what a reset looks like to whoever reads.
const errReset = unix.ECONNRESET
