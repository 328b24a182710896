package mysqlx

import (
	"context"
	"fmt"
)

// ClosingWaits reports whether a SetSuperReadOnly of our account waits for transactions that are being committed. Others wait behind it before
// they begin to commit. See refman/8.4 sysvar_read_only.
func (db *DB) ClosingWaits(ctx context.Context) (bool, error) {
	ids, err := db.strings(ctx, `SELECT PROCESSLIST_ID FROM performance_schema.threads
		WHERE PROCESSLIST_STATE IN ('Waiting for commit lock', 'Waiting for global read lock')
		AND PROCESSLIST_USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND PROCESSLIST_INFO LIKE 'SET GLOBAL%'`)
	if err != nil {
		return false, fmt.Errorf("look for a change of super_read_only that waits: %w", err)
	}
	return len(ids) > 0, nil
}
