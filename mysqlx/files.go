package mysqlx

import (
	"context"
	"fmt"
)

// DataFiles says where a server keeps InnoDB's files and how it reads and writes them: what a process on the same machine has to know to
// read them itself. Values are the server's own words: a relative path begins at DataDir, symbolic links are not resolved.
type DataFiles struct {
	ServerUUID   string // as in auto.cnf of DataDir
	DataDir      string // absolute
	UndoDir      string // innodb_undo_directory: undo tablespaces
	HomeDir      string // innodb_data_home_dir: the system tablespace's files; "" as well where it is NULL
	DataFilePath string // innodb_data_file_path, like "ibdata1:12M:autoextend"
	FlushMethod  string // innodb_flush_method, like "O_DIRECT"
	PageSize     uint32 // innodb_page_size in bytes
}

// DataFiles asks the server where its files are.
func (db *DB) DataFiles(ctx context.Context) (DataFiles, error) {
	var f DataFiles
	err := db.db.QueryRowContext(ctx, `SELECT @@GLOBAL.server_uuid, @@GLOBAL.datadir, @@GLOBAL.innodb_undo_directory,
		COALESCE(@@GLOBAL.innodb_data_home_dir, ''), @@GLOBAL.innodb_data_file_path, @@GLOBAL.innodb_flush_method, @@GLOBAL.innodb_page_size`).
		Scan(&f.ServerUUID, &f.DataDir, &f.UndoDir, &f.HomeDir, &f.DataFilePath, &f.FlushMethod, &f.PageSize)
	if err != nil {
		return DataFiles{}, fmt.Errorf("ask the server where its files are: %w", err)
	}
	return f, nil
}

// CopySize estimates, in bytes, what a clone of this server takes on disk: what its tablespaces have allocated and all of the redo log it may
// have. Temporary tablespaces are not cloned. Answering takes the server a look at every tablespace. See refman/8.4
// information-schema-innodb-tablespaces-table.
func (db *DB) CopySize(ctx context.Context) (uint64, error) {
	var tablespaces, system, redo uint64
	err := db.db.QueryRowContext(ctx, `SELECT
		(SELECT CAST(COALESCE(SUM(ALLOCATED_SIZE), 0) AS UNSIGNED) FROM information_schema.INNODB_TABLESPACES
			WHERE NAME NOT IN ('innodb_system', 'innodb_temporary')),
		(SELECT CAST(COALESCE(SUM(TOTAL_EXTENTS * EXTENT_SIZE), 0) AS UNSIGNED) FROM information_schema.FILES
			WHERE TABLESPACE_NAME = 'innodb_system'),
		(SELECT CAST(COALESCE(MAX(IF(VARIABLE_NAME = 'innodb_redo_log_capacity', VARIABLE_VALUE, NULL)),
				MAX(IF(VARIABLE_NAME = 'innodb_log_file_size', VARIABLE_VALUE, NULL)) * MAX(IF(VARIABLE_NAME = 'innodb_log_files_in_group', VARIABLE_VALUE, NULL)),
				0) AS UNSIGNED) FROM performance_schema.global_variables)`).Scan(&tablespaces, &system, &redo)
	if err != nil {
		return 0, fmt.Errorf("ask for the size of a copy: %w", err)
	}
	return tablespaces + system + redo, nil
}
