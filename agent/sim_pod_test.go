package agent

import (
	"slices"
	"time"

	"ordinal/internal/volume"
)

// A simPod is a place in the set: its volume is for ever, its containers come and go.
type simPod struct {
	w     *world
	cfg   Config
	id    Identity
	peers *Peers
	vol   *simVolume

	configs map[bool][]byte // see serverConfig

	exists bool   // DNS knows it
	conf   []byte // mysqld's configuration, on a volume that ends with the pod

	init     *simProcess // agent init
	run      *simProcess // agent run
	agent    *simAgent   // what agent run remembers; nil: it does not run
	board    *Board
	answers  bool          // the data plane is up
	stall    time.Duration // until when the agent's process does not get on, though its answers do
	refused  Code          // what agent init has refused at its last try; "": nothing
	starting *simProcess
	mysqld   *simMysqld     // the server, when it can be connected to
	using    *simGeneration // what the server has open
	serving  bool           // agent run and mysqld are to run
	copying  *simProcess    // the recipient that this pod gives a copy to; nil: none
}

// create makes the pod: agent init is the first to run.
func (p *simPod) create() {
	p.exists, p.conf, p.serving = true, nil, false
	p.w.say(p.id.Pod, "pod is created; the volume is %v", p.vol.content().Kind)
	p.startInit()
}

func (p *simPod) startInit() {
	code := 0
	p.init = p.w.process(p.id.Pod+" init", func(q *simProcess) { code = (&simInit{simPod: p, p: q}).main() }, func(crashed bool) {
		p.init, p.answers = nil, false
		if !crashed && code == 0 {
			p.serving = true
			p.startRun()
			p.startContainer(0)
			return
		}
		p.w.after(p.w.between(time.Second, 4*time.Second), func() {
			if p.exists && p.init == nil && !p.serving {
				p.startInit()
			}
		})
	})
}

func (p *simPod) startRun() {
	p.run = p.w.process(p.id.Pod+" run", func(q *simProcess) { p.agent = newSimAgent(p, q); p.agent.loop() }, func(bool) {
		p.endRun()
		p.w.after(p.w.between(200*time.Millisecond, 3*time.Second), func() {
			if p.serving && p.run == nil {
				p.startRun()
			}
		})
	})
}

// endRun cleans up after agent run, which has ended or is killed.
func (p *simPod) endRun() {
	p.run.kill()
	if p.agent != nil && p.agent.rebuild != nil {
		p.agent.rebuild.process.kill()
	}
	p.run, p.agent, p.answers, p.copying = nil, nil, false, nil
}

// startContainer is the image's entry point, after a while.
func (p *simPod) startContainer(pause time.Duration) {
	p.w.after(pause, func() {
		if p.serving && p.starting == nil && p.mysqld == nil {
			p.starting = p.w.process(p.id.Pod+" mysqld", p.entryPoint, func(bool) {
				p.starting = nil
				if p.mysqld == nil { // it has ended
					p.using = nil
					p.startContainer(p.w.between(300*time.Millisecond, 3*time.Second))
				}
			})
		}
	})
}

// entryPoint starts mysqld, after a first initialisation where there is no data. It returns when the server is up, or has failed.
func (p *simPod) entryPoint(q *simProcess) {
	w, gen := p.w, p.vol.generation(p.vol.current)
	if gen == nil || gen.data == nil || gen.barred {
		return
	}
	p.using = gen
	d := gen.data
	switch d.boot {
	case bootNone:
		w.lives++
		d.boot, d.life = bootPartial, w.lives
		q.sleep(w.between(time.Second, 4*time.Second))
		d.boot = bootCut
		temporary := p.startMysqld(gen)
		temporary.temporary = true
		for range 3 {
			w.execute(p.id.Pod, d, w.newTx(d, temporary.serverID, txBoot, 0))
		}
		q.sleep(w.between(500*time.Millisecond, 2*time.Second))
		p.mysqld, d.boot = nil, bootDone
	case bootPartial:
		q.sleep(w.between(100*time.Millisecond, 2*time.Second)) // it opens what is there, and gives up
		return
	}
	q.sleep(w.between(200*time.Millisecond, 2*time.Second)) // crash recovery
	m := p.startMysqld(gen)
	m.cutShort = d.boot == bootCut
	m.bare = m.cutShort && w.chance(0.5)
}

