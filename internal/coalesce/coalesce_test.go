package coalesce

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns a Conn that gathers up to 1000 bytes, and its peer.
func pair(t *testing.T) (c *Conn, peer net.Conn) {
	t.Helper()
	near, peer := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), peer.Close() })
	return newConn(near, 1000), peer
}

// collect returns the pieces that arrive at peer, one for each write, until it is closed.
func collect(peer net.Conn) <-chan []byte {
	pieces := make(chan []byte, 100)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 1<<20)
			n, err := peer.Read(b)
			if err != nil {
				return
			}
			pieces <- b[:n]
		}
	}()
	return pieces
}

func write(t *testing.T, c net.Conn, n int) {
	t.Helper()
	if got, err := c.Write(bytes.Repeat([]byte{'x'}, n)); got != n || err != nil {
		t.Fatalf("Write() of %d bytes = %d, %v", n, got, err)
	}
}

func coalescing(t *testing.T, c *Conn, on bool) {
	t.Helper()
	if err := c.SetCoalescing(on); err != nil {
		t.Fatalf("SetCoalescing(%t) = %v", on, err)
	}
}

// arrived returns the lengths of the pieces that have arrived when everything has come to rest, without time going by.
func arrived(pieces <-chan []byte) (lengths []int) {
	synctest.Wait()
	for {
		select {
		case p, ok := <-pieces:
			if !ok {
				return lengths
			}
			lengths = append(lengths, len(p))
		default:
			return lengths
		}
	}
}

func expect(t *testing.T, pieces <-chan []byte, want ...int) {
	t.Helper()
	got := arrived(pieces)
	if len(got) != len(want) {
		t.Fatalf("pieces of %v bytes have arrived, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("pieces of %v bytes have arrived, want %v", got, want)
		}
	}
}

func TestConnGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := pair(t)
		pieces := collect(peer)
		write(t, c, 10)
		write(t, c, 20)
		expect(t, pieces, 10, 20) // off

		coalescing(t, c, true)
		write(t, c, 400)
		write(t, c, 500)
		expect(t, pieces)
		write(t, c, 101)
		expect(t, pieces, 900) // the next one did not fit
		write(t, c, 899)
		expect(t, pieces) // exactly full
		write(t, c, 1)
		expect(t, pieces, 1000)
		write(t, c, 1000) // as large as the buffer: no copy
		expect(t, pieces, 1, 1000)

		write(t, c, 7)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		expect(t, pieces, 7)
		if err := c.Flush(); err != nil { // nothing to send
			t.Fatal(err)
		}
		write(t, c, 8)
		coalescing(t, c, false)
		expect(t, pieces, 8)
		write(t, c, 9)
		expect(t, pieces, 9)
	})
}

// Whoever forgets to flush is late, but not stuck.
func TestConnTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := pair(t)
		pieces := collect(peer)
		coalescing(t, c, true)
		for range 5 {
			write(t, c, 5)
			time.Sleep(patience / 2)
			expect(t, pieces)
			write(t, c, 6)
			time.Sleep(patience / 2)
			expect(t, pieces, 11)
			time.Sleep(time.Second)
			expect(t, pieces)
		}
		// A byte that came just after a flush waits its own time, not that of the flushed ones.
		write(t, c, 5)
		time.Sleep(patience * 3 / 4)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		write(t, c, 6)
		time.Sleep(patience / 2)
		expect(t, pieces, 5)
		time.Sleep(patience / 2)
		expect(t, pieces, 6)
	})
}

// An answer is waited for: what was asked must be on its way.
func TestConnReadFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := pair(t)
		coalescing(t, c, true)
		write(t, c, 5)
		begin := time.Now()
		go func() {
			b := make([]byte, 5)
			if _, err := io.ReadFull(peer, b); err != nil {
				t.Errorf("read the question: %v", err)
			}
			if _, err := peer.Write(b); err != nil {
				t.Errorf("answer: %v", err)
			}
		}()
		if n, err := c.Read(make([]byte, 10)); n != 5 || err != nil {
			t.Errorf("Read() = %d, %v", n, err)
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("the question waited for %v", took)
		}
		// The peer writes before it reads: Read must not wait until what was gathered has been taken.
		write(t, c, 5)
		pieces := make(chan []byte)
		go func() {
			if _, err := peer.Write(make([]byte, 10)); err != nil {
				t.Errorf("write first: %v", err)
			}
			b := make([]byte, 10)
			n, _ := peer.Read(b)
			pieces <- b[:n]
		}()
		if n, err := c.Read(make([]byte, 10)); n != 10 || err != nil {
			t.Errorf("Read() = %d, %v", n, err)
		}
		if got := <-pieces; len(got) != 5 {
			t.Errorf("%d bytes arrived, want 5", len(got))
		}
	})
}

func TestConnCloseFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := pair(t)
		pieces := collect(peer)
		coalescing(t, c, true)
		write(t, c, 5)
		// As crypto/tls does after its last alert.
		if err := c.SetWriteDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		expect(t, pieces, 5)
		if _, err := c.Write(make([]byte, 2000)); err == nil {
			t.Error("Write() after Close() = nil")
		}
	})
}

// Nobody reads: Close does not wait for long, and with a write under way not at all.
func TestConnCloseOfSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t)
		coalescing(t, c, true)
		write(t, c, 5)
		begin := time.Now()
		_ = c.Close() // what it returns is the pipe's affair
		if took := time.Since(begin); took > closeWithin {
			t.Errorf("Close() took %v", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t)
		coalescing(t, c, true)
		write(t, c, 900)
		wrote := make(chan error)
		go func() {
			_, err := c.Write(make([]byte, 900))
			wrote <- err
		}()
		synctest.Wait()
		begin := time.Now()
		_ = c.Close()
		if err := <-wrote; err == nil || time.Since(begin) > 0 {
			t.Errorf("Write() = %v, %v after Close()", err, time.Since(begin))
		}
	})
}

// Somebody else's write fails later: the next call must say so, and all after it.
func TestConnDeferredError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t)
		coalescing(t, c, true)
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		write(t, c, 5)
		time.Sleep(2 * time.Second)
		for range 2 {
			if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write() after a write that failed = %d, %v", n, err)
			}
			if err := c.Flush(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Flush() after a write that failed = %v", err)
			}
		}
		if err := c.SetCoalescing(false); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("SetCoalescing(false) after a write that failed = %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write() after a write that failed = %v", err)
		}
	})
}

// A deadline that is moved while a flush waits ends it: who does so must not wait for the flush.
func TestConnDeadlineEndsFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t)
		coalescing(t, c, true)
		write(t, c, 5)
		flushed := make(chan error)
		go func() { flushed <- c.Flush() }()
		synctest.Wait()
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := <-flushed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Flush() = %v", err)
		}
	})
}

func TestNilConn(t *testing.T) {
	c := FromContext(t.Context())
	if c != nil || c.SetCoalescing(true) != nil || c.Flush() != nil {
		t.Errorf("FromContext() of any context = %v", c)
	}
	if ctx := ConnContext(t.Context(), new(net.TCPConn)); FromContext(ctx) != nil {
		t.Error("ConnContext() found a Conn in a plain connection")
	}
}

// counted counts the writes of accepted connections.
type counted struct {
	net.Listener
	writes chan int
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.writes}, err
}

type countedConn struct {
	net.Conn
	writes chan int
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes <- len(p)
	return c.Conn.Write(p)
}

// net/http and crypto/tls around it: the request is seen as one over TLS, the answer is whole, and the connection can be used again.
func TestHTTP(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	writes := make(chan int, 10_000)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var conns []*Conn
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), TLSConfig: serverTLS, ConnContext: ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := FromContext(r.Context())
			conns = append(conns, c)
			if r.TLS == nil || c == nil {
				t.Errorf("r.TLS = %v, FromContext() = %v", r.TLS, c)
				return
			}
			if r.URL.Path == "/abort" {
				coalescing(t, c, true)
				_, _ = w.Write(body)
				panic(http.ErrAbortHandler)
			}
			if r.URL.Path == "/gathered" {
				coalescing(t, c, true)
				defer coalescing(t, c, false)
			}
			for range 4 {
				if _, err := w.Write(body); err != nil {
					t.Errorf("Write() = %v", err)
				}
			}
			// A recipient waits for what has been flushed.
			if err := errors.Join(http.NewResponseController(w).Flush(), c.Flush()); err != nil {
				t.Errorf("Flush() = %v", err)
			}
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(Listener(counted{l, writes}), "", "") }()
	transport := &http.Transport{TLSClientConfig: clientTLS}
	client := &http.Client{Transport: transport}
	get := func(path string) (int, error) {
		t.Helper()
		for len(writes) > 0 {
			<-writes
		}
		resp, err := client.Get("https://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Equal(got, bytes.Repeat(body, 4)) {
			t.Errorf("%s: %d bytes, not what was sent", path, len(got))
		}
		return len(writes), err
	}
	plain, err := get("/plain")
	if err != nil {
		t.Fatal(err)
	}
	gathered, err := get("/gathered")
	if err != nil {
		t.Fatal(err)
	}
	again, err := get("/plain")
	if err != nil {
		t.Fatal(err)
	}
	if plain < 256 || again < 256 || gathered > 60 {
		t.Errorf("4 MiB took %d writes, gathered %d, then %d", plain, gathered, again)
	}
	if conns[0] != conns[1] || conns[1] != conns[2] {
		t.Error("the connection was not used again")
	}
	if _, err := get("/abort"); err == nil {
		t.Error("an answer that was cut off arrived as if it were whole")
	}
	transport.CloseIdleConnections()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
}
