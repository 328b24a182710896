package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// TestKillsWhileAssembling: five pods from nothing, thirty times any of their programs is killed at any moment. The set always
// ends in the same state, and no unfinished copy is ever started: mysqld would say so in its log.
//
// ORDINAL_SEED replays a run, as far as time can be replayed.
func TestKillsWhileAssembling(t *testing.T) {
	t.Parallel()
	const pods, kills = 5, 30
	ctx := withDeadline(t, 10*time.Minute)
	seed := rand.Uint64()
	if text := os.Getenv("ORDINAL_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	t.Logf("ORDINAL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	s := localset.ForTest(t, localset.Options{
		Replicas: pods, Database: "shop",
		MysqldArgs: func(int) []string { return []string{"--innodb-buffer-pool-size=48M"} },
	})
	processes := []localset.Process{localset.Init, localset.Mysqld, localset.Agent}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for done, next := 0, time.Now(); done < kills; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d of %d kills found something to kill", done, kills)
		}
		if time.Now().Before(next) {
			continue
		}
		pod, process := random.IntN(pods), processes[random.IntN(len(processes))]
		if s.Kill9(pod, process) {
			done++
			next = time.Now().Add(time.Duration(random.IntN(1500)) * time.Millisecond)
		}
	}
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.Exec(ctx, 0, "INSERT INTO shop.t VALUES (1), (2), (3)"))
	mustBeEqual(ctx, t, s)
	for ordinal := 1; ordinal < pods; ordinal++ {
		mustRejectWrites(ctx, t, s, ordinal)
	}
	mustNeverHaveStartedHalf(t, s, pods)
}
