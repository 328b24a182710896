package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

// What the test of kills is made of: go test ./internal/testing/e2e -run KilledFirstInitialisations -firststart.kills=50
var (
	firstStartKills = flag.Int("firststart.kills", 4, "number of first initialisations that are killed, at moments spread over the whole of one")
	firstStartSeed  = flag.Uint64("firststart.seed", 0, "replays the moments of a run, as far as time can be replayed; 0: any")
)

// firstStartBound is how long a first initialisation that was killed may take until the pod is ready, on a machine that is busy.
const firstStartBound = 4 * time.Minute

// TestKilledFirstInitialisations: mysqld, with everything that its entry point runs, is killed at any moment of the first initialisation, from its
// start to the moment at which the pod is ready. The pod always becomes ready, by itself and in bounded time, and then all of the image's
// steps have been taken, the last one too. The image alone would serve what the first half of them had made.
func TestKilledFirstInitialisations(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, time.Duration(*firstStartKills+1)*firstStartBound)
	seed := *firstStartSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-firststart.seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := localset.ForTest(t, localset.Options{Replicas: 1, Database: "shop", InitSQL: "CREATE TABLE shop.last (id INT PRIMARY KEY); INSERT INTO shop.last VALUES (1);\n"})
	must(t, s.WaitReady(ctx))
	mustBeWhole(ctx, t, s)
	whole := lasted(t, s, 0)
	t.Logf("an undisturbed one takes %v", whole.Round(time.Millisecond))

	for n := range *firstStartKills {
		// One part of the time after the other, so that none is left out by chance.
		at := time.Duration((float64(n) + random.Float64()) / float64(*firstStartKills) * float64(whole))
		bounded, cancel := context.WithTimeout(ctx, firstStartBound)
		from := len(s.Events())
		must(t, s.DeleteVolume(bounded, 0))
		waitFor(bounded, t, "mysqld to be started", func() bool { return started(s, from) })
		kill := time.NewTimer(at)
		select {
		case <-kill.C:
		case <-bounded.Done():
		}
		killed := s.Kill9(0, localset.Mysqld)
		waitFor(bounded, t, fmt.Sprintf("a database that is whole, killed after %v", at), func() bool {
			rows, err := s.Query(bounded, 0, "SELECT id FROM shop.last") // a pod that was ready is so still when its mysqld is killed
			return err == nil && len(rows) == 1 && s.Ready(bounded, 0)
		})
		mustBeWhole(bounded, t, s)
		cancel()
		t.Logf("killed (%v) after %v: whole after %v, %d put aside", killed, at.Round(time.Millisecond), lasted(t, s, from).Round(time.Millisecond),
			len(quarantined(t, s, 0, "interrupted_first_start")))
	}
}

// started reports whether mysqld's container was started since an event.
func started(s *localset.Set, from int) bool {
	for _, e := range s.Events()[from:] {
		if e.Process == localset.Mysqld && e.Kind == localset.Started {
			return true
		}
	}
	return false
}

// lasted is how long ago mysqld's container was started for the first time since an event.
func lasted(t *testing.T, s *localset.Set, from int) time.Duration {
	t.Helper()
	for _, e := range s.Events()[from:] {
		if e.Process == localset.Mysqld && e.Kind == localset.Started {
			return time.Since(e.Time)
		}
	}
	t.Fatal("mysqld was never started")
	return 0
}

// mustBeWhole checks that everything was done that a first initialisation does.
func mustBeWhole(ctx context.Context, t *testing.T, s *localset.Set) {
	t.Helper()
	if got := one(ctx, t, s, 0, "SELECT id FROM shop.last"); got != "1" { // as root, with its password, over TCP
		t.Errorf("the last step left %q", got)
	}
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	for _, address := range []string{s.Pod(0).Socket, s.RootEndpoint(0).Address} {
		bare, err := mysqlx.Open(mysqlx.Endpoint{Address: address, Credentials: mysqlx.Credentials{User: "root"}})
		must(t, err)
		err = bare.Ping(ctx)
		_ = bare.Close()
		if !mysqlx.IsAccessDenied(err) {
			t.Errorf("root without a password at %s: %v, want access denied", address, err)
		}
	}
	if accounts := one(ctx, t, s, 0, "SELECT GROUP_CONCAT(user, '@', host ORDER BY user, host) FROM mysql.user WHERE user = 'root' OR authentication_string = ''"); accounts != "root@%,root@localhost" {
		t.Errorf("accounts of root, and without a password: %s", accounts)
	}
}
