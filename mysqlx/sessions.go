package mysqlx

import (
	"context"
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
	killed := 0
	for _, id := range ids {
		if strings.Trim(id, "0123456789") != "" {
			return killed, fmt.Errorf("end clone session %q: not a number", id)
		}
		err := db.Exec(ctx, "KILL CONNECTION "+id)
		if hasNumber(err, erNoSuchThread) {
			continue // it ended by itself
		}
		if err != nil {
			return killed, fmt.Errorf("end clone session %s: %w", id, err)
		}
		killed++
	}
	return killed, nil
}

// Shutdown ends the server as SIGTERM would. It needs the SHUTDOWN privilege, which only root has. See refman/8.4 shutdown.
func (db *DB) Shutdown(ctx context.Context) error {
	if err := db.Exec(ctx, "SHUTDOWN"); err != nil {
		return fmt.Errorf("shut the server down: %w", err)
	}
	return nil
}
