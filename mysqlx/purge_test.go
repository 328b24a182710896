package mysqlx_test

import (
	"slices"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// TestWhatHoldsBackPurging is the server's behaviour that the guard of the binlog archive builds on:
//
//   - while a dump thread reads a binlog, that one and all later ones stay, whoever purges;
//   - a restart ends dump threads, and the server purges before anybody could connect;
//   - binlog_expire_logs_auto_purge = OFF keeps the server from purging by itself, at rotation and, persisted, at a restart.
func TestWhatHoldsBackPurging(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{})
	names := func() (all []string) {
		files, err := s.DB().BinlogFiles(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			all = append(all, f.Name)
		}
		return all
	}
	has := func(when string, name string, want bool) {
		t.Helper()
		all := names()
		t.Logf("%s: %v", when, all)
		if slices.Contains(all, name) != want {
			t.Errorf("%s: is %s there: %v, want %v", when, name, !want, want)
		}
	}
	s.Exec(t, "CREATE DATABASE d")
	s.Exec(t, "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)")
	rotate := func(bytes int) (name string) {
		t.Helper()
		if bytes > 0 {
			s.Exec(t, "INSERT INTO d.t (v) VALUES (REPEAT('x', ?))", bytes)
		}
		all := names()
		s.Exec(t, "FLUSH BINARY LOGS")
		return all[len(all)-1]
	}
	// expired makes the server purge what is older than a second, by a rotation, when all there is is that old.
	expired := func() {
		t.Helper()
		s.Exec(t, "SET GLOBAL binlog_expire_logs_seconds = 1")
		began := time.Now()
		mysqltest.Eventually(t, "two seconds later", func() bool { return time.Since(began) > 2*time.Second })
		s.Exec(t, "FLUSH BINARY LOGS")
		s.Exec(t, "SET GLOBAL binlog_expire_logs_seconds = 2592000")
	}
	first := rotate(0)
	second := rotate(20 << 20) // more than socket buffers take
	third := rotate(1000)

	d, err := mysqlx.StartDump(t.Context(), s.Root(), mysqlx.DumpRequest{Silence: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for d2, err := d.Next(); ; d2, err = d.Next() { // up to the long event: there the server waits for us
		if err != nil {
			t.Fatal(err)
		}
		if d2.Size > 10<<20 {
			break
		}
	}
	last := names()
	s.Exec(t, "PURGE BINARY LOGS TO '"+last[len(last)-1]+"'")
	has("PURGE while a dump reads the second", first, false)
	has("PURGE while a dump reads the second", second, true)
	has("PURGE while a dump reads the second", third, true)
	expired()
	has("expiry at rotation while a dump reads the second", second, true)
	has("expiry at rotation while a dump reads the second", third, true)
	_ = d.Close()
	// The server notices when it writes.
	mysqltest.Eventually(t, "the dump thread is gone", func() bool {
		return s.QueryString(t, "SELECT COUNT(*) FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%'") == "0"
	})
	if err := s.DB().SetAutoPurge(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	expired()
	has("expiry at rotation with auto purge off", second, true)
	s.Restart(t, "--binlog-expire-logs-seconds=1")
	has("expiry at restart with auto purge off, persisted", second, true)
	if err := s.DB().SetAutoPurge(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	s.Restart(t, "--binlog-expire-logs-seconds=1")
	has("expiry at restart", second, false)
}
