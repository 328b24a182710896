package localset_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes this program stand in for the agent: what the emulator does with a program that behaves as the agent's command line
// promises can be seen without everything that the agent does besides.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			os.Exit(standInInit(flags()))
		case "run":
			os.Exit(standInRun(flags()))
		case "parent":
			os.Exit(parent())
		}
	}
	os.Exit(m.Run())
}

func flags() map[string]string {
	all := map[string]string{}
	for _, arg := range os.Args[2:] {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		all[name] = value
	}
	return all
}

// standInInit gives mysqld an empty data directory or the one that is there. A file named fail in the volume holds one letter for each
// time that it fails before.
func standInInit(flag map[string]string) int {
	fmt.Println("told", flag["pod-name"], "replicas", flag["replicas"])
	volume := flag["volume"]
	if left, err := os.ReadFile(filepath.Join(volume, "fail")); err == nil && len(left) > 0 {
		if err := os.WriteFile(filepath.Join(volume, "fail"), left[1:], 0o600); err != nil {
			return 74
		}
		return 75
	}
	current := filepath.Join(volume, "current")
	if _, err := os.Lstat(current); err != nil {
		if os.MkdirAll(filepath.Join(volume, "gen", "000001"), 0o750) != nil || os.Symlink("gen/000001", current) != nil {
			return 73
		}
	}
	options := "[mysqld]\ndatadir = " + current + "\nlog_bin = binlog\ngtid_mode = ON\nenforce_gtid_consistency = ON\nserver_id = 1\n"
	if os.WriteFile(filepath.Join(flag["mysql-config-dir"], "zz-ordinal.cnf"), []byte(options), 0o644) != nil {
		return 74
	}
	return 0
}

// standInRun is ready while mysqld answers over TCP.
func standInRun(flag map[string]string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	ready := func() bool {
		host, _, _ := net.SplitHostPort(flag["status-listen"])
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, flag["mysql-port"]), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	http.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"pod": flag["pod-name"], "state": "source", "ready": ready(), "phase": "run"})
	})
	go func() { fmt.Println(http.ListenAndServe(flag["status-listen"], nil)) }()
	<-term
	return 0
}
