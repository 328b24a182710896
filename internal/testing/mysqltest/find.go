package mysqltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"ordinal/mysqlx"
)

// EnvMysqld names the mysqld to use: the path of a program, or of one inside a folder into which Debian packages were unpacked.
const EnvMysqld = "MYSQLD"

// EnvCache names the folder for downloaded servers and templates. Default: ordinal-mysql in the user's cache folder.
const EnvCache = "ORDINAL_MYSQL_CACHE"

// A Distribution is one installed or unpacked MySQL.
type Distribution struct {
	Version mysqlx.Version
	mysqld  string // path of the program
	origin  string // the mysqld that made the template: mysqld, or what it is a copy of
	root    string // folder into which packages were unpacked; "" if mysqld runs as it is
	cache   string
}

// A Finder finds a server.
type Finder struct {
	// Progress gets a line for each step that takes time. Nil discards them.
	Progress io.Writer
	// Cache is the folder for what is downloaded or made once. Empty: see EnvCache.
	Cache string
}

// Find is Finder.Find with progress lines on standard error.
func Find(ctx context.Context) (Distribution, error) {
	return Finder{Progress: os.Stderr}.Find(ctx)
}

// Find returns the server named by MYSQLD, else the one in PATH if it is supported, else Debian's, downloaded once. It waits while
// another process downloads.
func (f Finder) Find(ctx context.Context) (Distribution, error) {
	cache, err := f.cacheDir()
	if err != nil {
		return Distribution{}, err
	}
	if path := os.Getenv(EnvMysqld); path != "" {
		d, err := inspect(ctx, path, cache)
		if err != nil {
			return Distribution{}, fmt.Errorf("%s=%s: %w", EnvMysqld, path, err)
		}
		return d, nil
	}
	if path := lookMysqld(); path != "" {
		d, err := inspect(ctx, path, cache)
		if err == nil {
			return d, nil
		}
		f.printf("mysqltest: not using %s: %v\n", path, err)
	}
	root, err := f.debianRoot(ctx, cache, debianMySQL)
	if err != nil {
		return Distribution{}, fmt.Errorf("get a mysqld from debian: %w (or set %s to the path of one)", err, EnvMysqld)
	}
	return inspect(ctx, filepath.Join(root, "usr/sbin/mysqld"), cache)
}

func (f Finder) printf(format string, args ...any) {
	if f.Progress != nil {
		fmt.Fprintf(f.Progress, format, args...)
	}
}

func (f Finder) cacheDir() (string, error) {
	dir := f.Cache
	if dir == "" {
		dir = os.Getenv(EnvCache)
	}
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder for mysqld: %w; set %s", err, EnvCache)
		}
		dir = filepath.Join(user, "ordinal-mysql")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// lookMysqld also looks where distributions put daemons: an ordinary user's PATH often lacks it.
func lookMysqld() string {
	if path, err := exec.LookPath("mysqld"); err == nil {
		return path
	}
	if path, err := exec.LookPath("/usr/sbin/mysqld"); err == nil {
		return path
	}
	return ""
}

// inspect asks a mysqld for its version, which proves that it runs here.
func inspect(ctx context.Context, mysqld, cache string) (Distribution, error) {
	path, err := filepath.Abs(mysqld)
	if err != nil {
		return Distribution{}, err
	}
	d := Distribution{mysqld: path, origin: path, root: unpackedRoot(path), cache: cache}
	argv := d.argv(path, "--no-defaults", "--version")
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return Distribution{}, fmt.Errorf("run it with --version: %w: %s", err, firstLine(string(exit.Stderr)))
		}
		return Distribution{}, fmt.Errorf("run it with --version: %w", err)
	}
	// "…/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))"
	line := firstLine(string(out))
	_, after, ok := strings.Cut(line, "Ver ")
	if !ok {
		return Distribution{}, fmt.Errorf("unknown answer to --version: %q", line)
	}
	version, _, _ := strings.Cut(after, " ")
	if err := mysqlx.CheckSupported(version, line); err != nil {
		return Distribution{}, err
	}
	if d.Version, err = mysqlx.ParseVersion(version); err != nil {
		return Distribution{}, err
	}
	return d, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// unpackedRoot returns the folder above usr/sbin/mysqld if it has a loader of its own and is not the machine's root.
func unpackedRoot(mysqld string) string {
	root, ok := strings.CutSuffix(mysqld, "/usr/sbin/mysqld")
	if !ok || root == "" || loader(root) == "" {
		return ""
	}
	return root
}

// loader returns the dynamic loader of the unpacked packages. Programs are started through it because they want a newer libc than the
// machine's.
func loader(root string) string {
	name := map[string]string{"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}[runtime.GOARCH]
	path := filepath.Join(root, "usr/lib", multiarch(), name)
	if _, err := os.Stat(path); name == "" || err != nil {
		return ""
	}
	return path
}

// multiarch returns the name of the folder in which Debian keeps this machine's libraries.
func multiarch() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}

// argv returns the command line that runs a program of the distribution.
func (d Distribution) argv(program string, args ...string) []string {
	var argv []string
	if d.root != "" {
		libraries := filepath.Join(d.root, "usr/lib", multiarch()) + ":" + filepath.Join(d.root, "usr/lib/mysql")
		argv = append(argv, loader(d.root), "--library-path", libraries)
	}
	return append(append(argv, program), args...)
}

// Command returns mysqld with the options that it needs to run from where it is. A --defaults-file or similar option must come first in
// args, as mysqld wants; without one no option file of the machine is read. The caller's options override ours.
func (d Distribution) Command(args ...string) *exec.Cmd {
	options := []string{"--no-defaults"}
	if len(args) > 0 && isDefaultsOption(args[0]) {
		options, args = args[:1:1], args[1:]
	}
	if d.root != "" {
		options = append(options,
			"--basedir="+filepath.Join(d.root, "usr"),
			"--lc-messages-dir="+filepath.Join(d.root, "usr/share/mysql"),
			"--plugin-dir="+filepath.Join(d.root, "usr/lib/mysql/plugin"))
	}
	options = append(options, "--secure-file-priv=NULL", "--loose-mysqlx=0")
	if os.Geteuid() == 0 {
		options = append(options, "--user=root")
	}
	argv := d.argv(d.mysqld, append(options, args...)...)
	return exec.Command(argv[0], argv[1:]...)
}

func isDefaultsOption(arg string) bool {
	return arg == "--no-defaults" || strings.HasPrefix(arg, "--defaults-file=") || strings.HasPrefix(arg, "--defaults-extra-file=")
}

// Tool returns another program of the distribution, such as mysql, mysqldump or innochecksum. If there is none the command's Err says so.
func (d Distribution) Tool(name string, args ...string) *exec.Cmd {
	dirs := []string{filepath.Dir(d.mysqld), filepath.Join(filepath.Dir(filepath.Dir(d.mysqld)), "bin")}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			argv := d.argv(path, args...)
			return exec.Command(argv[0], argv[1:]...)
		}
	}
	return exec.Command(name, args...) // from PATH
}

// Mysqld returns the path of the program, for messages. Run it by Command.
func (d Distribution) Mysqld() string { return d.mysqld }
