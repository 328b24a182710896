package mysqltest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"ordinal/internal/testing/debian"
	"ordinal/internal/testing/filelock"
)

// debianServer is a server that Debian has, and how it is told from what merely was unpacked.
type debianServer struct {
	name     string // of the folder
	title    string // for people, with the size of the download
	packages []string
	// check runs the unpacked server, to see that it does here. It returns its version, for people.
	check func(ctx context.Context, root, cache string) (version string, err error)
}

var debianMySQL = debianServer{
	name: "debian-" + debian.Suite + "-" + runtime.GOARCH, title: "MySQL (about 65 MB)",
	packages: []string{"mysql-server-core", "mysql-client-core"},
	check: func(ctx context.Context, root, cache string) (string, error) {
		d, err := inspect(ctx, filepath.Join(root, "usr/sbin/mysqld"), cache)
		return "MySQL " + d.Version.String(), err
	},
}

// debianRoot returns the folder with the unpacked packages, and makes it if it is not there. One process downloads, others wait; the
// folder gets its name when it is complete.
func (f Finder) debianRoot(ctx context.Context, cache string, server debianServer) (string, error) {
	root := filepath.Join(cache, server.name)
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", err
	}
	unlock, err := filelock.Lock(ctx, root+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(root); err == nil {
		return root, nil // made while we waited
	}
	work, err := os.MkdirTemp(cache, "tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	begin := time.Now()
	f.printf("mysqltest: fetching %s from Debian, once\n", server.title)
	unpacked := filepath.Join(work, "root")
	if err := debian.Unpack(ctx, work, unpacked, server.packages); err != nil {
		return "", fmt.Errorf("%w: or name a server with MYSQLD=", err)
	}
	version, err := server.check(ctx, unpacked, cache)
	if err != nil {
		return "", err
	}
	if err := os.Rename(unpacked, root); err != nil {
		return "", err
	}
	f.printf("mysqltest: %s is in %s (%.0f s)\n", version, root, time.Since(begin).Seconds())
	return root, nil
}
