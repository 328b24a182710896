package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// Without faults a proxy is not there: all bytes pass in both directions at once, and each direction ends by itself.
func TestPass(t *testing.T) {
	t.Parallel()
	client, server, p := ends(t, nil)
	there, back := pattern(3<<20), pattern(5 << 20)[1<<20:]
	sent := send(server, back)
	go func() {
		_, _ = client.Write(there)
		_ = client.CloseWrite()
	}()
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(server)
		got <- b
	}()
	wantPrefix(t, client, back)
	must(t, <-sent)
	if b := <-got; !bytes.Equal(b, there) {
		t.Errorf("the server got %d bytes that are not what the client sent", len(b))
	}
	must(t, server.Close())
	wantEnd(t, client, io.EOF)
	if p.Bytes(ToServer) != int64(len(there)) || p.Bytes(ToClient) != int64(len(back)) || p.Conns() != 1 {
		t.Errorf("%v, want %d and %d bytes on one connection", p, len(there), len(back))
	}
	wantHits(t, p)
}

// An end that goes away in disorder is known at the other end at once.
func TestResetPasses(t *testing.T) {
	t.Parallel()
	client, server, _ := ends(t, nil)
	reset(client)
	wantEnd(t, server, errReset)
}

func TestReset(t *testing.T) {
	t.Parallel()
	const at = 1<<20 + 17
	client, server, p := ends(t, Schedule{{Kind: Reset, At: at}})
	sent := send(server, pattern(4<<20))
	if n := wantEnd(t, client, errReset); n > at {
		t.Errorf("the client got %d bytes, want %d at most", n, at)
	}
	if err := <-sent; err == nil {
		wantEnd(t, server, errReset)
	}
	if p.Bytes(ToClient) != at {
		t.Errorf("%d bytes have passed, want %d", p.Bytes(ToClient), at)
	}
	wantHits(t, p, Reset)
}

func TestClose(t *testing.T) {
	t.Parallel()
	const at = 1<<20 + 17
	client, server, p := ends(t, Schedule{{Kind: Close, At: at}})
	data := pattern(4 << 20)
	sent := send(server, data)
	wantPrefix(t, client, data[:at])
	wantEnd(t, client, io.EOF)
	if err := <-sent; err == nil {
		_, _ = io.Copy(io.Discard, server) // ends, in good order or not: it has sent what nobody reads
	}
	wantHits(t, p, Close)

	// An end that has nothing under way sees good order, too.
	client, server, _ = ends(t, Schedule{{Kind: Close, Toward: ToServer, At: 5}})
	must(t, <-send(client, []byte("hello, world")))
	wantPrefix(t, server, []byte("hello"))
	wantEnd(t, server, io.EOF)
	wantEnd(t, client, io.EOF)
}

// One end is told, the other one never hears of it, whatever it does.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	data := pattern(1 << 20)
	for _, c := range []struct {
		kind                     Kind
		clientKnows, serverKnows bool
	}{
		{kind: LoseClient, clientKnows: true},
		{kind: LoseServer, serverKnows: true},
		{kind: Blackhole},
	} {
		for _, toward := range []Direction{ToClient, ToServer} {
			t.Run(fmt.Sprintf("%v %v", c.kind, toward), func(t *testing.T) {
				t.Parallel()
				client, server, p := ends(t, Schedule{{Kind: c.kind, Toward: toward, At: 1000}})
				from, to := server, client
				if toward == ToServer {
					from, to = client, server
				}
				must(t, <-send(from, data[:1000]))
				wantPrefix(t, to, data[:1000])
				wantHits(t, p)
				<-send(from, data[1000:1001])
				for conn, knows := range map[*net.TCPConn]bool{client: c.clientKnows, server: c.serverKnows} {
					if knows {
						wantEnd(t, conn, errReset)
						continue
					}
					wantSilence(t, conn)
					wantStuck(t, conn)
				}
				// Also the end of the other end is not heard.
				_ = client.Close()
				if !c.serverKnows {
					wantSilence(t, server)
				}
				wantHits(t, p, c.kind)
			})
		}
	}
}

// A stall lets nothing pass in either direction, and loses nothing.
func TestStall(t *testing.T) {
	t.Parallel()
	const takes = 20 * silently
	client, server, p := ends(t, Schedule{{Kind: Stall, At: 1000, For: takes}})
	data := pattern(2000)
	begun := time.Now()
	must(t, <-send(server, data))
	wantPrefix(t, client, data[:1000])
	waitFor(t, func() bool { return len(p.Hits()) == 1 })
	must(t, <-send(client, data[:10]))
	wantSilence(t, server)
	wantSilence(t, client)
	wantPrefix(t, client, data[1000:])
	wantPrefix(t, server, data[:10])
	if took := time.Since(begun); took < takes {
		t.Errorf("it took %v, want %v at least", took, takes)
	}
	wantHits(t, p, Stall)
}

