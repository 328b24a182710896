package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/internal/testing/faults"
	"ordinal/internal/testing/load"
	"ordinal/internal/testing/localset"
)

// What the test of restarts is made of: go test ./internal/testing/e2e -run RestartsDuringClones -restarts.runs=100
var (
	restartRuns = flag.Int("restarts.runs", 3, "number of clones in which something is killed")
	restartSeed = flag.Uint64("restarts.seed", 0, "replays the moments of a run, as far as time can be replayed; 0: any")
)

// proxyPort is where the source's data plane is to be found by who goes through the fault proxy.
const proxyPort = localset.DataPort + 2

// slack is what may be on its way when something is killed, and what pods say to each other beside the copy.
const slack = 24 << 20

// A victim is killed while pod 1 clones from pod 0.
type victim struct {
	ordinal int
	process localset.Process
}

var (
	recipientAgent = victim{1, localset.Init}
	donorAgent     = victim{0, localset.Agent}
	donorServer    = victim{0, localset.Mysqld}
)

func (v victim) String() string { return fmt.Sprintf("%s of pod %d", v.process, v.ordinal) }

// A restarted is how one run went.
type restarted struct {
	victim
	at      int64 // bytes that had reached the recipient
	resumed bool  // the copy that was interrupted went on
	over    bool  // a copy was begun again
	passed  int64 // bytes to the recipient in all
	size    int64 // bytes of the copy that was put to use
	took    time.Duration
	why     string // it started over
}

// again is what was sent more than once.
func (r restarted) again() int64 { return max(0, r.passed-r.size) }

func (r restarted) String() string {
	how := "went on"
	if r.over {
		how = "started over: " + r.why
	}
	return fmt.Sprintf("kill -9 of %v after %d of %d KiB: %s; %d KiB were sent again; ready after %v",
		r.victim, r.at>>10, r.size>>10, how, r.again()>>10, r.took.Round(10*time.Millisecond))
}

// TestRestartsDuringClones: a replica is cloned under load, with DDL, again and again, and each time the recipient's agent, the donor's
// agent or the donor's mysqld is killed at some byte of the copy. It always ends with a replica that has all data. A copy goes on after an
// agent was killed; after the donor's mysqld was, it starts over and says why.
func TestRestartsDuringClones(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, time.Duration(*restartRuns)*3*time.Minute)
	seed := *restartSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-restarts.seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	s := localset.ForTest(t, localset.Options{
		Replicas: 2,
		AgentArgs: func(ordinal int) []string {
			if ordinal == 0 {
				return nil
			}
			// Slow enough for a copy to have been saved a few times before it is interrupted.
			return []string{"--data-port=" + strconv.Itoa(proxyPort), "--max-rate=25MiB", "--compress=off"}
		},
	})
	source := s.Pod(0).Host
	proxy, err := faults.Listen(ctx, net.JoinHostPort(source, strconv.Itoa(proxyPort)), net.JoinHostPort(source, strconv.Itoa(localset.DataPort)), nil)
	must(t, err)
	t.Cleanup(proxy.Close)
	must(t, s.WaitReady(ctx))
	must(t, load.Fill(ctx, s.RootEndpoint(0), 4<<20, nil))
	l := load.New(load.Options{Endpoint: s.RootEndpoint(0), Connections: 2, Pause: 5 * time.Millisecond, DDL: true})
	must(t, l.Prepare(ctx))

	var all []restarted
	for run := range *restartRuns {
		v := []victim{recipientAgent, donorAgent, donorServer}[run%3]
		r := restartOnce(ctx, t, s, l, proxy, v, 64<<10+random.Int64N(64<<20))
		t.Log(r)
		all = append(all, r)
	}
	wantResumed(t, all)
	db, err := s.DB(0)
	must(t, err)
	must(t, l.CheckNothingLost(ctx, db))
	mustNeverHaveStartedHalf(t, s, 2)
}

// wantResumed checks what has become of the copies that were interrupted.
func wantResumed(t *testing.T, all []restarted) {
	t.Helper()
	count := map[string]int{}
	again := map[string]int64{}
	for _, r := range all {
		count[r.victim.String()]++
		again[r.victim.String()] += r.again() >> 20
		if r.resumed {
			count[r.victim.String()+", went on"]++
		}
		if r.victim == donorServer && (!r.over || r.why == "") {
			t.Errorf("%v: want it to start over, and to say why", r)
		}
		// What had come is sent again at most, and what was on its way; a donor whose server is gone does not go on to read its files.
		if r.again() > r.at+slack {
			t.Errorf("%v: want no more than %d KiB to be sent again", r, (r.at+slack)>>10)
		}
	}
	t.Logf("%d runs: %v; MB that were sent again: %v", len(all), count, again)
	for _, v := range []victim{recipientAgent, donorAgent} {
		if n := v.String(); count[n] > 0 && count[n+", went on"] == 0 {
			t.Errorf("after a kill of %s no copy went on, of %d", n, count[n])
		}
	}
}

// restartOnce has pod 1 cloned anew and kills the victim when so many bytes have arrived.
func restartOnce(ctx context.Context, t *testing.T, s *localset.Set, l *load.Load, proxy *faults.Proxy, v victim, at int64) restarted {
	t.Helper()
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Run(running) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("load: %v", err)
		}
	})
	defer stop()
	logged := newTail(t, s.Pod(1).LogFile(localset.Init))
	must(t, s.DeleteVolume(ctx, 1))
	begun, before, hits := time.Now(), proxy.Bytes(faults.ToClient), len(proxy.Hits())
	// Nothing passes while the victim is killed: however long that takes, it happens at this byte.
	proxy.Add(faults.Fault{Kind: faults.Stall, At: at, All: true, For: 300 * time.Millisecond})
	waitFor(ctx, t, "the byte at which "+v.String()+" is killed", func() bool { return len(proxy.Hits()) > hits })
	if !s.Kill9(v.ordinal, v.process) {
		t.Errorf("%v did not run", v)
	}
	must(t, s.WaitReady(ctx))
	r := restarted{victim: v, at: at, took: time.Since(begun), passed: proxy.Bytes(faults.ToClient) - before}

	for line := range strings.Lines(logged.more(t)) {
		var entry struct {
			Msg     string   `json:"msg"`
			Reasons []string `json:"reasons"`
			Bytes   int64    `json:"bytes"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue // cut off by the kill
		}
		switch entry.Msg {
		case "removing an unfinished copy; starting over":
			r.over, r.why = true, strings.Join(entry.Reasons, ", ")
		case "cloning goes on", "connection lost; going on":
			r.resumed = true
		case "cloned":
			r.size = entry.Bytes
		}
	}
	r.resumed = r.resumed && !r.over
	stop()
	mustBeEqual(ctx, t, s)
	return r
}

// A tail is what is added to a file.
type tail struct {
	path string
	from int64
}

func newTail(t *testing.T, path string) *tail {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return &tail{path, info.Size()}
}

// more returns what was added.
func (l *tail) more(t *testing.T) string {
	t.Helper()
	f, err := os.Open(l.path)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, l.from, 1<<30))
	must(t, err)
	return string(b)
}
