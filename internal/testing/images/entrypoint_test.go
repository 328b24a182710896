package images

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The promises are those of the page of the official image, https://hub.docker.com/_/mysql.

// TestFirstStart: as root, everything that can be said in the environment; then a second start with other words, which change nothing.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	Need(t)
	const password = `it's "quoted\ `
	secrets := dir(t, map[string]string{"root": password + "\n", "user": `p'w`})
	hooks := dir(t, map[string]string{
		"1-table.sql":      "CREATE TABLE t (n INT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(20)); INSERT INTO t (who) VALUES ('sql');",
		"2-zipped.sql.gz":  zipped(t, "INSERT INTO t (who) VALUES ('gz');"),
		"3-run.sh!":        "#!/bin/bash\necho 'the hook runs as' $(id -u) > /var/lib/mysql/hook\n",
		"4-sourced.sh":     "client --database=\"$MYSQL_DATABASE\" <<< \"INSERT INTO t (who) VALUES ('sourced')\"\n",
		"5-unknown.readme": "not run",
	})
	conf := dir(t, map[string]string{"mine.cnf": "[mysqld]\nmax_connections=77\nback_log=66\n"})
	c := run(t, []string{
		"--env", "MYSQL_ROOT_PASSWORD_FILE=/secrets/root", "--env", "MYSQL_DATABASE=my_db", "--env", "MYSQL_USER=u", "--env", "MYSQL_PASSWORD_FILE=/secrets/user",
		"--volume", secrets + ":/secrets:ro", "--volume", hooks + ":/docker-entrypoint-initdb.d:ro", "--volume", conf + ":/etc/mysql/conf.d:ro",
	}, "--max-connections=88")
	c.waitServing(1)

	c.must("root", password, "SELECT CURRENT_USER()", "root@%")
	c.must("u", "p'w", "SELECT GROUP_CONCAT(who ORDER BY n) FROM my_db.t", "sql,gz,sourced")
	if grants, err := c.sql("u", "p'w", "SHOW GRANTS"); err != nil || strings.Count(grants, "\n") != 1 || !strings.Contains(grants, "ALL PRIVILEGES ON `my") {
		t.Errorf("grants of the user: %s, %v", grants, err)
	}
	if _, err := c.sql("u", "p'w", "SELECT 1 FROM mysql.user"); err == nil {
		t.Error("the user may read mysql.user")
	}
	c.must("root", password, "SELECT @@max_connections, @@back_log, @@datadir, @@socket", "88\t66\t/var/lib/mysql/\t/var/run/mysqld/mysqld.sock")
	c.must("root", password, "SELECT COUNT(*) > 400 FROM mysql.time_zone_name", "1")
	if got := c.sh("cat /var/lib/mysql/hook; grep ^Uid: /proc/1/status; cat /proc/1/comm; stat -c %U /var/lib/mysql /var/lib/mysql/ibdata1"); !strings.HasPrefix(got, "the hook runs as 999\nUid:\t999\t999\t999\t999\nmysqld\nmysql\nmysql") {
		t.Errorf("what runs, and whose it is:\n%s", got)
	}
	logs := c.logs()
	if !strings.Contains(logs, "port: 0 ") || strings.Index(logs, "port: 0 ") > strings.Index(logs, "port: 3306 ") {
		t.Error("the temporary server listened on the network")
	}
	if !strings.Contains(logs, "ignoring /docker-entrypoint-initdb.d/5-unknown.readme") || strings.Contains(logs, password) {
		t.Error("the log lacks what was ignored, or has the password")
	}

	_, err := Docker(c.ctx, "restart", c.id)
	must(t, err)
	c.waitServing(2)
	c.must("root", password, "SELECT COUNT(*) FROM my_db.t", "3")
	if strings.Count(c.logs(), "initialising") != 1 || strings.Count(c.logs(), "Shutdown complete") != 2 {
		t.Error("the second start initialised again, or the first one did not end well")
	}
}

