package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrNoSemiSync says that the server has not loaded a plugin of semi-synchronous replication.
var ErrNoSemiSync = errors.New("plugin of semi-synchronous replication is not active: start mysqld with plugin_load_add=semisync_source.so " +
	"and plugin_load_add=semisync_replica.so (MySQL 8.0.26 or newer)")

// ErrNobodyAcknowledges says that a statement was not executed because it would wait for a replica, and hold a lock meanwhile that
// replicas need to log in.
var ErrNobodyAcknowledges = errors.New("no replica acknowledges transactions")

// SemiSync is the state of semi-synchronous replication. On a server without a plugin its fields are zero. See refman/8.4
// replication-semisync-monitoring.
type SemiSync struct {
	SourcePlugin   bool // semisync_source is active
	ReplicaPlugin  bool // semisync_replica is active
	SourceEnabled  bool // commits shall wait for an acknowledgement
	SourceActive   bool // they do: false too after a timeout, until a replica has caught up
	ReplicaEnabled bool // the receiver acknowledges from its next start on
	ReplicaActive  bool // it does now

	Clients         int           // connected replicas that acknowledge
	WaitingSessions int           // waits for an acknowledgement: one for each group of commits, not for each session
	Timeout         time.Duration // after which the source goes on without acknowledgements
	WaitForReplicas int           // how many have to acknowledge
	WaitNoReplica   bool          // commits wait also when there are fewer replicas than that
	WaitPoint       string        // AFTER_SYNC: nobody sees a transaction before it is acknowledged
	Acknowledged    uint64        // transactions since the server started
	Unacknowledged  uint64        // transactions that were committed without, since then
}

// SemiSync asks for the state of semi-synchronous replication.
func (db *DB) SemiSync(ctx context.Context) (SemiSync, error) {
	rows, err := db.Query(ctx, `SELECT LOWER(VARIABLE_NAME), VARIABLE_VALUE FROM performance_schema.global_variables
			WHERE LEFT(VARIABLE_NAME, 14) = 'rpl_semi_sync_'
		UNION ALL SELECT LOWER(VARIABLE_NAME), VARIABLE_VALUE FROM performance_schema.global_status
			WHERE LEFT(VARIABLE_NAME, 14) = 'rpl_semi_sync_'`)
	if err != nil {
		return SemiSync{}, fmt.Errorf("read semi-synchronous replication: %w", err)
	}
	values := make(map[string]string, len(rows))
	for _, r := range rows {
		values[strings.TrimPrefix(r[0], "rpl_semi_sync_")] = r[1]
	}
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(values[name], 10, 64) // not there without the plugin
		return n
	}
	return SemiSync{
		SourcePlugin: values["source_enabled"] != "", ReplicaPlugin: values["replica_enabled"] != "", // the variables are the plugins'
		SourceEnabled: values["source_enabled"] == "ON", SourceActive: values["source_status"] == "ON",
		ReplicaEnabled: values["replica_enabled"] == "ON", ReplicaActive: values["replica_status"] == "ON",
		Clients: int(number("source_clients")), WaitingSessions: int(number("source_wait_sessions")),
		Timeout:         time.Duration(number("source_timeout")) * time.Millisecond,
		WaitForReplicas: int(number("source_wait_for_replica_count")), WaitNoReplica: values["source_wait_no_replica"] == "ON",
		WaitPoint: values["source_wait_point"], Acknowledged: number("source_yes_tx"), Unacknowledged: number("source_no_tx"),
	}, nil
}

// SemiSyncTimeout is how long a commit waits before the source goes on without acknowledgements, the longest there is: 49 days.
const SemiSyncTimeout = (1<<32 - 1) * time.Millisecond

