package e2e

import (
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
)

const goodSecret = "a-secret-of-the-tests-0123456789abcdef"

// TestBadInput: one line that says what is wrong, one that says what to do, the documented exit code (docs/exit-codes.md), and
// nothing on disk that was not there before.
func TestBadInput(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, time.Minute)
	for _, tt := range []struct {
		name       string
		prepare    func(t *testing.T, p *handPod)
		subcommand string // "": both init and run
		args       []string
		code       int
		what, hint string // regular expressions; no hint: the range of the value says it all
	}{
		{name: "unknown flag", args: []string{"--replica=3"}, code: 2, what: `unknown flag: --replica$`, hint: `did you mean --replicas\?`},
		{name: "pod name without ordinal", args: []string{"--pod-name=mysql"}, code: 78, what: `pod name "mysql" gives no ordinal`, hint: `POD_NAME from metadata.name`},
		{name: "no pod name", args: []string{"--pod-name="}, code: 78, what: `pod name "build-host" gives no ordinal`, hint: `--pod-name mysql-0`},
		{name: "ordinal below the first", args: []string{"--first-ordinal=5"}, code: 78, what: `below the first ordinal 5`, hint: `--first-ordinal`},
		{name: "no secret", args: []string{"--secret-file="}, code: 78, what: `--secret-file is missing`, hint: `head -c 32 /dev/urandom \| base64 > `},
		{name: "secret not there", args: []string{"--secret-file=/nowhere/secret"}, code: 78, what: `cluster secret /nowhere/secret: no such file`, hint: `head -c 32 /dev/urandom \| base64 > /nowhere/secret`},
		{name: "short secret", prepare: func(t *testing.T, p *handPod) { p.secret = newSecret(t, "hunter2") }, code: 78,
			what: `it is too short: at least 32 random bytes`, hint: `head -c 32 /dev/urandom \| base64 > /`},
		{name: "unreadable secret", prepare: func(t *testing.T, p *handPod) {
			asNobody(t, p)
			must(t, os.Chmod(p.secret, 0o600))
		}, code: 78, what: `cluster secret /.*: permission denied`, hint: `let uid 65534 read it`}, // never: make a new one in its place
		{name: "peer-host without ordinal", args: []string{"--peer-host=mysql.svc"}, code: 2, what: `--peer-host="mysql.svc": must be`, hint: `\{base\}, \{ordinal\} and \{service\}`},
		{name: "peer-host with a port", args: []string{"--peer-host=127.0.1.{ordinal}:3307"}, code: 2, what: `--peer-host=`, hint: `.`},
		{name: "relative volume", args: []string{"--volume=data"}, code: 2, what: `--volume="data": must be an absolute path to a directory`},

		{name: "no volume", args: []string{"--volume=/nowhere/volume"}, code: 78, what: `no volume: /nowhere/volume does not exist$`, hint: `mount it`},
		{name: "volume is a file", prepare: func(t *testing.T, p *handPod) {
			p.volume = filepath.Join(p.dir, "file")
			must(t, os.WriteFile(p.volume, []byte("x"), 0o644))
		}, code: 78, what: `no volume: /.*file is not a directory$`, hint: `--volume`},
		{name: "unwritable volume", prepare: asNobody, code: 77, what: `volume is not writable: .* as uid 65534.*belongs to uid 0`, hint: `chown 65534 /.*volume`},
		{name: "unwritable volume with data", prepare: func(t *testing.T, p *handPod) {
			becomeComplete(t, p)
			asNobody(t, p)
		}, code: 77, what: `volume is not writable`, hint: `fsGroup`},
		{name: "unwritable config directory", subcommand: "init", args: []string{"--replicas=1"}, prepare: func(t *testing.T, p *handPod) {
			asNobody(t, p)
			must(t, os.Chown(p.volume, nobody, nobody))
			must(t, os.Chown(p.conf, 0, 0))
		}, code: 77, what: `mysqld's configuration: .*permission denied`, hint: `uid 65534 can write at /`},
		{name: "no config directory", subcommand: "init", args: []string{"--replicas=1", "--mysql-config-dir=/nowhere/conf.d"}, code: 73,
			what: `mysqld's configuration: .*no such file`, hint: `--mysql-config-dir`},

		{name: "foreign files", subcommand: "init", prepare: func(t *testing.T, p *handPod) {
			must(t, os.WriteFile(filepath.Join(p.volume, "notes.txt"), []byte("mine"), 0o644))
		}, code: 80, what: `refused: foreign_data: .*notes.txt`, hint: `volume of its own`},
		{name: "foreign files, adopting", subcommand: "init", args: []string{"--adopt"}, prepare: func(t *testing.T, p *handPod) {
			must(t, os.WriteFile(filepath.Join(p.volume, "notes.txt"), []byte("mine"), 0o644))
		}, code: 80, what: `refused: foreign_data: .*notes.txt`, hint: `volume of its own`},
		{name: "foreign data directory", subcommand: "init", prepare: func(t *testing.T, p *handPod) {
			for _, name := range []string{"mysql", "sys"} {
				must(t, os.Mkdir(filepath.Join(p.volume, name), 0o755))
			}
			must(t, os.WriteFile(filepath.Join(p.volume, "ibdata1"), []byte("data"), 0o644))
		}, code: 80, what: `refused: foreign_data: .*data directory`, hint: `--adopt`},

		{name: "current is not a link", subcommand: "init", prepare: func(t *testing.T, p *handPod) {
			p.lockOnce()
			must(t, os.WriteFile(filepath.Join(p.volume, "current"), nil, 0o644))
		}, code: 65, what: `damaged volume layout: .*current is not a symbolic link`, hint: `move it away`},
		{name: "current leads out of the volume", subcommand: "init", prepare: func(t *testing.T, p *handPod) {
			p.lockOnce()
			must(t, os.Symlink("/etc", filepath.Join(p.volume, "current")))
		}, code: 65, what: `damaged volume layout: .*current points to "/etc", not to a generation`, hint: `move it away`},
		{name: "agent leads out of the volume", prepare: func(t *testing.T, p *handPod) {
			must(t, os.Symlink(p.conf, filepath.Join(p.volume, "agent")))
		}, code: 65, what: `damaged volume layout: .*agent is a symbolic link`, hint: `move it away`},
		{name: "data without a record", subcommand: "init", prepare: func(t *testing.T, p *handPod) {
			p.lockOnce()
			must(t, os.MkdirAll(filepath.Join(p.volume, "gen", "000001", "mysql"), 0o755))
			must(t, os.Symlink("gen/000001", filepath.Join(p.volume, "current")))
		}, code: 65, what: `damaged volume layout: .*no record`, hint: `keep the data`},

		{name: "status port taken", prepare: func(t *testing.T, p *handPod) {
			p.lockOnce()
			takePort(t, p, localset.StatusPort)
		}, code: 75, what: `listen on .*:8080: .*address already in use`, hint: `--status-listen`},
		{name: "data port taken", prepare: func(t *testing.T, p *handPod) {
			p.lockOnce()
			takePort(t, p, localset.DataPort)
		}, code: 75, what: `listen on .*:3307: .*address already in use`, hint: `--data-listen`},
	} {
		for _, subcommand := range []string{"init", "run"} {
			if tt.subcommand != "" && tt.subcommand != subcommand {
				continue
			}
			t.Run(tt.name+" "+subcommand, func(t *testing.T) {
				p := newHandPod(t, "mysql-0", freeHosts(t), newSecret(t, goodSecret))
				if tt.prepare != nil {
					tt.prepare(t, p)
				}
				before := listing(t, p.volume, p.conf)
				o := p.run(ctx, subcommand, tt.args...)
				o.mustRefuse(t, tt.code, tt.what, tt.hint)
				mustBeUntouched(t, before, p.volume, p.conf)
				if strings.Contains(o.stderr, "hunter2") {
					t.Errorf("the secret is shown:\n%s", o.stderr)
				}
			})
		}
	}
	t.Run("writable for the right uid", func(t *testing.T) { // what the refusals above are compared with
		p := newHandPod(t, "mysql-0", freeHosts(t), newSecret(t, goodSecret))
		asNobody(t, p)
		must(t, os.Chown(p.volume, nobody, nobody))
		becomeComplete(t, p)
	})
	t.Run("unsupported server", func(t *testing.T) { unsupportedServer(ctx, t) })
	t.Run("status", func(t *testing.T) {
		p := newHandPod(t, "mysql-0", freeHosts(t), "")
		for _, tt := range []struct {
			args       []string
			code       int
			what, hint string
		}{
			{[]string{"--secret-file=x"}, 2, "unknown flag: --secret-file", "agent status --help"},
			{[]string{"--pod-name=mysql"}, 78, `pod name "mysql" gives no ordinal`, "--set mysql"},
			{[]string{"--pod-name=mysql-0", "--peer-host=x"}, 2, `--peer-host="x"`, `\{ordinal\}`},
		} {
			o := startAgent(t, p.bin, &syscall.SysProcAttr{}, append([]string{"status"}, tt.args...)...).wait(ctx)
			o.mustRefuse(t, tt.code, tt.what, tt.hint)
		}
	})
}

