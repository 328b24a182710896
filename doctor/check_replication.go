package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"ordinal/agent"
	"ordinal/mysqlx"
)

// replicationChecks are about the server's part in the set.
func replicationChecks() []Check {
	return []Check{
		{
			ID: "read-only", Title: "a replica takes no writes",
			Why:    "what is written to a replica is on no other pod, and is thrown away when it is cloned anew",
			Remedy: "`SET GLOBAL super_read_only = ON`; the running agent does it within seconds. Find out who turned it off.",
			judge:  judgeReadOnly,
		},
		{
			ID: "channel", Title: "replication comes from the set's source and from nowhere else",
			Why:    "transactions of another server end up in this set",
			Remedy: "`STOP REPLICA; RESET REPLICA ALL FOR CHANNEL '…'`; the agent sets up its own channel.",
			judge:  judgeChannel,
		},
		{
			ID: "semisync", Title: "with --durability=semisync a replica acknowledges",
			Why:    "commits on the source wait until one does",
			Remedy: "Start mysqld with the agent's zz-ordinal.cnf, which loads the plugins (MySQL 8.0.26 or later); see that a replica runs and has `--durability=semisync` as well.",
			judge:  judgeSemisync,
		},
		{
			ID: "binlog-expiry", Title: "binlogs are kept for long enough",
			Why:    "a replica that was away for longer has to be cloned anew",
			Remedy: "`SET PERSIST binlog_expire_logs_seconds = 2592000`, the default of 30 days, or at least what a weekend takes.",
			judge:  judgeExpiry,
		},
		{
			ID: "packet", Title: "replication takes packets as large as clients may send",
			Why:    "a larger one stops every replica",
			Remedy: "Leave `replica_max_allowed_packet` at its default of 1 GiB, or raise it to `max_allowed_packet`.",
			judge:  judgePacket,
		},
	}
}

// dataChecks are about tables.
func dataChecks() []Check {
	return []Check{
		{
			ID: "encrypted-tables", Title: "no tablespace is encrypted",
			Why:    "copies of encrypted tablespaces are refused: no clone, no backup",
			Remedy: "`ALTER TABLE … ENCRYPTION = 'N'` for the tables named; encrypt the volume instead.",
			judge:  judgeEncrypted,
		},
		{
			ID: "external-tables", Title: "all tables are in the data directory",
			Why:    "copies of tables elsewhere are refused: no clone, no backup",
			Remedy: "Make the tables named anew without `DATA DIRECTORY`.",
			judge:  judgeExternal,
		},
		{
			ID: "other-engines", Title: "all tables are InnoDB",
			Why:    "tables of other engines arrive empty in clones and are in no backup",
			Remedy: "`ALTER TABLE … ENGINE = InnoDB` for the tables named.",
			judge:  judgeEngines,
		},
	}
}

func judgeReadOnly(e *exam) finding {
	s, found := e.sql("pod-name")
	if !s.up {
		return found
	}
	if e.id.Role() == agent.RoleSource || s.facts.SuperReadOnly {
		return ok()
	}
	if !e.complete() {
		return unseen("the volume holds no complete data")
	}
	return fault("super_read_only is OFF on this replica"+e.setBy(s, "super_read_only"), "SET GLOBAL super_read_only = ON;\nagent run does so within seconds: does it run? Then look for what was written: agent status # errant_transactions")
}

func judgeChannel(e *exam) finding {
	s, found := e.sql("pod-name")
	if !s.up {
		return found
	}
	source := e.peers.Host(e.id.First)
	for _, c := range s.channels {
		from := fmt.Sprintf("channel %q replicates from %s:%d as %s", c.Channel, c.SourceHost, c.SourcePort, c.SourceUser)
		reset := fmt.Sprintf("STOP REPLICA FOR CHANNEL '%s'; RESET REPLICA ALL FOR CHANNEL '%s';", c.Channel, c.Channel)
		switch {
		case c.Channel == mysqlx.ReplayChannel || e.restoring():
		case e.id.Role() == agent.RoleSource:
			return fault(from+", and this pod is the source", reset)
		case c.Channel != "":
			return fault(from+": it is not the agent's", reset)
		case !strings.EqualFold(c.SourceHost, source) || c.SourcePort != e.cfg.MySQLPort:
			return fault(fmt.Sprintf("%s, and the set's source is %s:%d", from, source, e.cfg.MySQLPort), "agent run points it at the source within seconds: does it run, and is replication held? agent release\nFind out who changed it, or whether --service or --peer-host did.")
		}
	}
	return ok()
}

