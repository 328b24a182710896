package replay_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ordinal/backup/replay"
	"ordinal/internal/testing/mysqltest"
)

// refused runs a replay that must fail, and checks that nothing was touched: no journal, no file, no channel, no setting.
func refused(t *testing.T, s *mysqltest.Server, r *replay.Replayer, a replay.Archive, target replay.Target) error {
	t.Helper()
	before, err := s.DB().ApplierSettings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	channels := s.QueryString(t, "SELECT COUNT(*) FROM performance_schema.replication_connection_configuration")
	has := executed(t, s)
	_, runErr := r.Run(t.Context(), a, target)
	if runErr == nil {
		t.Error("Run(): no error")
	}
	if _, err := replay.ReadJournal(r.Journal); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after %v there is a journal: %v", runErr, err)
	}
	after, err := s.DB().ApplierSettings(t.Context())
	if err != nil || !maps.Equal(before, after) {
		t.Errorf("after %v the settings are %v, %v, and were %v", runErr, after, err, before)
	}
	if n := s.QueryString(t, "SELECT COUNT(*) FROM performance_schema.replication_connection_configuration"); n != channels {
		t.Errorf("after %v there are %s channels", runErr, n)
	}
	if left, _ := filepath.Glob(filepath.Join(s.DataDir, "*ordinal_replay*")); len(left) > 0 || !executed(t, s).Equal(has) {
		t.Errorf("after %v there is %q, executed %v", runErr, left, executed(t, s))
	}
	return runErr
}

