package agent

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A simInit is one run of agent init: see Init.
type simInit struct {
	*simPod
	p *simProcess
}

// main returns the exit code.
func (i *simInit) main() int {
	i.step()
	i.board = i.newBoard(PhaseInit)
	done, err := i.local()
	if !done && err == nil {
		i.answers = true
		i.step()
		err = i.assemble()
	}
	var refused *RefusedError
	i.refused = ""
	if errors.As(err, &refused) {
		i.refused = refused.Reason.Code
		i.w.say(i.id.Pod, "init: %v", err)
		i.w.count("init refuses: " + string(i.refused))
		i.board.Update(func(s *Status) { s.State, s.Reasons = StateRefused, []Reason{refused.Reason} })
	}
	if err != nil {
		return 1
	}
	return 0
}

// step is a moment at which everything may happen, the end of the program included.
func (i *simInit) step() { i.simPod.step(i.p) }

// step lets others go on for a moment. Now and then it is a long one, or the last.
func (p *simPod) step(q *simProcess) {
	w := p.w
	switch {
	case w.calm:
	case p.stall > w.now:
		q.sleep(p.stall - w.now)
	case w.chance(0.004):
		w.say(p.id.Pod, "the agent is killed (%s)", q.name)
		q.crash()
	case w.chance(0.01):
		q.sleep(w.between(0, 8e9))
		return
	}
	q.sleep(w.between(0, 20e6))
}

// local takes the steps that need nobody else.
func (i *simInit) local() (done bool, err error) {
	for {
		i.step()
		c := i.vol.content()
		step, err := decideVolume(i.id.Role(), c, false, i.vol.request, i.vol.switchBegun())
		if err != nil {
			return false, err
		}
		switch step {
		case stepServe:
			i.ownUUID(c)
			i.conf = i.serverConfig(true)
			return true, nil
		case stepAsk, stepClone, stepPutAside:
			return false, nil
		case stepResume:
			i.checkSwitch()
			err = i.finishSwitch()
		case stepDiscard:
			err = i.discard(c.Generation)
		case stepStartOver:
			err = i.putAside(c.Generation, string(CodeInterruptedFirstStart), mysqlx.GTIDSet{})
		default:
			i.w.fail("%s: agent init takes step %d, which the simulation does not know", i.id.Pod, step)
		}
		if err != nil {
			return false, err
		}
	}
}

// ownUUID makes mysqld take a new server_uuid where the data may have come with another pod's auto.cnf: see initialiser.ownUUID.
func (i *simInit) ownUUID(c *volume.Content) {
	identity := i.vol.identity
	switch {
	case c.Kind != volume.Complete, identity.Pod == i.id.Pod, identity.Pod == "" && c.Record.Origin != volume.OriginClone:
		return
	}
	i.w.count("init: new server_uuid")
	i.vol.generation(c.Generation).data.forget = true
}

// assemble fills an empty volume or leaves it to the image.
func (i *simInit) assemble() error {
	c := newSimCloner(i.simPod, i.p)
	c.show = func(state State, has HasData, reasons []Reason) {
		i.board.Update(func(s *Status) { s.State, s.HasData, s.Reasons = state, has, reasons })
	}
	if err := i.putAsideRequested(c); err != nil {
		return err
	}
	copied, err := c.run()
	if err != nil {
		return err
	}
	i.step()
	if !copied {
		if err := i.vol.prepareEmpty(); err != nil {
			return err
		}
		i.step()
	}
	i.conf = i.serverConfig(copied)
	return nil
}

// putAsideRequested takes a source's data out of service because somebody asked for it.
func (i *simInit) putAsideRequested(c *simCloner) error {
	request, content := i.vol.request, i.vol.content()
	if request == nil || request.Kind != volume.RequestRebuild || content.Kind != volume.Complete {
		return nil
	}
	for {
		next, err := c.next()
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			i.vol.request = nil
			return err
		case err != nil:
			return err
		case next.Step == donorWait:
			c.wait(next.Reasons)
			continue
		case next.Step != donorAsk:
			i.vol.request = nil
			return &RefusedError{Reason: NewReason(CodeRequested, "no sibling has data")}
		}
		err = i.simPod.putAside(content.Generation, string(CodeRequested), mysqlx.GTIDSet{})
		i.step()
		i.vol.request = nil
		return err
	}
}

// A simCloner makes copies as a cloner does, and decides as one does.
type simCloner struct {
	pod      *simPod
	p        *simProcess
	real     *cloner // its book, and whose copy is unfinished
	chooser  *sourceChooser
	since    time.Time // when it began to ask
	window   int64     // until when names may be missing in DNS
	show     func(State, HasData, []Reason)
	replaces *volume.Replacement
	lineage  string
	gen      *simGeneration
	claims   []holding // what the donor of a source said that it has
}

