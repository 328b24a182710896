package containers

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// The cluster's domain and the set's namespace in it.
const (
	domain    = "cluster.local"
	namespace = "default"
)

const ttl = 5 // seconds; CoreDNS' default for cluster names

// nameServer answers as a cluster's does for a headless Service that publishes Pods that are not ready: the Service's name has an address and
// an SRV record per port for each Pod that exists, a Pod's name has its address, anything else does not exist. An engine's own name server
// knows no SRV records.
type nameServer struct {
	conn net.PacketConn
	done chan struct{}

	mu       sync.Mutex
	services map[string]*headless // by full name
}

type headless struct {
	ports []uint16
	pods  map[string]netip.Addr // by host name
}

func startNameServer(address string) (*nameServer, error) {
	conn, err := net.ListenPacket("udp4", address)
	if err != nil {
		return nil, fmt.Errorf("name server: %w", err)
	}
	s := &nameServer{conn: conn, done: make(chan struct{}), services: map[string]*headless{}}
	go s.serve()
	return s, nil
}

func (s *nameServer) close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

// serviceName is the full name of a Service.
func serviceName(service string) string { return service + "." + namespace + ".svc." + domain + "." }

// publish makes a headless Service known.
func (s *nameServer) publish(service string, ports []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[serviceName(service)] = &headless{ports: ports, pods: map[string]netip.Addr{}}
}

// set makes a Pod known under its name, or forgets it when it has no address. A Service that is not known is left alone: a Job's Pod has none.
func (s *nameServer) set(service, pod, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.services[serviceName(service)]
	if h == nil {
		return
	}
	if address == "" {
		delete(h.pods, pod)
		return
	}
	h.pods[pod] = netip.MustParseAddr(address)
}

func (s *nameServer) serve() {
	defer close(s.done)
	buffer := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if answer, err := s.answer(buffer[:n]); err == nil {
			_, _ = s.conn.WriteTo(answer, from) // who asked asks again
		}
	}
}

func (s *nameServer) answer(packet []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(packet)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	records, exists := s.lookUp(strings.ToLower(question.Name.String()), question.Type)
	s.mu.Unlock()
	message := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{question},
	}
	if !exists {
		message.RCode = dnsmessage.RCodeNameError
	}
	for _, body := range records {
		message.Answers = append(message.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: ttl}, Body: body,
		})
	}
	return message.Pack()
}

// lookUp returns the records of a name, and whether there is such a name.
func (s *nameServer) lookUp(name string, kind dnsmessage.Type) (records []dnsmessage.ResourceBody, exists bool) {
	for service, h := range s.services {
		pod, ok := strings.CutSuffix(name, "."+service)
		if ok {
			address, exists := h.pods[pod]
			if exists && kind == dnsmessage.TypeA {
				records = append(records, &dnsmessage.AResource{A: address.As4()})
			}
			return records, exists
		}
		if name != service || len(h.pods) == 0 { // a headless Service without Pods has no name either
			continue
		}
		for pod, address := range h.pods {
			switch kind {
			case dnsmessage.TypeA:
				records = append(records, &dnsmessage.AResource{A: address.As4()})
			case dnsmessage.TypeSRV:
				for _, port := range h.ports {
					target := dnsmessage.MustNewName(pod + "." + service)
					records = append(records, &dnsmessage.SRVResource{Weight: 11, Port: port, Target: target})
				}
			}
		}
		return records, true
	}
	return nil, false
}
