package mysqlx_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// Numbers and texts as servers of version 9.7 gave them, some of which spoke German.
func TestErrorClass(t *testing.T) {
	for _, test := range []struct {
		number  int
		message string
		want    mysqlx.ErrorClass
	}{
		{0, "", mysqlx.ClassNone},
		{1062, "Worker 1 failed …; Doppelter Eintrag '1' für Schlüssel 't.PRIMARY'", mysqlx.ClassDataDrift},
		{1032, "… Kann Datensatz in 't' nicht finden", mysqlx.ClassDataDrift},
		{1007, "… Kann Datenbank 'e' nicht erzeugen. Datenbank existiert bereits", mysqlx.ClassDataDrift},
		{1050, "… Tabelle 'u' bereits vorhanden", mysqlx.ClassDataDrift},
		{1051, "… Unbekannte Tabelle 'd.u'", mysqlx.ClassDataDrift},
		{1146, "… Tabelle 'd.t' existiert nicht", mysqlx.ClassDataDrift},
		{13146, "… Column 2 (counting the first column as number 1) of table 'd.t' cannot be converted", mysqlx.ClassDataDrift},
		{1396, "… Operation CREATE USER schlug fehl für 'u1'@'%'", mysqlx.ClassAccount},
		{13124, "Replica failed to initialize applier metadata structure from the repository", mysqlx.ClassRelayLog},
		{13121, "Relay log read failure: Could not parse relay log event entry.", mysqlx.ClassRelayLog},
		{1114, "… Tabelle 't' ist voll", mysqlx.ClassDiskFull},
		{13114, "Schwerer Fehler 1236: 'Cannot replicate because the source purged required binary logs. Replicate the missing", mysqlx.ClassPurged},
		{13114, "Got fatal error 1236 from source when reading data from binary log: 'Cannot replicate because the master purged required binary logs.", mysqlx.ClassPurged},
		{13114, "Got fatal error 1236 from source when reading data from binary log: 'Replica has more GTIDs than the source has, using", mysqlx.ClassSourceBehind},
		{13114, "… 'A replica with the same server_uuid/server_id as this replica has connected to the source; the first event ''", mysqlx.ClassDuplicateID},
		{13114, "… 'Could not find first log file name in binary log index file'", mysqlx.ClassOther},
		{13117, "Fatal error: The replica I/O thread stops because source and replica have equal MySQL server ids", mysqlx.ClassDuplicateID},
		{13117, "Fatal error: The replica I/O thread stops because source and replica have equal MySQL server UUIDs", mysqlx.ClassDuplicateID},
		{1045, "Error connecting to source … Message: Benutzer 'repl'@'localhost' hat keine Zugriffsberechtigung", mysqlx.ClassAccessDenied},
		{3118, "Error connecting to source … Account is locked.", mysqlx.ClassAccessDenied},
		{13120, "Source command COM_REGISTER_REPLICA failed: Access denied for user 'repl'@'%' (using password: YES) (Errno: 1045)", mysqlx.ClassAccessDenied},
		{13120, "Source command COM_REGISTER_REPLICA failed: Lost connection to MySQL server during query (Errno: 2013)", mysqlx.ClassUnreachable},
		{13120, "Source command COM_REGISTER_REPLICA failed: (Errno: x)", mysqlx.ClassOther},
		{2003, "Error connecting to source … Can't connect to MySQL server on '127.9.9.77:3306' (111)", mysqlx.ClassUnreachable},
		{2005, "Error connecting to source … Unknown MySQL server host 'no.such.host.invalid' (-2)", mysqlx.ClassUnreachable},
		{1, "", mysqlx.ClassOther},
	} {
		if got := (mysqlx.ReplicaError{Number: test.number, Message: test.message}).Class(); got != test.want {
			t.Errorf("Class() of %d %q = %q, want %q", test.number, test.message, got, test.want)
		}
	}
}

// The same from servers, in the language whose messages are the furthest from ours.
func TestErrorClassOfServer(t *testing.T) {
	t.Parallel()
	p := startPair(t, map[string]string{"lc_messages": "ja_JP", "relay_log_recovery": "OFF"})
	restart := func(change func()) {
		t.Helper()
		must(t, p.agent.StopReplica(t.Context()))
		change()
		must(t, p.agent.StartReplica(t.Context()))
	}
	want := func(class mysqlx.ErrorClass) {
		t.Helper()
		mysqltest.Eventually(t, string(class), func() bool {
			s := status(t, p.agent)
			return s.ReceiverError.Class() == class || s.ApplierError.Class() == class
		})
	}

	restart(func() { p.replica.Exec(t, "SET GLOBAL server_id = "+p.source.QueryString(t, "SELECT @@server_id")) })
	want(mysqlx.ClassDuplicateID)
	restart(func() { p.replica.Exec(t, "SET GLOBAL server_id = 7") })
	mysqltest.Eventually(t, "receiver", func() bool { return status(t, p.agent).ReceiverState == "ON" })

	// A byte of what waits to be applied changes on the disk.
	p.replica.Exec(t, "STOP REPLICA SQL_THREAD")
	received := status(t, p.agent).RetrievedGTIDs
	p.source.Exec(t, "CREATE TABLE d.changed_on_disk (i INT PRIMARY KEY)")
	mysqltest.Eventually(t, "receipt", func() bool { return !received.Contains(status(t, p.agent).RetrievedGTIDs) })
	flip(t, p.replica.DataDir, []byte("changed_on_disk"))
	must(t, p.agent.StartReplica(t.Context()))
	want(mysqlx.ClassRelayLog)
	must(t, p.agent.StopReplica(t.Context()))
	must(t, p.agent.ResetReplicaAll(t.Context()))
	follow(t, p.agent, p.source, replPassword)
	waitFor(t, p.replica, p.source)

	restart(func() {
		p.source.Exec(t, "INSERT INTO d.t VALUES (1)")
		p.source.Exec(t, "FLUSH BINARY LOGS")
		p.source.Exec(t, "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
	})
	want(mysqlx.ClassPurged)
}

// flip changes a bit in each place of the relay logs where text is.
func flip(t *testing.T, dir string, text []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "relay.0*"))
	must(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		must(t, err)
		if i := bytes.Index(b, text); i >= 0 {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte{b[i] ^ 1}, int64(i))
			must(t, err)
			must(t, f.Close())
			return
		}
	}
	t.Fatalf("%s is in no relay log of %v", text, names)
}

// A receiver without room says nothing: it is ON, has no error, and waits.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1M"); err != nil {
		t.Skipf("needs to mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	p := startPair(t, map[string]string{"relay_log": filepath.Join(small, "relay")})
	if status(t, p.agent).DiskFull {
		t.Error("DiskFull on an empty disk")
	}
	p.replica.Exec(t, "STOP REPLICA SQL_THREAD")
	p.source.Exec(t, "CREATE TABLE d.big (i INT PRIMARY KEY, b LONGBLOB)")
	p.source.Exec(t, "INSERT INTO d.big VALUES (1, REPEAT('x', 2000000))")
	mysqltest.Eventually(t, "full disk", func() bool { return status(t, p.agent).DiskFull })
	if s := status(t, p.agent); s.ReceiverState != "ON" || s.ReceiverError.Number != 0 {
		t.Errorf("ReplicaStatus() = %+v, want no other sign of it", s)
	}
}
