package clone

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	netfaults "ordinal/internal/testing/faults"
	"ordinal/internal/testing/load"
	"ordinal/internal/testing/mysqltest"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// What the run of faults is made of: go test ./clone -run ThroughFaults -faults.seeds=200
var (
	faultSeeds = flag.Int("faults.seeds", 6, "number of whole clones through the fault proxy")
	faultFirst = flag.Uint64("faults.first", 1, "seed of the first of them: replays one")
	faultStart = flag.Int("faults.start", 3, "a server is started on every so many copies")
)

// What a schedule is drawn over: about the bytes of one copy. It is not measured, so that a seed is enough for a replay.
const (
	plainCopy  = 150 << 20
	packedCopy = 30 << 20
)

// A way is how a copy is taken, and what happens to it.
type way struct {
	seed     uint64
	copy     string
	wants    Wants
	schedule netfaults.Schedule
	staged   map[string]netfaults.Fault // happen that many bytes after a stage has begun
}

// wayOf draws everything from a seed.
func wayOf(seed uint64) way {
	random := rand.New(rand.NewPCG(seed, 1))
	w := way{seed: seed, copy: []string{CopyServer, CopyDirect}[seed%2], staged: map[string]netfaults.Fault{}}
	w.wants = Wants{Workers: 1 + random.IntN(4), Streams: 1 + random.IntN(3), Compress: CompressOff}
	dice := netfaults.Dice{Faults: random.IntN(5), Bytes: plainCopy, Longest: time.Second}
	if random.IntN(4) == 0 {
		w.wants.Compress, dice.Bytes = CompressOn, packedCopy
	}
	w.schedule = netfaults.Plan(seed, dice)
	// The stages after FILE_COPY are short: a byte that is drawn from all of them would rarely be one of theirs.
	for i, stage := range []string{"FILE_COPY", "PAGE_COPY", "REDO_COPY"} {
		dice, toward := netfaults.Dice{Faults: 1, Bytes: 64 << 10, Longest: time.Second}, netfaults.ToClient
		switch random.IntN(3) {
		case 0:
			continue
		case 1: // a request: that of a confirmation, or of the next attempt
			dice.Bytes, toward = 1<<10, netfaults.ToServer
			dice.Kinds = []netfaults.Kind{netfaults.Reset, netfaults.Close, netfaults.LoseClient, netfaults.Stall, netfaults.Delay, netfaults.Flip}
		}
		f := netfaults.Plan(seed<<2+uint64(i), dice)[0]
		f.Toward = toward
		w.staged[stage] = f
	}
	return w
}

func (w way) String() string {
	return fmt.Sprintf("seed %d: copy=%s streams=%d workers=%d compress=%s faults [%v] after the beginning of %v",
		w.seed, w.copy, w.wants.Streams, w.wants.Workers, w.wants.Compress, w.schedule, w.staged)
}

// A witness is a Progress that sees what a copy goes through, and makes the faults that belong to stages.
type witness struct {
	mu     sync.Mutex
	staged map[string]netfaults.Fault
	proxy  *netfaults.Proxy
	totals map[string]uint64 // bytes by stage, as announced
	begun  time.Time
	breaks []string // when and why
}

func (w *witness) Stage(name string, total uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.totals[name] = max(w.totals[name], total)
	if f, ok := w.staged[name]; ok {
		w.proxy.Add(f)
		delete(w.staged, name)
	}
}

func (w *witness) Resumed(string, uint64, uint64) {}

func (w *witness) Add(uint64) {}

func (w *witness) Broke(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breaks = append(w.breaks, fmt.Sprintf("after %v: %v", time.Since(w.begun).Round(time.Millisecond), err))
}

// An outcome is what became of a copy.
type outcome struct {
	way
	breaks []string
	hits   []netfaults.Hit
	size   int64 // bytes of all stages, as the donor has announced them
	sent   int64 // data, by the donor's count
	passed int64 // bytes that came out of the proxy
	took   time.Duration
}

// overhead is what comes on top of data: frames, records of TLS, headers, names of files.
const overhead = 1.03

// most is what the donor may have sent: after each break a chunk of 4096 pages for each of its tasks is sent again, at most.
func (o outcome) most() int64 {
	tasks := int64(max(o.wants.Workers+1, o.wants.Streams))
	return int64(overhead*float64(o.size)) + int64(len(o.breaks))*tasks*4096*pageSize
}

