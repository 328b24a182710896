package localset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ordinal/mysqlx"
)

// mysqldAttempt is one run of the official image's container: docker-entrypoint.sh and then mysqld. Its steps are the image's, in the
// image's order, and none knows whether the one before it had been finished by an earlier run: a first initialisation that was killed
// leaves what it would leave there. See docker-entrypoint.sh of github.com/docker-library/mysql.
func (l *life) mysqldAttempt(ctx context.Context, c *container) (code int, err error) {
	dataDir, err := l.dataDir(ctx, c)
	if err != nil {
		return 1, err
	}
	if err := l.linkSocket(); err != nil {
		return 1, err
	}
	if info, err := os.Stat(filepath.Join(dataDir, "mysql")); err != nil || !info.IsDir() {
		if err := l.firstInitialisation(ctx, c, dataDir); err != nil {
			return 1, err
		}
	}
	return c.call(ctx, l.mysqld())
}

func (l *life) mysqld(args ...string) *exec.Cmd {
	o := &l.set.options
	args = append([]string{"--defaults-file=" + l.optionFile()}, args...)
	if o.MysqldArgs != nil {
		args = append(args, o.MysqldArgs(l.Ordinal)...)
	}
	cmd := o.Distribution.Command(args...)
	if env := l.env(Mysqld); env != nil {
		cmd.Env = append(os.Environ(), env...)
	}
	return cmd
}

// dataDir asks mysqld for its datadir, as the image does, which also fails early on an option that it does not know.
func (l *life) dataDir(ctx context.Context, c *container) (string, error) {
	path := filepath.Join(filepath.Dir(l.Socket), "help.out")
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer out.Close()
	cmd := l.mysqld("--verbose", "--help")
	cmd.Stdout = out
	code, err := c.call(ctx, cmd)
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("mysqld --verbose --help ended with code %d: see %s", code, l.LogFile(Mysqld))
	}
	help, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(help) {
		if name, value, ok := strings.Cut(string(line), " "); ok && name == "datadir" {
			return strings.TrimSpace(value), nil
		}
	}
	return "", errors.New("mysqld --verbose --help names no datadir")
}

// linkSocket makes the link that the image's entry point makes in the volume at every start.
func (l *life) linkSocket() error {
	err := os.Symlink(l.Socket, filepath.Join(l.Volume, "mysql.sock"))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (l *life) firstInitialisation(ctx context.Context, c *container, dataDir string) error {
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return err
	}
	code, err := c.call(ctx, l.mysqld("--initialize-insecure"))
	if err == nil && code != 0 {
		err = fmt.Errorf("code %d: see %s", code, l.LogFile(Mysqld))
	}
	if err != nil {
		return fmt.Errorf("mysqld --initialize-insecure: %w", err)
	}
	server, err := c.start(ctx, l.mysqld("--skip-networking"))
	if err != nil {
		return err
	}
	if err := l.waitForTemporaryServer(ctx, server); err != nil {
		return err
	}
	for _, batch := range l.setup() {
		if err := l.client(ctx, c, batch); err != nil {
			return err
		}
	}
	server.signal(syscall.SIGTERM)
	select {
	case <-server.done:
		return nil
	case <-ctx.Done():
		<-server.done // killed or stopped as well
		return errAborted
	}
}

func (l *life) waitForTemporaryServer(ctx context.Context, server *process) error {
	db, err := mysqlx.Open(mysqlx.Endpoint{Address: l.Socket, Credentials: mysqlx.Credentials{User: "root"}})
	if err != nil {
		return err
	}
	defer db.Close()
	for {
		if db.Ping(ctx) == nil {
			return nil
		}
		select {
		case <-server.done:
			return fmt.Errorf("the temporary server ended with code %d: see %s", server.code, l.LogFile(Mysqld))
		case <-ctx.Done():
			return errAborted
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A batch is what one session of the client program runs.
type batch struct {
	password   string // root's, at that moment
	statements string
}

// setup returns the image's batches. Only passwords stay out of the binary log, so that a fresh server has transactions of its own: six
// of them with a database, here and there.
func (l *life) setup() []batch {
	o := &l.set.options
	password := quote(o.RootPassword, "'")
	batches := []batch{
		// Instead of a thousand time zones, what their loading begins with: as many transactions, in no time.
		{"", "TRUNCATE TABLE mysql.time_zone; TRUNCATE TABLE mysql.time_zone_name; TRUNCATE TABLE mysql.time_zone_transition;\n" +
			"TRUNCATE TABLE mysql.time_zone_transition_type; TRUNCATE TABLE mysql.time_zone_leap_second;\n"},
		{"", "SET autocommit = 1; SET @@SESSION.SQL_LOG_BIN = 0;\n" +
			"ALTER USER 'root'@'localhost' IDENTIFIED BY " + password + ";\n" +
			"GRANT ALL ON *.* TO 'root'@'localhost' WITH GRANT OPTION; FLUSH PRIVILEGES;\n" +
			"CREATE USER 'root'@'%' IDENTIFIED BY " + password + "; GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;\n" +
			"FLUSH PRIVILEGES; DROP DATABASE IF EXISTS test;\n"},
	}
	if o.Database != "" {
		name := "`" + strings.ReplaceAll(o.Database, "`", "``") + "`"
		batches = append(batches, batch{o.RootPassword, "CREATE DATABASE IF NOT EXISTS " + name + ";\n"})
	}
	if o.InitSQL != "" {
		batches = append(batches, batch{o.RootPassword, o.InitSQL})
	}
	return batches
}

// quote returns a literal of the default sql_mode, which is also one of option files.
func quote(s, mark string) string {
	return mark + strings.NewReplacer(`\`, `\\`, mark, `\`+mark).Replace(s) + mark
}

// client runs a batch through the mysql program. Passwords travel in files and on standard input, never in arguments.
func (l *life) client(ctx context.Context, c *container, b batch) error {
	login := filepath.Join(filepath.Dir(l.Socket), "login.cnf")
	options := "[client]\nuser = root\nsocket = " + l.Socket + "\npassword = " + quote(b.password, `"`) + "\n"
	if err := os.WriteFile(login, []byte(options), 0o600); err != nil {
		return err
	}
	defer os.Remove(login)
	cmd := l.set.options.Distribution.Tool("mysql", "--defaults-file="+login)
	cmd.Stdin = strings.NewReader(b.statements)
	code, err := c.call(ctx, cmd)
	if err == nil && code != 0 {
		err = fmt.Errorf("mysql ended with code %d: see %s", code, l.LogFile(Mysqld))
	}
	if err != nil {
		return fmt.Errorf("set up the new server: %w", err)
	}
	return nil
}
