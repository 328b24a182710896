package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

const cloneUser = "cloner"

// dialer logs in as an account with BACKUP_ADMIN and nothing else.
func dialer(s *mysqltest.Server) protocol.Dialer {
	e := s.Root()
	e.Credentials = mysqlx.Credentials{User: cloneUser, Password: mysqlx.FixedPassword("secret")}
	return func(ctx context.Context) (net.Conn, error) { return mysqlx.DialRaw(ctx, e) }
}

// startDonor starts a server with mib MiB of random rows and one table of every kind.
func startDonor(t testing.TB, mib int) *mysqltest.Server {
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"innodb_redo_log_capacity": "64M"}})
	for _, q := range []string{
		"CREATE USER cloner@localhost IDENTIFIED BY 'secret'",
		"GRANT BACKUP_ADMIN ON *.* TO cloner@localhost",
		"CREATE DATABASE d",
		"CREATE TABLE d.seed (id INT PRIMARY KEY)",
		"INSERT INTO d.seed WITH RECURSIVE s AS (SELECT 1 n UNION ALL SELECT n+1 FROM s WHERE n<1000) SELECT n FROM s",
		"CREATE TABLE d.cold (id INT AUTO_INCREMENT PRIMARY KEY, a VARBINARY(1000) NOT NULL)",
		"CREATE TABLE d.zip (id INT PRIMARY KEY, a VARCHAR(1000)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
		"INSERT INTO d.zip SELECT id, HEX(RANDOM_BYTES(200)) FROM d.seed",
		"CREATE TABLE d.zlib (id INT PRIMARY KEY, a VARCHAR(1000)) COMPRESSION='zlib'",
		"INSERT INTO d.zlib SELECT id, REPEAT(HEX(RANDOM_BYTES(5)), 50) FROM d.seed",
		"CREATE TABLESPACE gts ADD DATAFILE 'gts.ibd'",
		"CREATE TABLE d.general (id INT PRIMARY KEY, a VARCHAR(1000)) TABLESPACE gts",
		"INSERT INTO d.general SELECT id, HEX(RANDOM_BYTES(200)) FROM d.seed",
		"CREATE TABLE d.`odd-näme.x` (id INT PRIMARY KEY) PARTITION BY HASH(id) PARTITIONS 3",
		"INSERT INTO d.`odd-näme.x` SELECT id FROM d.seed",
		"CREATE TABLE d.account (id INT PRIMARY KEY, balance INT NOT NULL, filler VARBINARY(1000))",
		"INSERT INTO d.account SELECT id, 100, RANDOM_BYTES(1000) FROM d.seed",
		"CREATE TABLE d.counter (n INT PRIMARY KEY)",
		`CREATE PROCEDURE d.transfer(a INT, b INT, n INT) BEGIN
			START TRANSACTION;
			UPDATE d.account SET balance = balance - 1, filler = RANDOM_BYTES(1000) WHERE id = a;
			UPDATE d.account SET balance = balance + 1 WHERE id = b;
			INSERT INTO d.counter VALUES (n);
			COMMIT;
		END`,
		"CREATE TABLE d.swap_a (id INT PRIMARY KEY, v VARCHAR(10)) SELECT id, 'a' v FROM d.seed",
		"CREATE TABLE d.swap_b (id INT PRIMARY KEY, v VARCHAR(10)) SELECT id, 'b' v FROM d.seed",
		"CREATE TABLE d.truncated (id INT PRIMARY KEY) SELECT id FROM d.seed",
		"CREATE TABLE d.altered (id INT PRIMARY KEY) SELECT id FROM d.seed",
	} {
		s.Exec(t, q)
	}
	for range mib {
		s.Exec(t, "INSERT INTO d.cold (a) SELECT RANDOM_BYTES(1000) FROM d.seed")
	}
	return s
}

// A load changes rows and tables until it is stopped.
type load struct {
	cancel            context.CancelFunc
	wg                sync.WaitGroup
	mu                sync.Mutex
	err               error
	transfers, rounds atomic.Int64
}

func startLoad(t *testing.T, s *mysqltest.Server, ddl bool) *load {
	db, err := mysqlx.Open(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	t.Cleanup(func() { l.stop(t); db.Close() })
	run := func(f func() error) {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				if err := f(); err != nil && ctx.Err() == nil {
					l.mu.Lock()
					l.err = errors.Join(l.err, err)
					l.mu.Unlock()
					return
				}
			}
		})
	}
	run(func() error {
		a := 1 + rand.IntN(1000)
		b := 1 + a%1000
		return db.Exec(ctx, fmt.Sprintf("CALL d.transfer(%d, %d, %d)", a, b, l.transfers.Add(1)))
	})
	if ddl {
		each := func(format string, n int64) error {
			q := format
			if strings.Contains(format, "%d") {
				q = fmt.Sprintf(format, n)
			}
			if err := db.Exec(ctx, q); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
			return nil
		}
		run(func() error {
			n := l.rounds.Add(1)
			return errors.Join(
				each("CREATE TABLE d.new_%d (id INT PRIMARY KEY) SELECT id FROM d.seed", n),
				each("RENAME TABLE d.swap_a TO d.tmp, d.swap_b TO d.swap_a, d.tmp TO d.swap_b", n),
				each("TRUNCATE TABLE d.truncated", n),
				each("INSERT INTO d.truncated SELECT id FROM d.seed", n),
				each("DROP TABLE IF EXISTS d.new_%d", max(n-3, 0)),
			)
		})
		// By itself: building an index waits while the donor is in PAGE_COPY.
		var alters int64
		run(func() error {
			alters++
			return errors.Join(
				each("ALTER TABLE d.altered ADD COLUMN c%d INT, ALGORITHM=COPY", alters),
				each("ALTER TABLE d.altered DROP COLUMN c%d, ALGORITHM=INPLACE", alters),
			)
		})
	}
	return l
}

func (l *load) stop(t *testing.T) {
	l.cancel()
	l.wg.Wait()
	if l.err != nil {
		t.Errorf("load: %v", l.err)
	}
}
