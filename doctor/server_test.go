package doctor

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ordinal/agent"
	"ordinal/internal/testing/mysqltest"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A standing is a pod with a real mysqld on a real volume, configured by the real agent init, without an agent that would undo what a test breaks. In
// the agent's place its status plane answers, which has nothing to say.
type standing struct {
	cfg agent.Config
	srv *mysqltest.Server
}

type standingOptions struct {
	ordinal      int
	config       map[string]string // of the server, read after the agent's
	unread       bool              // mysqld does not read the agent's file
	facts        volume.Facts
	distribution *mysqltest.Distribution
}

func stand(t *testing.T, o standingOptions) *standing {
	t.Helper()
	d := mysqltest.Get(t)
	if o.distribution != nil {
		d = *o.distribution
	}
	cfg := lone(t)
	cfg.PodName = fmt.Sprintf("mysql-%d", o.ordinal)
	cfg.Replicas = o.ordinal + 1
	cfg.StatusListen, cfg.DataListen = host(cfg, o.ordinal)+":8080", host(cfg, o.ordinal)+":3307"
	fill(t, d, cfg, o.facts)
	if out, err := exec.Command(program(t), append([]string{"init"}, flags(cfg)...)...).CombinedOutput(); err != nil {
		t.Fatalf("agent init: %v\n%s", err, out)
	}
	config := map[string]string{"relay_log_recovery": "ON", "server_id": "100"}
	if !o.unread {
		config = map[string]string{"!includedir " + cfg.MySQLConfigDir: ""}
		for _, ours := range []string{"datadir", "server_id", "log_bin", "relay_log", "relay_log_recovery", "gtid_mode", "enforce_gtid_consistency", "plugin_load_add"} {
			config[ours] = "-"
		}
	}
	maps.Copy(config, o.config)
	p := &standing{cfg: cfg}
	p.srv = mysqltest.Start(t, mysqltest.Options{Distribution: &d, DataDir: filepath.Join(cfg.Volume, "current"), Address: host(cfg, o.ordinal), Config: config})
	p.cfg.MySQLAddress, p.cfg.RootPassword = p.srv.Socket, mysqlx.FixedPassword("")
	ring, err := cachedRing(cfg.SecretFile)
	must(t, err)
	p.exec(t, "SET GLOBAL read_only = OFF")
	must(t, p.srv.DB().CreateAccounts(t.Context(), mysqlx.AccountSpec{
		ClusterID: someID, AgentPassword: ring.Current().AgentPassword(), ReplicationPassword: ring.Current().ReplicationPassword(someID),
	}))
	neighbour{ordinal: o.ordinal, noData: true}.start(t, p.cfg)
	return p
}

// fill makes the volume hold a complete data directory.
func fill(t *testing.T, d mysqltest.Distribution, cfg agent.Config, facts volume.Facts) {
	t.Helper()
	template, err := d.Template(t.Context())
	must(t, err)
	v, err := volume.Open(cfg.Volume)
	must(t, err)
	defer v.Close()
	n, err := v.PrepareEmpty()
	must(t, err)
	gen, err := filepath.EvalSymlinks(filepath.Join(cfg.Volume, "current"))
	must(t, err, os.Remove(gen), mysqltest.CopyDataDir(gen, template), v.MarkInitialised(t.Context(), n, facts))
}

func (p *standing) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		p.srv.Exec(t, s)
	}
}

