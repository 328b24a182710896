package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// TestRoundTripOverS3: a set that changes rows and tables all the time is backed up to an S3 server while it archives there. A server that starts on the
// backup has in every table what the donor had. Then the set is gone, the backup and the archive are restored onto the first volume of another set, and every table of
// it, and of the replica that is cloned from it, has what it had. Everything about the store is in environments, and so are its keys.
func TestRoundTripOverS3(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	server := newS3Server(t)
	at := server.url("shop")
	withStore := func(_ int, process localset.Process) []string {
		if process == localset.Mysqld {
			return nil
		}
		return append(server.env(), "AGENT_STORE="+at)
	}
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", Env: withStore})
	x := newTool(t, s, at).with(server.env()...)
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.quiet (id INT PRIMARY KEY, note VARCHAR(20))"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.quiet VALUES (1, 'before the backup')"))
	must(t, s.WaitConverged(ctx))
	l, stop := startLoad(ctx, t, s, load.Options{DDL: true, Connections: 2, Pause: 50 * time.Millisecond})
	b := x.backUp(ctx, "--max-lag=1h")
	if b.Donor != "mysql-1" || b.GTIDAtLeast == "" || l.Stats().Acked == 0 {
		t.Errorf("backed up %+v under a load of %+v", b, l.Stats())
	}
	stop()
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.quiet VALUES (2, 'after the backup')"))

	t.Run("verify", func(t *testing.T) {
		scratch := t.TempDir()
		var v struct {
			OK   bool `json:"ok"`
			Boot struct {
				GTIDExecuted string `json:"gtid_executed"`
				Compared     int    `json:"tables_compared"`
			} `json:"boot"`
		}
		o := x.must(ctx, "verify", b.ID, "--boot", "--json", "--scratch="+scratch, "--mysqld="+mysqltest.Get(t).Script(t))
		must(t, json.Unmarshal([]byte(o.stdout), &v))
		booted, err := mysqlx.ParseGTIDSet(v.Boot.GTIDExecuted)
		must(t, err)
		least, err := mysqlx.ParseGTIDSet(b.GTIDAtLeast)
		must(t, err)
		if !v.OK || v.Boot.Compared == 0 || !booted.Contains(least) || !executed(ctx, t, s, 0).Contains(booted) {
			t.Errorf("verified: %s; the backup has at least %v", o.stdout, least)
		}
		if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
			t.Errorf("left in the scratch directory: %v, %v", left, err)
		}
	})

	mustBeEqual(ctx, t, s)
	before := executed(ctx, t, s, 0)
	want := tablesOf(t, s, 0)
	waitArchived(ctx, t, s, before)
	must(t, s.Scale(ctx, 0))

	dir := shortDir(t)
	volume := filepath.Join(dir, "mysql-0", "volume")
	must(t, os.MkdirAll(volume, 0o755))
	x.must(ctx, "restore", b.ID, "--volume="+volume, "--to-end", "--plan")
	if entries, err := os.ReadDir(volume); err != nil || len(entries) > 0 {
		t.Fatalf("a plan has changed the volume: %v, %v", entries, err)
	}
	x.must(ctx, "restore", b.ID, "--volume="+volume, "--to-end")
	other := localset.ForTest(t, localset.Options{
		Dir: dir, Replicas: 2, Env: withStore, Secret: contentOf(t, s.SecretFile()), RootPassword: contentOf(t, s.RootPasswordFile()),
	})
	must(t, other.WaitReady(ctx))
	if after := executed(ctx, t, other, 0); !after.Contains(before) {
		t.Errorf("the new set lacks %v", before.Subtract(after))
	}
	mustHaveTables(t, tablesOf(t, other, 0), want)
	mustBeEqual(ctx, t, other)
	mustRejectWrites(ctx, t, other, 1)
	for n := range 2 {
		db, err := other.DB(n)
		must(t, err)
		must(t, l.CheckNothingLost(ctx, db))
		must(t, load.CheckTables(ctx, db))
	}
	x.mustHaveLeftNothing()
}

// tablesOf returns the checksums of all tables of a pod.
func tablesOf(t *testing.T, s *localset.Set, ordinal int) map[string]string {
	t.Helper()
	db, err := s.DB(ordinal)
	must(t, err)
	sums, err := load.Checksums(t.Context(), db)
	must(t, err)
	return sums
}

// mustHaveTables compares checksums of tables.
func mustHaveTables(t *testing.T, got, want map[string]string) {
	t.Helper()
	var wrong []string
	for _, table := range slices.Sorted(maps.Keys(want)) {
		if got[table] != want[table] {
			wrong = append(wrong, fmt.Sprintf("%s: checksum %q, want %q", table, got[table], want[table]))
		}
	}
	if len(got) != len(want) || len(wrong) > 0 {
		t.Errorf("%d tables, want %d; %s", len(got), len(want), strings.Join(wrong, "; "))
	}
	t.Logf("%d tables are as they were", len(want)-len(wrong))
}
