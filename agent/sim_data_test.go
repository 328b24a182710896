package agent

import (
	"slices"

	"ordinal/mysqlx"
)

// simBits is a set of small numbers.
type simBits []uint64

func (b simBits) has(n int) bool { return n>>6 < len(b) && b[n>>6]&(1<<(n&63)) != 0 }

func (b *simBits) set(n int) {
	for n>>6 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n>>6] |= 1 << (n & 63)
}

// A simData is a data directory.
type simData struct {
	life     int            // the first initialisation that it comes from
	log      []*simTx       // executed, oldest first
	pending  []*simTx       // in the binlog, and their commit has not ended
	first    int            // log[:first] is no longer in the binlogs
	executed mysqlx.GTIDSet // with what came by a copy
	purged   mysqlx.GTIDSet
	contents simBits // of all that was ever executed
	rows     simBits

	uuid      string // in auto.cnf; "": the server takes a new one when it starts
	forget    bool   // auto.cnf is gone: the server that runs knows its server_uuid, the next one takes a new one
	agent     bool   // the agent's account is there
	cluster   string // the replication account's
	channel   *simChannel
	relay     []*simTx       // received, not executed
	damaged   int            // that many of them cannot be read any more
	retrieved mysqlx.GTIDSet // since the relay logs were made

	boot simBoot
}

// simBoot is how far the image's first initialisation has come.
type simBoot int

const (
	bootNone    simBoot = iota // the directory is empty
	bootPartial                // it was killed early: no server starts on it
	bootCut                    // it was killed later: a server starts on it, and steps are missing
	bootDone
)

// A simChannel is what mysql.slave_master_info keeps.
type simChannel struct {
	host string
	user string
	uuid string // of the source, since the receiver was connected once
}

// copied is what a clone of the data holds: what is executed, and no logs.
func (d *simData) copied() *simData {
	c := &simData{
		life: d.life, log: slices.Clip(d.log), first: len(d.log), executed: d.executed, purged: d.executed,
		contents: slices.Clone(d.contents), rows: slices.Clone(d.rows), agent: d.agent, cluster: d.cluster, boot: d.boot,
	}
	if d.channel != nil {
		channel := *d.channel
		c.channel = &channel
	}
	return c
}

// snapshot is every file of the data, as a snapshot of the volume has them.
func (d *simData) snapshot() *simData {
	c := d.copied()
	c.first, c.purged, c.uuid, c.forget = d.first, d.purged, d.uuid, d.forget
	c.pending, c.relay, c.retrieved = slices.Clone(d.pending), slices.Clone(d.relay), d.retrieved
	c.damaged = d.damaged
	return c
}

// binlog is what a server that replicates from here can be sent, as long as it is not purged.
func (d *simData) binlog() []*simTx {
	if len(d.pending) == 0 {
		return d.log
	}
	return append(slices.Clip(d.log), d.pending...)
}

// has reports whether this very transaction is here, executed or received.
func (d *simData) has(t *simTx) bool {
	return d.contents.has(t.id) || slices.Contains(d.relay[d.damaged:], t) || slices.Contains(d.pending, t)
}

// all visits everything that is here.
func (d *simData) all(visit func(*simTx)) {
	for _, list := range [][]*simTx{d.log, d.pending, d.relay} {
		for _, t := range list {
			visit(t)
		}
	}
}

// newTx makes a transaction that is first executed on this data, by the server with this server_id.
func (w *world) newTx(d *simData, serverID uint32, kind simTxKind, row int) *simTx {
	n := 1
	for _, list := range [][]*simTx{d.log, d.pending} {
		for _, t := range list {
			if t.gtid.uuid == d.uuid && t.gtid.n >= n {
				n = t.gtid.n + 1
			}
		}
	}
	t := &simTx{id: len(w.txs), gtid: simGTID{d.uuid, n}, life: d.life, serverID: serverID, kind: kind, row: row, at: w.clock()}
	t.set = w.gtidSet(t.gtid)
	w.txs = append(w.txs, t)
	for _, other := range w.byName[t.gtid] {
		if w.causes[causeReset] > 0 || kind == txErrant && w.causes[causeRollback]+w.causes[causeCopy] > 0 {
			continue // somebody made a server deny what it has, and wrote on it
		}
		if w.causes[causeAbsent] > 0 && w.pods[0].cfg.Replicas == 0 {
			continue // without --replicas nobody knows of a pod that does not exist
		}
		if where := w.liveCopy(other); where != "" {
			w.fail("two transactions under one GTID: %v is written while %s has %v", t, where, other)
		}
		w.count("GTID used again, nobody has the first one")
	}
	w.byName[t.gtid] = append(w.byName[t.gtid], t)
	return t
}

// execute adds a transaction to the data. A server does so by itself and as a replica.
func (w *world) execute(who string, d *simData, t *simTx) {
	if t.life != d.life {
		w.fail("%s executes a stranger's transaction %v", who, t)
	}
	d.log = append(d.log, t)
	d.executed = d.executed.Union(t.set)
	d.contents.set(t.id)
	if t.row > 0 {
		d.rows.set(t.row)
	}
	if t.cluster != "" {
		d.cluster = t.cluster
	}
	if t.kind == txAccounts {
		d.agent = true
	}
}

// purge removes binlogs up to some transaction.
func (d *simData) purge(to int) {
	for ; d.first < min(to, len(d.log)); d.first++ {
		d.purged = d.purged.Union(d.log[d.first].set)
	}
}
