package agent

import (
	"container/heap"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"ordinal/mysqlx"
)

// simEpoch is when every history begins.
var simEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A world is one history of a whole set: its pods, their servers and volumes, the network, clients, and people with good and bad
// intentions. Everything happens in virtual time and in one goroutine, and every choice comes from one generator: the same seed
// gives the same history.
type world struct {
	seed  uint64
	rnd   *rand.Rand
	now   time.Duration
	queue simQueue
	seq   int
	set   simSet
	pods  []*simPod // by ordinal
	hosts []string  // of the pods
	net   simNet
	calm  bool // no faults any more: everything has to come right
	boots int  // server_uuids that were given out
	lives int  // first initialisations
	row   int  // the last row that a client has inserted

	txs    []*simTx
	byName map[simGTID][]*simTx // contents under one GTID; two are two too many
	causes map[simCause]int     // what happened that may explain a refusal
	counts map[string]int

	faults       int          // that have happened
	left         map[int]bool // numbers of faults that are left out
	snapshots    []simSnapshot
	lastDisaster time.Duration
	verbose      bool
	log          []string
	failure      *simFailure
	events       int
}

// A simFailure is a promise that was broken.
type simFailure struct {
	seed uint64
	at   time.Duration
	what string
}

func (f *simFailure) Error() string { return fmt.Sprintf("seed %d at %v: %s", f.seed, f.at, f.what) }

// A simCause is something that excuses an outcome which needs a human.
type simCause string

// say adds a line to the event log.
func (w *world) say(who, format string, args ...any) {
	if w.verbose {
		w.log = append(w.log, fmt.Sprintf("%10.3fs %-8s %s", w.now.Seconds(), who, fmt.Sprintf(format, args...)))
	}
}

// fail notes the first broken promise; the history ends there.
func (w *world) fail(format string, args ...any) {
	if w.failure != nil {
		return
	}
	w.failure = &simFailure{seed: w.seed, at: w.now, what: fmt.Sprintf(format, args...)}
	w.say("FAILURE", "%s", w.failure.what)
	w.say("FAILURE", "causes: %s", w.simCauses())
}

func (w *world) count(what string)     { w.counts[what]++ }
func (w *world) cause(c simCause)      { w.causes[c]++ }
func (w *world) clock() time.Time      { return simEpoch.Add(w.now) }
func (w *world) chance(p float64) bool { return w.rnd.Float64() < p }

func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rnd.Int64N(int64(most-least)+1))
}

// pick returns one of a list that is not empty.
func pick[T any](w *world, list []T) T { return list[w.rnd.IntN(len(list))] }

// A simEvent happens at its time; of two at the same time the one that was planned first.
type simEvent struct {
	at  time.Duration
	seq int
	do  func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1].do = nil
	*q = old[:len(old)-1]
	return last
}

// after plans do for d from now.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, simEvent{w.now + d, w.seq, do})
}

// simMostEvents is far more than a history has that comes to an end; one that acts for ever has them soon.
const simMostEvents = 100_000

// runUntil lets everything happen that is planned up to end, or until something fails.
func (w *world) runUntil(end time.Duration) {
	for len(w.queue) > 0 && w.failure == nil && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(simEvent)
		w.now = e.at
		if w.events++; w.events > simMostEvents {
			w.fail("the set does not come to rest: %d events", w.events)
		}
		e.do()
		w.checkAlways()
	}
	if w.failure == nil {
		w.now = max(w.now, end)
	}
}

// A simProcess is a program that sleeps between its steps and can be killed at any of them.
type simProcess struct {
	w     *world
	name  string
	next  func() (time.Duration, bool)
	stop  func()
	yield func(time.Duration) bool
	ended bool
}

type simKilled struct{}

// process starts body. done is called when it has come to its end by itself, or has crashed, not when it is killed from outside.
func (w *world) process(name string, body func(p *simProcess), done func(crashed bool)) *simProcess {
	p := &simProcess{w: w, name: name}
	crashed := false
	p.next, p.stop = iter.Pull(func(yield func(time.Duration) bool) {
		p.yield = yield
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(simKilled); !ok {
					panic(r)
				}
				crashed = true
			}
		}()
		body(p)
	})
	p.plan(0, func() { done(crashed) })
	return p
}

