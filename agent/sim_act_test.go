package agent

import (
	"errors"
	"fmt"
	"time"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// do carries out a verdict, step by step, and may be killed between any two of them: see runner.do.
func (a *simAgent) do(d verdict, v view) error {
	a.w.count("act: " + string(d.Do))
	switch d.Do {
	case actConfigure:
		a.conf = a.serverConfig(true)
		return nil
	case actStartOver:
		return a.startOver(v)
	case actFinishFirst:
		return a.finishFirst(v)
	case actAccounts:
		return a.createAccounts(v)
	case actSwitch:
		a.checkSwitch()
		err := a.finishSwitch()
		if !errors.Is(err, volume.ErrInUse) || v.Mysqld.Reach != mysqldUp {
			return err
		}
		a.step()
		a.shutdown()
		return nil
	case actRetire:
		return a.retireReplaced(v)
	case actRebuild:
		a.startRebuild(*d.Cause, v.Generation)
		return nil
	case actDropRebuild:
		return a.dropRebuild()
	case actExport:
		a.export(v.Lasting, v.Older)
		return nil
	case actNewUUID:
		return a.newUUID(v)
	}
	m, err := a.server()
	if err != nil {
		return err
	}
	switch d.Do {
	case actLetIn:
		a.checkOpen(v, m)
		m.offline = false
	case actOpen:
		a.checkOpen(v, m)
		m.superReadOnly = false
	case actClose:
		m.superReadOnly, m.humanWrites = true, false
	case actStop:
		m.stopReceiver()
	case actHalt:
		m.stopReplica()
	case actServerID:
		m.serverID = v.ServerID
	case actSemisync:
		m.semisync = v.Semisync.Wanted
	case actApply:
		a.real.pauseStarts()
		m.startApplier()
	case actSettle:
		clear(m.onCommit) // their clients are told nothing
		m.semisync = false
		m.settle()
		m.superReadOnly = true
		err := a.still(m)
		m.semisync = true
		return err
	case actStart:
		a.real.pauseStarts()
		m.startReplica()
	case actResetChannels:
		return a.resetChannels(m, v)
	case actFollow:
		return a.follow(m, d.Follow, v)
	case actCatchUp:
		return a.catchUp(m, d.Follow, v)
	default:
		a.w.fail("%s: the simulation does not know how to %q", a.id.Pod, d.Do)
	}
	return nil
}

// server is mysqld at this moment.
func (a *simAgent) server() (*simMysqld, error) {
	if a.mysqld == nil {
		return nil, errDown
	}
	return a.mysqld, nil
}

// still lets others go on, and finds out whether m is up after it.
func (a *simAgent) still(m *simMysqld) error {
	a.step()
	if !m.up() {
		return errDown
	}
	return nil
}

func (a *simAgent) shutdown() {
	if a.mysqld != nil {
		a.stopMysqld()
	}
}

func (a *simAgent) startOver(v view) error {
	if err := a.simPod.startOver(v.Generation, string(CodeInterruptedFirstStart)); err != nil {
		return err
	}
	a.idleSince, a.opened, a.wasInUse = time.Time{}, 0, false
	a.step()
	if v.Mysqld.Bare || v.Mysqld.CutShort {
		a.shutdown()
	}
	return nil
}

func (a *simAgent) finishFirst(v view) error {
	if err := a.createAccounts(v); err != nil {
		return err
	}
	a.step()
	m, err := a.server()
	if err != nil {
		return err
	}
	cluster, uuid := m.data.cluster, m.data.uuid
	a.setIdentity(cluster, uuid)
	a.step()
	g := a.vol.generation(v.Generation)
	if g != nil && g.data.boot != bootDone {
		a.w.fail("%s takes a first initialisation for complete that was cut short", a.id.Pod)
	}
	if c := a.vol.content(); g == nil || c.Generation != v.Generation || c.Kind != volume.NeverCompleted {
		return fmt.Errorf("mark generation %d initialised: the volume is %v", v.Generation, c.Kind)
	}
	g.record.State, g.record.ClusterID = volume.StateComplete, cluster
	a.w.say(a.id.Pod, "the first initialisation is complete, cluster %s", cluster)
	a.step()
	a.conf = a.serverConfig(true)
	return nil
}

// createAccounts makes what is missing.
func (a *simAgent) createAccounts(v view) error {
	m, err := a.server()
	if err != nil {
		return err
	}
	if m.superReadOnly {
		return mysqlx.ErrReadOnly
	}
	cluster := v.ClusterID
	if cluster == "" {
		cluster = fmt.Sprintf("%016x", 0xc0000000+a.w.rnd.Uint32N(1<<30))
	}
	if !m.data.agent {
		m.write(txAccounts, 0, nil)
		m.settle()
		if err := a.still(m); err != nil {
			return err
		}
	}
	if m.data.cluster == "" {
		m.write(txAccounts, 0, nil).cluster = cluster
		m.settle()
	}
	return nil
}

func (a *simAgent) resetChannels(m *simMysqld, v view) error {
	if len(v.Channels) > 0 {
		m.stopReplica()
		if err := a.still(m); err != nil {
			return err
		}
		if err := m.resetReplicaAll(); err != nil {
			return err
		}
	}
	if err := a.still(m); err != nil {
		return err
	}
	m.serverID = v.ServerID
	a.step()
	a.setIdentity(v.ClusterID, v.Mysqld.Facts.ServerUUID)
	return nil
}

func (a *simAgent) follow(m *simMysqld, want mysqlx.Source, v view) error {
	a.real.pauseStarts()
	if len(v.Channels) > 0 {
		m.stopReplica()
		if err := a.still(m); err != nil {
			return err
		}
	}
	if err := errors.Join(m.configureSource(want.Host, want.User), a.still(m)); err != nil {
		return err
	}
	m.startReplica()
	return nil
}

func (a *simAgent) catchUp(m *simMysqld, want mysqlx.Source, v view) error {
	if len(v.Channels) > 0 {
		m.stopReplica()
		if err := a.still(m); err != nil {
			return err
		}
		if err := errors.Join(m.resetReplicaAll(), a.still(m)); err != nil {
			return err
		}
		v.Channels = nil
	}
	m.serverID = catchUpServerID(v.ServerID)
	if err := a.still(m); err != nil {
		return err
	}
	return a.follow(m, want, v)
}

func (a *simAgent) newUUID(v view) error {
	g := a.vol.generation(v.Generation)
	if g == nil || g.data == nil {
		return errors.New("forget server_uuid: there is no such data")
	}
	m := a.mysqld
	a.forgetUUID(g)
	a.step()
	a.formerUUID = v.Mysqld.Facts.ServerUUID
	if m == nil || !m.up() {
		return errDown
	}
	a.shutdown()
	return nil
}

// forgetUUID removes auto.cnf: the server that runs keeps its server_uuid, the next one takes a new one.
func (a *simAgent) forgetUUID(g *simGeneration) { g.data.forget = true }

func (a *simAgent) retireReplaced(v view) error {
	err := a.retire()
	a.rebuild = nil
	a.step()
	if err == nil && v.Request != nil && v.Request.Kind == volume.RequestRebuild {
		a.vol.request = nil
	}
	return err
}

// export writes transactions of a generation into a file that can be replayed.
func (a *simAgent) export(only mysqlx.GTIDSet, generation int) {
	if g := a.vol.generation(generation); g != nil {
		g.exported = g.exported.Union(only)
	}
}

// startRebuild begins a copy beside what is served: see runner.build.
func (a *simAgent) startRebuild(cause rebuildCause, generation int) {
	a.checkCause(cause)
	b := &simRebuild{cause: cause, now: showing{State: StateWaitingForDonor}}
	a.rebuild = b
	a.w.count("rebuild: " + string(cause.Code))
	b.process = a.w.process(a.id.Pod+" rebuild", func(q *simProcess) {
		if !cause.OnlyHere.IsEmpty() {
			a.simPod.step(q)
			a.export(cause.OnlyHere, generation)
		}
		c := newSimCloner(a.simPod, q)
		c.show = func(state State, has HasData, reasons []Reason) {
			b.now = showing{State: state, HasData: has, Reasons: reasons}
		}
		c.lineage = cause.Lineage
		c.replaces = &volume.Replacement{Generation: generation, Reason: string(cause.Code), Message: cause.Message, OnlyHere: cause.OnlyHere.String()}
		copied, err := c.run()
		if err == nil && !copied {
			err = errors.New("nobody has data")
		}
		b.err = err
	}, func(crashed bool) {
		if crashed && a.run != nil && a.agent == a { // it is a part of the agent, which ends with it
			a.run.kill()
			a.run = nil
			a.endRun()
			a.w.after(a.w.between(2e8, 3e9), func() {
				if a.serving && a.run == nil {
					a.startRun()
				}
			})
		}
		b.over, b.ended = true, a.w.clock()
	})
}

func (a *simAgent) dropRebuild() error {
	if a.rebuild == nil {
		return nil
	}
	a.rebuild.process.kill()
	a.rebuild = nil
	a.step()
	if record, ok := a.vol.content().Building(); ok {
		return a.discard(record.Number)
	}
	return nil
}
