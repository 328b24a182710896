package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

// A quarantineEntry is what agent quarantine list --json tells of one.
type quarantineEntry struct {
	Name     string         `json:"name"`
	Reason   string         `json:"reason"`
	Message  string         `json:"message"`
	At       time.Time      `json:"at"`
	Bytes    int64          `json:"bytes"`
	OnlyHere mysqlx.GTIDSet `json:"only_here"`
	Problem  string         `json:"problem"`
}

// inQuarantine is what agent quarantine list --json says, oldest first.
func inQuarantine(t *testing.T, s *localset.Set, ordinal int) []quarantineEntry {
	t.Helper()
	var answer struct {
		Quarantine []quarantineEntry `json:"quarantine"`
	}
	must(t, json.Unmarshal([]byte(agent(t, s, ordinal, "quarantine", "list", "--json")), &answer))
	return answer.Quarantine
}

// newest is the entry that came last.
func newest(t *testing.T, s *localset.Set, ordinal int) quarantineEntry {
	t.Helper()
	all := inQuarantine(t, s, ordinal)
	if len(all) == 0 {
		t.Fatalf("nothing is in quarantine of pod %d", ordinal)
	}
	return all[len(all)-1]
}

// drop asks a pod's agent to remove an entry.
func drop(ctx context.Context, t *testing.T, s *localset.Set, ordinal int, name string, more ...string) outcome {
	t.Helper()
	args := append([]string{"quarantine", "drop", name, "--volume=" + s.Pod(ordinal).Volume}, more...)
	return startAgent(t, localset.BuildAgent(t), &syscall.SysProcAttr{}, args...).wait(ctx)
}

// diverge writes on a replica until it is rebuilt, and returns what became of its data and the GTIDs of what was written.
func diverge(ctx context.Context, t *testing.T, s *localset.Set, ordinal int, statements ...string) (quarantineEntry, mysqlx.GTIDSet) {
	t.Helper()
	must(t, s.WaitConverged(ctx))
	before, had := executed(ctx, t, s, ordinal), len(inQuarantine(t, s, ordinal))
	writeOnReplica(ctx, t, s, ordinal, statements...)
	errant := executed(ctx, t, s, ordinal).Subtract(before)
	waitFor(ctx, t, "the replica to be rebuilt", func() bool {
		return len(quarantined(t, s, ordinal, "errant_transactions")) > 0 && len(inQuarantine(t, s, ordinal)) > had
	})
	mustBeEqual(ctx, t, s)
	return newest(t, s, ordinal), errant
}

