package doctor

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ordinal/agent"
	"ordinal/internal/volume"
)

// A neighbour is the agent of another pod: its two planes, with what the product has for them, and a board that a test writes on.
type neighbour struct {
	ordinal int
	secret  string // "": the set's
	status  func(*agent.Status)
	noData  bool // its data plane listens elsewhere
	plain   bool // something that speaks no TLS listens in its place
	mysql   bool // its mysqld takes connections
	skew    time.Duration
}

func (n neighbour) start(t *testing.T, cfg agent.Config) {
	t.Helper()
	peers, err := cfg.Peers()
	must(t, err)
	id, err := agent.ParseIdentity(peers.PodName(n.ordinal), -1, 0)
	must(t, err)
	board := agent.NewBoard(id, agent.PhaseRun, "test")
	board.Update(func(s *agent.Status) {
		s.State, s.Ready, s.Reasons = agent.StateReplicating, true, nil
		if n.status != nil {
			n.status(s)
		}
	})
	if n.skew == 0 {
		listener := listen(t, peers.StatusAddress(n.ordinal))
		serve(t, (&agent.StatusPlane{Listener: listener, Board: board, Heartbeat: agent.NewHeartbeat(time.Minute)}).Run)
	} else { // its clock is wrong, which cannot be had from a real one
		listener := listen(t, peers.StatusAddress(n.ordinal))
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			s := board.Status()
			s.ObservedAt = s.ObservedAt.Add(n.skew)
			_ = json.NewEncoder(w).Encode(s)
		})}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
	}
	if n.mysql {
		talk(listen(t, peers.MySQLAddress(n.ordinal)))
	}
	switch {
	case n.noData:
		return
	case n.plain:
		server := &http.Server{Handler: http.NotFoundHandler()}
		listener := listen(t, peers.DataAddress(n.ordinal))
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		return
	}
	file := cfg.SecretFile
	if n.secret != "" {
		file = filepath.Join(t.TempDir(), "secret")
		must(t, os.WriteFile(file, []byte(n.secret), 0o400))
	}
	ring, err := cachedRing(file)
	must(t, err)
	listener := listen(t, peers.DataAddress(n.ordinal))
	serve(t, (&agent.DataPlane{Listener: listener, TLS: ring.ServerTLS(id.Pod), Board: board, Clone: http.NotFoundHandler()}).Run)
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// talk answers everybody as a mysqld does that lets nobody in. See "ERR_Packet" in the protocol's documentation.
func talk(l net.Listener) {
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(append([]byte{9, 0, 0, 0, 0xff, 0x69, 0x04}, "blocked"[:6]...)) // 1129
			_ = conn.Close()
		}
	}()
}

func serve(t *testing.T, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
}

const (
	someUUID  = "11111111-2222-3333-4444-555555555555"
	otherUUID = "99999999-8888-7777-6666-555555555555"
	someID    = "0123456789abcdef"
)