func newSimCloner(p *simPod, q *simProcess) *simCloner {
	real := &cloner{
		waiter: waiter{workshop: workshop{self: self{cfg: p.cfg, id: p.id, peers: p.peers, log: zap.NewNop()}}},
		book:   newDonorBook(p.id, p.cfg.DonorPatience),
	}
	real.book.now = p.w.clock
	return &simCloner{
		pod: p, p: q, real: real, chooser: &sourceChooser{cloner: real}, since: p.w.clock(), window: int64(p.w.now + p.cfg.DiscoveryWindow),
		show: func(State, HasData, []Reason) {},
	}
}

// choose is sourceChooser.choose or cloner.fromPrevious.
func (c *simCloner) choose() (donorChoice, error) {
	if c.pod.id.Role() == RoleReplica {
		return decideDonor(c.real.book.view(c.real.donor)), nil
	}
	p := c.pod
	found := emptySource{AllowEmpty: p.cfg.AllowEmptySource, Listed: p.cfg.Replicas > 0, WindowOver: int64(p.w.now) > c.window, Since: c.since}
	ordinals, err := p.siblings()
	found.DiscoveryErr = err
	found.Siblings = p.askAll(c.p, ordinals)
	choice, err := decideEmptySource(found)
	switch {
	case err != nil:
		return donorChoice{}, err
	case choice.Step == stepEmpty:
		p.checkEmpty(found)
		return donorChoice{Step: donorNoData, Reasons: choice.Reasons}, nil
	case choice.Step == stepReverseClone:
		c.claims = choice.Donors
		p.checkDonors(found, choice.Donors)
		return c.chooser.among(choice), nil
	}
	return donorChoice{Step: donorWait, Reasons: choice.Reasons}, nil
}

// next is cloner.next.
func (c *simCloner) next() (copyStep, error) {
	for {
		choice, err := c.choose()
		if err != nil || choice.Step != donorAsk {
			return copyStep{donorChoice: choice}, err
		}
		s := copyStep{donorChoice: choice, Answer: c.pod.ask(c.p, choice.Ordinal), Holds: c.real.donor == c.pod.id.PodName(choice.Ordinal)}
		fate, why, ok := judgeAnswer(s.Answer, c.pod.id.Role(), s.Holds)
		if ok {
			return s, nil
		}
		c.real.book.note(choice.Ordinal, fate, why)
	}
}

// run is cloner.run.
func (c *simCloner) run() (copied bool, err error) {
	if err := c.pickUp(); err != nil {
		return false, err
	}
	for {
		c.pod.step(c.p)
		next, err := c.next()
		if err != nil {
			return false, err
		}
		switch next.Step {
		case donorNone:
			return false, errors.New("all donors are corrupt")
		case donorNoData:
			return false, c.drop()
		case donorDrop:
			if err := c.drop(); err != nil {
				return false, err
			}
		case donorWait:
			c.wait(next.Reasons)
		case donorAsk:
			if done, err := c.try(next); done || err != nil {
				return done, err
			}
		}
	}
}

func (c *simCloner) wait(reasons []Reason) {
	has := DataNo
	if c.gen != nil {
		has = DataBuilding
	}
	state := StateWaitingForDonor
	if c.pod.id.Role() == RoleSource {
		state = StateWaitingForSiblings
	}
	c.show(state, has, reasons)
	c.p.sleep(c.pod.w.between(minBackoff, maxBackoff))
	c.real.book.newRound()
}

// pickUp finds the copy that an earlier process left.
func (c *simCloner) pickUp() error {
	record, ok := c.pod.vol.content().Building()
	if !ok {
		return nil
	}
	c.gen, c.real.donor = c.pod.vol.generation(record.Number), record.Donor
	if c.real.book.knows(record.Donor) || c.pod.id.Role() == RoleSource {
		return nil
	}
	return c.drop()
}

func (c *simCloner) drop() error {
	c.gen, c.real.donor = nil, ""
	record, ok := c.pod.vol.content().Building()
	if !ok {
		return nil
	}
	c.pod.step(c.p)
	return c.pod.discard(record.Number)
}