// What can be broken in a running server, one after the other, each seen alone, and nothing before and after.
func TestServerSettings(t *testing.T) {
	t.Parallel()
	elsewhere := t.TempDir()
	p := stand(t, standingOptions{config: map[string]string{"innodb_directories": elsewhere}})
	wants(t, examine(t, p.cfg))
	for _, test := range []struct {
		name        string
		break_, fix []string
		config      func(*agent.Config)
		want        string
		says        []string
	}{
		{"durability", []string{"SET GLOBAL sync_binlog = 0", "SET GLOBAL innodb_flush_log_at_trx_commit = 2"}, []string{"SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_flush_log_at_trx_commit = 1"},
			nil, "durability", []string{"sync_binlog is 0 instead of 1", "innodb_flush_log_at_trx_commit is 2"}},
		{"binlogs go soon", []string{"SET GLOBAL binlog_expire_logs_seconds = 600"}, []string{"SET GLOBAL binlog_expire_logs_seconds = DEFAULT"},
			nil, "binlog-expiry", []string{"600 s", "2592000"}},
		{"binlogs are kept for ever", []string{"SET GLOBAL binlog_expire_logs_seconds = 0"}, []string{"SET GLOBAL binlog_expire_logs_seconds = DEFAULT"}, nil, "", nil},
		{"few connections", []string{"SET GLOBAL max_connections = 12"}, []string{"SET GLOBAL max_connections = DEFAULT"}, nil, "connections", []string{"max_connections is 12"}},
		{"packets", []string{"SET GLOBAL replica_max_allowed_packet = 1048576"}, []string{"SET GLOBAL replica_max_allowed_packet = DEFAULT"}, nil, "packet", []string{"1048576"}},
		{"rows are logged in part", []string{"SET GLOBAL binlog_row_image = MINIMAL"}, []string{"SET GLOBAL binlog_row_image = FULL"}, nil, "gtid", []string{"binlog_row_image is MINIMAL"}},
		{"statements are logged", []string{"SET GLOBAL binlog_format = STATEMENT"}, []string{"SET GLOBAL binlog_format = ROW"}, nil, "gtid", []string{"binlog_format is STATEMENT"}},
		{"gtid_mode", []string{"SET GLOBAL gtid_mode = ON_PERMISSIVE"}, []string{"SET GLOBAL gtid_mode = ON"}, nil, "gtid", []string{"gtid_mode is ON_PERMISSIVE"}},
		{"server_id", []string{"SET GLOBAL server_id = 7"}, []string{"SET GLOBAL server_id = 100"}, nil, "server-id", []string{"server_id is 7", "mysql-0's is 100"}},
		{"a setting of the agent's", []string{"SET PERSIST replica_net_timeout = 60"}, []string{"RESET PERSIST replica_net_timeout", "SET GLOBAL replica_net_timeout = 6"}, nil, "settings", []string{"replica_net_timeout is 60 instead of 6", "RESET PERSIST"}},
		{"another engine", []string{"CREATE DATABASE shop", "CREATE TABLE shop.notes (id INT) ENGINE = MyISAM"}, []string{"DROP DATABASE shop"}, nil, "other-engines", []string{"shop.notes", "ALTER TABLE `shop`.`notes` ENGINE = InnoDB;"}},
		{"a table elsewhere", []string{"CREATE DATABASE shop", "CREATE TABLE shop.big (id INT) DATA DIRECTORY = '" + elsewhere + "'"}, []string{"DROP DATABASE shop"}, nil, "external-tables", []string{"shop.big"}},
		{"a channel on the source", []string{"CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'old-0.db', SOURCE_USER = 'r' FOR CHANNEL 'old'"}, []string{"RESET REPLICA ALL FOR CHANNEL 'old'"},
			nil, "channel", []string{"old-0.db", "this pod is the source", "RESET REPLICA ALL FOR CHANNEL 'old'"}},
		{"semisync is wanted", nil, nil, func(c *agent.Config) { c.Durability = agent.DurabilitySemisync }, "semisync", []string{"the plugins are not active", "semisync_"}},
		{"another root password", nil, nil, func(c *agent.Config) { c.RootPassword = mysqlx.FixedPassword("planted\r") }, "root-password", []string{"1045", "carriage return", "own account works"}},
		{"another mysqld port", nil, nil, func(c *agent.Config) { c.MySQLPort = 13306 }, "mysqld-listens", []string{"port 3306", "13306"}},
		{"another socket", nil, nil, func(c *agent.Config) { c.MySQLAddress = filepath.Join(elsewhere, "gone", "mysqld.sock") }, "mysqld", []string{"there is no directory", "emptyDir"}},
		{"a socket that is not shared", nil, nil, func(c *agent.Config) { c.MySQLAddress = filepath.Join(elsewhere, "mysqld.sock") }, "mysqld", []string{"something listens", "do not share"}},
		{"another secret", nil, nil, func(c *agent.Config) {
			c.SecretFile = filepath.Join(elsewhere, "secret")
			must(t, os.WriteFile(c.SecretFile, []byte("another-secret-another-secret-another-secret"), 0o400))
		}, "agent-account", []string{"ordinal_agent", "secret.previous"}},
		{"another secret, and no root password", nil, nil, func(c *agent.Config) {
			c.SecretFile, c.RootPassword = filepath.Join(elsewhere, "secret"), nil
		}, "agent-account", []string{"secret.previous", "AGENT_ROOT_PASSWORD_FILE"}},
		{"no configuration any more", nil, nil, func(c *agent.Config) { c.MySQLConfigDir = t.TempDir() }, "config-dir", []string{"no zz-ordinal.cnf"}},
		{"a server_id base of its own", nil, nil, func(c *agent.Config) { c.ServerIDBase = 500 }, "server-id", []string{"mysql-0's is 500"}},
	} {
		p.exec(t, test.break_...)
		cfg := p.cfg
		if test.config != nil {
			test.config(&cfg)
		}
		r := examine(t, cfg)
		p.exec(t, test.fix...)
		if test.want == "" {
			wants(t, r)
			continue
		}
		t.Log(test.name)
		wants(t, r, test.want)
		says(t, r, test.want, test.says...)
	}
	wants(t, examine(t, p.cfg))

	// The machine has less memory than the buffer pool takes: a kernel cannot be told so.
	meminfo := filepath.Join(elsewhere, "meminfo")
	must(t, os.WriteFile(meminfo, []byte("MemTotal:          65536 kB\n"), 0o644))
	r := Examine(t.Context(), Surroundings{Ring: cachedRing, Config: p.cfg, Resolver: noNames, Meminfo: meminfo})
	wants(t, r, "buffer-pool")
	says(t, r, "buffer-pool", "is 64 MiB", "SET PERSIST innodb_buffer_pool_size")

	must(t, syscall.Kill(p.srv.PID(), syscall.SIGSTOP))
	r = examine(t, p.cfg)
	must(t, syscall.Kill(p.srv.PID(), syscall.SIGCONT))
	wants(t, r, "mysqld")
	says(t, r, "mysqld", "takes connections", "does not answer")

	p.usedUp(t)
}

