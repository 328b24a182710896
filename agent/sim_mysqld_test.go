package agent

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"ordinal/mysqlx"
)

// A simMysqld is a server that runs.
type simMysqld struct {
	w    *world
	pod  *simPod
	gen  *simGeneration
	data *simData

	temporary bool // the image's, without network
	bare      bool // root needs no password
	cutShort  bool // steps of the first initialisation are missing

	superReadOnly bool
	offline       bool
	serverID      uint32
	semisyncAck   bool // as a replica
	semisync      bool // as a source: a commit waits for a replica
	received      map[*simTx]bool
	onCommit      map[*simTx]func()
	humanWrites   bool // somebody turned super_read_only off
	openSince     time.Duration

	receiver, applier           simThread
	receiverError, applierError mysqlx.ReplicaError
	source                      *simMysqld // that the receiver is connected to
	cursor                      int        // how much of its binlog was sent
	ticking                     bool
	speed                       int // transactions that are received and applied at once
	applySpeed                  int
}

type simThread string

const (
	threadOff        simThread = "OFF"
	threadConnecting simThread = "CONNECTING"
	threadOn         simThread = "ON"
)

// configured reports whether the configuration file has this line.
func configured(file []byte, line string) bool { return bytes.Contains(file, []byte("\n"+line+"\n")) }

// startMysqld is mysqld's start on the volume's current generation, with the pod's configuration.
func (p *simPod) startMysqld(gen *simGeneration) *simMysqld {
	w, d := p.w, gen.data
	m := &simMysqld{
		w: w, pod: p, gen: gen, data: d, serverID: p.id.ServerID(p.cfg.ServerIDBase), receiver: threadOff, applier: threadOff,
		superReadOnly: configured(p.conf, "super_read_only = ON"), offline: configured(p.conf, "offline_mode = ON"),
		semisyncAck: configured(p.conf, "loose_rpl_semi_sync_replica_enabled = ON"),
		received:    map[*simTx]bool{}, onCommit: map[*simTx]func(){}, speed: 1 + w.rnd.IntN(8), applySpeed: w.rnd.IntN(8),
	}
	if d.uuid == "" || d.forget {
		d.uuid, d.forget = w.newUUID(), false
	}
	for _, t := range d.pending { // what is in the binlog is committed by the recovery
		t.waited = w.clock().Sub(t.at)
		w.execute(p.id.Pod, d, t)
	}
	d.pending = nil
	if len(d.relay) > 0 && configured(p.conf, "relay_log_recovery = ON") {
		w.say(p.id.Pod, "relay log recovery drops %d transactions", len(d.relay))
		m.dropRelay(causeRelayRecovery)
	}
	if !m.superReadOnly && !m.offline && d.cluster != "" && gen.record.State == "complete" {
		w.fail("%s: a server with data starts without super_read_only", p.id.Pod)
	}
	if d.channel != nil && !configured(p.conf, "loose_skip_replica_start = ON") {
		m.startReplica()
	}
	p.mysqld = m
	w.say(p.id.Pod, "mysqld is up on generation %d, uuid %s, has %s", gen.record.Number, d.uuid[:8], shortGTIDs(d.executed))
	return m
}

// accepts reports whether a client could write.
func (m *simMysqld) accepts() bool {
	return m != nil && m.up() && !m.temporary && !m.superReadOnly && !m.offline
}

// up reports whether this is still the pod's server.
func (m *simMysqld) up() bool { return m.pod.mysqld == m }

// write commits a transaction. done is called when its client is told so.
func (m *simMysqld) write(kind simTxKind, row int, done func(*simTx)) *simTx {
	t := m.w.newTx(m.data, m.serverID, kind, row)
	m.data.pending = append(m.data.pending, t)
	if done != nil {
		m.onCommit[t] = func() { done(t) }
	}
	return t
}

// settle ends the commits that need not wait any longer.
func (m *simMysqld) settle() {
	if !m.up() {
		return
	}
	d := m.data
	last := len(d.pending)
	if m.semisync {
		for last > 0 && !m.received[d.pending[last-1]] { // an acknowledgement is for everything before it as well
			last--
		}
	}
	ended := slices.Clone(d.pending[:last])
	for _, t := range ended {
		d.pending = d.pending[1:]
		t.waited = m.w.clock().Sub(t.at)
		m.w.execute(m.pod.id.Pod, d, t)
		if done := m.onCommit[t]; done != nil {
			delete(m.onCommit, t)
			done()
		}
	}
}

// acknowledgers counts the replicas that are connected and acknowledge.
func (m *simMysqld) acknowledgers() (n int) {
	for _, p := range m.w.pods {
		if r := p.mysqld; r != nil && r.source == m && r.semisyncAck {
			n++
		}
	}
	return n
}

