package load

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"ordinal/mysqlx"
)

// CycleNames returns the kinds of definitions that a load with DDL changes, sorted.
func CycleNames() []string { return slices.Sorted(maps.Keys(cycles)) }

const (
	rowBytes  = 1 << 10 // about what a row of Fill takes in the table's file
	batchRows = 1000    // all that thousand has
)

const (
	digits = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4" +
		" UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	// thousand is a table of the numbers n from 0 to 999.
	thousand = "(SELECT a.d + 10 * b.d + 100 * c.d AS n FROM " + digits + " a, " + digits + " b, " + digits + " c) numbers"
)

// Fill adds rows to the table shop.orders until about the given number of bytes has been written, over two connections. It calls progress,
// if not nil, with the bytes written so far, from several goroutines. It ends early with the first error.
func Fill(ctx context.Context, endpoint mysqlx.Endpoint, bytes int64, progress func(done int64)) error {
	db, err := mysqlx.Open(endpoint)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS shop",
		`CREATE TABLE IF NOT EXISTS shop.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, cents INT NOT NULL,
			note VARCHAR(1000) NOT NULL, KEY (customer))`,
	} {
		if err := db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("prepare rows: %w", err)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := (bytes + batchRows*rowBytes - 1) / (batchRows * rowBytes)
	var next, done atomic.Int64
	var sessions sync.WaitGroup
	for range 2 {
		sessions.Go(func() {
			for ctx.Err() == nil {
				batch := next.Add(1)
				if batch > batches {
					return
				}
				if err := fillBatch(ctx, db, batch); err != nil {
					cancel(fmt.Errorf("write rows: %w", err))
					return
				}
				if total := done.Add(batchRows * rowBytes); progress != nil {
					progress(total)
				}
			}
		})
	}
	sessions.Wait()
	return context.Cause(ctx)
}

func fillBatch(ctx context.Context, db *mysqlx.DB, batch int64) error {
	return db.Exec(ctx, `INSERT INTO shop.orders (customer, cents, note)
		SELECT n * ? % 100000, n % 9999, REPEAT(SHA2(CONCAT(?, '-', n), 256), 15) FROM `+thousand, batch, batch)
}

// tables returns the quoted names of all tables outside the system schemas.
func tables(ctx context.Context, db *mysqlx.DB) ([]string, error) {
	rows, err := db.Query(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'
		AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = ident(row...)
	}
	return names, nil
}

// Checksums returns CHECKSUM TABLE of each table outside the system schemas, by quoted name. Tables of one content have one checksum
// on servers of one version. See refman/8.4 checksum-table.
func Checksums(ctx context.Context, db *mysqlx.DB) (map[string]string, error) {
	names, err := tables(ctx, db)
	sums := make(map[string]string, len(names))
	for _, name := range names {
		rows, err := db.Query(ctx, "CHECKSUM TABLE "+name)
		if err != nil {
			return nil, fmt.Errorf("checksum of %s: %w", name, err)
		}
		// NULL is how the statement says that the table cannot be read.
		if len(rows) != 1 || rows[0][1] == "NULL" {
			return nil, fmt.Errorf("checksum of %s: no such table, or it cannot be read", name)
		}
		sums[name] = rows[0][1]
	}
	return sums, err
}

// CheckTables runs CHECK TABLE on each table outside the system schemas and returns the first one that is not OK.
func CheckTables(ctx context.Context, db *mysqlx.DB) error {
	names, err := tables(ctx, db)
	for _, name := range names {
		rows, err := db.Query(ctx, "CHECK TABLE "+name)
		if err != nil {
			return fmt.Errorf("check %s: %w", name, err)
		}
		for _, row := range rows {
			if row[2] == "error" || row[2] == "status" && row[3] != "OK" {
				return fmt.Errorf("check %s: %s", name, row[3])
			}
		}
	}
	return err
}
