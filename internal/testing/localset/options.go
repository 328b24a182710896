package localset

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ordinal/internal/testing/mysqltest"
)

// Policy is the StatefulSet's podManagementPolicy.
type Policy string

// The policies, by Kubernetes' names.
const (
	// Parallel creates all Pods at once. Each agent is told the full number of replicas.
	Parallel Policy = "Parallel"
	// OrderedReady creates a Pod once all those before it are ready. Each agent is told the number of Pods that exist when it starts,
	// which is what cluster DNS would tell it.
	OrderedReady Policy = "OrderedReady"
)

// Ports of every Pod, on its own address.
const (
	MySQLPort  = 3306
	DataPort   = 3307
	StatusPort = 8080
)

// DefaultHosts gives ordinal n the address 127.0.1.n.
const DefaultHosts = "127.0.1.{ordinal}"

// Options describe a set. Distribution and AgentBinary are needed; the rest has defaults.
type Options struct {
	// Dir holds everything: volumes, configuration, sockets, logs, secrets. It is made if need be and never removed. Its path is short,
	// because a unix socket's is limited to 107 bytes.
	Dir string
	// Name is the StatefulSet's. Default: mysql.
	Name string
	// Replicas is the number of Pods, the source included.
	Replicas int
	// Policy defaults to Parallel.
	Policy Policy
	// Hosts is the template of a Pod's IPv4 address: one of the loopback, unless there is a Network. Sets that run side by side need one
	// each. Default: DefaultHosts.
	Hosts string
	// AgentBinary is the path of the agent.
	AgentBinary string
	// AgentArgs are further flags for agent init and agent run. May be nil.
	AgentArgs func(ordinal int) []string
	// AgentCommand replaces AgentBinary where it returns a command, with arguments that come before the agent's own: strace, say. May
	// be nil.
	AgentCommand func(ordinal int, process Process) []string
	// Distribution is where mysqld comes from.
	Distribution mysqltest.Distribution
	// MysqldArgs are further options for each start of mysqld, the first initialisation included. May be nil.
	MysqldArgs func(ordinal int) []string
	// Config adds lines to the [mysqld] group of every Pod's option file, before what the agent writes.
	Config string
	// Secret is the cluster secret. Default: the one kept in Dir, else a random one.
	Secret string
	// RootPassword is what the image's MYSQL_ROOT_PASSWORD would be. Default: the one kept in Dir, else a random one.
	RootPassword string
	// Database is what MYSQL_DATABASE would be. Default: none.
	Database string
	// InitSQL is what a script in /docker-entrypoint-initdb.d would run. Default: nothing.
	InitSQL string
	// Network puts each Pod into a network of its own; Hosts are its addresses then. Default: all Pods share the machine's loopback.
	Network Network
	// Env adds variables to the environment of a Pod's program. May be nil.
	Env func(ordinal int, process Process) []string
	// Grace is the time between SIGTERM and SIGKILL, for each of a Pod's programs. Default: 30 s.
	Grace time.Duration
	// OnEvent gets each event, one at a time, in order. It must not call the set. May be nil.
	OnEvent func(Event)
}

func (o *Options) complete() error {
	if o.AgentBinary == "" {
		return errors.New("local set: no agent binary; build one with `go build -o bin/agent ./cmd/agent`")
	}
	if o.Distribution.Mysqld() == "" {
		return errors.New("local set: no mysqld; get one by mysqltest.Find")
	}
	var err error
	if o.AgentBinary, err = filepath.Abs(o.AgentBinary); err != nil {
		return err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	setDefault(&o.Name, "mysql")
	setDefault(&o.Policy, Parallel)
	setDefault(&o.Hosts, DefaultHosts)
	setDefault(&o.Grace, 30*time.Second)
	// A directory that was used before holds volumes that know its secrets.
	setDefault(&o.Secret, kept(o.secretFile()))
	setDefault(&o.RootPassword, kept(o.rootPasswordFile()))
	setDefault(&o.Secret, base64.StdEncoding.EncodeToString(random(32)))
	setDefault(&o.RootPassword, "root-"+base64.RawURLEncoding.EncodeToString(random(12)))
	ip := net.ParseIP(o.host(0))
	if ip == nil || o.Network == nil && !ip.IsLoopback() || !strings.Contains(o.Hosts, "{ordinal}") {
		return fmt.Errorf("local set: hosts %q: want a template of loopback addresses, like %s", o.Hosts, DefaultHosts)
	}
	// See unix(7): sun_path holds 107 bytes and a zero.
	if longest := filepath.Join(o.Dir, o.Name+"-999", "run", "mysqld.sock"); len(longest) > 107 {
		return fmt.Errorf("local set: directory %s is too long a path for unix sockets; use a shorter one, such as one below /tmp", o.Dir)
	}
	return nil
}

func (o *Options) host(ordinal int) string {
	return strings.ReplaceAll(o.Hosts, "{ordinal}", strconv.Itoa(ordinal))
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: see crypto/rand
	return b
}

// freePorts says which of the set's ports is in use, by connecting nowhere: it listens for an instant.
func freePorts(ctx context.Context, host string) error {
	for _, port := range []int{MySQLPort, DataPort, StatusPort} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("address %s is not free: %w; end what uses it (another set?) or choose other hosts", host, err)
		}
		_ = l.Close()
	}
	return nil
}

func (o *Options) secretFile() string       { return filepath.Join(o.Dir, "secret") }
func (o *Options) rootPasswordFile() string { return filepath.Join(o.Dir, "root-password") }

// kept returns what writeSecrets wrote to a file, "" if it did not.
func kept(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(content), "\n")
}

// writeSecrets makes the files that Secrets would be mounted as.
func (o *Options) writeSecrets() error {
	return errors.Join(
		os.WriteFile(o.secretFile(), []byte(o.Secret+"\n"), 0o600),
		os.WriteFile(o.rootPasswordFile(), []byte(o.RootPassword+"\n"), 0o600),
	)
}
