package agent

import (
	"fmt"
	"slices"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A simSet is what the StatefulSet, its clients and its people are like.
type simSet struct {
	size     int  // pods when all is well
	want     int  // pods at the moment
	parallel bool // podManagementPolicy: Parallel
	semisync bool
	heal     HealPolicy
}

// A simSnapshot is a volume as it was once.
type simSnapshot struct {
	pod    int
	volume *simVolume
}

// A fault is something that goes wrong, or that somebody does.
type simFault struct {
	name simCause
	do   func(w *world)
}

// The people's deeds, and what happens to volumes: they can leave a set that needs a human.
const (
	causeErrant    simCause = "errant write"
	causeDrift     simCause = "write past the binlog"
	causeReset     simCause = "gtids reset on a replica"
	causeRollback  simCause = "volume rolled back"
	causeCopy      simCause = "volume copied with auto.cnf"
	causeWipe      simCause = "volume wiped"
	causeWipeAll   simCause = "all volumes wiped"
	causeNoName    simCause = "DNS denies a pod"
	causeScale     simCause = "scaled down"
	causeRelay     simCause = "relay log damaged"
	causeRequest   simCause = "rebuild asked for"
	causeBornAgain simCause = "the source started empty while data existed"
	causeSwitching simCause = "the source opened while a pod had not switched to its new copy"
	causeAbsent    simCause = "the source opened while a pod with data did not exist"
)

func simFaults() []simFault {
	return []simFault{
		{"mysqld killed", func(w *world) { w.anyPod().stopMysqld() }},
		{"agent killed", func(w *world) { w.anyPod().killAgent() }},
		{"agent stalled", func(w *world) { w.anyPod().stall = w.now + w.between(2*time.Second, 20*time.Second) }},
		{"pod deleted", func(w *world) { w.anyPod().recreate() }},
		{"all pods deleted", func(w *world) {
			for _, p := range w.pods {
				p.recreate()
			}
		}},
		{"pod isolated", func(w *world) {
			p := w.anyPod().id.Ordinal
			w.net.isolate(p, true)
			w.later(func() { w.net.isolate(p, false) })
		}},
		{"pair cut", func(w *world) {
			a, b := w.anyPod().id.Ordinal, w.anyPod().id.Ordinal
			if a != b {
				w.net.cut(a, b, w.chance(0.7), w.chance(0.7))
				w.later(func() { w.net.cut(a, b, false, false) })
			}
		}},
		{"clients cut", func(w *world) { w.net.clients = true; w.later(func() { w.net.clients = false }) }},
		{causeNoName, func(w *world) { w.net.noName[w.anyPod().id.Ordinal] = w.now + w.between(time.Second, 20*time.Second) }},
		{"no DNS", func(w *world) { w.net.noDNS = w.now + w.between(time.Second, 15*time.Second) }},
		{"slow answers", func(w *world) {
			w.net.slow = w.between(100*time.Millisecond, 4*time.Second)
			w.later(func() { w.net.slow = 50 * time.Millisecond })
		}},
		{"binlogs purged", func(w *world) {
			if m := w.anyPod().mysqld; m != nil && !m.temporary {
				to := w.rnd.IntN(len(m.data.log) + 1)
				for _, p := range w.pods { // what is being sent is kept
					if p.mysqld != nil && p.mysqld.source == m {
						to = min(to, p.mysqld.cursor)
					}
				}
				m.data.purge(to)
			}
		}},
		{"replica slow", func(w *world) {
			if m := w.anyPod().mysqld; m != nil {
				m.applySpeed, m.speed = 0, 1
			}
		}},
		{causeScale, func(w *world) { w.set.want = 1 + w.rnd.IntN(w.set.size) }},
		{"scaled up", func(w *world) { w.set.want = w.set.size }},
		{"snapshot taken", func(w *world) {
			p := w.anyPod()
			w.snapshots = append(w.snapshots, simSnapshot{p.id.Ordinal, p.vol.snapshot()})
		}},
		{causeRollback, (*world).rollBack},
		{"source wiped", func(w *world) { w.wipe(w.pods[0]) }},
		{causeWipe, func(w *world) { w.wipe(w.anyReplica()) }},
		{"several volumes wiped", func(w *world) {
			for _, p := range w.pods {
				if w.chance(0.5) {
					w.wipe(p)
				}
			}
		}},
		{causeWipeAll, func(w *world) {
			for _, p := range w.pods {
				w.wipe(p)
			}
		}},
		{causeCopy, (*world).copyVolume},
		{causeErrant, func(w *world) { w.meddle(func(m *simMysqld) { w.errant(m, true) }) }},
		{causeDrift, func(w *world) { w.meddle(func(m *simMysqld) { w.errant(m, false) }) }},
		{causeReset, func(w *world) {
			w.meddle(func(m *simMysqld) {
				m.stopReplica()
				m.data.log, m.data.first, m.data.executed, m.data.purged = nil, 0, mysqlx.GTIDSet{}, mysqlx.GTIDSet{}
			})
		}},
		{"super_read_only off", func(w *world) { w.meddle(func(m *simMysqld) { m.superReadOnly, m.humanWrites = false, true }) }},
		{"STOP REPLICA", func(w *world) { w.meddle((*simMysqld).stopReplica) }},
		{"STOP REPLICA SQL_THREAD", func(w *world) { w.meddle(func(m *simMysqld) { m.applier = threadOff }) }},
		{causeRelay, func(w *world) { w.meddle((*simMysqld).damageRelay) }},
		{"channel repointed", func(w *world) {
			w.meddle(func(m *simMysqld) {
				other := w.anyPod()
				if m.data.channel != nil && other != m.pod && m.drained() {
					m.stopReplica()
					_ = m.configureSource(w.hosts[other.id.Ordinal], m.data.channel.user) // it is stopped
					m.startReplica()
				}
			})
		}},
		{"RESET REPLICA ALL", func(w *world) {
			w.meddle(func(m *simMysqld) {
				if m.drained() {
					m.stopReplica()
					_ = m.resetReplicaAll() // it is stopped
				}
			})
		}},
		{"source lost during a rebuild", (*world).loseSource},
		{"held", func(w *world) { p := w.anyPod(); p.vol.held = "maintenance"; w.later(func() { p.vol.held = "" }) }},
		{causeRequest, func(w *world) {
			p := w.anyPod()
			if p.vol.content().Kind == volume.Complete && p.vol.request == nil {
				p.vol.request = &volume.Request{Kind: volume.RequestRebuild}
			}
		}},
	}
}

func (w *world) anyPod() *simPod     { return pick(w, w.pods) }
func (w *world) anyReplica() *simPod { return w.pods[1+w.rnd.IntN(len(w.pods)-1)] }

// later ends a fault, unless the calm does so before.
func (w *world) later(end func()) { w.after(w.between(time.Second, 30*time.Second), end) }

// meddle does something to a replica's server.
func (w *world) meddle(do func(m *simMysqld)) {
	if m := w.anyReplica().mysqld; m != nil && !m.temporary && m.gen.record.State == volume.StateComplete {
		do(m)
	}
}

// drained reports whether nothing waits to be executed: people who throw that away do so knowingly.
func (m *simMysqld) drained() bool { return len(m.data.relay) == 0 }

// errant is a write of somebody on a replica.
func (w *world) errant(m *simMysqld, logged bool) {
	row := w.rnd.IntN(w.row + 4)
	if row == 0 || m.data.rows.has(row) {
		return
	}
	if !logged {
		m.data.rows.set(row)
		return
	}
	m.superReadOnly, m.humanWrites = w.chance(0.5), true
	m.write(txErrant, row, nil)
	m.settle()
}

func (p *simPod) killAgent() {
	if p.run != nil {
		p.endRun()
		p.w.after(p.w.between(200*time.Millisecond, 3*time.Second), func() {
			if p.serving && p.run == nil {
				p.startRun()
			}
		})
	}
}

// recreate deletes the pod; the StatefulSet makes it again.
func (p *simPod) recreate() {
	if p.exists {
		p.remove()
	}
}

// wipe takes a pod's volume away.
func (w *world) wipe(p *simPod) {
	p.recreate()
	w.say(p.id.Pod, "volume wiped")
	w.disaster("wipe of "+p.id.Pod, p.vol, func() { p.vol = newSimVolume() })
}

// loseSource takes the source's volume away while a replica is rebuilt from another one that has got less.
func (w *world) loseSource() {
	p := w.anyReplica()
	for _, o := range w.pods {
		if o != p && o.mysqld != nil && o.id.Role() == RoleReplica {
			o.mysqld.speed = 0
		}
	}
	w.cause(causeRequest)
	p.vol.request = &volume.Request{Kind: volume.RequestRebuild}
	w.after(w.between(time.Second, 8*time.Second), func() {
		if !w.calm {
			w.wipe(w.pods[0])
		}
	})
}

// rollBack gives a pod the volume that it had once. A roll back that brings the second content of a GTID back is none of the
// set's to see: it is left out.
func (w *world) rollBack() {
	if len(w.snapshots) == 0 {
		return
	}
	s := pick(w, w.snapshots)
	if d := s.volume.live(); d == nil || w.contradicts(d, nil) {
		return
	}
	p := w.pods[s.pod]
	p.recreate()
	w.say(p.id.Pod, "volume rolled back to %s", shortGTIDs(s.volume.live().executed))
	w.disaster("roll back of "+p.id.Pod, p.vol, func() { p.vol = s.volume.snapshot() })
}

// copyVolume gives a replica a copy of another pod's volume, as it is.
func (w *world) copyVolume() {
	from, to := w.anyPod(), w.anyReplica()
	if from == to || from.vol.live() == nil || from.vol.identity.Pod == to.id.Pod { // a copy of a copy can come home
		return
	}
	to.recreate()
	w.say(to.id.Pod, "volume is a copy of %s's", from.id.Pod)
	copied := from.vol.snapshot()
	copied.held, copied.request = "", nil
	w.disaster("copy over "+to.id.Pod, to.vol, func() { to.vol = copied })
}

// contradicts reports whether data has another content under a GTID than some live data.
func (w *world) contradicts(d *simData, but *simPod) (found bool) {
	d.all(func(t *simTx) {
		for _, other := range w.byName[t.gtid] {
			if other != t && w.liveCopy(other) != "" {
				found = true
			}
		}
	})
	return found
}

// controller keeps the pods that the StatefulSet wants.
func (w *world) controller() {
	w.after(w.between(200*time.Millisecond, time.Second), w.controller)
	for _, p := range slices.Backward(w.pods) {
		if p.exists && p.id.Ordinal >= w.set.want {
			p.remove()
			return
		}
	}
	for _, p := range w.pods[:w.set.want] {
		if !p.exists {
			p.create()
			if !w.set.parallel {
				return
			}
		} else if !w.set.parallel && !p.ready() {
			return
		}
	}
}

// client writes to the source, now and then.
func (w *world) client() {
	w.after(w.between(100*time.Millisecond, 3*time.Second), w.client)
	m := w.pods[0].mysqld
	if w.net.clients || !m.accepts() || len(w.txs) > 150 {
		return
	}
	for w.row++; m.data.rows.has(w.row); w.row++ { // somebody was there before
	}
	m.write(txClient, w.row, func(t *simTx) {
		if !w.net.clients {
			t.acked = true
			w.checkAcked(t, m)
		}
	})
	w.after(w.between(time.Millisecond, 300*time.Millisecond), m.settle)
}

// stir makes something go wrong, again and again, until the calm.
func (w *world) stir(faults []simFault, pause time.Duration) {
	w.after(w.between(pause/10, pause*2), func() {
		if w.calm {
			return
		}
		f, n := pick(w, faults), w.faults
		if w.faults++; !w.left[n] {
			w.say("FAULT", "%s", f.name)
			w.cause(f.name)
			// It has a generator of its own, so that the rest of the history does not change for the sake of chance when it is left out.
			rest := w.rnd
			w.rnd = simRand(w.seed<<16 + uint64(n))
			f.do(w)
			w.rnd = rest
		}
		w.stir(faults, pause)
	})
}

// newWorld makes a set that is about to be created.
func newWorld(seed uint64, left map[int]bool, verbose bool) *world {
	w := &world{
		seed: seed, left: left, rnd: simRand(seed), verbose: verbose, byName: map[simGTID][]*simTx{}, causes: map[simCause]int{}, counts: map[string]int{},
	}
	w.set = simSet{size: 2 + w.rnd.IntN(4), parallel: w.chance(0.7), semisync: w.chance(0.5), heal: HealAuto}
	if w.chance(0.05) {
		w.set.heal = HealReport
	}
	w.set.want = w.set.size
	w.net = newSimNet(w.set.size)
	listed := w.chance(0.5)
	for o := range w.set.size {
		cfg := DefaultConfig()
		cfg.PodName, cfg.Service = fmt.Sprintf("mysql-%d", o), "mysql"
		cfg.DonorPatience, cfg.DiscoveryWindow = 20*time.Second, 5*time.Second
		cfg.Heal = w.set.heal
		if listed {
			cfg.Replicas = w.set.size
		}
		if w.set.semisync {
			cfg.Durability = DurabilitySemisync
		}
		id, err := cfg.Identity()
		if err != nil {
			panic(err)
		}
		peers, err := NewPeers(id, cfg)
		if err != nil {
			panic(err)
		}
		w.pods = append(w.pods, &simPod{w: w, cfg: cfg, id: id, peers: peers, vol: newSimVolume(), configs: map[bool][]byte{}})
		w.hosts = append(w.hosts, peers.Host(o))
	}
	w.say("world", "%d pods, parallel %v, semisync %v, heal %s, listed %v", w.set.size, w.set.parallel, w.set.semisync, w.set.heal, listed)
	return w
}