// TestRefused: a target that cannot be reached and a server that is not fit are refused before anything is touched.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := startRestored(t, nil)
	r := replayer(t, s)
	archive := tens(t)
	code := func(what string, err error, want int, text string) {
		t.Helper()
		var e interface{ ExitCode() int }
		var h interface{ Hint() string }
		if !errors.As(err, &e) || e.ExitCode() != want || !strings.Contains(err.Error(), text) || !errors.As(err, &h) || h.Hint() == "" {
			t.Errorf("%s: %v, want exit code %d, a hint and %q", what, err, want, text)
		}
	}
	code("a target behind the end", refused(t, s, r, archive, replay.Target{Time: second(100)}), 82, ":50, committed 2026-11-21T12:00:49Z")
	code("a missing segment", refused(t, s, r, archive.without(2), replay.Target{}), 82, ":20, committed 2026-11-21T12:00:19Z")
	code("a missing first segment", refused(t, s, r, archive.without(0), replay.Target{}), 82, "what the backup has")
	code("a missing last segment", refused(t, s, r, archive.without(4), replay.Target{}), 82, ":40, committed")

	other := *r
	other.DataDir = t.TempDir()
	code("no data directory", refused(t, s, &other, archive, replay.Target{}), 78, "auto.cnf")
	if err := os.WriteFile(filepath.Join(other.DataDir, "auto.cnf"), []byte("[auto]\nserver-uuid=00112233-4455-6677-8899-aabbccddeeff\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code("another server's directory", refused(t, s, &other, archive, replay.Target{}), 78, "00112233")
	other.DataDir = filepath.Join(other.DataDir, "absent")
	code("a directory that is not there", refused(t, s, &other, archive, replay.Target{}), 78, "open the data directory")

	s.Exec(t, "CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = (shop.orders)")
	code("a filter", refused(t, s, r, archive, replay.Target{}), 78, "shop")
	s.Exec(t, "CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = ()")

	s.Exec(t, "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1")
	s.Exec(t, "START REPLICA")
	code("a replica", refused(t, s, r, archive, replay.Target{}), 80, "replicates")
	s.Exec(t, "STOP REPLICA")
	s.Exec(t, "RESET REPLICA ALL")

	s.Exec(t, "SET GLOBAL super_read_only = OFF")
	code("a server that takes writes", refused(t, s, r, archive, replay.Target{}), 80, "takes writes")

	// A journal that nobody can read, and one for another target.
	s.Exec(t, "SET GLOBAL super_read_only = ON")
	if err := os.WriteFile(r.Journal, []byte(`{"format": "ordinal replay", "version": 2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.Run(t.Context(), archive, replay.Target{})
	code("a journal of another version", err, 65, "version 2")
	if err := replay.WriteIntent(r.Journal, replay.Target{GTIDs: upTo(20)}, "file:///backups", "20261121T120000Z-0f1e2d3c"); err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(t.Context(), archive, replay.Target{})
	code("another replay is under way", err, 80, uuidOf(1)+":1-20")
	// An intent that cannot be carried out stays: the server is not to take writes.
	if err := replay.WriteIntent(r.Journal, replay.Target{GTIDs: upTo(51)}, "", ""); err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(t.Context(), archive, replay.Target{GTIDs: upTo(51)})
	code("an intent that cannot be carried out", err, 82, "1-51")
	if j, err := replay.ReadJournal(r.Journal); err != nil || !j.Target.GTIDs.Equal(upTo(51)) || !j.Until.IsEmpty() {
		t.Errorf("ReadJournal() = %+v, %v", j, err)
	}

	// A server that would go on by itself with its own server_id.
	s.Restart(t, "--skip-replica-start=OFF", "--relay-log-recovery=OFF")
	if err := os.Remove(r.Journal); err != nil {
		t.Fatal(err)
	}
	code("a server that starts replication", refused(t, s, r, archive, replay.Target{}), 78, "by itself")
}

// TestServerIDs: a server skips, without an error, what bears its own server_id. Here the archive has transactions of the server's own id and of that which a
// replay would take first.
func TestServerIDs(t *testing.T) {
	t.Parallel()
	source := mysqltest.Start(t, mysqltest.Options{Config: serverConfig})
	script(t, source, `CREATE DATABASE shop; CREATE TABLE shop.orders (i INT PRIMARY KEY); INSERT INTO shop.orders VALUES (1);
		SET GLOBAL server_id = 2147483748; INSERT INTO shop.orders VALUES (2); SET GLOBAL server_id = 100; INSERT INTO shop.orders VALUES (3);
		INSERT INTO shop.orders VALUES (4); DELETE FROM shop.orders WHERE i = 4; INSERT INTO shop.orders VALUES (5);`)
	want := executed(t, source)
	archive := archiveOf(t, source.DataDir, 2)
	source.Stop(t)

	s := startRestored(t, nil)
	before, err := s.DB().ApplierSettings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// With the server's own id nothing happens, and nothing looks wrong.
	name := filepath.Join(s.DataDir, "relay-ordinal_replay")
	for file, text := range map[string][]byte{name + ".000001": archive.files["segment-0001"], name + ".index": []byte("./relay-ordinal_replay.000001\n")} {
		if err := os.WriteFile(file, text, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	must(t, s.DB().ConfigureReplay(t.Context(), "relay-ordinal_replay.000001"))
	must(t, s.DB().StartReplay(t.Context()))
	mysqltest.Eventually(t, "all is read", func() bool {
		return s.QueryString(t, "SELECT COUNT(*) > 0 FROM performance_schema.threads WHERE PROCESSLIST_STATE LIKE 'Replica has read all relay log%'") == "1"
	})
	if status, ok, err := s.DB().ReplayStatus(t.Context()); !ok || err != nil || status.ApplierError.Number != 0 || status.ApplierState != "ON" || !executed(t, s).IsEmpty() {
		t.Fatalf("with its own server_id: %+v, %t, %v, executed %v", status, ok, err, executed(t, s))
	}
	must(t, s.DB().ForgetReplay(t.Context()))

	// The replay finds such a channel as an earlier one might have left it.
	r := replayer(t, s)
	r.BatchBytes = 1
	result, err := r.Run(t.Context(), archive, replay.Target{})
	if err != nil {
		t.Fatal(err)
	}
	if got := executed(t, s); !got.Equal(want) || result.Batches != int(want.Count()) || s.QueryString(t, "SELECT GROUP_CONCAT(i ORDER BY i) FROM shop.orders") != "1,2,3,5" {
		t.Errorf("executed %v in %d batches, want %v", got, result.Batches, want)
	}
	if after, err := s.DB().ApplierSettings(t.Context()); err != nil || !maps.Equal(before, after) {
		t.Errorf("the settings are %v, %v, and were %v", after, err, before)
	}
	nothingLeft(t, s)
	if _, err := replay.ReadJournal(r.Journal); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a journal: %v", err)
	}
}

// TestTransactionThatFails: data that the archive does not fit stops the replay. When that is mended it goes on.
func TestTransactionThatFails(t *testing.T) {
	t.Parallel()
	source := mysqltest.Start(t, mysqltest.Options{Config: serverConfig})
	script(t, source, `CREATE DATABASE shop; CREATE TABLE shop.orders (i INT PRIMARY KEY); INSERT INTO shop.orders VALUES (1), (2); DELETE FROM shop.orders WHERE i = 1;
		INSERT INTO shop.orders VALUES (3);`)
	want := executed(t, source)
	archive := archiveOf(t, source.DataDir, 100)
	source.Stop(t)

	s := startRestored(t, nil)
	r := replayer(t, s)
	if _, err := r.Run(t.Context(), archive, replay.Target{GTIDs: firstOf(want, 3)}); err != nil {
		t.Fatal(err)
	}
	before, err := s.DB().ApplierSettings(t.Context())
	must(t, err)
	s.Exec(t, "SET GLOBAL super_read_only = OFF")
	script(t, s, "SET sql_log_bin = 0; DELETE FROM shop.orders WHERE i = 1;")
	s.Exec(t, "SET GLOBAL super_read_only = ON")
	_, err = r.Run(t.Context(), archive, replay.Target{})
	var stopped *replay.ApplierError
	if !errors.As(err, &stopped) || stopped.ExitCode() != 81 || stopped.Number == 0 || stopped.Hint() == "" {
		t.Fatalf("Run() = %v, want an ApplierError", err)
	}
	t.Log(err)
	if after, err := s.DB().ApplierSettings(t.Context()); err != nil || !maps.Equal(before, after) {
		t.Errorf("the settings are %v, %v, and were %v", after, err, before)
	}
	nothingLeft(t, s)
	if j, err := replay.ReadJournal(r.Journal); err != nil || !j.Until.Equal(want) || len(j.Settings) > 0 {
		t.Errorf("ReadJournal() = %+v, %v", j, err)
	}
	s.Exec(t, "SET GLOBAL super_read_only = OFF")
	script(t, s, "SET sql_log_bin = 0; INSERT INTO shop.orders VALUES (1);")
	s.Exec(t, "SET GLOBAL super_read_only = ON")
	if _, err := r.Run(t.Context(), archive, replay.Target{}); err != nil {
		t.Fatal(err)
	}
	if got := s.QueryString(t, "SELECT GROUP_CONCAT(i ORDER BY i) FROM shop.orders"); got != "2,3" || !executed(t, s).Equal(want) {
		t.Errorf("rows %s, executed %v", got, executed(t, s))
	}
}
