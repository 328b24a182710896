package mysqlx

import (
	"context"
	"fmt"
)

// Durability is what a server does so that a commit outlives a crash of its machine, and what a replica does with what it received. See
// refman/8.4 replication-solutions-unexpected-replica-halt.
type Durability struct {
	SyncBinlog       uint64 // binlog commits for each fsync; 0: as the operating system likes
	FlushLogAtCommit int    // innodb_flush_log_at_trx_commit. 1: redo log synced at each commit
	SyncRelayLog     uint64 // events for each fsync of the relay log; 0: as the operating system likes
	RelayLogRecovery bool   // a starting replica throws away what it received and has not applied
}

// Commits says that a committed transaction outlives the machine.
func (d Durability) Commits() bool { return d.SyncBinlog == 1 && d.FlushLogAtCommit == 1 }

// Received says that a transaction which a replica acknowledged outlives the replica's machine, with no source left to send it again.
func (d Durability) Received() bool { return d.Commits() && d.SyncRelayLog == 1 && !d.RelayLogRecovery }

// Durability asks for the settings as they are now.
func (db *DB) Durability(ctx context.Context) (Durability, error) {
	var d Durability
	err := db.db.QueryRowContext(ctx, `SELECT @@GLOBAL.sync_binlog, @@GLOBAL.innodb_flush_log_at_trx_commit,
		@@GLOBAL.sync_relay_log, @@GLOBAL.relay_log_recovery`).
		Scan(&d.SyncBinlog, &d.FlushLogAtCommit, &d.SyncRelayLog, &d.RelayLogRecovery)
	if err != nil {
		return Durability{}, fmt.Errorf("read durability settings: %w", err)
	}
	return d, nil
}