// stopMysqld ends the server, in order or not: it makes no difference to what it has in its binlog. The container starts again.
func (p *simPod) stopMysqld() {
	p.starting.kill()
	p.starting, p.mysqld, p.using = nil, nil, nil
	if p.serving {
		p.startContainer(p.w.between(200*time.Millisecond, 3*time.Second))
	}
}

// remove deletes the pod; its volume stays.
func (p *simPod) remove() {
	p.w.say(p.id.Pod, "pod is deleted")
	p.exists, p.serving, p.answers = false, false, false
	p.init.kill()
	p.init = nil
	p.endRun()
	p.stopMysqld()
}

// ready is the verdict of /readyz.
func (p *simPod) ready() bool { return p.exists && p.answers && p.board.Status().Ready }

// newBoard is the board of a program that starts.
func (p *simPod) newBoard(phase Phase) *Board {
	b := NewBoard(p.id, phase, "")
	b.now = p.w.clock
	b.Update(func(*Status) {})
	return b
}

// serverConfig is mysqld's configuration, as agent init and agent run write it. It is made once.
func (p *simPod) serverConfig(hasData bool) []byte {
	if p.configs[hasData] == nil {
		p.configs[hasData] = (self{cfg: p.cfg, id: p.id, peers: p.peers}).serverConfig("/current", hasData).render()
	}
	return p.configs[hasData]
}

// podAt finds a pod by its host; nil: there is none.
func (w *world) podAt(host string) *simPod {
	if i := slices.Index(w.hosts, host); i >= 0 {
		return w.pods[i]
	}
	return nil
}

// named reports whether DNS knows a pod's name.
func (w *world) named(p *simPod) bool {
	return p.exists && w.net.noName[p.id.Ordinal] <= w.now && w.net.noDNS <= w.now
}

// ask asks one pod how it is. The answer takes a while to arrive.
func (p *simPod) ask(q *simProcess, ordinal int) PeerAnswer {
	asked := p.w.clock()
	q.sleep(p.w.between(0, p.w.net.slow))
	a := p.question(ordinal)
	if a.Kind == PeerSilent {
		q.sleep(p.w.between(10*time.Millisecond, DefaultPeerTimeout))
		return a
	}
	q.sleep(p.w.between(0, p.w.net.slow))
	a.Observed = asked.Add(-a.Status.age())
	return a
}

// askAll asks several pods, each at a moment of its own.
func (p *simPod) askAll(q *simProcess, ordinals []int) []PeerAnswer {
	answers, asked := make([]PeerAnswer, len(ordinals)), p.w.clock()
	silent := false
	for _, i := range p.w.rnd.Perm(len(ordinals)) {
		q.sleep(p.w.between(0, p.w.net.slow))
		answers[i] = p.question(ordinals[i])
		answers[i].Observed = asked.Add(-answers[i].Status.age())
		silent = silent || answers[i].Kind == PeerSilent
	}
	if silent {
		q.sleep(p.w.between(10*time.Millisecond, DefaultPeerTimeout))
	}
	return answers
}

// question is what becomes of one at this moment.
func (p *simPod) question(ordinal int) PeerAnswer {
	w := p.w
	peer := w.pods[ordinal]
	a := PeerAnswer{Pod: peer.id.Pod, Ordinal: ordinal, Host: w.hosts[ordinal], Kind: PeerSilent, Why: "no answer"}
	switch {
	case w.net.noDNS > w.now:
	case !w.named(peer):
		a.Kind, a.Why = PeerAbsent, "no such name"
	case !peer.answers, w.net.agents[p.id.Ordinal][ordinal], !w.calm && w.chance(0.02):
	default:
		a.Kind, a.Why, a.Status = PeerAnswered, "", peer.board.Status()
	}
	return a
}

// siblings lists the other pods as Peers.Siblings does. The error is a name server that does not answer.
func (p *simPod) siblings() ([]int, error) {
	var list []int
	if p.cfg.Replicas == 0 && p.w.net.noDNS > p.w.now {
		return nil, &DiscoveryError{Service: "mysql", Reach: TimedOut}
	}
	for _, o := range p.w.pods {
		if o != p && (o.id.Ordinal < p.cfg.Replicas || p.cfg.Replicas == 0 && p.w.named(o)) {
			list = append(list, o.id.Ordinal)
		}
	}
	slices.Sort(list)
	return list, nil
}

// setIdentity is SetIdentity.
func (p *simPod) setIdentity(cluster, uuid string) {
	p.vol.identity = volume.Identity{ClusterID: cluster, Pod: p.id.Pod, ServerUUID: uuid}
}
