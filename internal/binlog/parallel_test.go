package binlog_test

import (
	"strings"
	"testing"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// TestParallelReplay: transactions carry numbers that say which ones a server may execute at the same time, and the numbers begin anew in each
// binlog. Here the update has number 5 and may go along with all from 2 on, in its own binlog; in the one before, number 4 makes the rows that
// it changes. A server that is not told that another binlog begins executes the two together, and the update fails.
func TestParallelReplay(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t, mysqltest.Options{})
	script(t, s, strings.NewReader(`
		CREATE DATABASE shop;
		USE shop;
		CREATE TABLE small (id INT PRIMARY KEY);
		CREATE TABLE big (id INT AUTO_INCREMENT PRIMARY KEY, b VARCHAR(100));
		SET @@cte_max_recursion_depth = 1000000;
		INSERT INTO big (b) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT REPEAT('b', 100) FROM n;
		FLUSH BINARY LOGS;
		INSERT INTO small VALUES (1);
		INSERT INTO small VALUES (2);
		INSERT INTO small VALUES (3);
		INSERT INTO small VALUES (4);
		UPDATE big SET b = 'errant' WHERE id > 99990;`))
	want := executed(t, s).Subtract(gtids(t, s.QueryString(t, "SELECT @@server_uuid")+":5-8"))
	file, _ := export(t, s, want)
	d := mysqltest.Start(t, mysqltest.Options{})
	replayAsRelayLog(t, d, file, want)
	const sum = "CHECKSUM TABLE shop.big"
	if got, want := d.Query(t, sum), s.Query(t, sum); got[0][1] != want[0][1] {
		t.Errorf("checksum %s, want %s", got, want)
	}
}

// replayAsRelayLog lets the server's applier execute a file, with its default number of workers, until it has executed want.
func replayAsRelayLog(t *testing.T, s *mysqltest.Server, file []byte, want mysqlx.GTIDSet) {
	t.Helper()
	s.Stop(t)
	place(t, s, "exported", file)
	s.Restart(t, "--relay-log=exported", "--relay-log-recovery=OFF", "--skip-replica-start")
	s.Exec(t, "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'none', RELAY_LOG_FILE = 'exported.000001', RELAY_LOG_POS = 4")
	s.Exec(t, "START REPLICA SQL_THREAD")
	mysqltest.Eventually(t, "the relay log is executed", func() bool {
		problems := s.Query(t, "SELECT last_error_message FROM performance_schema.replication_applier_status_by_worker WHERE last_error_number <> 0")
		if len(problems) > 0 {
			t.Fatalf("the applier stopped: %q", problems)
		}
		return executed(t, s).Equal(want)
	})
}
