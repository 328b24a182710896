package agent

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"ordinal/internal/volume"
)

// checkAlways is what has to be true after every event.
func (w *world) checkAlways() {
	for _, p := range w.pods {
		if m := p.mysqld; p.id.Role() == RoleReplica && m.accepts() && !m.humanWrites {
			w.fail("%s is a replica and takes writes", p.id.Pod)
		}
		if m := p.mysqld; w.calm && p.id.Role() == RoleReplica && m.accepts() && m.humanWrites {
			if m.openSince == 0 {
				m.openSince = w.now
			}
			if w.now-m.openSince > time.Minute {
				w.fail("%s takes writes for a minute, because somebody turned super_read_only off", p.id.Pod)
			}
		}
	}
}

// checkAcked is about the moment at which a client is told that its transaction is safe.
func (w *world) checkAcked(t *simTx, m *simMysqld) {
	if !w.set.semisync || len(w.byName[t.gtid]) > 1 { // a replica that has another one of this name acknowledges as well
		return
	}
	for _, p := range w.pods {
		found := false
		p.vol.all(func(_ string, d *simData) { found = found || p != m.pod && d.has(t) })
		if found {
			return
		}
	}
	w.fail("%v is acknowledged, and no replica has it", t)
}

// checkOpen is about the moment at which a source begins to take writes.
func (a *simAgent) checkOpen(v view, m *simMysqld) {
	w := a.w
	w.say(a.id.Pod, "opens with %s", shortGTIDs(m.data.executed))
	asked := map[int]PeerAnswer{}
	for _, s := range v.Siblings {
		asked[s.Ordinal] = s
	}
	for _, p := range w.pods {
		d := p.vol.live()
		if p.using != nil && p.using.data != d { // a copy that is not switched to yet: nobody knows of it
			d = p.using.data
			w.cause(causeSwitching)
		}
		if d == nil || d == m.data || d.life != m.data.life {
			continue
		}
		s, ok := asked[p.id.Ordinal]
		switch {
		case !ok || s.Kind == PeerAbsent:
			w.cause(causeAbsent)
		case s.Kind == PeerAnswered && s.Status.HasData == DataYes:
			d.all(func(t *simTx) {
				if t.acked && !m.data.has(t) && !m.data.executed.Contains(t.set) && w.causes[causeReset] == 0 {
					w.fail("%s takes writes, and lacks %v, which %s has, and was asked", a.id.Pod, t, p.id.Pod)
				}
			})
		case s.Kind != PeerAnswered && w.set.semisync && m.superReadOnly: // else it has never been open
			w.fail("%s takes writes, and has not heard what %s has", a.id.Pod, p.id.Pod)
		}
	}
}

// checkEmpty is about the moment at which a source begins without data.
func (p *simPod) checkEmpty(found emptySource) {
	w := p.w
	for _, o := range w.pods {
		if d := o.vol.live(); d != nil && o != p {
			w.cause(causeBornAgain)
		}
	}
	for _, s := range found.Siblings {
		o := w.pods[s.Ordinal]
		said := s.Kind == PeerAbsent || s.Kind == PeerAnswered && s.Status.HasData == DataNo
		if !said && o.vol.live() != nil {
			w.fail("the source starts empty while %s, which exists (%s), has data", o.id.Pod, s.Kind)
		}
	}
	w.say(p.id.Pod, "starts empty: %d siblings", len(found.Siblings))
}

// checkCause is about the moment at which data is given up for transactions that only it has: the source must really lack them. One
// whose commit waits on the source for an acknowledgement has not been executed there.
func (a *simAgent) checkCause(cause rebuildCause) {
	source := a.w.pods[0].vol.live()
	if cause.Code != CodeErrantTransactions || source == nil || a.w.causes[causeReset] > 0 {
		return
	}
	for _, t := range a.w.txs {
		if cause.OnlyHere.Contains(t.set) && source.contents.has(t.id) && (!a.w.set.semisync || t.waited < time.Second) && len(a.w.byName[t.gtid]) == 1 {
			a.w.fail("%s is rebuilt because of %v, which the source has", a.id.Pod, t)
		}
	}
}

