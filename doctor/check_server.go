package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ordinal/agent"
	"ordinal/mysqlx"
)

// serverChecks are about the pod's mysqld itself.
func serverChecks() []Check {
	return []Check{
		{
			ID: "mysqld", Title: "the pod's mysqld answers",
			Why:    "the agent can do nothing with a server that it does not reach",
			Remedy: "Mount the same `emptyDir` at `/var/run/mysqld` in agent and mysql, or give `--mysql-address`; look at mysqld's log.",
			judge:  judgeMysqld,
		},
		{
			ID: "mysql-version", Title: "the server is a MySQL that copies can be made of",
			Why:    "copies are made with CLONE, which MySQL has from 8.0.17 on, and between like versions only",
			Remedy: "Use an image of MySQL 8.0.17 or later, the same in all pods: upgrade replicas first, the source last.",
			judge:  judgeVersion,
		},
		{
			ID: "config-read", Title: "mysqld has read the agent's configuration",
			Why:    "without it mysqld has another data directory and identity, no GTIDs, and takes writes on replicas",
			Remedy: "Mount the directory of `--mysql-config-dir` into mysqld's container, at a place that its `my.cnf` includes, and start mysqld again.",
			judge:  judgeConfigRead,
		},
		{
			ID: "datadir", Title: "mysqld works on the volume's current data",
			Why:    "it works on data that the agent neither protects nor copies",
			Remedy: "Take `datadir` out of mysqld's command line and of other option files.",
			judge:  judgeDataDir,
		},
		{
			ID: "same-volume", Title: "agent and mysqld see the same volume",
			Why:    "what the agent clones and checks is not what mysqld serves",
			Remedy: "Mount the same volume, without different `subPath`s, at the same path in init, agent and mysql.",
			judge:  judgeSameVolume,
		},
		{
			ID: "mysqld-listens", Title: "mysqld listens where the others connect",
			Why:    "replicas cannot replicate from it and applications cannot connect",
			Remedy: "Take `bind_address` and `skip_networking` out of mysqld's options; `--mysql-port` is its port in all pods.",
			judge:  judgeListens,
		},
		{
			ID: "clone-plugin", Title: "the clone plugin is active",
			Why:    "this pod can give nobody a copy, nor a backup",
			Remedy: "Remove what overrides `plugin_load_add` in zz-ordinal.cnf; see that `plugin_dir` holds mysql_clone.so.",
			judge:  judgeClonePlugin,
		},
		{
			ID: "gtid", Title: "transactions are logged as replication needs them",
			Why:    "without GTIDs and a complete binlog in rows, replicas cannot attach or drift apart",
			Remedy: "Remove the settings named from option files, mysqld's arguments and `SET PERSIST`.",
			judge:  judgeGTID,
		},
		{
			ID: "server-id", Title: "server_id is this pod's",
			Why:    "a server skips every event with its own server_id, in silence",
			Remedy: "Do not set `server_id`: the agent does. `--server-id-base` is the same in all pods.",
			judge:  judgeServerID,
		},
		{
			ID: "settings", Title: "nothing overrides the agent's settings",
			Why:    "the agent relies on them",
			Remedy: "Remove the setting from the file that is named, from mysqld's arguments, or with `RESET PERSIST`.",
			judge:  judgeSettings,
		},
		{
			ID: "durability", Title: "a commit outlives a crash of the machine",
			Why:    "a crash can cost transactions that replicas have, or leave pages that are half written",
			Remedy: "Leave `sync_binlog`, `innodb_flush_log_at_trx_commit` and `innodb_doublewrite` at their defaults.",
			judge:  judgeDurability,
		},
		{
			ID: "connections", Title: "there are connections left",
			Why:    "applications and replicas get error 1040",
			Remedy: "Raise `max_connections`, or let the applications' pools be smaller.",
			judge:  judgeConnections,
		},
	}
}

