package coalesce

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// testTLS returns configurations of both ends, as the data plane has them but for the authority.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"donor"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	server = &tls.Config{
		MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true, NextProtos: []string{"http/1.1"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	return server, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "donor"}
}

// cpu is what the process has used so far, in seconds.
func cpu(b *testing.B) (user, system float64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()).Seconds(), time.Duration(u.Stime.Nano()).Seconds()
}

// resized gives the connections of a listener another size.
type resized struct {
	net.Listener
	size int
}

func (l resized) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c, l.size), nil
}

// greedy takes from the connection below in larger pieces than crypto/tls asks for. It was tried for the recipient's side, and saves as much as its copy
// costs: crypto/tls already reads 40 KiB at once where there is as much.
type greedy struct {
	net.Conn
	buf  []byte
	r, w int
}

func (g *greedy) Read(p []byte) (int, error) {
	if g.r == g.w {
		n, err := g.Conn.Read(g.buf)
		if err != nil {
			return 0, err
		}
		g.r, g.w = 0, n
	}
	n := copy(p, g.buf[g.r:g.w])
	g.r += n
	return n, nil
}

// BenchmarkTLS sends blocks as a donor does, over loopback, in one process: the CPU seconds are those of both ends.
func BenchmarkTLS(b *testing.B) {
	for _, bench := range []struct {
		gather, read int // KiB
		hijack       bool
	}{
		{0, 0, false},
		{64, 0, false}, {128, 0, false}, {256, 0, false}, {512, 0, false},
		{0, 256, false},
		{64, 64, false}, {128, 128, false}, {256, 256, false}, {512, 512, false},
		{0, 0, true}, {256, 0, true}, {0, 256, true}, {256, 256, true},
	} {
		how := "http"
		if bench.hijack {
			how = "hijacked"
		}
		b.Run(fmt.Sprintf("%s/gather=%dK/read=%dK", how, bench.gather, bench.read), func(b *testing.B) {
			benchmarkTLS(b, bench.gather<<10, bench.read<<10, bench.hijack)
		})
	}
}

const block = 1 << 20

func benchmarkTLS(b *testing.B, gather, read int, hijack bool) {
	serverTLS, clientTLS := testTLS(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	data, head := make([]byte, block), make([]byte, 60)
	_, _ = rand.Read(data)
	serve := func(w http.ResponseWriter, r *http.Request) {
		if gather > 0 {
			c := FromContext(r.Context())
			_ = c.SetCoalescing(true)
			defer c.SetCoalescing(false)
		}
		var out io.Writer = w
		if hijack {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
			out = conn
		}
		for {
			if _, err := out.Write(head); err != nil {
				return
			}
			if _, err := out.Write(data); err != nil {
				return
			}
		}
	}
	server := &http.Server{
		Handler: http.HandlerFunc(serve), TLSConfig: serverTLS, ConnContext: ConnContext, ErrorLog: log.New(io.Discard, "", 0),
	}
	done := make(chan struct{})
	go func() { _ = server.ServeTLS(resized{l, gather}, "", ""); close(done) }()
	defer func() { _ = server.Close(); <-done }()

	transport := &http.Transport{TLSClientConfig: clientTLS, DisableCompression: true, ReadBufferSize: 64 << 10}
	if read > 0 {
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &greedy{Conn: c, buf: make([]byte, read)}, nil
		}
	}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, len(head)+block)
	next := func() {
		// As the stream's reader does: the header first, then what it announces.
		if _, err := io.ReadFull(resp.Body, buf[:len(head)]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, buf[len(head):]); err != nil {
			b.Fatal(err)
		}
	}
	for range 50 {
		next()
	}
	b.SetBytes(block)
	user, system := cpu(b)
	b.ResetTimer()
	for range b.N {
		next()
	}
	b.StopTimer()
	u, s := cpu(b)
	gb := float64(b.N) * block / 1e9
	b.ReportMetric((u-user)/gb, "user-s/GB")
	b.ReportMetric((s-system)/gb, "sys-s/GB")
	b.ReportMetric((u-user+s-system)/gb, "cpu-s/GB")
	b.ReportMetric(0, "ns/op")
}
