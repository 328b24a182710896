package protocol_test

import (
	"strconv"
	"testing"
	"time"

	"ordinal/clone/protocol"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// Clone under load with DDL, start a server on the copy, and look at everything.
func TestCloneUnderLoad(t *testing.T) {
	for _, workers := range []int{0, 1, 3} {
		t.Run(strconv.Itoa(workers)+" workers", func(t *testing.T) {
			t.Parallel()
			donor := startDonor(t, 40)
			dir := t.TempDir()
			l := startLoad(t, donor, true)

			s, err := protocol.Open(t.Context(), dialer(donor), protocol.Options{Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			p := s.Parameters()
			version, err := mysqlx.ParseVersion(p.Version)
			if err != nil {
				t.Fatal(err)
			}
			if p.PageSize != 16384 || p.OS == "" || len(p.Collations) == 0 || len(p.Plugins) == 0 {
				t.Errorf("Parameters() = %+v", p)
			}
			d, err := newDirectory(dir, uint32(version.Major*10000+version.Minor*100+version.Patch))
			if err != nil {
				t.Fatal(err)
			}
			d.delay = 5 * time.Millisecond
			// Holding the stage lets changes and DDL pile up for the next one, whatever the machine's speed.
			d.onEnd = func(stage protocol.Stage) {
				from, rows := l.rounds.Load(), l.transfers.Load()
				mysqltest.Eventually(t, "load in "+stage.State.String(), func() bool {
					return l.rounds.Load() > from+4 && l.transfers.Load() > rows+50
				})
			}
			if err := s.Run(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			committed := l.transfers.Load()
			l.stop(t)
			if err := d.finish(); err != nil {
				t.Fatal(err)
			}
			for _, state := range []protocol.State{protocol.StateFileCopy, protocol.StatePageCopy, protocol.StateRedoCopy} {
				if d.bytes[state].Load() == 0 {
					t.Errorf("no data in %v", state)
				}
			}
			if d.created == 0 || d.renamed == 0 || d.deleted == 0 {
				t.Errorf("DDL seen: %d created, %d renamed, %d deleted; want some of each", d.created, d.renamed, d.deleted)
			}
			for task := range workers + 1 {
				if d.tasks[task].Load() == 0 {
					t.Logf("task %d had no part in the transfer", task)
				}
			}
			t.Logf("%d files created, %d renamed, %d deleted, %d vanished; bytes %d, %d, %d", d.created, d.renamed, d.deleted, d.vanished,
				d.bytes[2].Load(), d.bytes[3].Load(), d.bytes[4].Load())
			checkCopy(t, donor, dir, committed)
		})
	}
}

// checkCopy starts a server on the copy.
func checkCopy(t *testing.T, donor *mysqltest.Server, dir string, committed int64) {
	t.Helper()
	c := mysqltest.Start(t, mysqltest.Options{DataDir: dir, Config: map[string]string{"innodb_redo_log_capacity": "64M"}})
	if got := c.QueryString(t, "SELECT SUM(balance) FROM d.account"); got != "100000" {
		t.Errorf("sum of balances = %s, want 100000", got)
	}
	// Every committed transaction up to one moment, none after it.
	row := c.Query(t, "SELECT COUNT(*), MAX(n) FROM d.counter")[0]
	if row[0] != row[1] {
		t.Errorf("%s transfers, the last is number %s", row[0], row[1])
	}
	if n, _ := strconv.ParseInt(row[0], 10, 64); n > committed {
		t.Errorf("%d transfers, only %d were begun", n, committed)
	}
	if subset := donor.QueryString(t, "SELECT GTID_SUBSET(?, @@gtid_executed)", c.QueryString(t, "SELECT @@gtid_executed")); subset != "1" {
		t.Error("gtid_executed of the copy is not contained in the donor's")
	}
	for _, table := range []string{"cold", "zip", "zlib", "general", "`odd-näme.x`"} {
		q := "CHECKSUM TABLE d." + table
		if got, want := c.Query(t, q)[0][1], donor.Query(t, q)[0][1]; got != want {
			t.Errorf("%s = %s, want %s", q, got, want)
		}
	}
	for _, name := range c.Query(t, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'd'") {
		for _, r := range c.Query(t, "CHECK TABLE d.`"+name[0]+"`") {
			if r[2] == "status" && r[3] != "OK" {
				t.Errorf("CHECK TABLE %s: %v", name[0], r)
			}
		}
	}
	c.Stop(t)
	files, err := checkPages(dir)
	if err != nil {
		t.Error(err)
	}
	if files < 15 {
		t.Errorf("%d tablespaces checked", files)
	}
}