// sql returns the own server if it is up and has its volume's data, or why there is nothing to judge.
func (e *exam) sql(others ...string) (server, finding) {
	if found, skip := e.after(append(others, "mysqld", "mysql-version", "peer-secret", "agent-account")...); skip {
		return server{}, found
	}
	switch {
	case !e.server.known():
		return server{}, e.server.unseen()
	case !e.server.it.up:
		return server{}, unseen("mysqld cannot be asked: " + e.whyDown())
	case e.server.it.facts.SkipNetworking && !e.complete():
		return server{}, unseen("this is the image's temporary server: the first initialisation is under way")
	}
	return e.server.it, ok()
}

// whyDown is one line about a server that does not answer.
func (e *exam) whyDown() string {
	switch err := e.server.it.err; {
	case mysqlx.IsConnRefused(err), errors.Is(err, os.ErrNotExist):
		return "none listens at " + e.cfg.MySQLAddress
	case err != nil:
		return err.Error()
	}
	return "see mysqld"
}

func judgeMysqld(e *exam) finding {
	if !e.server.known() {
		if e.complete() && !errors.Is(e.server.err, errNoTime) {
			return risk(e.server.err.Error(), "look at mysqld's log: is it recovering, or out of disk?")
		}
		return e.server.unseen()
	}
	s, at := e.server.it, e.cfg.MySQLAddress
	v := e.volume.it
	socket := filepath.IsAbs(at)
	switch {
	case s.up || s.unsupported != nil:
		return ok()
	case s.err == nil, errors.Is(s.err, errNoLogin):
		return unseen(errNoLogin.Error())
	case mysqlx.IsAccessDenied(s.err):
		return ok() // it does answer; see agent-account
	case mysqlx.ErrorNumber(s.err) == 1040 || mysqlx.ErrorNumber(s.err) == 1203:
		return ok() // see connections
	case errors.Is(s.err, os.ErrPermission):
		return fault(fmt.Sprintf("uid %d may not use the socket %s", e.uid(), at), security)
	case e.volume.known() && v.socketDir != nil && socket:
		if !e.hasData() && !e.running() {
			return unseen(fmt.Sprintf("there is no directory %s here and no data yet: agent init needs no mysqld", filepath.Dir(at)))
		}
		return fault(fmt.Sprintf("there is no directory %s, where mysqld's socket should be", filepath.Dir(at)), "volumes: [{name: socket, emptyDir: {}}]\nvolumeMounts: # of agent and mysql\n- {name: socket, mountPath: "+filepath.Dir(at)+"}")
	case socket && (errors.Is(s.err, os.ErrNotExist) || mysqlx.IsConnRefused(s.err)) && e.self.known() && e.self.it.name.err == nil && e.self.it.mysql == nil && e.ownAddress():
		return fault(fmt.Sprintf("something listens at %s, and mysqld's socket is not at %s: agent and mysqld do not share that directory, or mysqld has another socket", e.peers.MySQLAddress(e.id.Ordinal), at),
			"volumeMounts: # of agent and mysql\n- {name: socket, mountPath: "+filepath.Dir(at)+"}\nor give the socket's path with --mysql-address")
	case mysqlx.IsConnRefused(s.err) || errors.Is(s.err, os.ErrNotExist):
		return unseen("none listens at " + at)
	}
	return fault("somebody takes connections at "+at+", and mysqld does not answer: "+s.err.Error(), "is it stopped, out of processor time, or waiting for its disk? look at mysqld's log: kubectl logs "+orElse(e.id.Pod, "mysql-0")+" -c mysql")
}

// ownAddress reports whether this pod's name leads to this machine, and nowhere else.
func (e *exam) ownAddress() bool {
	return e.machine.known() && !slices.ContainsFunc(e.self.it.name.addresses, func(ip netip.Addr) bool { return !e.machine.it.has(ip) })
}

