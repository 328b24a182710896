package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ordinal/agent"
	"ordinal/internal/testing/localset"
	"ordinal/internal/trust"
)

const testSecret = "doctors-test-secret-doctors-test-secret"

// lone is a pod that has never been started and knows of no other, on an address of its own. Nothing is wrong with it.
func lone(t *testing.T) agent.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "doctor") // other users have to get in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "volume"), 0o755), os.Mkdir(filepath.Join(dir, "conf.d"), 0o755), os.Mkdir(filepath.Join(dir, "run"), 0o755),
		os.WriteFile(filepath.Join(dir, "secret"), []byte(testSecret+"\n"), 0o440),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg := agent.DefaultConfig()
	n := rand.IntN(1 << 14)
	cfg.PodName, cfg.Replicas, cfg.PeerHost = "mysql-0", 1, fmt.Sprintf("127.%d.%d.{ordinal}", 64+n>>8, n&0xff)
	host := strings.ReplaceAll(cfg.PeerHost, "{ordinal}", "0")
	cfg.DataListen, cfg.StatusListen = host+":3307", host+":8080"
	cfg.Volume, cfg.MySQLConfigDir = filepath.Join(dir, "volume"), filepath.Join(dir, "conf.d")
	cfg.MySQLAddress, cfg.SecretFile = filepath.Join(dir, "run", "mysqld.sock"), filepath.Join(dir, "secret")
	return cfg
}

// host is the address of a pod of a set whose peers are addresses.
func host(cfg agent.Config, ordinal int) string {
	return strings.ReplaceAll(cfg.PeerHost, "{ordinal}", fmt.Sprint(ordinal))
}

func examine(t *testing.T, cfg agent.Config) Report {
	t.Helper()
	return Examine(t.Context(), Surroundings{Ring: cachedRing, Config: cfg, Resolver: net.DefaultResolver})
}

var rings struct {
	sync.Mutex
	of map[string]*trust.Ring
}

// cachedRing derives the keys of each secret once: they are made to take long.
func cachedRing(path string) (*trust.Ring, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rings.Lock()
	defer rings.Unlock()
	if ring := rings.of[string(text)]; ring != nil {
		return ring, nil
	}
	ring, err := trust.LoadRing(path)
	if err != nil {
		return nil, err
	}
	if rings.of == nil {
		rings.of = map[string]*trust.Ring{}
	}
	rings.of[string(text)] = ring
	return ring, nil
}

// flags are the options that make a config.
func flags(cfg agent.Config) []string {
	args := []string{
		"--pod-name=" + cfg.PodName, fmt.Sprintf("--replicas=%d", cfg.Replicas), "--peer-host=" + cfg.PeerHost, "--volume=" + cfg.Volume, "--mysql-config-dir=" + cfg.MySQLConfigDir,
		"--mysql-address=" + cfg.MySQLAddress, "--secret-file=" + cfg.SecretFile, "--data-listen=" + cfg.DataListen, "--status-listen=" + cfg.StatusListen,
	}
	if cfg.Service != "" {
		args = append(args, "--service="+cfg.Service)
	}
	return args
}

// program is the agent, where every user can run it.
func program(t *testing.T) string {
	t.Helper()
	from, err := os.Open(localset.BuildAgent(t))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	to, err := os.OpenFile(filepath.Join(dir, "agent"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// as runs the program as another user, uid 0 being ours.
func as(t *testing.T, uid uint32, cfg agent.Config, more ...string) Report {
	t.Helper()
	cmd := exec.Command(program(t), append(append([]string{"doctor", "--json"}, flags(cfg)...), more...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return reportOf(t, cmd)
}

// in runs the program after a script of its own, in new namespaces: what it changes is seen by nobody else.
func in(t *testing.T, unshare string, script string, cfg agent.Config, more ...string) Report {
	t.Helper()
	args := append([]string{unshare, "sh", "-ec", script + "\nexec \"$@\"", "sh", program(t), "doctor", "--json"}, flags(cfg)...)
	return reportOf(t, exec.Command("unshare", append(args, more...)...))
}

func reportOf(t *testing.T, cmd *exec.Cmd) (r Report) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if json.Unmarshal(stdout.Bytes(), &r) != nil || len(r.Results) == 0 {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, &stdout, &stderr)
	}
	if strings.Contains(stdout.String()+stderr.String(), testSecret) {
		t.Errorf("the secret is shown:\n%s%s", &stdout, &stderr)
	}
	return r
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Before the first start nothing is wrong, and next to nothing is known.
func TestLonePod(t *testing.T) {
	t.Parallel()
	r := examine(t, lone(t))
	wants(t, r)
	for _, id := range []string{"mysqld", "clone-plugin", "datadir", "clock", "store", "peer-secret"} {
		if got := state(r, id); got != NotChecked {
			t.Errorf("%s is %s, want %s", id, got, NotChecked)
		}
	}
}