// dropRelay throws away what was received and not executed.
func (m *simMysqld) dropRelay(why string) {
	relay := m.data.relay
	m.data.relay, m.data.retrieved, m.data.damaged = nil, mysqlx.GTIDSet{}, 0
	for _, t := range relay {
		if t.acked && m.w.anyCopy(t) == "" {
			m.w.lose(t, why)
		}
	}
}

// damageRelay makes what was received unreadable.
func (m *simMysqld) damageRelay() {
	m.data.damaged = len(m.data.relay)
	for _, t := range m.data.relay {
		if t.acked && m.w.anyCopy(t) == "" {
			t.lost = "damage of a relay log"
		}
	}
}

// startReplica is START REPLICA.
func (m *simMysqld) startReplica() {
	if m.data.channel == nil {
		return
	}
	if m.receiver == threadOff {
		m.receiver, m.receiverError = threadConnecting, mysqlx.ReplicaError{}
	}
	m.startApplier()
}

// startApplier is START REPLICA SQL_THREAD.
func (m *simMysqld) startApplier() {
	if m.data.channel == nil {
		return
	}
	if m.applier == threadOff {
		m.applier, m.applierError = threadOn, mysqlx.ReplicaError{}
	}
	m.tickLater()
}

func (m *simMysqld) stopReceiver() { m.receiver, m.source = threadOff, nil }
func (m *simMysqld) stopReplica()  { m.stopReceiver(); m.applier = threadOff }

var errRuns = errors.New("the channel runs")

// resetReplicaAll is RESET REPLICA ALL.
func (m *simMysqld) resetReplicaAll() error {
	if m.receiver != threadOff || m.applier != threadOff {
		return errRuns
	}
	m.dropRelay("RESET REPLICA ALL")
	m.data.channel, m.receiverError, m.applierError = nil, mysqlx.ReplicaError{}, mysqlx.ReplicaError{}
	return nil
}

// configureSource is CHANGE REPLICATION SOURCE TO.
func (m *simMysqld) configureSource(host, user string) error {
	if m.receiver != threadOff || m.applier != threadOff {
		return errRuns
	}
	m.dropRelay("CHANGE REPLICATION SOURCE")
	m.data.channel = &simChannel{host: host, user: user}
	return nil
}

// tickLater lets the replication threads work for as long as one of them runs.
func (m *simMysqld) tickLater() {
	if m.ticking {
		return
	}
	m.ticking = true
	m.w.after(m.w.between(20*time.Millisecond, 900*time.Millisecond), func() {
		m.ticking = false
		if !m.up() || m.receiver == threadOff && m.applier == threadOff {
			return
		}
		m.receive()
		m.apply()
		m.tickLater()
	})
}

// receive is one round of the receiver: it connects if it is not, and takes what there is.
func (m *simMysqld) receive() {
	if m.receiver == threadOff {
		return
	}
	src := m.reach()
	if src == nil {
		m.receiver, m.source = threadConnecting, nil
		return
	}
	if m.source != src && !m.handshake(src) {
		return
	}
	log := src.data.binlog()
	for n := m.speed; n > 0 && m.cursor < len(log); n-- {
		t := log[m.cursor]
		m.cursor++
		if t.serverID == m.serverID { // in silence
			continue
		}
		if !m.data.executed.Contains(t.set) && !slices.ContainsFunc(m.data.relay, func(r *simTx) bool { return r.gtid == t.gtid }) {
			m.data.relay = append(m.data.relay, t)
			m.data.retrieved = m.data.retrieved.Union(t.set)
		}
		if m.semisyncAck && src.semisync && !src.received[t] {
			src.received[t] = true
			src.settle()
		}
	}
}

// reach finds the server that the channel leads to, as far as the network and the accounts allow.
func (m *simMysqld) reach() *simMysqld {
	c := m.data.channel
	fail := func(number int, format string, args ...any) *simMysqld {
		m.receiverError = mysqlx.ReplicaError{Number: number, Message: fmt.Sprintf(format, args...), Time: m.w.clock()}
		return nil
	}
	target := m.w.podAt(c.host)
	if target == nil || target.mysqld == nil || target.mysqld.temporary || m.w.net.mysql[m.pod.id.Ordinal][target.id.Ordinal] || !m.w.named(target) {
		return fail(2003, "cannot connect to %s", c.host)
	}
	src := target.mysqld
	if src.data.cluster == "" || c.user != mysqlx.ReplicationAccount(src.data.cluster) || src.offline {
		return fail(1045, "access denied on %s", c.host)
	}
	return src
}