// TestQuarantine: what a replica alone had is kept, listed, brought back and put away again as often as somebody likes, and removed only when it
// is in service elsewhere or somebody insists.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop"})
	must(t, s.WaitReady(ctx))
	cluster := lineage(ctx, t, s, 0)
	if all := inQuarantine(t, s, 1); len(all) != 0 {
		t.Fatalf("in quarantine of a new pod: %+v", all)
	}
	first, errant := diverge(ctx, t, s, 1, "CREATE TABLE shop.errant (id INT PRIMARY KEY, note VARCHAR(100))", "INSERT INTO shop.errant VALUES (7, 'written by hand')")
	if first.Reason != "errant_transactions" || !first.OnlyHere.Equal(errant) || first.Problem != "" || first.Bytes < 1<<20 || first.Message == "" || first.At.IsZero() {
		t.Errorf("listed %+v, want errant_transactions and only %v", first, errant)
	}
	drop(ctx, t, s, 1, first.Name).mustRefuse(t, 80, "requested: kept: no pod in service has 2 of its transactions", "quarantine list")
	drop(ctx, t, s, 1, "nothing-like-it").mustRefuse(t, 2, `NAME="nothing-like-it"`, "")

	agent(t, s, 1, "hold", "--reason", "a look at the old data")
	agent(t, s, 1, "quarantine", "undo", first.Name)
	waitFor(ctx, t, "the old data to be served again", func() bool {
		rows, err := s.Query(ctx, 1, "SELECT note FROM shop.errant WHERE id = 7")
		return err == nil && len(rows) == 1 && rows[0][0] == "written by hand"
	})
	waitStatus(ctx, t, s, 1, "the agent to keep its hands off", func(st localset.Status) bool { return has(st, "replication_held") && st.ClusterID == cluster })
	mustRejectWrites(ctx, t, s, 1)
	if has := executed(ctx, t, s, 1); !has.Contains(errant) {
		t.Errorf("the old data has %v, want %v", has, errant)
	}

	waitFor(ctx, t, "the copy to be in quarantine", func() bool { return len(quarantined(t, s, 1, "requested")) == 1 })
	agent(t, s, 1, "quarantine", "undo", newest(t, s, 1).Name)
	waitFor(ctx, t, "the copy to be served again", func() bool {
		rows, err := s.Query(ctx, 1, "SHOW TABLES FROM shop")
		return err == nil && len(rows) == 0
	})
	agent(t, s, 1, "release")
	mustBeEqual(ctx, t, s)

	waitFor(ctx, t, "the old data to be in quarantine again", func() bool { return len(quarantined(t, s, 1, "requested")) == 1 })
	last := newest(t, s, 1)
	if o := drop(ctx, t, s, 1, last.Name); o.code != 80 {
		t.Errorf("drop of the last copy ended with %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if o := drop(ctx, t, s, 1, last.Name, "--even-the-last-copy"); o.code != 0 {
		t.Errorf("drop --even-the-last-copy ended with %d: %s", o.code, o.stderr)
	}
	if all := inQuarantine(t, s, 1); len(all) != 0 {
		t.Errorf("still in quarantine: %+v", all)
	}

	second, errant := diverge(ctx, t, s, 1, "CREATE TABLE shop.wanted (id INT PRIMARY KEY)")
	replay(ctx, t, s, 0, exported(t, s, 1, second.Name).binlog)
	must(t, s.WaitConverged(ctx))
	if has := executed(ctx, t, s, 0); !has.Contains(errant) {
		t.Fatalf("the source has %v, want %v", has, errant)
	}
	waitFor(ctx, t, "the replica to know that the source has it, and to drop it", func() bool { return drop(ctx, t, s, 1, second.Name).code == 0 })
	mustHaveKeptItsData(t, s, 1)
	mustBeEqual(ctx, t, s)
}

// TestQuarantineMakesRoom: on a volume that is nearly full the agent removes what is in service elsewhere, and nothing else.
func TestQuarantineMakesRoom(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	disk := smallDisk(t, "2G")
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", Dir: filepath.Join(disk, "set")})
	must(t, s.WaitReady(ctx))
	last, _ := diverge(ctx, t, s, 1, "CREATE TABLE shop.unwanted (id INT PRIMARY KEY)")
	spare, _ := diverge(ctx, t, s, 1, "CREATE TABLE shop.wanted (id INT PRIMARY KEY)")
	replay(ctx, t, s, 0, exported(t, s, 1, spare.Name).binlog)
	must(t, s.WaitConverged(ctx))

	var disked syscall.Statfs_t
	must(t, syscall.Statfs(disk, &disked))
	fill(t, filepath.Join(disk, "ballast"), int(disked.Bavail-disked.Blocks/25)*int(disked.Bsize)) // a twenty-fifth is left
	waitFor(ctx, t, "the agent to make room", func() bool {
		all := inQuarantine(t, s, 1)
		return len(all) == 1 && all[0].Name == last.Name && all[0].Problem == ""
	})
	waitStatus(ctx, t, s, 1, "the replica to be ready", func(st localset.Status) bool { return st.Ready })
	mustBeEqual(ctx, t, s)
	if now := newest(t, s, 1); !now.OnlyHere.Equal(last.OnlyHere) || now.OnlyHere.IsEmpty() || now.Bytes != last.Bytes {
		t.Errorf("what is the last copy was %+v and is %+v", last, now)
	}
}
