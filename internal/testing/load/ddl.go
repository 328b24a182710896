package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"ordinal/mysqlx"
)

// oddSchema and oddTable are names that no file system would take as they are. See refman/8.4 identifier-mapping.
const (
	oddSchema = "odd 名前/#1"
	oddTable  = "a`b \"c\" 'd' %.ä日本"
)

var churnSchemas = []string{
	"DROP DATABASE IF EXISTS churn",
	"DROP DATABASE IF EXISTS churn2",
	"DROP DATABASE IF EXISTS " + ident(oddSchema),
	"CREATE DATABASE churn",
	"CREATE DATABASE churn2",
	"CREATE DATABASE " + ident(oddSchema),
}

// ident quotes the parts of a name.
func ident(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, part := range parts {
		quoted[i] = "`" + strings.ReplaceAll(part, "`", "``") + "`"
	}
	return strings.Join(quoted, ".")
}

const columns = "(id INT PRIMARY KEY, k INT NOT NULL, body VARCHAR(500) NOT NULL)"

// rows fills a table with some hundred KB. Not by MD5, which newer servers have as an optional component.
func rows(table string) string {
	return "INSERT INTO " + table + " SELECT n, n % 100, REPEAT(SHA2(n * RAND(), 256), 5) FROM " + thousand + " WHERE n < 800"
}