// try asks one donor for a copy, or for the rest of one.
func (c *simCloner) try(s copyStep) (done bool, err error) {
	w, pod, book := c.pod.w, c.pod, c.real.book
	donor := w.pods[s.Ordinal]
	if !s.Holds {
		switch unfit := donor.givesTo(pod); {
		case unfit != nil:
			book.note(s.Ordinal, unfit.fate, unfit.why)
			return false, nil
		case c.lineage != "" && donor.board.Status().ClusterID != c.lineage:
			book.note(s.Ordinal, donorUnfit, NewReason(CodeSourceIsStranger, "%s is of another cluster", donor.id.Pod))
			return false, nil
		}
		if err := c.begin(donor); err != nil {
			return false, err
		}
	} else if c.gen.donor == nil || donor.mysqld != c.gen.donor {
		book.note(s.Ordinal, donorLater, NewReason(CodeSnapshotGone, "%s no longer holds the snapshot", donor.id.Pod))
		return false, c.drop()
	}
	return c.receive(s.Ordinal, donor)
}

// begin makes a new generation for the copy.
func (c *simCloner) begin(donor *simPod) error {
	if c.gen != nil {
		if err := c.drop(); err != nil {
			return err
		}
	}
	if content := c.pod.vol.content(); content.Kind == volume.Prepared {
		if err := c.pod.discard(content.Generation); err != nil {
			return err
		}
	}
	gen, err := c.pod.vol.newGeneration(volume.Record{
		Origin: volume.OriginClone, Donor: donor.id.Pod, Replaces: c.replaces, Facts: volume.Facts{ClusterID: donor.board.Status().ClusterID},
	})
	if err != nil {
		return err
	}
	gen.donor, gen.hello = donor.mysqld, donor.mysqld.data.executed.String()
	c.gen, c.real.donor = gen, donor.id.Pod
	c.pod.w.say(c.pod.id.Pod, "copies from %s", donor.id.Pod)
	return nil
}

// receive takes a copy to its end.
func (c *simCloner) receive(ordinal int, donor *simPod) (done bool, err error) {
	w, pod, book := c.pod.w, c.pod, c.real.book
	book.gives(ordinal)
	donor.copying = c.p
	defer func() {
		if donor.copying == c.p {
			donor.copying = nil
		}
	}()
	c.show(StateCloning, DataBuilding, nil)
	silentSince := w.now
	for c.gen.done < 1 {
		pod.step(c.p)
		c.p.sleep(w.between(100e6, 1500e6))
		server := c.gen.donor
		switch {
		case server == nil || donor.exists && donor.mysqld != server:
			book.note(ordinal, donorLater, NewReason(CodeSnapshotGone, "%s no longer holds the snapshot", donor.id.Pod))
			return false, c.drop()
		case donor.answers && donor.serving && !w.net.agents[pod.id.Ordinal][ordinal] && w.named(donor):
			silentSince, donor.copying = w.now, c.p // an agent that was restarted goes on with it
			if len(server.data.pending) > 0 && c.gen.done > 0.5 {
				continue // the server ends no copy before every transaction that it has prepared has ended
			}
			c.gen.done += 0.1 + 0.4*w.rnd.Float64()
		case w.now-silentSince > copyPatience(pod.cfg.DonorPatience):
			book.silent(ordinal, w.now-silentSince, NewReason(CodeCloneStalled, "%s is silent", donor.id.Pod))
			return false, nil
		}
	}
	data := c.gen.donor.data.copied() // a copy is of the end of it
	pod.checkCopy(c, donor, data)
	c.show(StateFinishing, DataBuilding, nil)
	pod.step(c.p)
	c.gen.record.GTIDExecuted = c.gen.hello
	if err := pod.complete(c.gen, data); err != nil {
		return false, err
	}
	w.say(pod.id.Pod, "copied %s from %s", shortGTIDs(data.executed), donor.id.Pod)
	w.count("copies")
	c.gen, c.real.donor = nil, ""
	return true, nil
}

// A simUnfit is why a donor refuses.
type simUnfit struct {
	fate donorFate
	why  Reason
}

// givesTo is what a donor's own agent answers when it is asked for a copy; nil: it gives one.
func (p *simPod) givesTo(recipient *simPod) *simUnfit {
	w := p.w
	if !p.answers || w.net.agents[recipient.id.Ordinal][p.id.Ordinal] || !w.named(p) {
		return &simUnfit{donorUnfit, NewReason(CodePeerSilent, "%s does not answer", p.id.Pod)}
	}
	if unfit := fitness(p.board.Status(), recipient.id.Role()); unfit != nil {
		fate := donorUnfit
		if State(unfit.Code).isComing() {
			fate = donorBuilding
		}
		return &simUnfit{fate, NewReason(CodeDonorNotReady, "%s", unfit.Message)}
	}
	if p.mysqld == nil || p.gives() {
		return &simUnfit{donorLater, NewReason(CodeDonorBusy, "%s is busy", p.id.Pod)}
	}
	return nil
}

// gives reports whether somebody copies from this pod.
func (p *simPod) gives() bool { return p.copying != nil && !p.copying.ended }
