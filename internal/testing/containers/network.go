package containers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Network is the cluster's: every Pod has one address in it, and none twice in a row. Its methods may be called concurrently.
type Network struct {
	name   string // of the docker network
	prefix string // 10.213.7.
	dns    *nameServer

	mu   sync.Mutex
	last int // of the addresses that were given away
}

// newNetwork makes a docker network of 256 addresses that nobody else uses, and a name server at its gateway, which is this machine.
func newNetwork(name string) (*Network, error) {
	var err error
	for range 20 {
		prefix := fmt.Sprintf("10.213.%d.", rand.IntN(256))
		if _, err = docker("network", "create", "--label", label, "--subnet", prefix+"0/24", "--gateway", prefix+"1", name); err != nil {
			continue // mostly: overlaps with another one
		}
		n := &Network{name: name, prefix: prefix, last: 9}
		n.dns, err = startNameServer(net.JoinHostPort(n.gateway(), "53"))
		if err == nil {
			return n, nil
		}
		_, gone := docker("network", "rm", name)
		return nil, errors.Join(err, gone)
	}
	return nil, fmt.Errorf("no free addresses for a network: %w", err)
}

func (n *Network) close() error {
	_, err := docker("network", "rm", n.name)
	return errors.Join(n.dns.close(), err)
}

// gateway is this machine's address in the network: the node's, from which probes and clients come.
func (n *Network) gateway() string { return n.prefix + "1" }

// newAddress returns an address that was not in use lately.
func (n *Network) newAddress() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last++; n.last > 250 {
		n.last = 10
	}
	return fmt.Sprintf("%s%d", n.prefix, n.last)
}

// resolvConf is what a kubelet writes for Pods with dnsPolicy ClusterFirst.
func (n *Network) resolvConf() string {
	return "search " + namespace + ".svc." + domain + " svc." + domain + " " + domain + "\nnameserver " + n.gateway() + "\noptions ndots:5\n"
}

// inNetworkOf runs a function on a thread in the network namespace of a process.
func inNetworkOf(pid int, do func() error) error {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer namespace.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter a network namespace: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// Reaches tries to connect from a Pod to a port of another one, by address, and returns whether that works.
func (p *Pod) Reaches(other *Pod, port int) bool {
	return inNetworkOf(p.sandboxPID(), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort(other.Address(), fmt.Sprint(port)))
		if err == nil {
			_ = conn.Close()
		}
		return err
	}) == nil
}
