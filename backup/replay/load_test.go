package replay_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// startLoad lets some sessions write to shop.orders, which one row is added to at a time, and shop.totals, which is updated, while another one changes
// definitions. stop ends it.
func startLoad(t testing.TB, s *mysqltest.Server, writers int) (stop func()) {
	t.Helper()
	script(t, s, `
		CREATE DATABASE IF NOT EXISTS shop; USE shop;
		CREATE TABLE orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, writer INT, n INT, note VARCHAR(200), KEY (writer, n));
		CREATE TABLE totals (writer INT PRIMARY KEY, n INT);`)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	session := func(do func(ctx context.Context, db *mysqlx.DB, n int) error) {
		db, err := mysqlx.Open(s.Root())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer db.Close()
			for n := 1; ctx.Err() == nil; n++ {
				// A statement that was sent is waited for: what it has done is then known.
				if err := do(context.WithoutCancel(ctx), db, n); err != nil {
					if ctx.Err() == nil && mysqlx.ErrorNumber(err) != 1146 { // the table was dropped
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for w := range writers {
		session(func(ctx context.Context, db *mysqlx.DB, n int) error {
			if err := db.Exec(ctx, "INSERT INTO shop.orders (writer, n, note) VALUES (?, ?, REPEAT('x', RAND() * 200))", w, n); err != nil {
				return err
			}
			return db.Exec(ctx, "INSERT INTO shop.totals VALUES (?, ?) ON DUPLICATE KEY UPDATE n = VALUES(n)", w, n)
		})
	}
	session(func(ctx context.Context, db *mysqlx.DB, n int) error {
		for _, statement := range []string{
			"CREATE TABLE shop.t%d (id INT PRIMARY KEY)", "INSERT INTO shop.t%d VALUES (1), (2)", "ALTER TABLE shop.t%d ADD COLUMN a INT, ADD KEY (a)",
			"RENAME TABLE shop.t%[1]d TO shop.r%[1]d", "TRUNCATE TABLE shop.r%d", "INSERT INTO shop.r%d VALUES (3, 3)",
		} {
			if err := db.Exec(ctx, fmt.Sprintf(statement, n)); err != nil {
				return err
			}
		}
		if n > 3 {
			return db.Exec(ctx, fmt.Sprintf("DROP TABLE shop.r%d", n-3))
		}
		return nil
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// waitRows waits until there are so many orders.
func waitRows(t testing.TB, s *mysqltest.Server, rows int) {
	t.Helper()
	mysqltest.Eventually(t, fmt.Sprintf("%d rows", rows), func() bool {
		return s.QueryString(t, fmt.Sprintf("SELECT COALESCE(MAX(id), 0) >= %d FROM shop.orders", rows)) == "1"
	})
}
