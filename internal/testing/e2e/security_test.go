package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/trust"
)

// TestSecrets runs a set from nothing, with a login that fails and starts that are refused beside it, and looks for every secret
// wherever something of the set can be read. Whoever has no certificate gets nothing from it.
func TestSecrets(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 3*time.Minute)
	const (
		cluster   = "planted-Cluster+Secret/0123456789abcdefghij=="
		root      = `planted-root's "pass" \word`
		otherRoot = "planted-wrong-root-password"
	)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Secret: cluster, RootPassword: root, Database: "shop"})
	keys, others := deriveKeys(t, cluster), deriveKeys(t, goodSecret)
	sc := &scanner{t: t}
	sc.plant("cluster secret", cluster)
	sc.plant("another cluster's secret", goodSecret)
	sc.plant("root's password", root)
	sc.plant("a wrong password of root", otherRoot)
	sc.plant("the agent's password", keys.AgentPassword())
	sc.plant("the agent's password of another cluster", others.AgentPassword())
	dir := filepath.Dir(s.SecretFile())
	stop := sc.watchProcesses(ctx, dir)

	// Another agent, with another secret and a wrong password of root, for the set's own mysqld.
	stranger := newHandPod(t, "mysql-0", freeHosts(t), newSecret(t, goodSecret))
	becomeComplete(t, stranger)
	stranger.socket = s.Pod(0).Socket
	password := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte(otherRoot), 0o600))
	denied := stranger.start("run", "--replicas=1", "--root-password-file="+password, "--log-level=debug")

	must(t, s.WaitReady(ctx))
	st := waitStatus(ctx, t, s, 0, "a cluster id", func(st localset.Status) bool { return st.ClusterID != "" })
	sc.plant("the replication password", keys.ReplicationPassword(st.ClusterID))
	denied.says(ctx, "access_denied")
	statusOf := func(host string) { sc.scanStatusPlane(ctx, host) }
	statusOf(stranger.listen)

	t.Run("data plane", func(t *testing.T) { dataPlaneGivesNothing(ctx, t, s, keys, others) })

	refusedPod := newHandPod(t, "mysql-2", hostsOf(s), stranger.secret)
	sc.scan("a refused init", []byte(refusedPod.run(ctx, "init", "--log-level=debug").stderr))
	refusedPod.secret = s.SecretFile()
	must(t, os.WriteFile(filepath.Join(refusedPod.volume, "foreign"), nil, 0o644))
	sc.scan("another refused init", []byte(refusedPod.run(ctx, "init", "--log-level=debug", "--root-password-file="+s.RootPasswordFile()).stderr))
	sc.scan("a login that failed", []byte(denied.err()))

	for ordinal := range 2 {
		statusOf(s.Pod(ordinal).Host)
		sc.scan("data plane", peerAnswer(ctx, t, s, keys, ordinal))
	}
	o := agentStatus(t, hostsOf(s), "--json").wait(ctx)
	sc.scan("agent status", []byte(o.stdout+o.stderr))
	stop()

	// Everything the set has written, but for three places. The two files are where the secrets come from. In a data directory MySQL
	// keeps the replication password in clear text, in mysql.slave_master_info: see refman/8.4 replication-howto-repuser.
	files := sc.scanFiles(dir, func(path string) bool {
		return path == s.SecretFile() || path == s.RootPasswordFile() || filepath.Base(filepath.Dir(path)) == "volume" && filepath.Base(path) == "gen"
	})
	for _, must := range []string{"mysql-1/log/agent.log", "mysql-1/log/init.log", "mysql-1/log/mysqld.log", "mysql-1/conf.d/zz-ordinal.cnf", "mysql-1/volume/agent/identity.json"} {
		if !slices.Contains(files, filepath.Join(dir, must)) {
			t.Errorf("%s was not looked at", must)
		}
	}
	for _, dir := range []string{stranger.volume, stranger.conf, refusedPod.volume, refusedPod.conf} {
		sc.scanFiles(dir, func(string) bool { return false })
	}
	t.Logf("looked at %d things, %d processes and %d files of the set among them", sc.looked, sc.processes, len(files))
	if sc.processes < 6 || sc.looked < 40 {
		t.Error("that is too few to be all")
	}
	sc.mustFindWhatIsThere()
}

func deriveKeys(t *testing.T, text string) *trust.Keys {
	t.Helper()
	secret, err := trust.NewSecret(text)
	must(t, err)
	keys, err := secret.Derive()
	must(t, err)
	return keys
}

// A scanner looks for planted secrets, also as they look encoded.
type scanner struct {
	t       *testing.T
	needles []needle

	mu        sync.Mutex
	looked    int
	processes int
}

type needle struct{ name, text string }

func (sc *scanner) plant(name, secret string) {
	quoted := fmt.Sprintf("%q", secret)
	forms := []string{
		secret, quoted[1 : len(quoted)-1], strings.ReplaceAll(secret, "'", "''"), strings.ReplaceAll(secret, "'", `\'`),
		url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
	}
	slices.Sort(forms)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, form := range slices.Compact(forms) {
		sc.needles = append(sc.needles, needle{name, form})
	}
}

