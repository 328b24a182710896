package mysqlx

import (
	"context"
	"database/sql"
)

// Session returns one connection of a pool, for tests that need a session of their own.
func Session(ctx context.Context, db *DB) (*sql.Conn, error) { return db.db.Conn(ctx) }