// usedUp takes all connections that there are.
func (p *standing) usedUp(t *testing.T) {
	t.Helper()
	p.exec(t, "SET GLOBAL max_connections = 10", "CREATE USER pool@localhost")
	ctx, done := context.WithCancel(t.Context())
	defer done()
	var held []*mysqlx.DB
	defer func() {
		done()
		for _, db := range held {
			_ = db.Close()
		}
	}()
	for range 10 {
		db, err := mysqlx.Open(mysqlx.Endpoint{Address: p.srv.Socket, Credentials: mysqlx.Credentials{User: "pool"}})
		must(t, err)
		held = append(held, db)
		_ = db.Ping(ctx) // the last one may not get in any more
	}
	r := examine(t, p.cfg)
	wants(t, r, "connections")
	says(t, r, "connections", "who has them?")
}

// What a server is started with.
func TestServerOptions(t *testing.T) {
	t.Parallel()
	p := stand(t, standingOptions{config: map[string]string{
		"clone": "OFF", "innodb_doublewrite": "OFF", "log_replica_updates": "OFF", "bind_address": "127.0.0.1", "replica_net_timeout": "99",
	}})
	r := examine(t, p.cfg)
	wants(t, r, "clone-plugin", "durability", "gtid", "mysqld-listens", "settings")
	says(t, r, "clone-plugin", "plugin_dir", "mysql_clone.so")
	says(t, r, "durability", "innodb_doublewrite is OFF instead of ON, set by "+p.srv.ConfigFile)
	says(t, r, "gtid", "log_replica_updates is OFF instead of ON")
	says(t, r, "mysqld-listens", "127.0.0.1 only", "the others connect to "+host(p.cfg, 0))
	says(t, r, "settings", "replica_net_timeout is 99 instead of 6", p.srv.ConfigFile)
}

func TestServerWithoutNetwork(t *testing.T) {
	t.Parallel()
	p := stand(t, standingOptions{config: map[string]string{"skip_networking": ""}})
	r := examine(t, p.cfg)
	wants(t, r, "mysqld-listens")
	says(t, r, "mysqld-listens", "skip_networking is ON")
}

// conf.d is mounted into the agent's containers and not into mysqld's.
func TestConfigurationIsNotRead(t *testing.T) {
	t.Parallel()
	p := stand(t, standingOptions{unread: true})
	r := examine(t, p.cfg)
	wants(t, r, "config-read")
	says(t, r, "config-read", "zz-ordinal.cnf", "mountPath: /etc/mysql/conf.d", "!includedir")
}