const nobody = 65534

// asNobody runs the pod's agent as a uid that does not own the volume.
func asNobody(t *testing.T, p *handPod) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	bin := filepath.Join(p.dir, "agent")
	must(t, copyFile(bin, p.bin, 0o755)) // the cache folder is root's own
	secret := filepath.Join(p.dir, "secret")
	must(t, copyFile(secret, p.secret, 0o644))
	must(t, os.Chown(p.conf, nobody, nobody))
	p.bin, p.secret, p.cred = bin, secret, &syscall.Credential{Uid: nobody, Gid: nobody}
}

func copyFile(to, from string, mode fs.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

// becomeComplete makes the pod's volume one of a source that begins its life.
func becomeComplete(t *testing.T, p *handPod) {
	t.Helper()
	if o := p.run(t.Context(), "init", "--replicas=1"); o.code != 0 {
		t.Fatalf("init of an empty source ended with %d:\n%s", o.code, o.stderr)
	}
}

// lockOnce makes what every agent that gets as far as locking the volume leaves there, and nothing more.
func (p *handPod) lockOnce() {
	p.t.Helper()
	must(p.t, os.Mkdir(filepath.Join(p.volume, "agent"), 0o750))
	must(p.t, os.WriteFile(filepath.Join(p.volume, "agent", "lock"), nil, 0o640))
}

func takePort(t *testing.T, p *handPod, port int) {
	t.Helper()
	l, err := net.Listen("tcp4", net.JoinHostPort(p.listen, strconv.Itoa(port)))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
}

// unsupportedServer: a real MariaDB in the place of the pod's mysqld.
func unsupportedServer(ctx context.Context, t *testing.T) {
	p := newHandPod(t, "mysql-0", freeHosts(t), newSecret(t, goodSecret))
	p.socket = mysqltest.StartMariaDB(t)
	becomeComplete(t, p)
	before := listing(t, p.volume, p.conf)
	o := p.run(ctx, "run", "--replicas=1")
	o.mustRefuse(t, 78, `server .*MariaDB.* is not supported: it is MariaDB`, `use MySQL 8\.0\.17 or newer`)
	mustBeUntouched(t, before, p.volume, p.conf)
	if o.took > 10*time.Second {
		t.Errorf("it took %v to say so", o.took)
	}
}

// TestAdopt: a data directory that lies in the volume's root is refused without --adopt and left as it is; with it, it is taken
// over by renaming, and served, and replicas come from it.
func TestAdopt(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 3*time.Minute)
	const password = "root-of-old-times"
	dir, err := os.MkdirTemp("", "set")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	volume := filepath.Join(dir, "mysql-0", "volume")
	must(t, os.MkdirAll(filepath.Dir(volume), 0o755))
	oldServer(t, volume, password)

	p := newHandPod(t, "mysql-0", freeHosts(t), newSecret(t, goodSecret))
	p.volume = volume
	before := listing(t, p.volume, p.conf)
	o := p.run(ctx, "init")
	o.mustRefuse(t, 80, `refused: foreign_data: the volume's root is a data directory`, `with --adopt`)
	mustBeUntouched(t, before, p.volume, p.conf)

	s := localset.ForTest(t, localset.Options{
		Dir: dir, Replicas: 2, RootPassword: password,
		AgentArgs: func(ordinal int) []string {
			if ordinal == 0 {
				return []string{"--adopt"}
			}
			return nil
		},
	})
	must(t, s.WaitReady(ctx))
	for ordinal := range 2 {
		rows, err := s.Query(ctx, ordinal, "SELECT SUM(id) FROM old.t")
		must(t, err)
		if rows[0][0] != "42" {
			t.Errorf("pod %d: the old rows sum up to %v, want 42", ordinal, rows)
		}
	}
	must(t, s.Exec(ctx, 0, "INSERT INTO old.t VALUES (1)"))
	mustBeEqual(ctx, t, s)
	if codes := s.ExitCodes(0, localset.Init); !slices.Equal(codes, []int{0}) {
		t.Errorf("exit codes of init = %v, want one 0", codes)
	}
}

// oldServer makes a data directory with some history, as a server that knew nothing of us would leave it.
func oldServer(t *testing.T, dataDir, password string) {
	t.Helper()
	must(t, mysqltest.Get(t).CopyTemplate(t.Context(), dataDir))
	server := mysqltest.Start(t, mysqltest.Options{DataDir: dataDir})
	p := newHandPod(t, "mysql-0", freeHosts(t), newSecret(t, goodSecret))
	p.volume = dataDir
	p.run(t.Context(), "init", "--adopt").mustRefuse(t, 75, `a mysqld has the data directory open: `, `stop that mysqld`)
	for _, statement := range []string{
		"CREATE DATABASE old", "CREATE TABLE old.t (id INT PRIMARY KEY)", "INSERT INTO old.t VALUES (40), (2)",
		"CREATE USER root@'%' IDENTIFIED BY '" + password + "'", "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION",
		"ALTER USER root@localhost IDENTIFIED BY '" + password + "'",
	} {
		server.Exec(t, statement)
	}
	server.Stop(t)
}