func judgeVersion(e *exam) finding {
	if e.server.known() && e.server.it.unsupported != nil {
		return fault(e.server.it.unsupported.Error(), "image: mysql:9.7 # in all pods; data of MariaDB has to be dumped and loaded")
	}
	own := e.cfg.MySQLVersion
	if e.server.known() && e.server.it.up {
		own = e.server.it.facts.Version
	}
	if own == "" {
		return unseen("mysqld cannot be asked, and --mysql-version is not given")
	}
	if e.complete() && e.volume.it.content.Record != nil {
		if data := e.volume.it.content.Record.ServerVersion; data != "" && older(own, data) {
			return fault(fmt.Sprintf("mysqld is %s, and the data was made by %s: a server does not start on data of a newer one", own, data), "image: mysql:"+series(data)+" # or newer")
		}
	}
	if e.others.known() {
		for _, p := range e.others.it {
			theirs := p.status.Status.ServerVersion
			if p.status.Kind != agent.PeerAnswered || theirs == "" {
				continue
			}
			if err := mysqlx.CheckCloneVersions(theirs, own); err != nil {
				return risk(fmt.Sprintf("this pod cannot be cloned from %s: %v", p.pod, err), "run the same image in all pods; in the middle of an upgrade this passes: replicas first, the source last")
			}
		}
	}
	return ok()
}

// older reports whether version a is surely older than b.
func older(a, b string) bool {
	va, errA := mysqlx.ParseVersion(a)
	vb, errB := mysqlx.ParseVersion(b)
	return errA == nil && errB == nil && va.Compare(vb) < 0
}