// A fault of all connections befalls those that stand beside, and a stall those that begin meanwhile.
func TestAll(t *testing.T) {
	t.Parallel()
	echo := serve(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	hello := []byte("hello")
	p := ForTest(t, echo, Schedule{
		{Kind: Stall, Conn: 2, At: 5, For: 20 * silently, All: true},
		{Kind: Reset, Conn: 3, At: 5, All: true},
	})
	first, second := dial(t, p), dial(t, p)
	for _, conn := range []net.Conn{first, second} {
		must(t, <-send(conn, hello))
		wantPrefix(t, conn, hello)
	}
	begun := time.Now()
	must(t, <-send(second, hello))
	waitFor(t, func() bool { return len(p.Hits()) == 1 })
	third := dial(t, p)
	for _, conn := range []net.Conn{third, first} {
		must(t, <-send(conn, hello))
		wantSilence(t, conn)
	}
	for _, conn := range []net.Conn{first, second, third} {
		wantPrefix(t, conn, hello)
	}
	if took := time.Since(begun); took < 20*silently {
		t.Errorf("the stall took %v", took)
	}
	must(t, <-send(third, hello))
	for _, conn := range []net.Conn{first, second, third} {
		wantEnd(t, conn, errReset)
	}
	fourth := dial(t, p)
	must(t, <-send(fourth, hello))
	wantPrefix(t, fourth, hello)
	wantHits(t, p, Stall, Reset)
}

func TestSlow(t *testing.T) {
	t.Parallel()
	const rate, covers = 1 << 20, 300 << 10
	client, server, p := ends(t, Schedule{{Kind: Slow, At: 1000, Rate: rate, Bytes: covers}})
	data := pattern(8 << 20)
	begun := time.Now()
	sent := send(server, data)
	wantPrefix(t, client, data[:1000+covers/2])
	if took := time.Since(begun); took < covers/2*time.Second/rate*9/10 {
		t.Errorf("half of the slow bytes took %v", took)
	}
	wantPrefix(t, client, data[1000+covers/2:])
	must(t, <-sent)
	// At the slow rate all of it would take 8 s.
	if took := time.Since(begun); took < covers*time.Second/rate || took > 6*time.Second {
		t.Errorf("it took %v", took)
	}
	wantHits(t, p, Slow)
}

// A delay is one of each byte: those behind do not wait for those before.
func TestDelay(t *testing.T) {
	t.Parallel()
	const late = 3 * silently
	client, server, p := ends(t, Schedule{{Kind: Delay, At: 4, For: late, Bytes: 1 << 20}})
	must(t, <-send(server, []byte("soon")))
	wantPrefix(t, client, []byte("soon"))
	begun := time.Now()
	for range 8 {
		must(t, <-send(server, []byte("later")))
		must(t, server.SetReadDeadline(time.Now().Add(late/10)))
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) { // time passes between the writes
			t.Errorf("server read: %v", err)
		}
	}
	wantPrefix(t, client, bytes.Repeat([]byte("later"), 8))
	if took := time.Since(begun); took < late*17/10 || took > 6*late {
		t.Errorf("eight words in eight tenths of the delay arrived after %v", took)
	}
	wantHits(t, p, Delay)
}

func TestFlip(t *testing.T) {
	t.Parallel()
	client, server, p := ends(t, Schedule{{Kind: Flip, At: 77777, Bits: 0x40}, {Kind: Flip, Toward: ToServer, At: 0, Bits: 1}})
	data := pattern(1 << 20)
	sent := send(server, data)
	want := slices.Clone(data)
	want[77777] ^= 0x40
	wantPrefix(t, client, want)
	must(t, <-sent)
	must(t, <-send(client, []byte("B")))
	wantPrefix(t, server, []byte("C"))
	wantHits(t, p, Flip, Flip)
}