// find returns the names of the secrets that are in text.
func (sc *scanner) find(text []byte) []string {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.looked++
	var found []string
	for _, n := range sc.needles {
		if bytes.Contains(text, []byte(n.text)) && !slices.Contains(found, n.name) {
			found = append(found, n.name)
		}
	}
	return found
}

func (sc *scanner) scan(where string, text []byte) {
	sc.t.Helper()
	for _, name := range sc.find(text) {
		sc.t.Errorf("%s shows %s", where, name)
	}
}

// mustFindWhatIsThere proves that a silent scanner is not a blind one.
func (sc *scanner) mustFindWhatIsThere() {
	sc.t.Helper()
	for _, n := range sc.needles {
		if found := sc.find([]byte("x" + n.text + "x")); !slices.Contains(found, n.name) {
			sc.t.Errorf("%s is not found where it is", n.name)
		}
	}
}

// watchProcesses looks at all processes that have to do with dir, again and again, because some live for a moment only.
func (sc *scanner) watchProcesses(ctx context.Context, dir string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		seen := map[string]bool{}
		for {
			forEachProcess(func(pid int, cmdline, environ string) {
				key := fmt.Sprint(pid, cmdline)
				if !strings.Contains(cmdline, dir) || seen[key] {
					return
				}
				seen[key] = true
				sc.processes++
				sc.scan("the command line of "+cmdline, []byte(cmdline))
				sc.scan("the environment of "+cmdline, []byte(environ))
			})
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	sc.t.Cleanup(stop)
	return stop
}

// scanFiles looks at every regular file below dir and returns their paths.
func (sc *scanner) scanFiles(dir string, skip func(path string) bool) (paths []string) {
	sc.t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // a temporary file
			return nil
		case err != nil:
			return err
		case skip(path) && entry.IsDir():
			return fs.SkipDir
		case skip(path) || !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			sc.scan(path, text)
			paths = append(paths, path)
		}
		return nil
	})
	must(sc.t, err)
	return paths
}

// scanStatusPlane asks everything the status plane answers, and something that it does not.
func (sc *scanner) scanStatusPlane(ctx context.Context, host string) {
	sc.t.Helper()
	for _, path := range []string{"/livez", "/startupz", "/readyz", "/status", "/status?level=full", "/v1/status", "/", "/v1/peer", "/v1/clone/sessions", "/debug/pprof/", "/metrics"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", host, localset.StatusPort, path), nil)
		must(sc.t, err)
		res, err := http.DefaultClient.Do(req)
		must(sc.t, err)
		var text bytes.Buffer
		must(sc.t, res.Header.Write(&text))
		_, err = io.Copy(&text, res.Body)
		res.Body.Close()
		must(sc.t, err)
		sc.scan(path+" of the status plane", text.Bytes())
		if strings.HasPrefix(path, "/v1/clone") || path == "/v1/peer" || strings.HasPrefix(path, "/debug") {
			if res.StatusCode != http.StatusNotFound {
				sc.t.Errorf("the status plane answers %s with %s", path, res.Status)
			}
		}
	}
}

// peerAnswer is what a pod of the set gets.
func peerAnswer(ctx context.Context, t *testing.T, s *localset.Set, keys *trust.Keys, ordinal int) []byte {
	t.Helper()
	answer, err := askPlane(ctx, dataAddress(s, ordinal), keys.ClientTLS("mysql-1", s.Pod(ordinal).Name))
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) {
		t.Errorf("a pod of the set is answered %.100q, %v", answer, err)
	}
	return answer
}

// askPlane asks a data plane who it is, and returns all bytes of the answer.
func askPlane(ctx context.Context, address string, config *tls.Config) ([]byte, error) {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp4", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "GET /v1/peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

// dataPlaneGivesNothing: not one byte of HTTP to whoever is not a pod of this set. That the client checks nothing shows what the
// server itself does.
func dataPlaneGivesNothing(ctx context.Context, t *testing.T, s *localset.Set, keys, others *trust.Keys) {
	careless := func(c *tls.Config) *tls.Config {
		c.InsecureSkipVerify = true
		c.VerifyConnection = nil
		return c
	}
	older := careless(keys.ClientTLS("mysql-1", "mysql-0"))
	older.MinVersion, older.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, tt := range []struct {
		name   string
		config *tls.Config
		want   string
	}{
		{"no certificate", careless(&tls.Config{MinVersion: tls.VersionTLS13}), "certificate required"},
		{"another secret's certificate", careless(others.ClientTLS("mysql-1", "mysql-0")), "unknown certificate authority"},
		{"another set's certificate", careless(keys.ClientTLS("other-1", "mysql-0")), "bad certificate"},
		{"a certificate without an ordinal", careless(keys.ClientTLS("mysql", "mysql-0")), "bad certificate"},
		{"TLS 1.2", older, "protocol version not supported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := askPlane(ctx, dataAddress(s, 0), tt.config)
			if err == nil || len(answer) > 0 {
				t.Fatalf("it is answered %q, %v", answer, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		res, err := http.Get("http://" + dataAddress(s, 0) + "/v1/peer")
		if err != nil {
			return
		}
		defer res.Body.Close()
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusBadRequest || strings.Contains(string(body), "mysql-0") {
			t.Errorf("it is answered %s, %q", res.Status, body)
		}
	})
	peerAnswer(ctx, t, s, keys, 0)
}