// series is 9.7 of 9.7.4.
func series(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func judgeConfigRead(e *exam) finding {
	s, found := e.sql("config-dir")
	if !s.up {
		return found
	}
	if !e.volume.known() || e.volume.it.config == nil {
		return unseen(configName + " is not there")
	}
	for _, path := range s.sources {
		if filepath.Base(path) == configName {
			return ok()
		}
	}
	return fault(fmt.Sprintf("mysqld has not read %s; its datadir is %s and its server_id is %d", filepath.Join(e.cfg.MySQLConfigDir, configName), s.facts.DataDir, s.facts.ServerID),
		"volumeMounts: # of mysql, as of init and agent\n- {name: config, mountPath: /etc/mysql/conf.d, readOnly: true}\nthen start mysqld again; is it mounted, my.cnf lacks: !includedir /etc/mysql/conf.d/")
}

func judgeDataDir(e *exam) finding {
	s, found := e.sql("config-read", "config-dir")
	if !s.up {
		return found
	}
	want := filepath.Join(e.cfg.Volume, "current")
	if have := filepath.Clean(s.facts.DataDir); have != want && !sameDir(have, want) {
		return fault(fmt.Sprintf("mysqld's datadir is %s instead of %s%s", have, want, e.setBy(s, "datadir")), "take datadir (-h, --datadir) out of there, and start mysqld again")
	}
	return ok()
}

// sameDir reports whether two paths lead to the same directory here.
func sameDir(a, b string) bool {
	a, errA := filepath.EvalSymlinks(a)
	b, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && a == b
}

// setBy says what has set a variable, as far as it was another file.
func (e *exam) setBy(s server, name string) string {
	if path := s.sources[name]; path != "" && filepath.Base(path) != configName {
		return ", set by " + path
	}
	for _, o := range s.overrides {
		if o.Name == name && o.Path == "" {
			return ", set by " + o.Source
		}
	}
	return ""
}

func judgeSameVolume(e *exam) finding {
	s, found := e.sql("config-read", "config-dir", "datadir", "volume")
	if !s.up {
		return found
	}
	v := e.volume.it
	switch {
	case !e.volume.known() || !e.complete():
		return unseen("there is no complete data here")
	case v.serverUUID == "":
		return unseen("auto.cnf cannot be read")
	case v.serverUUID == s.facts.ServerUUID:
		return ok()
	}
	return fault(fmt.Sprintf("mysqld's server_uuid is %s, and %s here says %s", s.facts.ServerUUID, filepath.Join(e.cfg.Volume, "current", "auto.cnf"), v.serverUUID),
		"volumeMounts: # the same volume, path and subPath in init, agent and mysql\n- {name: data, mountPath: "+e.cfg.Volume+"}")
}

func judgeListens(e *exam) finding {
	s, found := e.sql()
	if !s.up {
		return found
	}
	if s.facts.SkipNetworking || s.facts.Port == 0 {
		return fault("mysqld listens on no port: skip_networking is ON"+e.setBy(s, "skip_networking"), "take skip_networking out of its options, and start it again")
	}
	if s.facts.Port != e.cfg.MySQLPort {
		return fault(fmt.Sprintf("mysqld listens on port %d, and --mysql-port is %d", s.facts.Port, e.cfg.MySQLPort), fmt.Sprintf("--mysql-port=%d in all pods, or take port out of mysqld's options", s.facts.Port))
	}
	bind := s.values["bind_address"]
	if !e.names.known() || e.names.it.own.err != nil || len(e.names.it.own.addresses) == 0 {
		if onlyLoopback(bind) && !e.local() {
			return fault("mysqld listens on "+bind+" only (bind_address)"+e.setBy(s, "bind_address"), noBind)
		}
		return unseen("this pod's address is not known: see own-name")
	}
	for _, own := range e.names.it.own.addresses {
		if covers(bind, own) {
			return ok()
		}
	}
	return fault(fmt.Sprintf("mysqld listens on %s only (bind_address%s), and the others connect to %s", bind, e.setBy(s, "bind_address"), e.names.it.own.list()), noBind)
}

const noBind = "take bind_address out of mysqld's options, and start it again: by default it listens on all addresses"

// covers reports whether a server with this bind_address listens on an address, or may. See refman/8.4 sysvar_bind_address.
func covers(bind string, own netip.Addr) bool {
	for one := range strings.SplitSeq(bind, ",") {
		one, _, _ = strings.Cut(strings.TrimSpace(one), "/") // a network namespace
		ip, err := netip.ParseAddr(one)
		switch {
		case one == "*" || one == "::" || one == "0.0.0.0":
			return true
		case err == nil && ip.Unmap() == own:
			return true
		case err != nil && one != "localhost": // a name: who knows
			return true
		}
	}
	return false
}

func onlyLoopback(bind string) bool {
	for one := range strings.SplitSeq(bind, ",") {
		if ip, err := netip.ParseAddr(strings.TrimSpace(one)); strings.TrimSpace(one) != "localhost" && (err != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

func judgeClonePlugin(e *exam) finding {
	s, found := e.sql("config-read")
	if !s.up {
		return found
	}
	if s.facts.ClonePluginActive {
		return ok()
	}
	return fault("the plugin clone is not active; plugin_dir is "+s.values["plugin_dir"],
		"ls "+filepath.Join(s.values["plugin_dir"], "mysql_clone.so")+" # in mysqld's container\nlet nothing override plugin_load_add = mysql_clone.so of "+configName+", and start mysqld again; at once: INSTALL PLUGIN clone SONAME 'mysql_clone.so';")
}

// replicationNeeds are settings without which replicas cannot attach or drift apart.
var replicationNeeds = []struct{ name, want string }{
	{"log_bin", "ON"}, {"gtid_mode", "ON"}, {"enforce_gtid_consistency", "ON"}, {"log_replica_updates", "ON"}, {"binlog_format", "ROW"}, {"binlog_row_image", "FULL"},
}

func judgeGTID(e *exam) finding {
	s, found := e.sql("config-read")
	if !s.up {
		return found
	}
	var wrong []string
	for _, need := range replicationNeeds {
		if have, ok := s.values[need.name]; ok && have != need.want {
			wrong = append(wrong, fmt.Sprintf("%s is %s instead of %s%s", need.name, have, need.want, e.setBy(s, need.name)))
		}
	}
	if len(wrong) == 0 {
		return ok()
	}
	return fault(strings.Join(wrong, "; "), "remove these settings from option files and mysqld's arguments; SET PERSIST is undone with RESET PERSIST name; then start mysqld again")
}

func judgeServerID(e *exam) finding {
	s, found := e.sql("config-read", "pod-name")
	if !s.up {
		return found
	}
	want := e.id.ServerID(e.cfg.ServerIDBase)
	if s.facts.ServerID == want || e.restoring() {
		return ok()
	}
	return fault(fmt.Sprintf("server_id is %d, and %s's is %d%s", s.facts.ServerID, e.id.Pod, want, e.setBy(s, "server_id")), "remove server_id from option files and mysqld's arguments, RESET PERSIST server_id; then start mysqld again")
}

// restoring reports whether the agent works on the server with settings of its own.
func (e *exam) restoring() bool {
	if !e.own.known() || !e.own.it.agent {
		return false
	}
	s := e.own.it.status.State
	return s == agent.StateRestoring || s == agent.StateGateClosed
}

// judgedElsewhere are settings of the agent's with a check of their own.
var judgedElsewhere = []string{"datadir", "server_id", "gtid_mode", "enforce_gtid_consistency", "log_bin"}

func judgeSettings(e *exam) finding {
	s, found := e.sql("config-read", "config-dir")
	if !s.up {
		return found
	}
	if !e.volume.known() || e.volume.it.config == nil {
		return unseen(configName + " is not there")
	}
	var wrong []string
	var undo string
	for _, o := range s.overrides {
		if slices.Contains(judgedElsewhere, o.Name) || e.restoring() {
			continue
		}
		wrong = append(wrong, o.String())
		if undo = "remove it from " + o.Path; o.Path == "" || o.Source == "PERSISTED" {
			undo = "RESET PERSIST " + o.Name + "; or remove it from mysqld's arguments"
		}
	}
	if len(wrong) == 0 {
		return ok()
	}
	return fault(strings.Join(wrong, "; "), undo+", and start mysqld again")
}

func judgeDurability(e *exam) finding {
	s, found := e.sql()
	if !s.up {
		return found
	}
	var wrong []string
	for _, need := range []struct{ name, want, other string }{
		{"sync_binlog", "1", ""}, {"innodb_flush_log_at_trx_commit", "1", ""}, {"innodb_doublewrite", "ON", "DETECT_AND_RECOVER"},
	} {
		if have, there := s.values[need.name]; there && have != need.want && have != need.other {
			wrong = append(wrong, fmt.Sprintf("%s is %s instead of %s%s", need.name, have, need.want, e.setBy(s, need.name)))
		}
	}
	if len(wrong) == 0 {
		return ok()
	}
	return risk(strings.Join(wrong, "; "), "remove these settings; at once: SET GLOBAL sync_binlog = 1, GLOBAL innodb_flush_log_at_trx_commit = 1;")
}

func judgeConnections(e *exam) finding {
	if e.server.known() && (mysqlx.ErrorNumber(e.server.it.err) == 1040 || mysqlx.ErrorNumber(e.server.it.err) == 1203) {
		return fault("mysqld lets nobody in any more: "+e.server.it.err.Error(), "SHOW PROCESSLIST; # who has them? Let the pools be smaller, or: SET PERSIST max_connections = 500;")
	}
	s, found := e.sql()
	if !s.up {
		return found
	}
	number := func(name string) int { n, _ := strconv.Atoi(s.values[name]); return n }
	most, now := number("max_connections"), number("threads_connected")
	switch {
	case most == 0:
		return unseen("max_connections cannot be read")
	case now*10 >= most*9:
		return risk(fmt.Sprintf("%d of %d connections are in use (max_connections%s)", now, most, e.setBy(s, "max_connections")), "SELECT USER, COUNT(*) FROM performance_schema.processlist GROUP BY USER; # who has them?\nSET PERSIST max_connections = 500;")
	case most < fewConnections:
		return risk(fmt.Sprintf("max_connections is %d%s: the agent takes up to 4, each replica one, a clone some more", most, e.setBy(s, "max_connections")), "SET PERSIST max_connections = 151;")
	}
	return ok()
}

// fewConnections are too few for a server that anybody uses besides the agents.
const fewConnections = 20