// checkSwitch is about the moment at which a copy takes the place of data: what only the data has must have been exported. Somebody who
// has just lost his data may have had it when he was asked.
func (p *simPod) checkSwitch() {
	w, c := p.w, p.vol.content()
	old, replaced := p.vol.generation(p.vol.current), p.vol.live()
	if old == nil || old.barred || c.Record.Replaces == nil || w.now-w.lastDisaster < 5*time.Second || w.causes[causeReset] > 0 {
		return
	}
	only := old.exported.Union(gtidsOf(c.Record.Replaces.OnlyHere))
	for _, t := range w.txs {
		if !t.acked || !old.data.has(t) || replaced.executed.Contains(t.set) || only.Contains(t.set) {
			continue
		}
		if !slices.ContainsFunc(w.pods, func(o *simPod) bool { d := o.vol.live(); return o != p && d != nil && d.has(t) }) {
			w.fail("%s switches to a copy that lacks %v, which nobody else has in service", p.id.Pod, t)
		}
	}
}

// checkDonors is about the siblings that an empty source may copy: each has everything that anybody has who was asked.
func (p *simPod) checkDonors(found emptySource, donors []holding) {
	for _, s := range found.Siblings {
		for _, d := range donors {
			if has := gtidsOf(s.Status.GTIDExecuted).Union(gtidsOf(s.Status.GTIDWaiting)); s.Kind == PeerAnswered && !d.all().Contains(has) {
				p.w.fail("%s is a donor for the source, and lacks %s of what %s has", d.Pod, shortGTIDs(has.Subtract(d.all())), s.Pod)
			}
		}
	}
}

// checkCopy is about a copy that is whole.
func (p *simPod) checkCopy(c *simCloner, donor *simPod, data *simData) {
	for _, h := range c.claims {
		if h.Pod == donor.id.Pod && p.w.causes[causeReset] == 0 && !data.executed.Contains(h.all()) {
			p.w.fail("%s was chosen as the donor because it has %s, and its copy has %s", donor.id.Pod, shortGTIDs(h.all()), shortGTIDs(data.executed))
		}
	}
}

// settled reports whether all is well: one source, and everybody has everything.
func (w *world) settled() bool {
	source := w.pods[0].mysqld
	if !source.accepts() || len(source.data.pending) > 0 {
		return false
	}
	for _, p := range w.pods {
		m := p.mysqld
		if m == nil || p.agent == nil || p.agent.rebuild != nil || p.vol.content().Kind != volume.Complete || len(p.vol.content().Older()) > 0 {
			return false
		}
		state := p.board.Status().State
		switch {
		case p.id.Role() == RoleSource && state != StateSource:
			return false
		case p.id.Role() == RoleReplica && (state != StateReplicating || !m.superReadOnly || len(m.data.relay) > 0 || m.source != source):
			return false
		case !m.data.executed.Equal(source.data.executed), !bytes.Equal(p.conf, p.serverConfig(true)):
			return false
		}
	}
	return true
}

// converge lets the set come right without any more faults.
func (w *world) converge() {
	w.calm = true
	w.say("world", "calm")
	w.net.heal()
	w.set.want = w.set.size
	for _, p := range w.pods {
		p.vol.held = ""
		if p.mysqld != nil {
			p.mysqld.applySpeed, p.mysqld.speed = 8, 8
		}
	}
	const deadline = 8 * time.Minute
	for end := w.now + deadline; w.failure == nil; w.runUntil(w.now + 2*time.Second) {
		switch {
		case w.settled():
			w.count("converged")
			w.checkEnd(true)
			return
		case w.now > end:
			w.checkStuck()
			w.checkEnd(false)
			return
		}
	}
}

// checkEnd is about what has become of what clients were told to be safe.
func (w *world) checkEnd(converged bool) {
	for _, t := range w.txs {
		if !t.acked || t.lost != "" || w.failure != nil {
			continue
		}
		d := w.pods[0].vol.live()
		switch where := w.anyCopy(t); {
		case where == "":
			w.fail("acknowledged transaction %v is nowhere", t)
		case d != nil && d.has(t), !converged:
		case w.set.semisync && !w.excused(where):
			w.fail("acknowledged transaction %v is not in the set, but in %s", t, where)
		default:
			w.count("acknowledged, kept beside the set")
			if !w.reported(t) { // it came between the comparison and the end: the logs are read before anything is dropped
				w.count("acknowledged, kept beside the set, and nobody was told")
			}
		}
	}
}

// excused reports whether something happened that semi-synchronous replication promises nothing about. where is what has become of the
// copy of a replica that acknowledged: it goes to quarantine when the replica has to be rebuilt because of what somebody did to it.
func (w *world) excused(where string) bool {
	list := []simCause{causeBornAgain, causeReset, causeCopy, causeRollback, causeAbsent, causeSwitching}
	if strings.Contains(where, "quarantine") {
		list = append(list, causeErrant, causeDrift, causeRequest, causeRelay)
	}
	return slices.ContainsFunc(list, func(c simCause) bool { return w.causes[c] > 0 })
}

