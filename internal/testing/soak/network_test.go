package main

import (
	"net"
	"runtime"
	"slices"
	"testing"
	"time"
)

// open opens a UDP socket at a Pod's address, in its network.
func open(t *testing.T, n *network, ordinal int) *net.UDPConn {
	t.Helper()
	type opened struct {
		conn *net.UDPConn
		err  error
	}
	result := make(chan opened)
	go func() {
		runtime.LockOSThread() // for good
		var o opened
		if o.err = n.Enter(ordinal); o.err == nil {
			o.conn, o.err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host(ordinal)), Port: 4000})
		}
		result <- o
	}()
	o := <-result
	if o.err != nil {
		t.Fatal(o.err)
	}
	t.Cleanup(func() { _ = o.conn.Close() })
	return o.conn
}

// A link that is cut loses packets in its direction and in no other one, tells nobody, and works again when it is mended.
func TestNetwork(t *testing.T) {
	needsWorld(t)
	n, err := newNetwork(3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	sockets := map[int]*net.UDPConn{}
	for ordinal := range 3 {
		sockets[ordinal] = open(t, n, ordinal)
	}
	if sockets[router], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(routerHost), Port: 4000}); err != nil {
		t.Fatal(err)
	}
	defer sockets[router].Close()

	sent := byte(0)
	passes := func(l link, patience time.Duration) bool {
		t.Helper()
		sent++
		to := &net.UDPAddr{IP: net.ParseIP(host(l.to)), Port: 4000}
		if _, err := sockets[l.from].WriteTo([]byte{sent}, to); err != nil {
			t.Errorf("%v: the sender was told: %v", l, err)
		}
		_ = sockets[l.to].SetReadDeadline(time.Now().Add(patience))
		for {
			var packet [8]byte
			if _, _, err := sockets[l.to].ReadFrom(packet[:]); err != nil || packet[0] == sent {
				return err == nil
			}
		}
	}
	want := func(what string, cut ...link) {
		t.Helper()
		for from := router; from < 3; from++ {
			for to := router; to < 3; to++ {
				l := link{from, to}
				switch lost := slices.Contains(cut, l); {
				case from == to:
				case lost && passes(l, 50*time.Millisecond):
					t.Errorf("%s: a packet got through %v", what, l)
				case !lost && !passes(l, 5*time.Second):
					t.Errorf("%s: a packet was lost on %v", what, l)
				}
			}
		}
	}
	cut := func(links ...link) (mend func()) {
		t.Helper()
		mended, err := n.cut(links...)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			t.Helper()
			if err := mended(); err != nil {
				t.Error(err)
			}
		}
	}

	want("nothing is cut")
	first := cut(link{0, 1})
	want("one way", link{0, 1})
	second := cut(bothWays(1, 0)...)
	want("the other way too", bothWays(0, 1)...)
	first()
	want("cut twice, mended once", bothWays(0, 1)...)
	second()
	want("mended")
	second()
	third := cut(around(2, 3, true)...)
	want("a pod alone", link{2, 0}, link{0, 2}, link{2, 1}, link{1, 2}, link{2, router})
	third()
	want("all is mended")
}
