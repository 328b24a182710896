package localset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
)

// logLines is how much of each log a failed test shows.
const logLines = 30

// ForTest makes and starts a set that ends with the test. Dir, Hosts, Distribution and AgentBinary are chosen where o leaves them out, so
// that tests can run side by side. A failed test logs the ends of all logs.
func ForTest(t testing.TB, o Options) *Set {
	t.Helper()
	if o.Distribution.Mysqld() == "" {
		o.Distribution = mysqltest.Get(t)
	}
	if o.AgentBinary == "" {
		o.AgentBinary = BuildAgent(t)
	}
	if o.Dir == "" {
		// Not t.TempDir: its path has the test's name in it and is too long for sockets.
		dir, err := os.MkdirTemp("", "set")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		o.Dir = dir
	}
	if o.Hosts == "" {
		hosts, err := FreeHosts()
		if err != nil {
			t.Fatal(err)
		}
		o.Hosts = hosts
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	// A child that another test has just forked holds a port for an instant.
	for range 10 {
		if err = s.Start(ctx); err == nil {
			break
		}
		<-time.After(50 * time.Millisecond)
	}
	if err != nil {
		kill()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill() // what a test looks at, it has looked at
		<-s.Done()
		if t.Failed() {
			t.Log(s.LogTails(logLines))
		}
	})
	return s
}

// FreeHosts returns a template of addresses, 127.a.b.{ordinal}, that no other set uses at the moment. There are 32,768 of them.
func FreeHosts() (string, error) {
	var err error
	for range 20 {
		n := rand.IntN(1 << 15) // 127.128.0.0/9; mysqltest uses 127.64.0.0/10
		hosts := fmt.Sprintf("127.%d.%d.{ordinal}", 128+n>>8, n&0xff)
		var l net.Listener
		l, err = net.Listen("tcp4", net.JoinHostPort(strings.ReplaceAll(hosts, "{ordinal}", "0"), fmt.Sprint(StatusPort)))
		if err == nil {
			return hosts, l.Close()
		}
	}
	return "", fmt.Errorf("no free addresses for a set: %w", err)
}

var built struct {
	once sync.Once
	path string
	err  error
}

// BuildAgent returns the path of an agent built from the source tree, once per test program.
func BuildAgent(t testing.TB) string {
	t.Helper()
	built.once.Do(func() { built.path, built.err = buildInCache(context.Background()) })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// buildInCache keeps one agent per source tree. Test programs that run at the same time replace it by one that is the same.
func buildInCache(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder for the agent: %w", err)
	}
	_, source, _, _ := runtime.Caller(0)
	sum := sha256.Sum256([]byte(source))
	path := filepath.Join(cache, "ordinal", "test", fmt.Sprintf("agent-%x", sum[:4]))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := Build(ctx, fresh); err != nil {
		return "", err
	}
	return path, os.Rename(fresh, path)
}

// Build builds the agent from the source tree that the program runs in.
func Build(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "ordinal/cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("build the agent: %w", err), errors.New(strings.TrimSpace(string(out))))
	}
	return nil
}