// SetSemiSyncSource makes commits wait, from the next one on, until one replica has acknowledged them, also when there is no replica.
// Turning it off tells the clients of all commits that wait that they are committed, acknowledged or not: where that must not
// be, call KillSemiSyncWaiters before, with users kept out. It lasts until the server stops. The error wraps ErrNoSemiSync without the
// plugin. See refman/8.4 replication-semisync-interface.
func (db *DB) SetSemiSyncSource(ctx context.Context, on bool) error {
	query := "SET GLOBAL rpl_semi_sync_source_enabled = OFF"
	if on {
		query = fmt.Sprintf(`SET GLOBAL rpl_semi_sync_source_timeout = %d, GLOBAL rpl_semi_sync_source_wait_for_replica_count = 1,
			GLOBAL rpl_semi_sync_source_wait_no_replica = ON, GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC,
			GLOBAL rpl_semi_sync_source_enabled = ON`, SemiSyncTimeout.Milliseconds())
	}
	return db.setSemiSync(ctx, "source", query, on)
}

// SetSemiSyncReplica makes the receiver acknowledge what it has written to the relay log, or not, from its next start on: see
// RestartReceiver. Whether an acknowledged transaction outlives the machine, see Durability. It lasts until the server stops. The error
// wraps ErrNoSemiSync without the plugin.
func (db *DB) SetSemiSyncReplica(ctx context.Context, on bool) error {
	query := "SET GLOBAL rpl_semi_sync_replica_enabled = OFF"
	if on {
		query = "SET GLOBAL rpl_semi_sync_replica_enabled = ON"
	}
	return db.setSemiSync(ctx, "replica", query, on)
}

func (db *DB) setSemiSync(ctx context.Context, side, query string, on bool) error {
	err := db.Exec(ctx, query)
	if hasNumber(err, erUnknownSystemVariable) {
		if !on {
			return nil // what is not there is off
		}
		err = ErrNoSemiSync
	}
	if err != nil {
		return fmt.Errorf("set semi-synchronous replication of a %s to %t: %w", side, on, err)
	}
	return nil
}

// KillSemiSyncWaiters ends the connections of the sessions whose commits wait for an acknowledgement, so that no client is told that a
// transaction is committed which no replica has. It returns how many it ended; one that still waits is counted by each call.
//
// The wait itself does not end by that: the transactions stay prepared, and in the binary log, until a replica acknowledges them,
// SetSemiSyncSource turns the waiting off, or the server is shut down. Until then they hold up every other commit, a clone of this server
// and SetSuperReadOnly. In whichever way the wait ends, and after a crash, they are committed. A client whose connection was not ended
// is told so then, by a shutdown too. SetOfflineMode keeps new ones out; it ends the users' connections as well, and does not wait. The
// session of an account with SYSTEM_USER, such as root's, can be ended by one that has it too: for another account it is an error, after
// all that it can end have been ended.
func (db *DB) KillSemiSyncWaiters(ctx context.Context) (int, error) {
	// A group of commits waits as one: the others of the group, and the groups behind it, wait for their turn. They count as soon as
	// there is one that waits for a replica.
	ids, err := db.strings(ctx, `SELECT PROCESSLIST_ID FROM performance_schema.threads
		WHERE PROCESSLIST_STATE IN ('Waiting for semi-sync ACK from replica', 'waiting for handler commit')
		AND PROCESSLIST_ID IS NOT NULL AND NAME NOT LIKE 'thread/sql/replica%'
		AND EXISTS (SELECT 1 FROM performance_schema.global_status
			WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions' AND VARIABLE_VALUE <> '0')`)
	if err != nil {
		return 0, fmt.Errorf("list sessions that wait for a replica: %w", err)
	}
	return db.kill(ctx, "CONNECTION", ids)
}

// checkAcknowledged returns an ErrNobodyAcknowledges where a change of accounts would wait for a replica: it holds the lock of the
// accounts while it waits, so that neither the replica that should acknowledge nor anyone else can log in.
func (db *DB) checkAcknowledged(ctx context.Context) error {
	s, err := db.SemiSync(ctx)
	if err == nil && s.SourceActive && s.Clients < s.WaitForReplicas {
		err = fmt.Errorf("%w: accounts can be changed when one does, or before semi-synchronous replication is turned on", ErrNobodyAcknowledges)
	}
	return err
}
