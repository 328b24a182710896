package mysqltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// debianSuite has MySQL; the stable suites have MariaDB only.
const debianSuite = "sid"

// debianServer is a server that Debian has, and how it is told from what merely was unpacked.
type debianServer struct {
	name     string // of the folder
	title    string // for people, with the size of the download
	packages []string
	// check runs the unpacked server, to see that it does here. It returns its version, for people.
	check func(ctx context.Context, root, cache string) (version string, err error)
}

var debianMySQL = debianServer{
	name: "debian-" + debianSuite + "-" + runtime.GOARCH, title: "MySQL (about 65 MB)",
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
	unlock, err := lock(ctx, root+".lock")
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
	if err := f.downloadDebian(ctx, work, server); err != nil {
		return "", err
	}
	unpacked := filepath.Join(work, "root")
	if err := f.unpackDebian(ctx, work, unpacked); err != nil {
		return "", err
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

// downloadDebian lets apt-get, with all its state in the folder work, fetch the packages and check their signatures.
func (f Finder) downloadDebian(ctx context.Context, work string, server debianServer) error {
	for _, dir := range []string{"lists/partial", "cache/archives/partial", "sources"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(work, "status"), nil, 0o644); err != nil {
		return err
	}
	install := append([]string{"--yes", "--no-install-recommends", "--download-only", "install"}, server.packages...)
	failure := errors.New("this machine has no Debian sources in /etc/apt: add them, or name a server with MYSQLD=")
	for _, mirror := range debianMirrors(os.DirFS("/")) {
		sources := filepath.Join(work, "sources", "debian.sources")
		if err := os.WriteFile(sources, []byte(mirror.deb822(debianSuite)), 0o644); err != nil {
			return err
		}
		f.printf("mysqltest: downloading %s from %s, once\n", server.title, mirror.uri)
		if failure = aptGet(ctx, work, "update"); failure != nil {
			continue // such as a mirror of the stable suites only
		}
		if failure = aptGet(ctx, work, install...); failure == nil {
			return nil
		}
	}
	return failure
}

func aptGet(ctx context.Context, work string, args ...string) error {
	options := []string{
		"Dir::State::Lists=" + filepath.Join(work, "lists"),
		// Nothing counts as installed: every dependency comes along. Not /dev/null: apt makes its lock files beside this one.
		"Dir::State::status=" + filepath.Join(work, "status"),
		"Dir::Cache=" + filepath.Join(work, "cache"),
		"Dir::Etc::sourcelist=/dev/null",
		"Dir::Etc::sourceparts=" + filepath.Join(work, "sources"),
		"Dir::Etc::preferences=/dev/null",
		"Dir::Etc::preferencesparts=/dev/null",
		"Acquire::Languages=none",
		"Acquire::Retries=3",
		"APT::Update::Error-Mode=any", // a failed index is otherwise only a warning
		"Binary::apt-get::APT::Keep-Downloaded-Packages=true",
	}
	if os.Geteuid() == 0 {
		options = append(options, "APT::Sandbox::User=root") // the user _apt may not look into our folder
	}
	var argv []string
	for _, o := range options {
		argv = append(argv, "-o", o)
	}
	return runContext(ctx, exec.Command("apt-get", append(argv, args...)...))
}

func (f Finder) unpackDebian(ctx context.Context, work, root string) error {
	packages, err := filepath.Glob(filepath.Join(work, "cache/archives/*.deb"))
	if err != nil {
		return err
	}
	if len(packages) == 0 {
		return fmt.Errorf("apt-get left no packages in %s", work)
	}
	f.printf("mysqltest: unpacking %d packages\n", len(packages))
	for _, pkg := range packages {
		if err := runContext(ctx, exec.Command("dpkg", "-x", pkg, root)); err != nil {
			return err
		}
	}
	return nil
}

// runContext runs a program to its end, kills it when ctx ends, and returns the end of what it printed when it failed.
func runContext(ctx context.Context, cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // with its children
	err := cmd.Wait()
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), context.Cause(ctx))
	}
	if err != nil {
		text := bytes.TrimSpace(out.Bytes())
		if len(text) > 2000 {
			text = text[len(text)-2000:]
		}
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, text)
	}
	return nil
}
