package doctor

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/agent"
	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

// shared is a real set of a source and a replica, started once for all tests that need one. Tests that change something in a pod have it for themselves.
var shared sharedSet

type sharedSet struct {
	once sync.Once
	set  *localset.Set
	dir  string
	kill context.CancelFunc
	err  error
	// mu is held by who changes or examines the set: what one breaks on purpose, the other must not see.
	mu sync.Mutex
}

func (s *sharedSet) start(o localset.Options) error {
	dir, err := os.MkdirTemp("", "set")
	if err != nil {
		return err
	}
	s.dir, o.Dir = dir, dir
	if o.Hosts, err = localset.FreeHosts(); err != nil {
		return err
	}
	if s.set, err = localset.New(o); err != nil {
		return err
	}
	ctx, kill := context.WithCancel(context.Background())
	s.kill = kill
	return s.set.Start(ctx)
}

func (s *sharedSet) stop() {
	if s.kill != nil {
		s.kill()
		<-s.set.Done()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// the set, ready, for one test alone.
func theSet(t *testing.T) *localset.Set {
	t.Helper()
	distribution, binary := mysqltest.Get(t), localset.BuildAgent(t)
	shared.once.Do(func() {
		shared.err = shared.start(localset.Options{Replicas: 2, Distribution: distribution, AgentBinary: binary, Database: "shop", Secret: testSecret})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	shared.mu.Lock()
	t.Cleanup(shared.mu.Unlock)
	ready(t, shared.set)
	return shared.set
}

func ready(t *testing.T, s *localset.Set) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatalf("%v\n%s", err, s.LogTails(20))
	}
}

// pod is what a pod of the set was told.
func pod(s *localset.Set, ordinal int) agent.Config {
	p, cfg := s.Pod(ordinal), agent.DefaultConfig()
	cfg.PodName, cfg.PeerHost, cfg.Replicas, cfg.Volume, cfg.MySQLConfigDir, cfg.MySQLAddress = p.Name, s.Hosts(), s.Replicas(), p.Volume, p.ConfigDir, p.Socket
	cfg.DataListen, cfg.StatusListen = fmt.Sprintf("%s:%d", p.Host, localset.DataPort), fmt.Sprintf("%s:%d", p.Host, localset.StatusPort)
	cfg.SecretFile = s.SecretFile()
	cfg.RootPassword = passwordIn(s.RootPasswordFile())
	return cfg
}

func passwordIn(path string) func() (string, error) {
	return func() (string, error) {
		b, err := os.ReadFile(path)
		return strings.TrimRight(string(b), "\n"), err
	}
}

// A set as it should be has nothing wrong, seen from each of its pods.
func TestHealthySet(t *testing.T) {
	s := theSet(t)
	for ordinal := range 2 {
		r := examine(t, pod(s, ordinal))
		wants(t, r)
		if r.Says == "" || r.Pod != s.Pod(ordinal).Name {
			t.Errorf("report of %q says %q", r.Pod, r.Says)
		}
		for _, id := range []string{"mysqld", "config-read", "datadir", "same-volume", "mysqld-listens", "clone-plugin", "gtid", "server-id", "settings", "durability", "peer-secret", "clock", "identity",
			"cluster-identity", "data-port", "root-password", "agent-account", "secret", "user", "status-port", "other-engines", "encrypted-tables", "external-tables", "channel", "read-only"} {
			if got := state(r, id); got != OK {
				t.Errorf("%s: %s is %s", r.Pod, id, got)
				says(t, r, id, "why?")
			}
		}
	}
}
