package mysqltest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"ordinal/internal/testing/command"
	"ordinal/internal/testing/debian"
	"ordinal/mysqlx"
)

var debianMariaDB = debianServer{
	name: "debian-" + debian.Suite + "-mariadb-" + runtime.GOARCH, title: "MariaDB (about 16 MB)",
	packages: []string{"mariadb-server-core"},
	check: func(ctx context.Context, root, _ string) (string, error) {
		cmd := mariadbd(root, "--version")
		return "MariaDB", command.Run(ctx, cmd)
	},
}

// StartMariaDB starts a MariaDB server that ends with the test and returns its socket: for tests of what is done about a server that is
// not MySQL. It has no accounts and lets everybody in. Without a server the test is skipped, or fails where CI=true.
func StartMariaDB(t testing.TB) (socket string) {
	t.Helper()
	root, err := findMariaDB(t.Context())
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a MariaDB server is needed: %v", err)
		}
		t.Skipf("needs a MariaDB server: %v", err)
	}
	dir, err := os.MkdirTemp("", "mariadb") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "mysqld.sock")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := mariadbd(root, "--datadir="+dir, "--socket="+socket, "--pid-file="+filepath.Join(dir, "pid"),
		"--skip-networking", "--skip-grant-tables", "--innodb-buffer-pool-size=16M")
	cmd.Stdout, cmd.Stderr = log, log
	p, err := startProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // no one will miss the data
		<-p.done
	})
	if err := answers(t.Context(), p, socket); err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("start MariaDB: %v\n%s", err, tail(string(text), 3000))
	}
	return socket
}

func findMariaDB(ctx context.Context) (root string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	f := Finder{Progress: os.Stderr}
	cache, err := f.cacheDir()
	if err != nil {
		return "", err
	}
	return f.debianRoot(ctx, cache, debianMariaDB)
}

// mariadbd runs the unpacked server. It speaks other options than MySQL's.
func mariadbd(root string, args ...string) *exec.Cmd {
	d := Distribution{root: root}
	argv := d.argv(filepath.Join(root, "usr/sbin/mariadbd"), append([]string{"--no-defaults",
		"--basedir=" + filepath.Join(root, "usr"),
		"--lc-messages-dir=" + filepath.Join(root, "usr/share/mariadb"),
	}, args...)...)
	if os.Geteuid() == 0 {
		argv = append(argv, "--user=root")
	}
	return exec.Command(argv[0], argv[1:]...)
}

// answers waits until a server lets somebody in over its socket.
func answers(ctx context.Context, p *process, socket string) error {
	db, err := mysqlx.Open(mysqlx.Endpoint{Address: socket, Credentials: mysqlx.Credentials{User: "root"}})
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := db.Ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(pollInterval):
		}
	}
}
