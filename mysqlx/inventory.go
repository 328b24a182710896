package mysqlx

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// User tables are those outside the server's own schemas.
const userTables = `FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'
	AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')`

// UserTables returns the number of users' tables of all engines. The agent's account sees them all without a right to any row: the
// global privilege SHOW VIEW shows their names. See refman/8.4 information-schema-introduction.
func (db *DB) UserTables(ctx context.Context) (int, error) {
	var n int
	if err := db.db.QueryRowContext(ctx, "SELECT COUNT(*) "+userTables).Scan(&n); err != nil {
		return 0, fmt.Errorf("count user tables: %w", err)
	}
	return n, nil
}

// NonInnoDBTables returns users' tables that a clone leaves empty or unusable, such as "shop.notes", in order.
func (db *DB) NonInnoDBTables(ctx context.Context) ([]string, error) {
	names, err := db.strings(ctx, "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) "+userTables+
		" AND ENGINE NOT IN ('InnoDB', 'PERFORMANCE_SCHEMA') ORDER BY TABLE_SCHEMA, TABLE_NAME")
	if err != nil {
		return nil, fmt.Errorf("list tables of other engines than InnoDB: %w", err)
	}
	return names, nil
}

// EncryptedTablespaces returns what is encrypted at rest: tables such as "shop.orders", tablespaces, and "redo log" and "undo log"
// where the server encrypts those from now on. See refman/8.4 innodb-data-encryption.
func (db *DB) EncryptedTablespaces(ctx context.Context) ([]string, error) {
	names, err := db.strings(ctx, "SELECT NAME FROM information_schema.INNODB_TABLESPACES WHERE ENCRYPTION = 'Y'")
	if err != nil {
		return nil, fmt.Errorf("list encrypted tablespaces: %w", err)
	}
	for i, name := range names {
		names[i] = tableName(name)
	}
	slices.Sort(names)
	names = slices.Compact(names) // partitions
	logs, err := db.strings(ctx, `SELECT IF(VARIABLE_NAME LIKE '%redo%', 'redo log', 'undo log') FROM performance_schema.global_variables
		WHERE VARIABLE_NAME IN ('innodb_redo_log_encrypt', 'innodb_undo_log_encrypt') AND VARIABLE_VALUE = 'ON' ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("list encrypted logs: %w", err)
	}
	return append(names, logs...), nil
}

// ExternalTablespaces returns tables and general tablespaces whose files lie outside the data directory: those made by DATA DIRECTORY, or
// by ADD DATAFILE with a path. The system and undo tablespaces are not listed: a clone puts them into the data directory wherever
// they were. See refman/8.4 innodb-create-table-external.
func (db *DB) ExternalTablespaces(ctx context.Context) ([]string, error) {
	rows, err := db.Query(ctx, `SELECT TABLESPACE_NAME, FILE_NAME, @@GLOBAL.datadir FROM information_schema.FILES
		WHERE FILE_TYPE = 'TABLESPACE' AND ENGINE = 'InnoDB' AND TABLESPACE_NAME <> 'innodb_system'`)
	if err != nil {
		return nil, fmt.Errorf("list tablespaces outside the data directory: %w", err)
	}
	var names []string
	for _, row := range rows {
		if outside(row[1], row[2]) {
			names = append(names, tableName(row[0]))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// outside compares paths as the server writes them: relative to the data directory for what is in it.
func outside(file, dataDir string) bool {
	if !filepath.IsAbs(file) {
		return !filepath.IsLocal(file)
	}
	return !strings.HasPrefix(filepath.Clean(file), filepath.Clean(dataDir)+"/")
}

// tableName turns a tablespace's name into a table's: "shop/orders#p#p0" into "shop.orders". General tablespaces keep theirs.
func tableName(tablespace string) string {
	schema, table, ok := strings.Cut(tablespace, "/")
	if !ok {
		return tablespace
	}
	for _, separator := range []string{"#p#", "#P#"} {
		table, _, _ = strings.Cut(table, separator)
	}
	return schema + "." + table
}