// handshake begins a connection by auto-position. What the source does not let pass stops the receiver.
func (m *simMysqld) handshake(src *simMysqld) bool {
	d := m.data
	refuse := func(number int, format string, args ...any) bool {
		m.stopReceiver()
		m.receiverError = mysqlx.ReplicaError{Number: number, Message: fmt.Sprintf(format, args...), Time: m.w.clock()}
		m.w.say(m.pod.id.Pod, "receiver stops: %s", m.receiverError.Message)
		return false
	}
	switch {
	case src.serverID == m.serverID:
		return refuse(13117, "source and replica have equal server_id")
	case src.data.uuid == d.uuid:
		return refuse(13117, "source and replica have equal server_uuid")
	}
	mine := d.executed
	for _, t := range d.relay {
		mine = mine.Union(t.set)
	}
	theirs := src.data.executed
	for _, t := range src.data.pending {
		theirs = theirs.Union(t.set)
	}
	if more := ofServer(mine, src.data.uuid).Subtract(theirs); !more.IsEmpty() {
		return refuse(13114, "Replica has more GTIDs than the source has, using the source's SERVER_UUID: %s", shortGTIDs(more))
	}
	if lost := src.data.purged.Subtract(mine); !lost.IsEmpty() {
		return refuse(13114, "the source purged required binary logs: %s", shortGTIDs(lost))
	}
	for _, p := range m.w.pods { // of two replicas with one server_uuid the later one stays
		if o := p.mysqld; o != nil && o != m && o.source == src && o.data.uuid == d.uuid {
			o.stopReceiver()
			o.receiverError = mysqlx.ReplicaError{Number: 13114, Message: "A replica with the same server_uuid/server_id as this replica has connected to the source", Time: m.w.clock()}
		}
	}
	m.source, m.cursor, m.receiver, m.receiverError = src, src.data.first, threadOn, mysqlx.ReplicaError{}
	d.channel.uuid = src.data.uuid
	return true
}

// apply is one round of the applier.
func (m *simMysqld) apply() {
	if m.applier == threadOff {
		return
	}
	d := m.data
	if d.damaged > 0 {
		m.applier = threadOff
		m.applierError = mysqlx.ReplicaError{Number: 13121, Message: "relay log read failure", Time: m.w.clock()}
		return
	}
	for n := m.applySpeed; n > 0 && len(d.relay) > 0; n-- {
		t := d.relay[0]
		switch {
		case d.executed.Contains(t.set):
		case t.row > 0 && d.rows.has(t.row):
			m.applier = threadOff
			m.applierError = mysqlx.ReplicaError{Number: 1062, Message: fmt.Sprintf("duplicate entry, transaction %v", t.gtid), Time: m.w.clock()}
			m.w.say(m.pod.id.Pod, "applier stops: %s", m.applierError.Message)
			return
		default:
			m.w.execute(m.pod.id.Pod, d, t)
		}
		d.relay = d.relay[1:]
	}
	if m.applySpeed == 0 && m.w.chance(0.2) { // it was slow for a while
		m.applySpeed = 1 + m.w.rnd.IntN(8)
	}
}

// channels is what the server says about its channel.
func (m *simMysqld) channels() []mysqlx.ReplicaStatus {
	c := m.data.channel
	if c == nil {
		return nil
	}
	s := mysqlx.ReplicaStatus{
		SourceHost: c.host, SourcePort: m.pod.peers.MySQLPort(), SourceUser: c.user, SourceUUID: c.uuid, AutoPosition: true, SSL: true,
		HeartbeatPeriod: mysqlx.HeartbeatPeriod, RetryCount: mysqlx.RetryCount, ReceiverState: string(m.receiver), ApplierState: string(m.applier),
		ReceiverError: m.receiverError, ApplierError: m.applierError, RetrievedGTIDs: m.data.retrieved,
	}
	var lag time.Duration
	switch {
	case m.receiver != threadOn:
		return []mysqlx.ReplicaStatus{s}
	case len(m.data.relay) > 0:
		if m.applier != threadOn {
			return []mysqlx.ReplicaStatus{s}
		}
		lag = m.w.clock().Sub(m.data.relay[0].at)
	}
	s.Lag = &lag
	return []mysqlx.ReplicaStatus{s}
}

// facts is what the server says about itself.
func (m *simMysqld) facts() mysqlx.Facts {
	return mysqlx.Facts{
		Version: "8.4.0", ServerUUID: m.data.uuid, ServerID: m.serverID, Port: m.pod.peers.MySQLPort(), SkipNetworking: m.temporary,
		SuperReadOnly: m.superReadOnly, ReadOnly: m.superReadOnly, OfflineMode: m.offline,
		GTIDExecuted: m.data.executed, GTIDPurged: m.data.purged,
	}
}
