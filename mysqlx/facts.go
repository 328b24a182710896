package mysqlx

import (
	"context"
	"fmt"
)

// Facts are what a server says about itself, all read by one statement.
type Facts struct {
	Version             string // @@version with its suffix
	VersionComment      string
	ServerUUID          string
	ServerID            uint32
	DataDir             string // as the server was told, with a trailing slash; symbolic links are not resolved
	PageSize            int    // innodb_page_size in bytes
	Port                int
	SkipNetworking      bool // true in the temporary server of an image's first initialisation
	ReadOnly            bool
	SuperReadOnly       bool
	OfflineMode         bool
	GTIDMode            string // ON, OFF, ON_PERMISSIVE or OFF_PERMISSIVE
	LogBin              bool
	ClonePluginActive   bool
	SkipReplicaStart    bool // false also where the server cannot say (before 8.0.24)
	LowerCaseTableNames int
	GTIDExecuted        GTIDSet
	GTIDPurged          GTIDSet
}

// Everything that not all versions have comes from a table, where a name that does not exist is no error. gtid_executed does not: the
// table cuts values at 1024 characters. See refman/8.4 performance-schema-system-variable-tables.
//
// A plugin is active if its variables exist. information_schema.PLUGINS would say so as well, but has long texts: the server needs a temporary
// table on the volume for it, and could not even say that the volume is full.
const factsQuery = `SELECT @@GLOBAL.version, @@GLOBAL.version_comment, @@GLOBAL.server_uuid, @@GLOBAL.server_id, @@GLOBAL.datadir,
	@@GLOBAL.innodb_page_size, @@GLOBAL.port, @@GLOBAL.skip_networking, @@GLOBAL.read_only, @@GLOBAL.super_read_only,
	@@GLOBAL.offline_mode, @@GLOBAL.gtid_mode, @@GLOBAL.log_bin, @@GLOBAL.lower_case_table_names,
	@@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged,
	(SELECT COUNT(*) > 0 FROM performance_schema.global_variables WHERE VARIABLE_NAME = 'clone_buffer_size'),
	(SELECT COUNT(*) > 0 FROM performance_schema.global_variables
		WHERE VARIABLE_NAME IN ('skip_replica_start', 'skip_slave_start') AND VARIABLE_VALUE = 'ON')`

// Facts asks the server about itself. A server that is not MySQL 8.0.17 or newer answers with an *UnsupportedError.
func (db *DB) Facts(ctx context.Context) (Facts, error) {
	f, err := db.facts(ctx)
	if hasNumber(err, erUnknownSystemVariable) {
		// It has no super_read_only, or the like: say what it is instead of what it lacks.
		var version, comment string
		if db.db.QueryRowContext(ctx, "SELECT @@version, @@version_comment").Scan(&version, &comment) == nil {
			if unsupported := CheckSupported(version, comment); unsupported != nil {
				err = unsupported
			}
		}
	}
	if err != nil {
		return Facts{}, fmt.Errorf("read server facts: %w", err)
	}
	return f, nil
}

func (db *DB) facts(ctx context.Context) (Facts, error) {
	var f Facts
	var executed, purged string
	err := db.db.QueryRowContext(ctx, factsQuery).Scan(&f.Version, &f.VersionComment, &f.ServerUUID, &f.ServerID, &f.DataDir,
		&f.PageSize, &f.Port, &f.SkipNetworking, &f.ReadOnly, &f.SuperReadOnly,
		&f.OfflineMode, &f.GTIDMode, &f.LogBin, &f.LowerCaseTableNames,
		&executed, &purged, &f.ClonePluginActive, &f.SkipReplicaStart)
	if err != nil {
		return Facts{}, err
	}
	if err := CheckSupported(f.Version, f.VersionComment); err != nil {
		return Facts{}, err
	}
	if f.GTIDExecuted, err = ParseGTIDSet(executed); err != nil {
		return Facts{}, fmt.Errorf("gtid_executed: %w", err)
	}
	if f.GTIDPurged, err = ParseGTIDSet(purged); err != nil {
		return Facts{}, fmt.Errorf("gtid_purged: %w", err)
	}
	return f, nil
}

// SetSuperReadOnly turns super_read_only on, which turns read_only on with it, or turns both off.
func (db *DB) SetSuperReadOnly(ctx context.Context, on bool) error {
	query := "SET GLOBAL super_read_only = ON"
	if !on {
		query = "SET GLOBAL read_only = OFF" // super_read_only goes off with it
	}
	if err := db.Exec(ctx, query); err != nil {
		return fmt.Errorf("set super_read_only to %t: %w", on, err)
	}
	return nil
}

// SetServerID changes server_id until the server stops or it is changed again. A replica skips, in silence, each event that bears its own
// server_id: neither is it received nor does gtid_executed grow. A source that gets back what it has once written therefore needs another
// one, before its channel is started and until everything is applied; and again after a restart, before its channel is started.
// See refman/8.4 replication-options-replica (replicate-same-server-id).
func (db *DB) SetServerID(ctx context.Context, id uint32) error {
	if err := db.Exec(ctx, fmt.Sprintf("SET GLOBAL server_id = %d", id)); err != nil {
		return fmt.Errorf("set server_id to %d: %w", id, err)
	}
	return nil
}

// SetOfflineMode lets users in or keeps them out. Turning it on ends the sessions of accounts without CONNECTION_ADMIN.
func (db *DB) SetOfflineMode(ctx context.Context, on bool) error {
	query := "SET GLOBAL offline_mode = OFF"
	if on {
		query = "SET GLOBAL offline_mode = ON"
	}
	if err := db.Exec(ctx, query); err != nil {
		return fmt.Errorf("set offline_mode to %t: %w", on, err)
	}
	return nil
}
