package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// KillOwnClones ends what an earlier process of ours left behind: sessions of the account we are logged in as that are in a clone, on
// whatever connection. It returns how many it ended. The server lets an account see and end its own sessions without any privilege.
func (db *DB) KillOwnClones(ctx context.Context) (int, error) {
	ids, err := db.strings(ctx, `SELECT PROCESSLIST_ID FROM performance_schema.threads
		WHERE PROCESSLIST_USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND PROCESSLIST_COMMAND = 'Clone'
		AND PROCESSLIST_ID <> CONNECTION_ID()`)
	if err != nil {
		return 0, fmt.Errorf("list own clone sessions: %w", err)
	}
	return db.kill(ctx, "CONNECTION", ids)
}

// waitingForOrder is the state of a replication worker whose transaction is prepared and may not be committed before an earlier one. See
// refman/8.4 replication-threads-monitor-worker.
const waitingForOrder = "Waiting for preceding transaction to commit"

// ReleaseCommitOrder throws back the transactions of replication workers that wait, prepared, for an earlier one to be committed. It
// returns how many it threw back. Replication stops with an error then, and executes them again when it is started. That is the only way
// out when the server waits for prepared transactions to end while the earlier one waits for the server.
func (db *DB) ReleaseCommitOrder(ctx context.Context) (int, error) {
	ids, err := db.strings(ctx, "SELECT PROCESSLIST_ID FROM performance_schema.threads WHERE PROCESSLIST_STATE = ?", waitingForOrder)
	if err != nil {
		return 0, fmt.Errorf("list workers that wait for their turn to commit: %w", err)
	}
	return db.kill(ctx, "QUERY", ids)
}

// kill ends connections, or what they execute, and returns how many it ended: as many as it can. One that is gone by then counts as ended
// by itself.
func (db *DB) kill(ctx context.Context, what string, ids []string) (killed int, err error) {
	for _, id := range ids {
		if strings.Trim(id, "0123456789") != "" {
			return killed, errors.Join(err, fmt.Errorf("kill %s %q: not a number", strings.ToLower(what), id))
		}
		failure := db.Exec(ctx, "KILL "+what+" "+id)
		switch {
		case failure == nil:
			killed++
		case !hasNumber(failure, erNoSuchThread):
			err = errors.Join(err, fmt.Errorf("kill %s %s: %w", strings.ToLower(what), id, failure))
		}
	}
	return killed, err
}

// Shutdown ends the server as SIGTERM would. Clients that wait for a replica are told that their transaction is committed: see
// KillSemiSyncWaiters. See refman/8.4 shutdown.
func (db *DB) Shutdown(ctx context.Context) error {
	if err := db.Exec(ctx, "SHUTDOWN"); err != nil {
		return fmt.Errorf("shut the server down: %w", err)
	}
	return nil
}
