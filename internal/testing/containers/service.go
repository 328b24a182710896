package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A Service leads connections to a ready Pod that its selector names, as a node's rules do: one that exists stays where it is, also when its Pod
// is no longer ready.
type Service struct {
	Name     string
	selector map[string]string
	port     int32
	cluster  *Cluster
	listener net.Listener
	done     sync.WaitGroup
}

func (c *Cluster) serve(s *corev1.Service) (*Service, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	service := &Service{Name: s.Name, selector: s.Spec.Selector, port: s.Spec.Ports[0].Port, cluster: c, listener: listener}
	service.done.Go(service.accept)
	return service, nil
}

// Address is host:port, for as long as the cluster lives.
func (s *Service) Address() string { return s.listener.Addr().String() }

// Endpoints are the Pods that it leads to at the moment.
func (s *Service) Endpoints() (ready []*Pod) {
	for _, p := range s.cluster.all() {
		if selects(s.selector, p.labels) && p.Ready() {
			ready = append(ready, p)
		}
	}
	return ready
}

func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

func (s *Service) close() {
	_ = s.listener.Close()
	s.done.Wait()
}

func (s *Service) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			s.done.Go(func() { s.lead(conn) })
		}
	}
}

// lead joins a client with a Pod. Nobody to lead to is refused by a reset.
func (s *Service) lead(client net.Conn) {
	defer client.Close()
	ready := s.Endpoints()
	if len(ready) == 0 {
		_ = client.(*net.TCPConn).SetLinger(0)
		return
	}
	ctx, cancel := context.WithTimeout(s.cluster.ctx, 3*time.Second)
	defer cancel()
	address := net.JoinHostPort(ready[rand.IntN(len(ready))].Address(), fmt.Sprint(s.port))
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp4", address)
	if err != nil {
		_ = client.(*net.TCPConn).SetLinger(0)
		return
	}
	defer server.Close()
	defer context.AfterFunc(s.cluster.ctx, func() { _, _ = client.Close(), server.Close() })()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // either end may go away
			_, _ = client.Close(), server.Close()
		})
	}
	both.Wait()
}