func TestPeers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pod    string // "": mysql-0
		config func(t *testing.T, cfg *agent.Config)
		peers  []neighbour
		want   []string
		id     string
		says   []string
	}{
		"all is well":    {peers: []neighbour{{ordinal: 1}}},
		"a good replica": {pod: "mysql-1", peers: []neighbour{{ordinal: 0, mysql: true}}},
		"nobody there":   {want: []string{"peer-agents"}, id: "peer-agents", says: []string{"mysql-1", "kubectl logs"}},
		"a data plane elsewhere": {
			peers: []neighbour{{ordinal: 1, noData: true}},
			want:  []string{"data-port"}, id: "data-port", says: []string{"nothing listens on port 3307", "--data-port=3307"},
		},
		"something else at its port": {
			peers: []neighbour{{ordinal: 1, plain: true}},
			want:  []string{"data-port"}, id: "data-port", says: []string{"does not speak TLS"},
		},
		"another secret": {
			peers: []neighbour{{ordinal: 1, secret: "another-secret-another-secret-another-secret"}},
			want:  []string{"peer-secret"}, id: "peer-secret", says: []string{"mysql-1", "mount the same Secret", "fingerprint"},
		},
		"the source's mysqld listens elsewhere": {
			pod: "mysql-1", peers: []neighbour{{ordinal: 0, status: func(s *agent.Status) { s.State, s.ServerUUID = agent.StateSource, someUUID }}},
			want: []string{"source-port"}, id: "source-port", says: []string{"mysqld runs, and nothing listens"},
		},
		"the source's mysqld does not run": {
			pod: "mysql-1", peers: []neighbour{{ordinal: 0}},
			want: []string{"source-port"}, id: "source-port", says: []string{"does not run"},
		},
		"an agent that hangs": {
			config: func(t *testing.T, cfg *agent.Config) {
				listen(t, host(*cfg, 1)+":3307")
				listen(t, host(*cfg, 1)+":8080")
			},
			want: []string{"peer-agents"}, id: "peer-agents", says: []string{"does not answer", "kubectl logs mysql-1"},
		},
		"this pod's agent hangs": {
			config: func(t *testing.T, cfg *agent.Config) { cfg.Replicas = 1; listen(t, cfg.StatusListen) },
			want:   []string{"status-port"}, id: "status-port", says: []string{"does not answer"},
		},
		"the source's mysqld hangs": {
			pod: "mysql-1", config: func(t *testing.T, cfg *agent.Config) { listen(t, host(*cfg, 0)+":3306") }, peers: []neighbour{{ordinal: 0}},
			want: []string{"source-port"}, id: "source-port", says: []string{"timeout", "does it hang"},
		},
		"another pod under a name": {
			peers: []neighbour{{ordinal: 1, status: func(s *agent.Status) { s.Pod = "mysql-2" }}},
			want:  []string{"identity"}, id: "identity", says: []string{`"mysql-2"`, "fieldPath: metadata.name"},
		},
		"a copied volume": {
			config: func(_ *testing.T, cfg *agent.Config) { cfg.Replicas = 3 },
			peers: []neighbour{
				{ordinal: 1, status: func(s *agent.Status) { s.ServerUUID = someUUID }}, {ordinal: 2, status: func(s *agent.Status) { s.ServerUUID = someUUID }},
			},
			want: []string{"identity"}, id: "identity", says: []string{"mysql-1 and mysql-2", someUUID, "auto.cnf"},
		},
		"different servers": {
			config: func(_ *testing.T, cfg *agent.Config) { cfg.Replicas = 3 },
			peers: []neighbour{
				{ordinal: 1, status: func(s *agent.Status) { s.ServerUUID = someUUID }}, {ordinal: 2, status: func(s *agent.Status) { s.ServerUUID = otherUUID }},
			},
		},
		"data of another cluster": {
			config: func(t *testing.T, cfg *agent.Config) { complete(t, *cfg, volume.Facts{ClusterID: someID}) },
			peers:  []neighbour{{ordinal: 1, status: func(s *agent.Status) { s.ClusterID = "fedcba9876543210" }}},
			want:   []string{"cluster-identity"}, id: "cluster-identity", says: []string{someID, "fedcba9876543210", "keep every volume"},
		},
		"data of one cluster": {
			config: func(t *testing.T, cfg *agent.Config) { complete(t, *cfg, volume.Facts{ClusterID: someID}) },
			peers:  []neighbour{{ordinal: 1, status: func(s *agent.Status) { s.ClusterID = someID }}},
		},
		"a clock that is ahead": {
			peers: []neighbour{{ordinal: 1, skew: 20 * time.Second}},
			want:  []string{"clock"}, id: "clock", says: []string{"mysql-1's is 20 s ahead of", "set-ntp"},
		},
		"a clock that is behind": {
			peers: []neighbour{{ordinal: 1, skew: -10 * time.Minute}},
			want:  []string{"clock"}, id: "clock", says: []string{"600 s behind"},
		},
		"a clock a little off": {peers: []neighbour{{ordinal: 1, skew: 500 * time.Millisecond}}},
		"no room for the copy": { // what a source has, a replica has to have room for
			pod: "mysql-1", peers: []neighbour{{ordinal: 0, mysql: true, status: func(s *agent.Status) { n := uint64(1) << 50; s.DataBytes = &n }}},
			want: []string{"volume-space"}, id: "volume-space", says: []string{"a copy of mysql-0"},
		},
		"a newer source": {
			pod: "mysql-1", config: func(_ *testing.T, cfg *agent.Config) { cfg.MySQLVersion = "8.0.36" },
			peers: []neighbour{{ordinal: 0, mysql: true, status: func(s *agent.Status) { s.ServerVersion = "9.7.4" }}},
			want:  []string{"mysql-version"}, id: "mysql-version", says: []string{"8.0.36", "9.7.4", "the source last"},
		},
		"two agents in one network": {
			config: func(_ *testing.T, cfg *agent.Config) {
				cfg.StatusListen, cfg.DataListen = host(*cfg, 1)+":8080", host(*cfg, 1)+":3307"
			},
			peers: []neighbour{{ordinal: 1}},
			want:  []string{"status-port"}, id: "status-port", says: []string{`agent of "mysql-1"`, "hostNetwork"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := lone(t)
			cfg.Replicas = 2
			if test.pod != "" {
				cfg.PodName = test.pod
				cfg.StatusListen, cfg.DataListen = host(cfg, 1)+":8080", host(cfg, 1)+":3307"
			}
			if test.config != nil {
				test.config(t, &cfg)
			}
			for _, n := range test.peers {
				n.start(t, cfg)
			}
			r := examine(t, cfg)
			wants(t, r, test.want...)
			if test.id != "" {
				says(t, r, test.id, test.says...)
			}
		})
	}
}