// again is what was sent more than once.
func (o outcome) again() int64 { return max(0, o.sent-o.size) }

func (o outcome) String() string {
	return fmt.Sprintf("%v: %d faults happened, %d breaks, size %d, sent %d, passed %d, again %d, %v",
		o.way, len(o.hits), len(o.breaks), o.size, o.sent, o.passed, o.again(), o.took.Round(time.Millisecond))
}

// tally sums outcomes up, in lines.
func tally(all []outcome) string {
	if len(all) == 0 {
		return "no copy was whole"
	}
	happened := make(map[netfaults.Kind]int)
	var breaks, hits int
	var again, most, size int64
	var took []time.Duration
	for _, o := range all {
		for _, h := range o.hits {
			happened[h.Kind]++
		}
		hits += len(o.hits)
		breaks += len(o.breaks)
		size += o.size
		again += o.again()
		if n := int64(len(o.breaks)); n > 0 {
			most = max(most, o.again()/n)
		}
		took = append(took, o.took)
	}
	slices.Sort(took)
	kinds := make([]string, 0, len(happened))
	for kind, n := range happened {
		kinds = append(kinds, fmt.Sprintf("%v %d", kind, n))
	}
	slices.Sort(kinds)
	return fmt.Sprintf("%d copies of %d MB together, %d faults (%s), %d breaks; sent again: %d MB, %.1f MB a break, %.1f MB at most; a copy took %v (median), %v at most",
		len(all), size>>20, hits, strings.Join(kinds, ", "), breaks, again>>20, float64(again)/float64(max(breaks, 1))/(1<<20), float64(most)/(1<<20),
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

// A clinic is a donor under load, of which copies are taken through faults.
type clinic struct {
	server *mysqltest.Server
	donor  *realDonor
	load   *load.Load
	fixed  string // checksums of what the load leaves alone
}

const (
	// faultStall is how long a recipient here waits for a byte: a blackhole should not take a test longer than that.
	faultStall = time.Second
	// patience is what one copy may take.
	patience = 3 * time.Minute
)

func newClinic(t *testing.T) *clinic {
	t.Helper()
	c := &clinic{server: mysqltest.Start(t, mysqltest.Options{Config: map[string]string{"innodb_buffer_pool_size": "128M"}})}
	everyKind(t, c.server)
	must(t, load.Fill(t.Context(), c.server.Root(), 24<<20, nil))
	c.load = load.New(load.Options{Endpoint: c.server.Root(), Connections: 2, Pause: 2 * time.Millisecond, DDL: true})
	must(t, c.load.Prepare(t.Context()))
	c.fixed = c.sums(t, c.server)
	c.donor = newRealDonor(t, "mysql-0", c.server, 4)
	return c
}

// sums are the checksums of what the load leaves alone.
func (c *clinic) sums(t *testing.T, s *mysqltest.Server) string {
	t.Helper()
	return fmt.Sprint(checksums(t, s, "kinds"), s.Query(t, "CHECKSUM TABLE shop.orders"))
}

// serves makes the donor serve in a seed's way. No session is under way.
func (c *clinic) serves(copy string) {
	c.donor.direct()
	c.donor.change(func(d *DonorConfig) { d.Copy, d.Streams, d.Heartbeat = copy, maxStreams, faultStall/5 })
}

// clone takes a copy in a seed's way into a new volume.
func (c *clinic) clone(t *testing.T, w way) (o outcome, v *volume.Volume, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("patience is over"))
	defer cancel()
	c.serves(w.copy)
	before := len(c.donor.seen())
	p, err := netfaults.Listen(ctx, "127.0.0.1:0", c.donor.Address, nil)
	must(t, err)
	defer p.Close()
	v, err = volume.Open(scratch(t))
	must(t, err)
	begun := time.Now()
	see := &witness{staged: maps.Clone(w.staged), proxy: p, begun: begun, totals: map[string]uint64{}}
	err = c.fetch(ctx, p, v, w, see)
	o = outcome{way: w, breaks: see.breaks, hits: p.Hits(), passed: p.Bytes(netfaults.ToClient), took: time.Since(begun)}
	for _, n := range see.totals {
		o.size += int64(n)
	}
	mysqltest.Eventually(t, "the donor has noticed the end of the last attempt", func() bool {
		events := c.donor.seen()[before:]
		if len(events) == 0 {
			return err != nil
		}
		last := events[len(events)-1]
		o.sent = int64(last.Bytes)
		return last.What != "began" && last.What != "resumed"
	})
	return o, v, err
}

// fetch takes a copy into a new generation.
func (c *clinic) fetch(ctx context.Context, p *netfaults.Proxy, v *volume.Volume, w way, see *witness) error {
	r := recipient("mysql-1")
	r.Stall, r.SaveEvery = faultStall, 200*time.Millisecond
	wants := w.wants
	wants.ServerVersion, wants.PageSize, wants.ClusterID = c.server.Distribution.Version.String(), pageSize, clusterID
	offer, err := r.Ask(ctx, Peer{Pod: c.donor.Pod, Address: p.Address()}, wants)
	if err != nil {
		return err
	}
	for _, f := range w.schedule { // what befalls the asking is another matter: whoever asks asks again
		p.Add(f)
	}
	g, err := v.NewGeneration(volume.Record{Origin: volume.OriginClone, Donor: c.donor.Pod})
	if err != nil {
		return err
	}
	defer g.Close()
	if _, err := offer.Receive(ctx, g.Root(), see); err != nil {
		return err
	}
	return v.Complete(ctx, g, volume.Facts{})
}

// check starts a stock server on a copy and compares it with the donor, which had committed so much and these transactions before.
func (c *clinic) check(t *testing.T, dataDir string, before mysqlx.GTIDSet, committed int64) {
	t.Helper()
	after, stats := gtids(t, c.server.DB()), c.load.Stats()
	copied := startCopy(t, dataDir)
	snapshot, err := c.load.Check(t.Context(), copied.DB())
	if most := stats.Acked + stats.Unknown + 2; err != nil || snapshot.Committed < committed || snapshot.Committed > most {
		t.Errorf("bank: %+v, %v, want %d to %d committed", snapshot, err, committed, most)
	}
	if got := gtids(t, copied.DB()); !got.Contains(before) || !after.Contains(got) {
		t.Errorf("gtid_executed is %v, want it between %v and %v", got, before, after)
	}
	if got := c.sums(t, copied); got != c.fixed {
		t.Errorf("checksums %v, want %v", got, c.fixed)
	}
	if err := load.CheckTables(t.Context(), copied.DB()); err != nil {
		// A RENAME TABLE that was under way at the moment of the copy is undone by the first start, which then looks for the file
		// under the name that it has undone. A copy by CLONE LOCAL DATA DIRECTORY does the same (9.7.4). The next start is right.
		t.Logf("after the first start: %v", err)
		copied.Stop(t)
		copied = startCopy(t, dataDir)
		if err := load.CheckTables(t.Context(), copied.DB()); err != nil {
			t.Error(err)
		}
	}
	copied.Kill9(t)
}

// Whole copies are taken while transfers go on and tables come and go, and on the way connections are cut, stall, are lost at one end,
// are slow, or bring a byte that was changed. Each copy is right, and what is sent again is bounded.
//
// Every page of every copy is checked twice: by the recipient on the way and by the server's own tool at the end. A server is started on
// every so many copies (-faults.start) and compared with the donor.
func TestWholeClonesThroughFaults(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	stop := startLoad(t, c.load)
	var all []outcome
	for seed := *faultFirst; seed < *faultFirst+uint64(*faultSeeds); seed++ {
		w := wayOf(seed)
		committed, before := c.load.Stats().Acked, gtids(t, c.server.DB())
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			o, v, err := c.clone(t, w)
			defer os.RemoveAll(v.Path())
			defer v.Close()
			t.Logf("%v\n%s", o, strings.Join(o.breaks, "\n"))
			if err != nil {
				t.Fatalf("%v: %v", w, err)
			}
			all = append(all, o)
			if o.passed > o.most() || o.sent > o.most() {
				t.Errorf("%v: %d bytes were sent and %d have passed, want %d at most", w, o.sent, o.passed, o.most())
			}
			checkPages(t, c.server.Distribution, v.DataDir())
			if int(seed)%*faultStart == 0 {
				c.check(t, v.DataDir(), before, committed)
			}
		})
		if t.Failed() {
			break
		}
	}
	stop()
	t.Logf("%v", tally(all))
	if s := c.load.Stats(); s.Definitions < int64(len(all)) {
		t.Errorf("only %+v was done meanwhile", s)
	}
}
