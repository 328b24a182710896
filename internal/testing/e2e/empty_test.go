package e2e

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
)

// waitsFor reports a source without data that waits for a sibling to say what it has.
func waitsFor(pod string) func(localset.Status) bool {
	return func(st localset.Status) bool {
		return st.State == "waiting_for_siblings" && has(st, "peer_silent") && strings.Contains(st.Explain(), pod) && st.Phase == "init"
	}
}

// TestEmptySource: the first pod's volume is gone while its replica hangs. It waits for the replica, and says so; it gets its data back
// although the replica's agent and then its mysqld are killed in the middle of the copy. Only --allow-empty-source makes it start without data,
// and then the replica does not follow it.
func TestEmptySource(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	var slow, allow atomic.Bool
	s := localset.ForTest(t, localset.Options{Replicas: 2, Database: "shop", AgentArgs: func(ordinal int) (args []string) {
		if slow.Load() {
			args = append(args, "--max-rate=25MiB", "--compress=off") // so that a copy has a middle
		}
		if ordinal == 0 && allow.Load() {
			args = append(args, "--allow-empty-source")
		}
		return args
	}})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1), (2)"))
	must(t, load.Fill(ctx, s.RootEndpoint(0), 8<<20, nil))
	must(t, s.WaitConverged(ctx))
	before, cluster := executed(ctx, t, s, 1), lineage(ctx, t, s, 1)

	done := t.Run("waits, then survives its donor's deaths", func(t *testing.T) {
		thaw := freeze(t, s, 1, localset.Agent, localset.Mysqld)
		defer thaw()
		slow.Store(true)
		must(t, s.DeleteVolume(ctx, 0))
		waitStatus(ctx, t, s, 0, "the source to say whom it waits for", waitsFor("mysql-1"))
		thaw()
		for _, victim := range []localset.Process{localset.Agent, localset.Mysqld} {
			waitStatus(ctx, t, s, 0, "half a copy", func(st localset.Status) bool {
				return st.Clone != nil && st.Clone.Donor == "mysql-1" && st.Clone.BytesDone > 1<<20
			})
			if !s.Kill9(1, victim) {
				t.Errorf("%s did not run", victim)
			}
			waitStatus(ctx, t, s, 1, "the replica to tell what it has", func(st localset.Status) bool {
				_, err := s.GTIDExecuted(ctx, 1)
				return err == nil && st.HasData == "yes" && st.GTIDExecuted != ""
			})
		}
		mustBeEqual(ctx, t, s)
		if after := executed(ctx, t, s, 0); !after.Contains(before) {
			t.Errorf("the source lacks %v", before.Subtract(after))
		}
		if got := lineage(ctx, t, s, 0); got != cluster {
			t.Errorf("the source belongs to cluster %s, want %s", got, cluster)
		}
		if !strings.Contains(s.LogTail(0, localset.Init, 1000), "siblings_have_data") {
			t.Error("the log does not say why the source was cloned")
		}
		mustNeverHaveStartedHalf(t, s, 2)
		must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (3)"))
		mustBeEqual(ctx, t, s)
		mustHaveKeptItsData(t, s, 1)
	})

	_ = done && t.Run("starts without data when told so", func(t *testing.T) {
		before := executed(ctx, t, s, 1)
		thaw := freeze(t, s, 1, localset.Agent, localset.Mysqld)
		defer thaw()
		must(t, s.DeleteVolume(ctx, 0))
		waitStatus(ctx, t, s, 0, "the source to say whom it waits for", waitsFor("mysql-1"))
		allow.Store(true)
		must(t, s.Delete(ctx, 0))
		must(t, s.WaitReady(ctx, 0))
		if got := lineage(ctx, t, s, 0); got == cluster {
			t.Errorf("the source belongs to the old cluster %s", got)
		}
		thaw()
		waitStatus(ctx, t, s, 1, "the replica not to follow it", func(st localset.Status) bool { return st.State == "source_is_stranger" })
		waitStatus(ctx, t, s, 0, "the source to say so", func(st localset.Status) bool { return has(st, "siblings_are_strangers") })
		if after := executed(ctx, t, s, 1); !after.Equal(before) {
			t.Errorf("the replica executed %v of another cluster", after.Subtract(before))
		}
		if got := one(ctx, t, s, 1, "SELECT COUNT(*) FROM shop.t"); got != "3" {
			t.Errorf("the replica has %s rows", got)
		}
	})
}

// TestWholeSetGone: every pod is gone, and the first one's volume with it; the other volumes are kept. Started together, the source gets its
// data back from them. Started in order it cannot ask them, starts without data, and they do not follow it; that is what
// podManagementPolicy: Parallel is for.
func TestWholeSetGone(t *testing.T) {
	for _, policy := range []localset.Policy{localset.Parallel, localset.OrderedReady} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			ctx := withDeadline(t, 8*time.Minute)
			s := localset.ForTest(t, localset.Options{Replicas: 3, Policy: policy, Database: "shop"})
			must(t, s.WaitReady(ctx))
			must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
			must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1), (2)"))
			must(t, s.WaitConverged(ctx))
			before, cluster := executed(ctx, t, s, 0), lineage(ctx, t, s, 0)
			must(t, s.Scale(ctx, 0))
			must(t, os.RemoveAll(s.Pod(0).Volume))
			must(t, s.Scale(ctx, 3))

			if policy == localset.Parallel {
				mustBeEqual(ctx, t, s)
				if after := executed(ctx, t, s, 0); !after.Contains(before) {
					t.Errorf("the source lacks %v", before.Subtract(after))
				}
				must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (3)"))
				mustBeEqual(ctx, t, s)
			} else {
				must(t, s.WaitReady(ctx, 0))
				waitStatus(ctx, t, s, 1, "the replica not to follow a stranger", func(st localset.Status) bool { return st.State == "source_is_stranger" })
				if got := lineage(ctx, t, s, 0); got == cluster {
					t.Errorf("the source belongs to the old cluster %s", got)
				}
				if after := executed(ctx, t, s, 1); !after.Equal(before) {
					t.Errorf("the replica has %v, had %v", after, before)
				}
				if got := one(ctx, t, s, 1, "SELECT COUNT(*) FROM shop.t"); got != "2" {
					t.Errorf("the replica has %s rows", got)
				}
			}
			for n := 1; n < 3; n++ {
				mustHaveKeptItsData(t, s, n)
			}
			if got := lineage(ctx, t, s, 1); got != cluster {
				t.Errorf("the replica belongs to cluster %s, want %s", got, cluster)
			}
		})
	}
}
