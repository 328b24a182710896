package mysqltest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/mysqlx"
)

// Options say how a server differs from the usual one. The zero value is a fresh server on a copy of the template.
type Options struct {
	// Config adds to or replaces lines of the option file's [mysqld] group. An underscore and a hyphen in a name are the same.
	// An empty value stands for an option without one; the value "-" removes a default line.
	Config map[string]string
	// Args are further options on mysqld's command line.
	Args []string
	// DataDir is used as it is, and is not removed. Empty: a copy of the template, removed with the test.
	DataDir string
	// InitArgs, if not nil, makes a new data directory with these options instead of a copy of the template. Those that shape the data
	// must be in Config as well.
	InitArgs []string
	// Address is the IPv4 address to listen on. Empty: an unused one of 127.64.0.0/10.
	Address string
	// Port to listen on. 0: 3306, which is free on an address of one's own.
	Port int
	// Distribution is another server than Get's.
	Distribution *Distribution
	// RootPassword is what helpers log in with, as root over the socket. The server of the template has none.
	RootPassword string
}

// A Server is a mysqld that belongs to a test. It ends with the test at the latest, and with the test's process.
type Server struct {
	Distribution Distribution
	DataDir      string
	Socket       string // path, short enough for a unix socket
	Address      string // host:port
	Host         string
	Port         int
	ConfigFile   string

	db      *mysqlx.DB
	root    mysqlx.Endpoint
	args    []string
	logFile string

	mu      sync.Mutex
	process *process // the last one started, perhaps ended
}

// Get returns what Find finds. Without a server the test is skipped, or fails where CI=true.
func Get(t testing.TB) Distribution {
	t.Helper()
	found.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		found.distribution, found.err = Find(ctx)
	})
	if found.err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a mysqld is needed: %v", found.err)
		}
		t.Skipf("needs a mysqld: %v", found.err)
	}
	return found.distribution
}

// found remembers the answer for all tests of one binary.
var found struct {
	once         sync.Once
	distribution Distribution
	err          error
}

// Template is Distribution.Template for a test.
func Template(t testing.TB) string {
	t.Helper()
	dir, err := Get(t).Template(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Start starts a server and waits until it answers root over the socket. It fails the test with the end of the server's log if it does
// not.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Launch(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Launch is Start for a server that may refuse to start. The server is returned in either case, for its Log.
func Launch(t testing.TB, o Options) (*Server, error) {
	t.Helper()
	if o.Distribution == nil {
		d := Get(t)
		o.Distribution = &d
	}
	s, err := prepare(t, *o.Distribution, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.db.Close()
		if o.DataDir == "" {
			s.Kill9(t) // no one will miss the data
		}
		s.end()
		if t.Failed() {
			t.Logf("log of mysqld at %s:\n%s", s.Address, tail(s.Log(), 4000))
		}
	})
	return s, s.start(t.Context())
}

// prepare writes the data directory and the option file.
func prepare(t testing.TB, d Distribution, o Options) (*Server, error) {
	// Not t.TempDir: its path has the test's name in it, and a socket's path is limited to 107 bytes.
	dir, err := os.MkdirTemp("", "mysqltest")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{
		Distribution: d,
		DataDir:      o.DataDir,
		Socket:       filepath.Join(dir, "mysqld.sock"),
		Port:         o.Port,
		Host:         o.Address,
		ConfigFile:   filepath.Join(dir, "my.cnf"),
		logFile:      filepath.Join(dir, "mysqld.err"),
	}
	if len(s.Socket) > 106 {
		return nil, fmt.Errorf("socket path %s is too long; set TMPDIR to a shorter one", s.Socket)
	}
	if s.Port == 0 {
		s.Port = 3306
	}
	if s.Host == "" {
		if s.Host, err = freeAddress(s.Port); err != nil {
			return nil, err
		}
	}
	s.Address = net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if s.DataDir == "" {
		s.DataDir = filepath.Join(dir, "data")
		if o.InitArgs != nil {
			err = d.Initialize(t.Context(), s.DataDir, o.InitArgs...)
		} else {
			err = d.CopyTemplate(t.Context(), s.DataDir)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(s.ConfigFile, []byte(s.config(o.Config)), 0o644); err != nil {
		return nil, err
	}
	s.args = append([]string{"--defaults-file=" + s.ConfigFile}, o.Args...)
	s.root = mysqlx.Endpoint{
		Address:     s.Socket,
		Credentials: mysqlx.Credentials{User: "root", Password: mysqlx.FixedPassword(o.RootPassword)},
	}
	s.db, err = mysqlx.Open(s.root)
	return s, err
}

// config returns the option file: a small server with GTIDs and the clone plugin, and what a test adds.
func (s *Server) config(extra map[string]string) string {
	ip := net.ParseIP(s.Host).To4()
	if ip == nil {
		ip = net.IPv4(127, 0, 0, 1).To4()
	}
	options := map[string]string{
		"datadir":                        s.DataDir,
		"socket":                         s.Socket,
		"pid_file":                       s.Socket + ".pid",
		"log_error":                      s.logFile,
		"bind_address":                   s.Host,
		"port":                           strconv.Itoa(s.Port),
		"server_id":                      strconv.Itoa(1 + int(ip[1])<<16 + int(ip[2])<<8 + int(ip[3])),
		"log_bin":                        "binlog",
		"relay_log":                      "relay",
		"relay_log_recovery":             "ON",
		"gtid_mode":                      "ON",
		"enforce_gtid_consistency":       "ON",
		"plugin_load_add":                "mysql_clone.so",
		"performance_schema":             "ON",
		"innodb_buffer_pool_size":        "64M",
		"loose_innodb_redo_log_capacity": "16M",
		"innodb_log_buffer_size":         "4M",
	}
	for name, value := range extra {
		options[strings.ReplaceAll(name, "-", "_")] = value
	}
	var b strings.Builder
	b.WriteString("[mysqld]\n")
	for _, name := range slices.Sorted(maps.Keys(options)) {
		switch value := options[name]; value {
		case "-":
		case "":
			fmt.Fprintln(&b, name)
		default:
			fmt.Fprintf(&b, "%s = %s\n", name, value)
		}
	}
	return b.String()
}

// freeAddress returns a random loopback address on which the port is free. There are four million: parallel tests do not meet.
func freeAddress(port int) (string, error) {
	var last error
	for range 20 {
		n := rand.Uint32N(1<<22-2) + 1
		ip := net.IPv4(127, 64+byte(n>>16), byte(n>>8), byte(n)).String()
		l, err := net.Listen("tcp4", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		return ip, l.Close()
	}
	return "", fmt.Errorf("no free loopback address for port %d: %w", port, last)
}