// mysqld is told another data directory; and the agent sees another volume where mysqld's is.
func TestOtherData(t *testing.T) {
	t.Parallel()
	p := stand(t, standingOptions{})
	t.Run("datadir", func(t *testing.T) {
		cfg := lone(t)
		cfg.PeerHost, cfg.StatusListen, cfg.DataListen, cfg.MySQLAddress, cfg.RootPassword = p.cfg.PeerHost, p.cfg.StatusListen, p.cfg.DataListen, p.cfg.MySQLAddress, p.cfg.RootPassword
		cfg.MySQLConfigDir = p.cfg.MySQLConfigDir
		fill(t, mysqltest.Get(t), cfg, volume.Facts{})
		r := examine(t, cfg)
		wants(t, r, "datadir")
		says(t, r, "datadir", p.cfg.Volume, cfg.Volume)
	})
	t.Run("volume", func(t *testing.T) {
		needsRoot(t)
		other := lone(t)
		fill(t, mysqltest.Get(t), other, volume.Facts{})
		auto := filepath.Join(other.Volume, "current", "auto.cnf")
		must(t, os.WriteFile(auto, []byte("[auto]\nserver-uuid="+otherUUID+"\n"), 0o640))
		must(t, syscall.Mount(other.Volume, p.cfg.Volume, "", syscall.MS_BIND, ""))
		r := examine(t, p.cfg)
		must(t, syscall.Unmount(p.cfg.Volume, syscall.MNT_DETACH))
		wants(t, r, "same-volume")
		says(t, r, "same-volume", otherUUID, "mountPath: "+p.cfg.Volume)
	})
}

func TestReplicaThatTakesWrites(t *testing.T) {
	t.Parallel()
	p := stand(t, standingOptions{ordinal: 1})
	neighbour{ordinal: 0, mysql: true}.start(t, p.cfg)
	r := examine(t, p.cfg)
	wants(t, r, "read-only")
	says(t, r, "read-only", "super_read_only is OFF", "SET GLOBAL super_read_only = ON")
	p.exec(t, "SET GLOBAL super_read_only = ON")
	wants(t, examine(t, p.cfg))
	p.exec(t, "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'old-0.db', SOURCE_USER = 'r'")
	r = examine(t, p.cfg)
	wants(t, r, "channel")
	says(t, r, "channel", "old-0.db:3306", "the set's source is "+host(p.cfg, 0))
}

func TestDataOfANewerServer(t *testing.T) {
	t.Parallel()
	p := stand(t, standingOptions{facts: volume.Facts{ServerVersion: "99.1.0"}})
	r := examine(t, p.cfg)
	wants(t, r, "mysql-version")
	says(t, r, "mysql-version", "99.1.0", "image: mysql:99.1")
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	cfg := lone(t)
	cfg.MySQLAddress = mysqltest.StartMariaDB(t)
	r := examine(t, cfg)
	wants(t, r, "mysql-version")
	says(t, r, "mysql-version", "MariaDB", "image: mysql:9.7")
}

func TestEncryptedTables(t *testing.T) {
	t.Parallel()
	p := stand(t, standingOptions{distribution: mysqltest.WithKeyring(t)})
	p.exec(t, "CREATE DATABASE shop", "CREATE TABLE shop.cards (id INT) ENCRYPTION = 'Y'")
	r := examine(t, p.cfg)
	wants(t, r, "encrypted-tables")
	says(t, r, "encrypted-tables", "shop.cards", "ALTER TABLE `shop`.`cards` ENCRYPTION = 'N';")
}

// Limits of the process.
func TestLimits(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	cfg := lone(t)
	t.Run("files", func(t *testing.T) {
		t.Parallel()
		r := in(t, "-u", "ulimit -n 200", cfg)
		wants(t, r, "open-files")
		says(t, r, "open-files", "200 files", "ulimit -n 65536")
	})
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		dir, file, join := group(t)
		must(t, os.Mkdir(dir, 0o755))
		t.Cleanup(func() { _ = os.Remove(dir) })
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(fmt.Sprint(56<<20)), 0o644))
		r := in(t, "-u", "echo $$ > "+filepath.Join(dir, join), cfg)
		wants(t, r, "memory")
		says(t, r, "memory", "56 MiB", "64 MiB", "memory: 128Mi")
	})
}

// group is a control group of our own, and its files for the limit and for joining it.
func group(t *testing.T) (dir, limit, join string) {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "/", "-") + fmt.Sprint(os.Getpid())
	for _, g := range []struct{ root, limit string }{{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}} {
		if _, err := os.Stat(filepath.Join(g.root, "cgroup.procs")); err == nil {
			return filepath.Join(g.root, name), g.limit, "cgroup.procs"
		}
	}
	needs(t, false, "control groups for memory")
	return "", "", ""
}