// TestUnprivileged: as any user, without a capability, with nothing to write to but what is mounted, and the data directory that a file names.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	Need(t)
	conf := dir(t, map[string]string{"zz.cnf": "[mysqld]\ndatadir=/var/lib/mysql/current\n"})
	c := run(t, []string{
		"--user", "999:999", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true",
		"--tmpfs", "/tmp", "--tmpfs", "/run/mysqld:uid=999,gid=999", "--tmpfs", "/var/lib/mysql-files:uid=999,gid=999", "--volume", conf + ":/etc/mysql/conf.d:ro",
		"--env", "MYSQL_ALLOW_EMPTY_PASSWORD=yes", "--env", "MYSQL_ROOT_HOST=localhost", "--env", "MYSQL_INITDB_SKIP_TZINFO=1",
	})
	c.waitServing(1)
	const query = "SELECT @@datadir, (SELECT COUNT(*) FROM mysql.time_zone_name), (SELECT GROUP_CONCAT(host) FROM mysql.user WHERE user = 'root')"
	if got := c.sh(`mysql --user=root --skip-column-names --batch --execute="` + query + `"`); got != "/var/lib/mysql/current/\t0\tlocalhost" { // by the socket
		t.Errorf("data directory, time zones, hosts of root: %q", got)
	}
	if _, err := c.sql("root", "", "SELECT 1"); err == nil {
		t.Error("root may log in over TCP")
	}
	if got := c.sh("ls -A /var/lib/mysql"); got != "current\nmysql.sock" {
		t.Errorf("beside the data directory: %s", got)
	}
}

func TestRandomPassword(t *testing.T) {
	t.Parallel()
	Need(t)
	c := run(t, []string{"--env", "MYSQL_RANDOM_ROOT_PASSWORD=1", "--env", "MYSQL_INITDB_SKIP_TZINFO=1"})
	c.waitServing(1)
	found := regexp.MustCompile(`GENERATED ROOT PASSWORD: (\S+)`).FindStringSubmatch(c.logs())
	if found == nil {
		t.Fatal("the log has no password")
	}
	c.must("root", found[1], "SELECT 1", "1")
	if _, err := c.sql("root", "", "SELECT 1"); err == nil {
		t.Error("root needs no password")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	Need(t)
	tests := []struct {
		name    string
		env     []string
		command []string
		want    string
	}{
		{"no password option", nil, nil, "no password option is given"},
		{"a password twice", []string{"MYSQL_ROOT_PASSWORD=a", "MYSQL_ROOT_PASSWORD_FILE=/b"}, nil, "both MYSQL_ROOT_PASSWORD and MYSQL_ROOT_PASSWORD_FILE are set"},
		{"root as user", []string{"MYSQL_ROOT_PASSWORD=a", "MYSQL_USER=root", "MYSQL_PASSWORD=b"}, nil, `MYSQL_USER is "root"`},
		{"a value that mysqld does not take", []string{"MYSQL_ROOT_PASSWORD=a"}, []string{"--max-connections=abc"}, "Error while setting value 'abc' to 'max_connections'"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var options []string
			for _, e := range test.env {
				options = append(options, "--env", e)
			}
			c := run(t, options, test.command...)
			if code := c.wait(); code != "1" || !strings.Contains(c.logs(), test.want) || strings.Contains(c.logs(), "initialising") {
				t.Errorf("ended with %s, want 1 and %q", code, test.want)
			}
		})
	}
}

// TestOtherCommands: what is not mysqld is run as it is.
func TestOtherCommands(t *testing.T) {
	t.Parallel()
	Need(t)
	for want, command := range map[string][]string{"0": {"id", "-u"}, "Ver ": {"--version"}, "Usage: mysqld": {"mysqld", "--verbose", "--help"}} {
		c := run(t, nil, command...)
		if code := c.wait(); code != "0" || !strings.Contains(c.logs(), want) {
			t.Errorf("%q ended with %s, want 0 and %q:\n%s", command, code, want, end(c.logs(), 300))
		}
	}
}

func TestStockConfig(t *testing.T) {
	Need(t)
	out, err := Docker(t.Context(), "image", "inspect", "--format", "{{json .Config}}", mysqlImage(t))
	must(t, err)
	var c struct {
		User         string
		Entrypoint   []string
		Cmd          []string
		Volumes      map[string]struct{}
		ExposedPorts map[string]struct{}
	}
	must(t, json.Unmarshal([]byte(out), &c))
	_, volume := c.Volumes["/var/lib/mysql"]
	_, port := c.ExposedPorts["3306/tcp"]
	_, x := c.ExposedPorts["33060/tcp"]
	if c.User != "" || !slices.Equal(c.Entrypoint, []string{"docker-entrypoint.sh"}) || !slices.Equal(c.Cmd, []string{"mysqld"}) || !volume || !port || !x {
		t.Errorf("image: %s", out)
	}
}
