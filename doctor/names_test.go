package doctor

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ordinal/agent"
)

// A zone is what a name server knows: addresses of names, and targets of SRV records. Everything else does not exist.
type zone struct {
	addresses map[string][]string
	targets   map[string][]string
}

// serve answers on an address of the loopback, as a name server does, and returns a resolver that asks there.
func (z zone) serve(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := z.answer(buf[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return resolverAt(conn.LocalAddr().String())
}

func resolverAt(address string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", address)
	}}
}

// Types of records. See RFC 1035 and RFC 2782.
const (
	typeA   = 1
	typeSRV = 33
)

// answer makes the answer to one question.
func (z zone) answer(q []byte) []byte {
	if len(q) < 12 {
		return nil
	}
	var labels []string
	end := 12
	for end < len(q) && q[end] != 0 {
		n := int(q[end])
		labels = append(labels, string(q[end+1:end+1+n]))
		end += 1 + n
	}
	end++
	name, kind := strings.ToLower(strings.Join(labels, ".")), binary.BigEndian.Uint16(q[end:])
	end += 4
	addresses, isName := z.addresses[name]
	targets, isService := z.targets[name]
	out := append([]byte{}, q[:end]...)
	out[2], out[3] = 0x81, 0x80 // an answer, recursion available
	clear(out[6:12])
	if !isName && !isService {
		out[3] |= 3 // NXDOMAIN
		return out
	}
	count := 0
	record := func(kind uint16, data []byte) {
		count++
		out = append(out, 0xc0, 12) // the name of the question
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 5)
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	switch kind {
	case typeA:
		for _, a := range addresses {
			record(typeA, net.ParseIP(a).To4())
		}
	case typeSRV:
		for _, target := range targets {
			data := []byte{0, 0, 0, 0, 0x0c, 0xea}
			for _, label := range strings.Split(target, ".") {
				data = append(append(data, byte(len(label))), label...)
			}
			record(typeSRV, append(data, 0))
		}
	}
	binary.BigEndian.PutUint16(out[6:], uint16(count))
	return out
}

// named is a pod mysql-0 of a set that is found by names, on a machine with one address. It answers to nobody: its mysqld and agent are not there.
func named(t *testing.T) agent.Config {
	cfg := lone(t)
	cfg.PeerHost, cfg.Service, cfg.Replicas = "", "mysql.shop.svc.cluster.test.", 0
	cfg.DataListen, cfg.StatusListen = ":3307", ":8080"
	cfg.DataPort, cfg.StatusPort = 3307, 8080
	return cfg
}

const (
	there       = "127.99.1.1" // an address of this machine at which nobody listens
	fullService = "mysql.shop.svc.cluster.test"
	kubelet     = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"
	governed    = kubelet + "10.0.0.7\tmysql-0.mysql.shop.svc.cluster.test\tmysql-0\n"
)

// healthyZone is what cluster DNS says of a set of two, the second of which is not there yet when asked directly.
func healthyZone() zone {
	return zone{
		addresses: map[string][]string{fullService: {there}, "mysql-0." + fullService: {there}},
		targets:   map[string][]string{fullService: {"mysql-0." + fullService}},
	}
}

func hostsFileOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hosts  string
		zone   func(*zone)
		config func(*agent.Config)
		want   []string
		id     string
		says   []string
	}{
		"all is well":               {hosts: governed},
		"no kubelet":                {},
		"short service, no kubelet": {config: func(c *agent.Config) { c.Service = fullService }},
		"another service": {
			hosts: governed, config: func(c *agent.Config) { c.Service = "database" },
			want: []string{"service-name"}, id: "service-name", says: []string{"database", "value: mysql}"},
		},
		"another namespace": {
			hosts: governed, config: func(c *agent.Config) { c.Service = "mysql.bakery" },
			want: []string{"service-name"},
		},
		"no serviceName": {
			hosts: kubelet + "10.0.0.7\tmysql-0\n", config: func(c *agent.Config) { c.Service = "mysql" },
			want: []string{"service-name"}, id: "service-name", says: []string{"no serviceName", "serviceName: mysql", "clusterIP: None"},
		},
		"no service given": {
			hosts: governed, config: func(c *agent.Config) { c.Service, c.Replicas = "", 1 },
			want: []string{"service-name"}, id: "service-name", says: []string{"--service is not given", "value: mysql}"},
		},
		"a host's network": {hosts: "# Kubernetes-managed hosts file (host network).\n10.0.0.7 node-7\n"},
		"a name without ordinal": {
			hosts: governed, config: func(c *agent.Config) { c.PodName = "build-host" },
			want: []string{"pod-name"}, id: "pod-name", says: []string{"build-host", "fieldPath: metadata.name"},
		},
		"a pod below the first": {
			config: func(c *agent.Config) { c.FirstOrdinal = 3 },
			want:   []string{"pod-name"}, id: "pod-name", says: []string{"--first-ordinal"},
		},
		"nobody says which pods there are": {
			config: func(c *agent.Config) { c.Service, c.PeerHost = "", "127.0.0.{ordinal}" }, // 127.0.0.0 is an address of the loopback as well
			want:   []string{"peer-list"}, id: "peer-list", says: []string{"--service", "--replicas=3"},
		},
		"more pods than replicas": {
			config: func(c *agent.Config) { c.Replicas = 1 },
			zone:   func(z *zone) { z.targets[fullService] = append(z.targets[fullService], "mysql-1."+fullService) },
			want:   []string{"peer-list"}, id: "peer-list", says: []string{"mysql-1", "--replicas=2"},
		},
		"beyond replicas": {
			config: func(c *agent.Config) { c.PodName, c.Replicas = "mysql-3", 3 },
			zone: func(z *zone) {
				z.addresses["mysql-3."+fullService] = []string{there}
				for _, pod := range []string{"mysql-1.", "mysql-2."} {
					z.addresses[pod+fullService] = []string{there}
				}
			},
			// nobody listens for the others, which is said as well
			want: []string{"peer-list", "peer-agents", "source-port"}, id: "peer-list", says: []string{"mysql-3", "--replicas=4"},
		},
		"a service with an address of its own": {
			hosts: governed,
			zone: func(z *zone) {
				delete(z.addresses, "mysql-0."+fullService)
				z.addresses[fullService], z.targets[fullService] = []string{"10.96.0.10"}, []string{fullService}
			},
			want: []string{"headless-service"}, id: "headless-service", says: []string{"10.96.0.10", "clusterIP: None"},
		},
		"no publishNotReadyAddresses": {
			zone: func(z *zone) {
				delete(z.addresses, "mysql-0."+fullService)
				z.addresses["mysql-1."+fullService], z.targets[fullService] = []string{there}, []string{"mysql-1." + fullService}
			},
			want: []string{"own-name", "peer-agents"}, id: "own-name", says: []string{"although this pod runs", `kubectl patch service mysql -p '{"spec":{"publishNotReadyAddresses":true}}'`},
		},
		"in the pod's own file only": { // the full name is there, and the others do not have that file
			hosts: strings.ReplaceAll(governed, "10.0.0.7", there),
			zone: func(z *zone) {
				delete(z.addresses, "mysql-0."+fullService)
				z.addresses["mysql-1."+fullService], z.targets[fullService] = []string{there}, []string{"mysql-1." + fullService}
			},
			want: []string{"own-name", "peer-agents"},
		},
		"no service at all": {
			zone: func(z *zone) { clear(z.addresses); clear(z.targets) },
			want: []string{"own-name"}, id: "own-name", says: []string{"there is no such Service", "kubectl get service mysql", "publishNotReadyAddresses"},
		},
		"a former address": {
			zone: func(z *zone) { z.addresses["mysql-0."+fullService] = []string{"203.0.113.9"} },
			want: []string{"own-address"}, id: "own-address", says: []string{"203.0.113.9", "endpointslices"},
		},
		"two pods with one name": {
			zone: func(z *zone) { z.addresses["mysql-0."+fullService] = []string{there, "203.0.113.9"} },
			want: []string{"own-address"}, id: "own-address", says: []string{"several addresses"},
		},
		"a pod that is not there": {
			config: func(c *agent.Config) { c.Replicas = 3 },
			zone:   func(z *zone) { z.addresses["mysql-1."+fullService] = []string{there} },
			want:   []string{"peer-names", "peer-agents"}, id: "peer-names", says: []string{"mysql-2", "kubectl get pods", "--replicas=2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, z := named(t), healthyZone()
			if test.config != nil {
				test.config(&cfg)
			}
			if test.zone != nil {
				test.zone(&z)
			}
			hosts := os.DevNull
			if test.hosts != "" {
				hosts = hostsFileOf(t, test.hosts)
			}
			r := Examine(t.Context(), Surroundings{Ring: cachedRing, Config: cfg, Resolver: z.serve(t), Hosts: hosts})
			wants(t, r, test.want...)
			if test.id != "" {
				says(t, r, test.id, test.says...)
			}
		})
	}
}

func TestNameServer(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // takes questions and says nothing
	must(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for name, address := range map[string]string{"silent": silent.LocalAddr().String(), "not there": closed.LocalAddr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Examine(t.Context(), Surroundings{Ring: cachedRing, Config: named(t), Resolver: resolverAt(address), Hosts: os.DevNull})
			wants(t, r, "name-server")
			says(t, r, "name-server", "mysql-0."+fullService, "port 53")
		})
	}
}

// A container whose host name is another pod's, with the file of host names that a kubelet writes: the program itself, in namespaces of its own.
func TestPodNameIsTheHostName(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	cfg := lone(t)
	path := hostsFileOf(t, strings.ReplaceAll(governed, "mysql-0", "mysql-1"))
	r := in(t, "-um", "hostname mysql-1; mount --bind "+path+" /etc/hosts", cfg)
	wants(t, r, "pod-name")
	says(t, r, "pod-name", "mysql-0", "host name is mysql-1", "fieldPath: metadata.name")
	cfg.PodName, cfg.Replicas = "mysql-1", 2
	cfg.StatusListen, cfg.DataListen = host(cfg, 1)+":8080", host(cfg, 1)+":3307"
	if r := in(t, "-um", "hostname mysql-1; mount --bind "+path+" /etc/hosts", cfg); state(r, "pod-name") != OK {
		t.Errorf("pod-name of mysql-1 on mysql-1 is %s", state(r, "pod-name"))
	}
}