func judgeSemisync(e *exam) finding {
	if e.cfg.Durability != agent.DurabilitySemisync {
		return unseen("--durability is " + string(e.cfg.Durability))
	}
	s, found := e.sql("config-read", "pod-name")
	if !s.up {
		return found
	}
	switch {
	case !s.semisync.SourcePlugin || !s.semisync.ReplicaPlugin:
		return fault(fmt.Sprintf("--durability is semisync, and the plugins are not active (source: %t, replica: %t)", s.semisync.SourcePlugin, s.semisync.ReplicaPlugin),
			"start the pod again, so that init writes a "+configName+" that loads them; is it there: ls "+s.values["plugin_dir"]+"semisync_*.so # in mysqld's container")
	case e.id.Role() == agent.RoleSource && s.semisync.Clients == 0:
		return fault(fmt.Sprintf("no replica acknowledges, %d groups of commits wait", s.semisync.WaitingSessions), "agent status # bring a replica back, with --durability=semisync as well\n--durability=async gives the promise up")
	}
	return ok()
}

// A day is what a set should survive without a replica.
const dayOfBinlogs = 24 * 60 * 60

func judgeExpiry(e *exam) finding {
	s, found := e.sql()
	if !s.up {
		return found
	}
	seconds, err := strconv.ParseUint(s.values["binlog_expire_logs_seconds"], 10, 64)
	switch {
	case err != nil:
		return unseen("binlog_expire_logs_seconds cannot be read")
	case seconds > 0 && seconds < dayOfBinlogs && s.values["binlog_expire_logs_auto_purge"] != "OFF":
		return risk(fmt.Sprintf("binlogs go after %d s (binlog_expire_logs_seconds%s)", seconds, e.setBy(s, "binlog_expire_logs_seconds")), "SET PERSIST binlog_expire_logs_seconds = 2592000;")
	}
	return ok()
}

func judgePacket(e *exam) finding {
	s, found := e.sql()
	if !s.up {
		return found
	}
	clients, errC := strconv.ParseUint(s.values["max_allowed_packet"], 10, 64)
	replica, errR := strconv.ParseUint(s.values["replica_max_allowed_packet"], 10, 64)
	switch {
	case errC != nil || errR != nil:
		return unseen("this server has no replica_max_allowed_packet")
	case replica < clients:
		return risk(fmt.Sprintf("replica_max_allowed_packet is %d and max_allowed_packet is %d%s", replica, clients, e.setBy(s, "replica_max_allowed_packet")), "SET PERSIST replica_max_allowed_packet = 1073741824;")
	}
	return ok()
}

// tablesOf returns what is known of the tables.
func (e *exam) tablesOf() (tables, finding, bool) {
	s, found := e.sql()
	switch {
	case !s.up:
		return tables{}, found, false
	case !s.data.known():
		return tables{}, s.data.unseen(), false
	}
	return s.data.it, ok(), true
}

func judgeEncrypted(e *exam) finding {
	t, found, known := e.tablesOf()
	if !known || len(t.encrypted) == 0 {
		return found
	}
	return fault("encrypted: "+some(t.encrypted), statements(t.encrypted, "ALTER TABLE %s ENCRYPTION = 'N';"))
}

func judgeExternal(e *exam) finding {
	t, found, known := e.tablesOf()
	if !known || len(t.external) == 0 {
		return found
	}
	return fault("outside the data directory: "+some(t.external), "make them anew there: CREATE TABLE new LIKE old without DATA DIRECTORY, INSERT INTO new SELECT * FROM old, RENAME TABLE")
}

func judgeEngines(e *exam) finding {
	t, found, known := e.tablesOf()
	if !known || len(t.others) == 0 {
		return found
	}
	return risk("not InnoDB: "+some(t.others), statements(t.others, "ALTER TABLE %s ENGINE = InnoDB;"))
}

// some names a few.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// statements makes a statement for each of the first names.
func statements(names []string, form string) string {
	var all []string
	for _, name := range names[:min(len(names), 3)] {
		schema, table, two := strings.Cut(name, ".")
		quoted := "`" + strings.ReplaceAll(schema, "`", "``") + "`"
		if two {
			quoted += ".`" + strings.ReplaceAll(table, "`", "``") + "`"
		}
		all = append(all, fmt.Sprintf(form, quoted))
	}
	return strings.Join(all, "\n")
}