// Bytes are counted over all connections, or on one; several faults may befall one byte.
func TestWhichByte(t *testing.T) {
	t.Parallel()
	address := serve(t, func(conn net.Conn) { _, _ = conn.Write(pattern(1000)) })
	p := ForTest(t, address, Schedule{
		{Kind: Flip, At: 2500, Bits: 1}, // on the third
		{Kind: Flip, Conn: 2, At: 10, Bits: 2},
		{Kind: Flip, Conn: 2, At: 10, Bits: 4},
		{Kind: Flip, Conn: 9, At: 0, Bits: 8},
	})
	for _, flipped := range []map[int]byte{{}, {10: 6}, {500: 1}, {0: 16}} {
		want := pattern(1000)
		for i, bits := range flipped {
			want[i] ^= bits
		}
		got, err := io.ReadAll(dial(t, p))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("connection %d: %v, the bytes are wrong", p.Conns(), err)
		}
		if p.Conns() == 3 {
			p.Add(Fault{Kind: Flip, At: 0, Bits: 16}) // from now on
		}
	}
	wantHits(t, p, Flip, Flip, Flip, Flip)
	if hit := p.Hits()[2]; hit.Conn != 3 || hit.Fault.Conn != 0 {
		t.Errorf("the third hit was %+v, want it on connection 3", hit)
	}
}

// It does not matter what the bytes mean: TLS notices one that was changed, and only that.
func TestTLS(t *testing.T) {
	t.Parallel()
	data := pattern(2 << 20)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	server.Config.ErrorLog = discard()
	server.StartTLS()
	t.Cleanup(server.Close)
	p := ForTest(t, server.Listener.Addr().String(), Schedule{{Kind: Flip, At: 1 << 20, Bits: 1}, {Kind: Stall, At: 3 << 20, For: silently}})
	client := server.Client()
	get := func() error {
		resp, err := client.Get("https://" + p.Address())
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err == nil && !bytes.Equal(got, data) {
			err = errors.New("the bytes are wrong")
		}
		return err
	}
	if err := get(); err == nil || err.Error() == "the bytes are wrong" {
		t.Errorf("with a bit flipped the answer is %v, want an error of TLS", err)
	}
	must(t, get())
	wantHits(t, p, Flip, Stall)
}

// The end of the context ends connections in whatever state they are, and Close waits for it.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	address := serve(t, func(conn net.Conn) { _, _ = conn.Write(pattern(8 << 20)) })
	var g sync.WaitGroup
	for _, kind := range []Kind{0, Blackhole, Stall, Slow, Delay, LoseServer} {
		g.Go(func() {
			var s Schedule
			if kind != 0 {
				s = Schedule{{Kind: kind, At: 1 << 20, For: longest, Rate: 1000, Bytes: 100_000}}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, err := Listen(ctx, "127.0.0.1:0", address, s)
			if err != nil {
				t.Error(err)
				return
			}
			conn, err := net.Dial("tcp", p.Address())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if kind != 0 {
				_, err = io.CopyN(io.Discard, conn, 1<<20)
			}
			if err != nil {
				t.Errorf("%v: %v", kind, err)
			}
			begun := time.Now()
			cancel()
			p.Close()
			if _, err := io.Copy(io.Discard, conn); err == nil {
				t.Errorf("%v: the connection has ended in good order", kind)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("%v: the end took %v", kind, took)
			}
			if conn, err := net.Dial("tcp", p.Address()); err == nil {
				_ = conn.Close()
				t.Errorf("%v: it still listens", kind)
			}
		})
	}
	g.Wait()
}

// A target that is away looks like one that hangs up at once; it may come back.
func TestTargetIsAway(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	conn, err := net.Dial("tcp", ForTest(t, l.Addr().String(), nil).Address())
	if err == nil { // the reset may be faster
		wantEnd(t, conn, errReset)
		_ = conn.Close()
	}
}

func TestRefusedArguments(t *testing.T) {
	t.Parallel()
	const here = "127.0.0.1:0"
	for name, c := range map[string]struct {
		listen, target string
		fault          Fault
	}{
		"every interface": {listen: ":0", target: here},
		"another host":    {listen: here, target: "192.0.2.1:80"},
		"a name":          {listen: "localhost:0", target: here},
		"no kind":         {fault: Fault{}},
		"no duration":     {fault: Fault{Kind: Stall}},
		"too long":        {fault: Fault{Kind: Delay, For: time.Hour, Bytes: 1}},
		"no rate":         {fault: Fault{Kind: Slow, Bytes: 1}},
		"too slow":        {fault: Fault{Kind: Slow, Bytes: 1 << 30, Rate: 1}},
		"no bits":         {fault: Fault{Kind: Flip}},
		"before the end":  {fault: Fault{Kind: Reset, At: -1}},
		"no direction":    {fault: Fault{Kind: Reset, Toward: 2}},
	} {
		var s Schedule
		if c.listen == "" {
			c.listen, c.target, s = here, here, Schedule{c.fault}
		}
		if p, err := Listen(t.Context(), c.listen, c.target, s); err == nil {
			p.Close()
			t.Errorf("%s: Listen() = nil", name)
		}
	}
}