// complete makes the volume hold data, empty as it is, that was initialised here.
func complete(t *testing.T, cfg agent.Config, facts volume.Facts) {
	t.Helper()
	v, err := volume.Open(cfg.Volume)
	must(t, err)
	defer v.Close()
	n, err := v.PrepareEmpty()
	gen := filepath.Join(cfg.Volume, "current")
	must(t, err, os.Mkdir(filepath.Join(gen, "mysql"), 0o750), os.WriteFile(filepath.Join(gen, "ibdata1"), nil, 0o640)) // by which a data directory is known
	must(t, v.MarkInitialised(t.Context(), n, facts))
}

// Packets that a NetworkPolicy drops, dropped by the kernel, in a network of one's own.
func TestPolicies(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	drop := func(port string) string {
		return "ip link set lo up; iptables -A INPUT -p tcp --dport " + port + " -j DROP"
	}
	cfg := lone(t)
	cfg.Replicas = 2
	t.Run("the data plane", func(t *testing.T) {
		t.Parallel()
		r := in(t, "-n", drop("3307"), cfg)
		wants(t, r, "data-port")
		says(t, r, "data-port", "mysql-1", "timeout", "podSelector", "port: 3307")
	})
	t.Run("mysqld", func(t *testing.T) {
		t.Parallel()
		cfg := cfg
		cfg.PodName, cfg.StatusListen, cfg.DataListen = "mysql-1", host(cfg, 1)+":8080", host(cfg, 1)+":3307"
		r := in(t, "-n", drop("3306"), cfg)
		wants(t, r, "source-port", "peer-agents") // in that network there is nobody at all
		says(t, r, "source-port", "mysql-0", "timeout", "port: 3306")
	})
}

func TestOwnPorts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config func(*agent.Config)
		want   []string
		says   []string
	}{
		"data elsewhere":     {func(c *agent.Config) { c.DataListen = ":3309" }, []string{"ports"}, []string{":3309", "--data-listen=:3307 --data-port=3307"}},
		"status elsewhere":   {func(c *agent.Config) { c.StatusPort = 9090 }, []string{"ports"}, []string{"9090"}},
		"one port for two":   {func(c *agent.Config) { c.MySQLPort = 3307 }, []string{"ports"}, []string{"3306, 3307, 8080"}},
		"only for ourselves": {func(c *agent.Config) { c.PeerHost, c.StatusListen = "198.51.100.{ordinal}", "127.0.0.1:8080" }, []string{"ports", "own-address"}, []string{"only this machine"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := lone(t)
			test.config(&cfg)
			r := examine(t, cfg)
			wants(t, r, test.want...)
			says(t, r, "ports", test.says...)
		})
	}
	t.Run("somebody else's web server", func(t *testing.T) {
		t.Parallel()
		cfg := lone(t)
		server := &http.Server{Handler: http.NotFoundHandler()}
		listener := listen(t, cfg.StatusListen)
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		r := examine(t, cfg)
		wants(t, r, "status-port")
		says(t, r, "status-port", "404", "--status-listen=:8081")
	})
}

func TestClockBeforeTheProgram(t *testing.T) {
	t.Parallel()
	cfg := lone(t)
	r := Examine(t.Context(), Surroundings{Ring: cachedRing, Config: cfg, Resolver: net.DefaultResolver, Built: time.Now().Add(48 * time.Hour)})
	wants(t, r, "clock")
	says(t, r, "clock", "this program was made on")
}
