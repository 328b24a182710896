package mysqlx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A BaseTable is a table that is stored, of any schema.
type BaseTable struct {
	TableName
	Engine string // "" if the server cannot say
	Bytes  uint64 // of rows and indexes, as the server estimates it
}

// BaseTables returns all tables that are stored, the server's own included, in order. It needs privileges on all of them to see them, as root has.
func (db *DB) BaseTables(ctx context.Context) ([]BaseTable, error) {
	rows, err := db.db.QueryContext(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME, COALESCE(ENGINE, ''), COALESCE(DATA_LENGTH + INDEX_LENGTH, 0)
		FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	defer rows.Close()
	var all []BaseTable
	for rows.Next() {
		var t BaseTable
		if err := rows.Scan(&t.Schema, &t.Table, &t.Engine, &t.Bytes); err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		all = append(all, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	slices.SortFunc(all, func(a, b BaseTable) int { return a.Compare(b.TableName) })
	return all, nil
}

// CheckTable lets the server check a table with all its partitions and indexes, and returns what it found wrong, nothing if all is well. For InnoDB that
// reads every index from end to end, compares the order and the number of their entries, and marks the table as corrupt if that does not hold. On pages that
// do not make sense the server may crash: then err is one that IsUnreachable knows. It needs a privilege on the table. See refman/8.4 check-table.
func (db *DB) CheckTable(ctx context.Context, t TableName) (problems []string, err error) {
	problems, err = db.checkTable(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("check table %v: %w", t, err)
	}
	return problems, nil
}

func (db *DB) checkTable(ctx context.Context, t TableName) (problems []string, err error) {
	rows, err := db.db.QueryContext(ctx, "CHECK TABLE "+t.quoted())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	kind, text := slices.Index(columns, "Msg_type"), slices.Index(columns, "Msg_text")
	if kind < 0 || text < 0 {
		return nil, fmt.Errorf("unexpected answer: columns %v", columns)
	}
	values, targets := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	well := false
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		kind, text := strings.ToLower(string(values[kind])), string(values[text])
		switch {
		case kind == "status" && (text == "OK" || text == "Table is already up to date"):
			well = true
		case kind != "note" && kind != "info":
			problems = append(problems, text)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !well && len(problems) == 0 {
		problems = []string{"the server did not say that it is well"}
	}
	return problems, nil
}

// ErrNoTable says that there is no such table.
var ErrNoTable = errors.New("no such table")

// ChecksumTable returns the checksum of a table, as ChecksumTables reads it. ErrNoTable if the server has none of that name. It needs SELECT on the table.
func (db *DB) ChecksumTable(ctx context.Context, t TableName) (uint32, error) {
	var name string
	var checksum sql.Null[uint32]
	err := db.db.QueryRowContext(ctx, "CHECKSUM TABLE "+t.quoted()).Scan(&name, &checksum)
	if err == nil && !checksum.Valid || hasNumber(err, erNoSuchTable, erBadDB) {
		err = ErrNoTable // for a table that is missing the checksum is NULL; one that cannot be opened has an error of its own
	}
	if err != nil {
		return 0, fmt.Errorf("checksum table %v: %w", t, err)
	}
	return checksum.V, nil
}

// CountRows returns the number of rows of a table. It needs SELECT on the table.
func (db *DB) CountRows(ctx context.Context, t TableName) (rows uint64, err error) {
	if err := db.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+t.quoted()).Scan(&rows); err != nil {
		return 0, fmt.Errorf("count the rows of %v: %w", t, err)
	}
	return rows, nil
}

// A FullTextIndex is one by which texts are searched. Its content lies in hidden tables that CheckTable does not look at.
type FullTextIndex struct {
	TableName
	Index   string
	Columns []string // in order
}

// FullTextIndexes returns the full-text indexes of all InnoDB tables that one has a privilege on, in order.
func (db *DB) FullTextIndexes(ctx context.Context) ([]FullTextIndex, error) {
	rows, err := db.Query(ctx, `SELECT s.TABLE_SCHEMA, s.TABLE_NAME, s.INDEX_NAME, s.COLUMN_NAME FROM information_schema.STATISTICS AS s
		JOIN information_schema.TABLES AS t ON t.TABLE_SCHEMA = s.TABLE_SCHEMA AND t.TABLE_NAME = s.TABLE_NAME
		WHERE s.INDEX_TYPE = 'FULLTEXT' AND t.ENGINE = 'InnoDB'
		ORDER BY s.TABLE_SCHEMA, s.TABLE_NAME, s.INDEX_NAME, s.SEQ_IN_INDEX`)
	if err != nil {
		return nil, fmt.Errorf("list full-text indexes: %w", err)
	}
	var all []FullTextIndex
	for _, row := range rows {
		name := TableName{row[0], row[1]}
		if n := len(all); n == 0 || all[n-1].TableName != name || all[n-1].Index != row[2] {
			all = append(all, FullTextIndex{TableName: name, Index: row[2]})
		}
		last := &all[len(all)-1]
		last.Columns = append(last.Columns, row[3])
	}
	return all, nil
}

// ReadFullTextIndex searches an index for a word, found or not: the server has to open the hidden tables that it consists of, and to look through them. It
// needs SELECT on the table.
func (db *DB) ReadFullTextIndex(ctx context.Context, index FullTextIndex) error {
	columns := make([]string, len(index.Columns))
	for i, c := range index.Columns {
		columns[i] = quoteName(c)
	}
	var n int
	err := db.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+index.quoted()+
		" WHERE MATCH ("+strings.Join(columns, ", ")+") AGAINST ('ordinal' IN BOOLEAN MODE)").Scan(&n)
	if err != nil {
		return fmt.Errorf("search the full-text index %s of %v: %w", index.Index, index.TableName, err)
	}
	return nil
}