// reported reports whether a transaction that the set lacks was named when its data was put aside.
func (w *world) reported(t *simTx) bool {
	for _, p := range w.pods {
		for _, q := range p.vol.quarantine {
			// What somebody asked to put aside on a source is not compared with anybody's.
			asked := strings.HasSuffix(q.name, string(CodeRequested)) && p.id.Role() == RoleSource
			if q.data != nil && q.data.has(t) && (asked || q.only.Contains(t.set)) {
				return true
			}
		}
		if d := p.vol.live(); d != nil && d.has(t) {
			return true // a pod that does not follow the source, and says so
		}
	}
	return false
}

// checkStuck is about a set that does not come right by itself: a human is needed, and there has to be a reason.
func (w *world) checkStuck() {
	var stuck []string
	for _, p := range w.pods {
		state, code := State("none"), Code("")
		if p.exists && p.board != nil {
			s := p.board.Status()
			state = s.State
			if len(s.Reasons) > 0 {
				code = s.Reasons[0].Code
			}
			if p.refused != "" { // agent init has ended, and is started again
				state, code = StateRefused, p.refused
			}
		}
		switch {
		case state == StateSource, state == StateReplicating:
		default:
			stuck = append(stuck, fmt.Sprintf("%s %s (%s)", p.id.Pod, state, code))
			w.count(fmt.Sprintf("stuck: %s (%s)", state, code))
			if !w.explained(p, state, code) {
				w.fail("%s stays %s (%s)", p.id.Pod, state, code)
			}
		}
	}
	w.say("world", "stuck: %s", strings.Join(stuck, ", "))
	if len(stuck) == 0 {
		w.fail("every pod says that all is well, and it is not")
	}
	w.count("stuck")
}

// strangers reports whether the data of two pods comes from two first initialisations.
func (w *world) strangers(a, b *simPod) bool {
	x, y := a.vol.live(), b.vol.live()
	return x != nil && y != nil && x.life != y.life
}

// explained reports whether a pod's state is one that needs a human, for a reason that is in the history.
func (w *world) explained(p *simPod, state State, code Code) bool {
	happened := func(list ...simCause) bool {
		return slices.ContainsFunc(list, func(c simCause) bool { return w.causes[c] > 0 })
	}
	switch {
	case w.set.heal == HealReport:
		return true
	case code == CodeInterruptedFirstStart:
		return startsOver(p.vol.content()) >= maxStartsOver
	case code == CodeSiblingsDiverged:
		return happened(causeErrant, causeRollback, causeReset, causeCopy, causeBornAgain, causeAbsent)
	case state == StateSourceIsStranger, code == CodeRebuilding && p.vol.content().Kind == volume.Switching && happened(causeBornAgain):
		return happened(causeBornAgain, causeRollback, causeCopy)
	case p.id.Role() == RoleReplica && code == CodeApplierStopped && w.strangers(p, w.pods[0]):
		return happened(causeBornAgain, causeRollback, causeCopy)
	case p.id.Role() == RoleSource && code == CodeApplierStopped: // it got a replica's own transaction by its catching up
		return happened(causeErrant, causeDrift)
	case p.id.Role() == RoleSource && happened(causeReset): // a pod that denies what it has cannot say what it has
		return code == CodeSiblingSilent || code == CodeSiblingAhead || code == CodeSiblingApplying
	case code == CodeSiblingAhead && p.agent != nil && p.agent.rebuild != nil && p.agent.rebuild.err != nil: // none of its siblings has everything
		return happened(causeErrant, causeRollback, causeCopy, causeAbsent)
	case code == CodeSiblingApplying, code == CodeSiblingAhead: // an applier that cannot go on, with transactions that nobody else has
		return slices.ContainsFunc(w.pods, func(o *simPod) bool {
			return o.mysqld != nil && (o.mysqld.applierError.Number != 0 || o.vol.content().Kind == volume.Switching && happened(causeErrant, causeDrift))
		})
	case !p.exists: // with an ordered start it waits for one before it
		return !w.set.parallel && p != w.pods[0]
	case p.id.Role() == RoleReplica: // it waits for a source that needs a human
		source := w.pods[0].board.Status()
		if w.pods[0].refused != "" {
			return w.explained(w.pods[0], StateRefused, w.pods[0].refused)
		}
		return source.State != StateSource && len(source.Reasons) > 0 && w.explained(w.pods[0], source.State, source.Reasons[0].Code)
	}
	return false
}
