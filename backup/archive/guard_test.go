package archive_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/backup/archive"
	"ordinal/backup/store/memstore"
	"ordinal/backup/store/storetest"
	"ordinal/internal/testing/mysqltest"
	"ordinal/mysqlx"
)

// TestGuard: a server that purges what is older than a second, and a store that is down. Nothing is purged before it is archived, across a restart
// too; then it is; and beyond the bound the guard gives up, which leaves a gap that is named.
func TestGuard(t *testing.T) {
	s := mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"binlog_expire_logs_seconds": "1"}})
	s.Exec(t, "CREATE DATABASE d")
	s.Exec(t, "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)")
	var kept memstore.Store
	var down atomic.Bool
	faulty := storetest.Faulty(&kept, &storetest.Faults{Before: func(op, name string) error {
		if down.Load() {
			return storetest.Unavailable(op, name)
		}
		return nil
	}})
	o := options(local(t, s.Root()), faulty)
	a := run(t, o)
	a.archived(t, s)
	guard, err := archive.NewGuard(archive.GuardOptions{
		Server: s.DB(), Bytes: 1 << 20,
		Archived: func(context.Context) (mysqlx.GTIDSet, error) { return a.Status().Archived, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	look := func(holding, gaveUp bool) archive.GuardStatus {
		t.Helper()
		g, err := guard.Look(t.Context())
		if err != nil || g.Holding != holding || g.GaveUp != gaveUp {
			t.Fatalf("Look() = %+v, %v; want holding %v, gave up %v", g, err, holding, gaveUp)
		}
		return g
	}
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
	older := func() { // than a second
		t.Helper()
		began := time.Now()
		mysqltest.Eventually(t, "two seconds later", func() bool { return time.Since(began) > 2*time.Second })
	}
	look(false, false)
	down.Store(true)
	s.Exec(t, "INSERT INTO d.t (v) VALUES ('one')")
	first := names()
	s.Exec(t, "FLUSH BINARY LOGS")
	if g := look(true, false); g.Waiting != 1 || g.WaitingBytes == 0 {
		t.Errorf("Look() = %+v, want one binlog that waits", g)
	}
	a.stop() // no dump protects the files
	older()
	s.Exec(t, "FLUSH BINARY LOGS")
	s.Restart(t)
	if all := names(); !slices.Contains(all, first[len(first)-1]) {
		t.Fatalf("binlogs are %v: %s was purged before it was archived", all, first[len(first)-1])
	}
	down.Store(false)
	a = run(t, o)
	a.archived(t, s)
	look(false, false)
	s.Exec(t, "FLUSH BINARY LOGS")
	if all := names(); slices.Contains(all, first[len(first)-1]) {
		t.Errorf("binlogs are %v: %s is archived and expired, and still there", all, first[len(first)-1])
	}

	down.Store(true)
	s.Exec(t, "INSERT INTO d.t (v) VALUES (REPEAT('x', 2000000))")
	lost := executed(t, s)
	s.Exec(t, "FLUSH BINARY LOGS")
	look(false, true)
	a.stop()
	older()
	s.Exec(t, "FLUSH BINARY LOGS")
	down.Store(false)
	archivedBefore := loadIndex(t, &kept).Tip()
	lost = lost.Subtract(archivedBefore)
	a = run(t, o)
	s.Exec(t, "INSERT INTO d.t (v) VALUES ('two')")
	a.archived(t, s)
	if got := a.Status().Gap; !got.Equal(lost) || got.IsEmpty() {
		t.Errorf("Status().Gap = %v, want %v", got, lost)
	}
	if got := loadIndex(t, &kept).Gaps(archivedBefore); !got.Equal(lost) {
		t.Errorf("Gaps() = %v, want %v", got, lost)
	}
}

// TestGuardLeavesOperatorsAlone: what is configured is not touched.
func TestGuardLeavesOperatorsAlone(t *testing.T) {
	for _, now := range []mysqlx.Purging{{On: true}, {}, {Held: true}} {
		for _, archived := range []bool{true, false} {
			k := &keeper{Purging: now}
			guard, err := archive.NewGuard(archive.GuardOptions{Server: k, Archived: func(context.Context) (mysqlx.GTIDSet, error) {
				if archived {
					return gtids(t, otherUUID+":1-100"), nil
				}
				return gtids(t, otherUUID+":1-10"), nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			g, err := guard.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantSet := archived && now.Held || !archived && now.On
			if (k.set != nil) != wantSet || wantSet && *k.set != archived || g.Holding != (!archived && (now.On || now.Held)) {
				t.Errorf("%+v, archived %v: set to %v, %+v", now, archived, k.set, g)
			}
		}
	}
}

// A keeper is a server with three binlogs.
type keeper struct {
	mysqlx.Purging
	set *bool
}

func (k *keeper) BinlogFiles(context.Context) ([]mysqlx.BinlogFile, error) {
	return []mysqlx.BinlogFile{{Name: "a.1", Size: 10}, {Name: "a.2", Size: 10}, {Name: "a.3", Size: 10}}, nil
}

func (k *keeper) GTIDsBefore(_ context.Context, name string) (mysqlx.GTIDSet, error) {
	return mysqlx.ParseGTIDSet(otherUUID + ":1-" + map[string]string{"a.1": "5", "a.2": "10", "a.3": "20"}[name])
}

func (k *keeper) AutoPurge(context.Context) (mysqlx.Purging, error) { return k.Purging, nil }

func (k *keeper) SetAutoPurge(_ context.Context, on bool) error {
	k.set = &on
	return nil
}