// cycles are sequences of statements, each sequence complete in itself: it may be cut off anywhere and begun again. A failure of a
// statement that begins with "-" does not matter.
var cycles = map[string][]string{
	"copy": {
		"DROP TABLE IF EXISTS churn.copied", "CREATE TABLE churn.copied " + columns, rows("churn.copied"),
		"ALTER TABLE churn.copied ADD COLUMN extra INT NOT NULL DEFAULT 7, ALGORITHM=COPY",
		"ALTER TABLE churn.copied ADD INDEX (k), ALGORITHM=INPLACE",
		"ALTER TABLE churn.copied ADD COLUMN late INT, ALGORITHM=INSTANT",
		"ALTER TABLE churn.copied ENGINE=InnoDB",
	},
	"truncate": {
		"CREATE TABLE IF NOT EXISTS churn.truncated " + columns, "TRUNCATE TABLE churn.truncated", rows("churn.truncated"),
		"DELETE FROM churn.truncated WHERE id % 3 = 0", "TRUNCATE TABLE churn.truncated",
	},
	"rename": {
		"DROP TABLE IF EXISTS churn.before_rename, churn.after_rename, churn2.moved",
		"CREATE TABLE churn.before_rename " + columns, rows("churn.before_rename"),
		"RENAME TABLE churn.before_rename TO churn.after_rename",
		"UPDATE churn.after_rename SET k = k + 1",
		"RENAME TABLE churn.after_rename TO churn2.moved",
	},
	"drop and create": {
		"DROP TABLE IF EXISTS churn.short_lived", "CREATE TABLE churn.short_lived " + columns, rows("churn.short_lived"),
		"DROP TABLE churn.short_lived", "CREATE TABLE churn.short_lived (id INT PRIMARY KEY)",
	},
	"partitions": {
		"DROP TABLE IF EXISTS churn.parts, churn.swapped",
		"CREATE TABLE churn.parts " + columns + ` PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (200),
			PARTITION p1 VALUES LESS THAN (400), PARTITION p2 VALUES LESS THAN MAXVALUE)`,
		rows("churn.parts"),
		"ALTER TABLE churn.parts TRUNCATE PARTITION p1",
		"CREATE TABLE churn.swapped " + columns,
		"ALTER TABLE churn.parts EXCHANGE PARTITION p0 WITH TABLE churn.swapped",
		`ALTER TABLE churn.parts REORGANIZE PARTITION p2 INTO (PARTITION p2 VALUES LESS THAN (600),
			PARTITION p3 VALUES LESS THAN MAXVALUE)`,
		"ALTER TABLE churn.parts DROP PARTITION p1",
	},
	"compressed rows": {
		"DROP TABLE IF EXISTS churn.compressed",
		"CREATE TABLE churn.compressed " + columns + " ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4", rows("churn.compressed"),
		"UPDATE churn.compressed SET body = REPEAT('x', 300) WHERE id % 2 = 0",
		"ALTER TABLE churn.compressed KEY_BLOCK_SIZE=8",
	},
	"compressed pages": {
		"DROP TABLE IF EXISTS churn.punched", "CREATE TABLE churn.punched " + columns + " COMPRESSION='zlib'", rows("churn.punched"),
		"UPDATE churn.punched SET body = REPEAT('y', 400) WHERE id % 2 = 0",
		"ALTER TABLE churn.punched COMPRESSION='none'", "ALTER TABLE churn.punched ENGINE=InnoDB, COMPRESSION='lz4'",
	},
	"odd names": {
		"DROP TABLE IF EXISTS " + ident(oddSchema, oddTable) + ", " + ident(oddSchema, oddTable+" 2"),
		"CREATE TABLE " + ident(oddSchema, oddTable) + " " + columns, rows(ident(oddSchema, oddTable)),
		"ALTER TABLE " + ident(oddSchema, oddTable) + " ADD COLUMN " + ident("ü`") + " INT, ALGORITHM=COPY",
		"RENAME TABLE " + ident(oddSchema, oddTable) + " TO " + ident(oddSchema, oddTable+" 2"),
	},
	"general tablespace": {
		"DROP TABLE IF EXISTS churn.general", "-DROP TABLESPACE churn_general",
		"CREATE TABLESPACE churn_general ADD DATAFILE 'churn_general.ibd'",
		"CREATE TABLE churn.general " + columns + " TABLESPACE churn_general", rows("churn.general"),
		"ALTER TABLE churn.general ADD COLUMN extra INT, ALGORITHM=COPY",
	},
	"fulltext": {
		"DROP TABLE IF EXISTS churn.texts", "CREATE TABLE churn.texts " + columns, rows("churn.texts"),
		"ALTER TABLE churn.texts ADD FULLTEXT INDEX (body)", "DELETE FROM churn.texts WHERE id < 100",
	},
	"foreign key": {
		"DROP TABLE IF EXISTS churn.child, churn.parent",
		"CREATE TABLE churn.parent " + columns, rows("churn.parent"),
		"CREATE TABLE churn.child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES churn.parent (id) ON DELETE CASCADE)",
		"INSERT INTO churn.child SELECT id, id FROM churn.parent", "DELETE FROM churn.parent WHERE id % 5 = 0",
	},
}

// define runs cycles in random order until ctx ends.
func (l *Load) define(ctx context.Context, db *mysqlx.DB) error {
	random := rand.New(rand.NewPCG(l.o.Seed, 1<<32))
	names := CycleNames()
	for ctx.Err() == nil {
		err := runCycle(ctx, db, cycles[names[random.IntN(len(names))]], func() { l.definitions.Add(1) })
		if err == nil || ctx.Err() != nil {
			continue
		}
		if mysqlx.ErrorNumber(err) == erBadDB {
			return err
		}
		l.failedDefinitions.Add(1)
		l.note(err)
		rest(ctx, retryPause)
	}
	return nil
}

// RunCycle runs the statements of one kind once. The schemas must be there: see Prepare with DDL.
func RunCycle(ctx context.Context, db *mysqlx.DB, name string) error {
	return runCycle(ctx, db, cycles[name], func() {})
}

func runCycle(ctx context.Context, db *mysqlx.DB, cycle []string, done func()) error {
	for _, statement := range cycle {
		statement, mayFail := strings.CutPrefix(statement, "-")
		if err := db.Exec(ctx, statement); err != nil && !mayFail {
			return fmt.Errorf("%.80s: %w", statement, err)
		}
		done()
	}
	return nil
}
