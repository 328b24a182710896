package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Each Pod has a network namespace with one address, at the end of a cable to a router, which is the namespace that this program and the
// load are in. A link that is cut swallows packets at the router without a word, for connections that exist and for new ones: neither
// end is told.
const (
	podHosts   = "10.99.{ordinal}.1"
	routerHost = "10.99.255.254"
	router     = -1 // instead of an ordinal: this program, a client of all Pods
)

// network is the router and its cables. Its methods may be called concurrently.
type network struct {
	namespaces []*os.File
	router     *os.File // its namespace, which is not that of every thread of this program

	mu   sync.Mutex
	cuts map[link]int // how many faults have cut it
}

// link is one direction between two Pods, by ordinals.
type link struct{ from, to int }

func host(ordinal int) string {
	if ordinal == router {
		return routerHost
	}
	return fmt.Sprintf("10.99.%d.1", ordinal)
}

func newNetwork(pods int) (*network, error) {
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	n := &network{router: here, cuts: map[link]int{}}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, err
	}
	// What is cut is looked up before what is ours: packets to the router itself can be lost too.
	if err := ip("rule", "add", "pref", "1000", "lookup", "local"); err != nil {
		return nil, err
	}
	if err := ip("rule", "del", "pref", "0"); err != nil {
		return nil, err
	}
	for ordinal := range pods {
		if err := n.plug(ordinal); err != nil {
			return nil, fmt.Errorf("network of pod %d: %w", ordinal, err)
		}
	}
	return n, nil
}

// plug makes a Pod's namespace and its cable. The namespace lives as long as its file is open.
func (n *network) plug(ordinal int) error {
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread stays behind in the Pod's namespace and ends
		made <- n.makeNamespace(ordinal)
	}()
	if err := <-made; err != nil {
		return err
	}
	cable := fmt.Sprintf("pod%d", ordinal)
	return errors.Join(
		ip("address", "add", routerHost+"/32", "dev", cable),
		ip("link", "set", cable, "up"),
		ip("route", "add", host(ordinal)+"/32", "dev", cable),
	)
}

func (n *network) makeNamespace(ordinal int) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	n.namespaces = append(n.namespaces, namespace)
	routers := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.router.Fd())
	return errors.Join(
		ip("link", "set", "lo", "up"),
		ip("link", "add", "eth0", "type", "veth", "peer", "name", fmt.Sprintf("pod%d", ordinal), "netns", routers),
		ip("address", "add", host(ordinal)+"/32", "dev", "eth0"),
		ip("link", "set", "eth0", "up"),
		ip("route", "add", routerHost+"/32", "dev", "eth0"),
		ip("route", "add", "10.99.0.0/16", "via", routerHost),
	)
}

// close takes the cables and rules away again, and lets go of the namespaces.
func (n *network) close() error {
	err := errors.Join(ip("rule", "add", "pref", "0", "lookup", "local"), ip("rule", "del", "pref", "1000"))
	for ordinal, namespace := range n.namespaces {
		err = errors.Join(err, ip("link", "del", fmt.Sprintf("pod%d", ordinal)), namespace.Close())
	}
	return errors.Join(err, n.router.Close())
}

// Enter moves the calling thread into a Pod's namespace. See localset.Network.
func (n *network) Enter(ordinal int) error {
	if err := unix.Setns(int(n.namespaces[ordinal].Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network of pod %d: %w", ordinal, err)
	}
	return nil
}

// cut loses all packets on some links until the function that it returns is called. Links may be cut more than once.
func (n *network) cut(links ...link) (mend func() error, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, l := range links {
		if n.cuts[l] == 0 {
			err = ip("rule", "add", "pref", "10", "from", host(l.from), "to", host(l.to), "blackhole")
		}
		if err != nil {
			return nil, errors.Join(err, n.mend(links[:i]))
		}
		n.cuts[l]++
	}
	return sync.OnceValue(func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.mend(links)
	}), nil
}

func (n *network) mend(links []link) (err error) {
	for _, l := range links {
		if n.cuts[l]--; n.cuts[l] == 0 {
			err = errors.Join(err, ip("rule", "del", "pref", "10", "from", host(l.from), "to", host(l.to), "blackhole"))
		}
	}
	return err
}

// bothWays are the two links between two Pods.
func bothWays(a, b int) []link { return []link{{a, b}, {b, a}} }

// around are all links between a Pod and the others, and those from it to the clients if they are to lose sight of it too: what they
// ask arrives then, and the answer is lost.
func around(ordinal, pods int, clients bool) (links []link) {
	for other := range pods {
		if other != ordinal {
			links = append(links, bothWays(ordinal, other)...)
		}
	}
	if clients {
		links = append(links, link{ordinal, router})
	}
	return links
}

// ip runs the program of that name in the calling thread's network. See ip(8), ip-rule(8).
func ip(args ...string) error {
	var said bytes.Buffer
	cmd := exec.Command("ip", args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd.Args, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
