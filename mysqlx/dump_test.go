package mysqlx_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

const (
	typeGTID       = 33
	typeTaggedGTID = 42
	typeRows       = 30
)

// transactions reads n of them, or none up to the next heartbeat, and returns the sizes of all their events by type.
func transactions(t *testing.T, d *mysqlx.Dump, n int) (types map[byte]int64) {
	t.Helper()
	types = map[byte]int64{}
	silence := time.Now().Add(30 * time.Second)
	for {
		e, err := d.Next()
		if err != nil {
			t.Fatalf("Next() after %v: %v", types, err)
		}
		if e.Heartbeat() {
			if n <= 0 {
				return types
			}
			if time.Now().After(silence) {
				t.Fatalf("%d transactions did not come: %v", n, types)
			}
			continue
		}
		if e.Artificial() {
			continue
		}
		size, err := io.Copy(io.Discard, d)
		if err != nil || size != e.Size {
			t.Fatalf("event type %d: read %d bytes of %d, %v", e.Type, size, e.Size, err)
		}
		types[e.Type] += size
		if e.Type == typeGTID || e.Type == typeTaggedGTID {
			n--
		}
	}
}

func startDump(t *testing.T, e mysqlx.Endpoint, have string) *mysqlx.Dump {
	t.Helper()
	set, err := mysqlx.ParseGTIDSet(have)
	if err != nil {
		t.Fatal(err)
	}
	d, err := mysqlx.StartDump(t.Context(), e, mysqlx.DumpRequest{Have: set})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestDump(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"max_allowed_packet": "128M"}})
	uuid := s.QueryString(t, "SELECT @@server_uuid")
	executed := func() string { return s.QueryString(t, "SELECT @@gtid_executed") }
	s.Exec(t, "CREATE DATABASE d")
	s.Exec(t, "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)")

	t.Run("follows what is being written", func(t *testing.T) {
		d := startDump(t, s.Root(), executed())
		if got := transactions(t, d, 0); got[typeGTID] != 0 {
			t.Errorf("a dump from gtid_executed on sent transactions: %v", got)
		}
		s.Exec(t, "INSERT INTO d.t (v) VALUES ('x')")
		transactions(t, d, 1)
		s.Exec(t, "FLUSH BINARY LOGS")
		s.Exec(t, "INSERT INTO d.t (v) VALUES ('y')")
		transactions(t, d, 1)
	})
	t.Run("long events", func(t *testing.T) {
		before := executed()
		for _, size := range []int{1<<24 - 200, 1 << 24, 1<<25 + 12345} { // around what one packet takes, and more
			s.Exec(t, "INSERT INTO d.t (v) VALUES (REPEAT('z', ?))", size)
		}
		if got := transactions(t, startDump(t, s.Root(), before), 3); got[typeRows] < 1<<24 {
			t.Errorf("long events are not long: %v", got)
		}
	})
	t.Run("tags", func(t *testing.T) {
		if v := s.Distribution.Version; !v.AtLeast(8, 3, 0) {
			t.Skipf("%v has no tags", v)
		}
		session := func(sql string) { // one connection
			c := s.Distribution.Tool("mysql", "--no-defaults", "--socket="+s.Socket, "--user=root")
			c.Stdin = strings.NewReader(sql)
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("mysql: %v\n%s", err, out)
			}
		}
		session("SET gtid_next = 'AUTOMATIC:heal'; INSERT INTO d.t (v) VALUES ('a'); INSERT INTO d.t (v) VALUES ('b'); " +
			"SET gtid_next = 'AUTOMATIC:other_tag_of_32_characters_long'; INSERT INTO d.t (v) VALUES ('c'); SET gtid_next = 'AUTOMATIC'; INSERT INTO d.t (v) VALUES ('d');")
		all, err := mysqlx.ParseGTIDSet(executed())
		if err != nil || !all.HasTags() {
			t.Fatalf("gtid_executed = %v, %v; want tags", all, err)
		}
		one, err := mysqlx.ParseGTIDSet(uuid + ":heal:2")
		if err != nil {
			t.Fatal(err)
		}
		d := startDump(t, s.Root(), all.Subtract(one).String())
		if got := transactions(t, d, 1); got[typeTaggedGTID] == 0 {
			t.Errorf("a dump of all but %v sent %v, want one tagged transaction", one, got)
		}
		if got := transactions(t, d, 0); got[typeTaggedGTID]+got[typeGTID] != 0 {
			t.Errorf("a dump of all but %v sent more: %v", one, got)
		}
		// A set without a tag is asked for in the old form, and tagged transactions come all the same.
		if got := transactions(t, startDump(t, s.Root(), uuid+":1-2"), 1); got[typeTaggedGTID] == 0 {
			t.Errorf("a dump of all but the first two sent no tagged transaction: %v", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		d := startDump(t, s.Root(), executed()+","+uuid+":1-9999999")
		if _, err := d.Next(); !mysqlx.IsDumpRefused(err) {
			t.Errorf("a dump with more of the server's own transactions than it has: %v, want 1236", err)
		} else {
			t.Log(err)
		}
		s.Exec(t, "FLUSH BINARY LOGS")
		newest := s.Query(t, "SHOW BINARY LOGS")
		s.Exec(t, "PURGE BINARY LOGS TO '"+newest[len(newest)-1][0]+"'")
		d = startDump(t, s.Root(), "")
		if _, err := d.Next(); !mysqlx.IsDumpRefused(err) {
			t.Errorf("a dump of what was purged: %v, want 1236", err)
		} else {
			t.Log(err)
		}
	})
	t.Run("privilege", func(t *testing.T) {
		s.Exec(t, "CREATE USER nobody@localhost IDENTIFIED BY 'pw'")
		e := mysqlx.Endpoint{Address: s.Socket, Credentials: mysqlx.Credentials{User: "nobody", Password: mysqlx.FixedPassword("pw")}}
		d := startDump(t, e, "")
		_, err := d.Next()
		if !mysqlx.IsMissingPrivilege(err) {
			t.Errorf("a dump without privileges: %v", err)
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d, err := mysqlx.StartDump(ctx, s.Root(), mysqlx.DumpRequest{Have: mysqlx.GTIDSet{}, Silence: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		for err == nil {
			_, err = d.Next()
		}
		again, second := d.Next()
		if second == nil || second.Error() != err.Error() {
			t.Errorf("Next() after an error = %v, %v; want %v again", again, second, err)
		}
	})
	t.Run("binlogs", func(t *testing.T) {
		files, err := s.DB().BinlogFiles(t.Context())
		if err != nil || len(files) == 0 || files[0].Size <= 0 {
			t.Fatalf("BinlogFiles() = %v, %v", files, err)
		}
		set, err := s.DB().GTIDsBefore(t.Context(), files[len(files)-1].Name)
		if err != nil || set.IsEmpty() {
			t.Errorf("GTIDsBefore() = %v, %v", set, err)
		}
		if _, err := s.DB().GTIDsBefore(t.Context(), "binlog.999999"); err == nil {
			t.Error("GTIDsBefore() of no file = nil")
		}
		state, err := s.DB().BinlogState(t.Context())
		if err != nil || state.ServerUUID != uuid || !state.Writable || !state.Executed.Contains(set) || time.Since(state.At).Abs() > time.Minute {
			t.Errorf("BinlogState() = %+v, %v", state, err)
		}
	})
}

func TestDumpSilence(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{})
	all, err := mysqlx.ParseGTIDSet(s.QueryString(t, "SELECT @@gtid_executed"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := mysqlx.StartDump(t.Context(), s.Root(), mysqlx.DumpRequest{Have: all, Heartbeat: time.Hour, Silence: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for err == nil {
		_, err = d.Next()
	}
	if !mysqlx.IsUnreachable(err) || errors.Is(err, mysqlx.ErrDumpProtocol) {
		t.Errorf("Next() of a server that says nothing = %v, want unreachable", err)
	}
}

func TestAutoPurge(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{})
	look := func(want mysqlx.Purging) {
		t.Helper()
		got, err := s.DB().AutoPurge(t.Context())
		want.After = got.After
		if err != nil || got != want {
			t.Errorf("AutoPurge() = %+v, %v; want %+v", got, err, want)
		}
	}
	set := func(on bool) {
		t.Helper()
		if err := s.DB().SetAutoPurge(t.Context(), on); err != nil {
			t.Fatal(err)
		}
	}
	look(mysqlx.Purging{On: true})
	set(false)
	look(mysqlx.Purging{Held: true})
	s.Restart(t)
	look(mysqlx.Purging{Held: true})
	set(true)
	look(mysqlx.Purging{On: true})
	set(true) // nothing to undo
	s.Restart(t)
	look(mysqlx.Purging{On: true})
	s.Exec(t, "SET GLOBAL binlog_expire_logs_auto_purge = OFF") // by an operator
	look(mysqlx.Purging{})
}
