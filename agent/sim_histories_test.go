package agent

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ordinal/mysqlx"
)

var (
	simHistories = flag.Int("sim.histories", 10_000, "histories of TestSimulation")
	simSeed      = flag.Int64("sim.seed", -1, "the one history of TestSimulation, with its event log; -1: many")
	simShrink    = flag.Bool("sim.shrink", false, "leave out what -sim.seed does not need to fail")
	simAll       = flag.Bool("sim.all", false, "go on after a history that broke a promise, and count what broke")
	simFirst     = flag.Uint64("sim.first", 1, "seed of the first of many histories")
)

var simNumbers = regexp.MustCompile(`[0-9]+(:[0-9:,-]+)?`)

func simRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x0d1)) }

func gtidsOf(s string) mysqlx.GTIDSet {
	set, err := mysqlx.ParseGTIDSet(s)
	if err != nil {
		panic(err)
	}
	return set
}

// TestSimulation runs histories of whole sets, in virtual time, with the product's own decisions: see docs/simulation.md. A history that
// breaks a promise is run once more with its log:
//
//	go test ./agent -run TestSimulation -sim.seed=N -v
func TestSimulation(t *testing.T) {
	if *simSeed >= 0 {
		seed := uint64(*simSeed)
		var left map[int]bool
		if *simShrink {
			left = shrink(simulate(seed, nil, false))
		}
		w := simulate(seed, left, true)
		for _, line := range w.log {
			t.Log(line)
		}
		t.Logf("%d events, %v, causes: %s", w.events, w.now, w.simCauses())
		if w.failure != nil {
			t.Fatal(w.failure)
		}
		return
	}
	histories := *simHistories
	if simRace {
		histories = min(histories, 500) // everything is in one goroutine: there is nothing to find
	}
	shards := runtime.GOMAXPROCS(0)
	var (
		mu     sync.Mutex
		counts = map[string]int{}
		events int
	)
	t.Run("shards", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for n := shard; n < histories && !t.Failed(); n += shards {
					w := simulate(*simFirst+uint64(n), nil, false)
					mu.Lock()
					for k, v := range w.counts {
						counts[k] += v
					}
					for k := range w.causes {
						counts["history with: "+string(k)]++
					}
					events += w.events
					mu.Unlock()
					switch {
					case w.failure == nil:
					case *simAll:
						mu.Lock()
						broken := "broken: " + simNumbers.ReplaceAllString(w.failure.what, "N")
						if counts[broken]++; counts[broken] <= 3 {
							t.Log(w.failure)
						}
						mu.Unlock()
					default:
						report(t, w)
					}
				}
			})
		}
	})
	var names []string
	for k := range counts {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		t.Logf("%7d %s", counts[k], k)
	}
	t.Logf("%7d events", events)
}

// report shows a history that broke a promise, without what it does not need for that.
func report(t *testing.T, w *world) {
	t.Helper()
	again := simulate(w.seed, nil, false)
	if again.failure == nil || *again.failure != *w.failure {
		t.Errorf("seed %d gave another history: %v, %v", w.seed, w.failure, again.failure)
	}
	short := simulate(w.seed, shrink(w), true)
	const most = 150
	t.Errorf("%v\nreplay: go test ./agent -run 'TestSimulation$' -sim.seed=%d -v\nwithout the faults that it does not need (-sim.shrink), the last lines of it:\n%s",
		w.failure, w.seed, strings.Join(short.log[max(0, len(short.log)-most):], "\n"))
}

// shrink returns the faults that can be left out, so that a history that breaks a promise still breaks the same one.
func shrink(w *world) map[int]bool {
	left := map[int]bool{}
	if w.failure == nil {
		return left
	}
	promise := simNumbers.ReplaceAllString(w.failure.what, "")
	for n := w.faults - 1; n >= 0; n-- {
		left[n] = true
		if again := simulate(w.seed, left, false); again.failure == nil || simNumbers.ReplaceAllString(again.failure.what, "") != promise {
			delete(left, n)
		}
	}
	return left
}

// simulate runs one history, without the faults that are left out: faults for a while, then calm.
func simulate(seed uint64, left map[int]bool, verbose bool) *world {
	w := newWorld(seed, left, verbose)
	defer w.end()
	w.controller()
	w.client()
	if w.chance(0.7) { // else everything goes wrong from the beginning
		w.calm = true
		w.runUntil(w.between(20*time.Second, 40*time.Second))
		w.calm = false
	}
	all := simFaults()
	if w.chance(0.95) { // it poisons all the rest
		all = slices.DeleteFunc(all, func(f simFault) bool { return f.name == causeReset })
	}
	w.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	w.stir(all[:2+w.rnd.IntN(len(all)-2)], w.between(time.Second, 8*time.Second))
	w.runUntil(w.now + w.between(20*time.Second, 100*time.Second))
	if w.failure == nil {
		w.converge()
	}
	return w
}

// end lets go of all programs.
func (w *world) end() {
	for _, p := range w.pods {
		p.exists, p.serving = false, false
		p.init.kill()
		p.starting.kill()
		if p.agent != nil && p.agent.rebuild != nil {
			p.agent.rebuild.process.kill()
		}
		p.run.kill()
	}
	w.queue = nil
}