func (p *simProcess) plan(d time.Duration, done func()) {
	p.w.after(d, func() {
		if p.ended {
			return
		}
		sleep, ok := p.next()
		switch {
		case ok:
			p.plan(sleep, done)
		case !p.ended:
			p.ended = true
			done()
		}
	})
}

// sleep lets others go on.
func (p *simProcess) sleep(d time.Duration) {
	if p.w.failure != nil || !p.yield(d) {
		panic(simKilled{})
	}
}

// crash ends the process that calls it.
func (p *simProcess) crash() { panic(simKilled{}) }

// kill ends a process from outside. It is harmless for nil and for one that has ended.
func (p *simProcess) kill() {
	if p != nil && !p.ended {
		p.ended = true
		p.stop()
	}
}

// A simTx is one transaction: a GTID and a content, which need not belong together for ever.
type simTx struct {
	id       int // its content
	gtid     simGTID
	set      mysqlx.GTIDSet // its GTID
	life     int            // the first initialisation that its history goes back to
	serverID uint32
	kind     simTxKind
	row      int           // the row it inserts; 0: none
	cluster  string        // the cluster whose accounts it creates; "": none
	at       time.Time     // when it was written
	waited   time.Duration // how long its commit took
	acked    bool          // a client was told that it is safe
	lost     string        // what took the last copy, other than the agent; "": there is one
}

type simGTID struct {
	uuid string
	n    int
}

func (g simGTID) String() string { return fmt.Sprintf("%s:%d", strings.TrimLeft(g.uuid[:8], "0"), g.n) }

type simTxKind string

const (
	txBoot     simTxKind = "boot"     // of the image's first initialisation
	txAccounts simTxKind = "accounts" // of the agent
	txClient   simTxKind = "client"   // of a client, on the source
	txErrant   simTxKind = "errant"   // of somebody, on a replica
)

func (t *simTx) String() string { return fmt.Sprintf("%v(%s %d)", t.gtid, t.kind, t.id) }

// gtidSet is the set of one.
func (w *world) gtidSet(g simGTID) mysqlx.GTIDSet {
	set, err := mysqlx.ParseGTIDSet(fmt.Sprintf("%s:%d", g.uuid, g.n))
	if err != nil {
		panic(err)
	}
	return set
}

// newUUID is a server_uuid that nobody else has.
func (w *world) newUUID() string {
	w.boots++
	return fmt.Sprintf("%08x-0000-0000-0000-000000000000", w.boots)
}

// shortGTIDs is a set without the zeros of the servers' names.
func shortGTIDs(s mysqlx.GTIDSet) string {
	return strings.NewReplacer("-0000-0000-0000-000000000000", "", "000000", "").Replace(s.String())
}

// simNet says who reaches whom.
type simNet struct {
	agents  [][]bool        // [from][to] cut, for the agents' questions and copies
	mysql   [][]bool        // [from][to] cut, for replication
	clients bool            // the clients are cut off
	noName  []time.Duration // until when DNS denies the pod
	noDNS   time.Duration   // until when the name server does not answer
	slow    time.Duration   // how long an answer takes at most
}

func newSimNet(n int) simNet {
	grid := func() [][]bool {
		g := make([][]bool, n)
		for i := range g {
			g[i] = make([]bool, n)
		}
		return g
	}
	return simNet{agents: grid(), mysql: grid(), noName: make([]time.Duration, n), slow: 50 * time.Millisecond}
}

// heal mends everything.
func (n *simNet) heal() { *n = newSimNet(len(n.noName)) }

// isolate cuts a pod off from all others, or lets it back.
func (n *simNet) isolate(pod int, cut bool) {
	for i := range n.agents {
		if i != pod {
			n.cut(i, pod, cut, cut)
		}
	}
}

func (n *simNet) cut(a, b int, agents, mysql bool) {
	n.agents[a][b], n.agents[b][a] = agents, agents
	n.mysql[a][b], n.mysql[b][a] = mysql, mysql
}

// simCauses lists what happened, for a report.
func (w *world) simCauses() string {
	var list []string
	for c, n := range w.causes {
		list = append(list, fmt.Sprintf("%s×%d", c, n))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}
