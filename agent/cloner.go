package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"ordinal/clone"
	"ordinal/internal/trust"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A cloner makes a copy of a donor's data on the pod's volume. It goes on with the copy that an earlier process left unfinished.
type cloner struct {
	waiter
	recipient *clone.Recipient
	asker     *PeerClient
	book      *donorBook
	pause     *backoff
	asked     []PeerAnswer // what a source's siblings said last
	passed    string       // the pod that others were passed over for, as the log has it

	// choose says what to do next.
	choose func(ctx context.Context) (donorChoice, error)
	// planned is told of each step before it is taken; nil: nobody is.
	planned func(*Plan)
	// replaces is what the copy takes the place of; nil: nothing, the volume is empty.
	replaces *volume.Replacement
	// lineage is the cluster that the data has to be of; "": any.
	lineage string

	gen   *volume.Generation // the unfinished copy; nil: there is none
	donor string             // pod that it comes from
}

func newCloner(w workshop) *cloner {
	return &cloner{
		waiter: waiter{workshop: w},
		recipient: &clone.Recipient{
			TLS:     func(peer string) *tls.Config { return w.keys.ClientTLS(w.id.Pod, peer) },
			Silence: max(copyPatience(w.cfg.DonorPatience), time.Second),
		},
		asker: &PeerClient{Peers: w.peers, TLS: w.keys},
		book:  newDonorBook(w.id, w.cfg.DonorPatience),
		pause: newBackoff(),
	}
}

// fromPrevious chooses as replicas do: see decideDonor.
func (c *cloner) fromPrevious(context.Context) (donorChoice, error) {
	return decideDonor(c.book.view(c.donor)), nil
}

// run works until the copy is in place, which is reported as true, or until choose says that there is nothing to copy. An error is one
// that no waiting would cure.
func (c *cloner) run(ctx context.Context) (done bool, err error) {
	if err := c.pickUp(ctx); err != nil {
		return false, err
	}
	defer c.letGo()
	for {
		c.beat()
		next, err := c.next(ctx)
		if err != nil {
			return false, err
		}
		if c.planned != nil {
			c.planned(c.plan(next))
		}
		switch next.Step {
		case donorNone:
			return false, c.book.firstCorrupt()
		case donorNoData:
			return false, c.dropCopy(ctx, next.Reasons)
		case donorDrop:
			if err := c.drop(ctx, next.Reasons); err != nil {
				return false, err
			}
		case donorWait:
			if err := c.waitForDonors(ctx, next.Reasons); err != nil {
				return false, err
			}
		case donorAsk:
			if done, err := c.try(ctx, next); done || err != nil {
				return done, err
			}
		}
	}
}

// A copyStep is what is done next for a copy, and on whose word.
type copyStep struct {
	donorChoice
	Answer PeerAnswer // of the donor, with donorAsk
	Holds  bool       // the unfinished copy in the volume is from it
}

// next decides what to do next. It asks, and changes nothing. With donorAsk the donor has said that it is fit.
func (c *cloner) next(ctx context.Context) (copyStep, error) {
	for {
		choice, err := c.choose(ctx)
		if err != nil || choice.Step != donorAsk {
			return copyStep{donorChoice: choice}, err
		}
		pod := c.peers.PodName(choice.Ordinal)
		s := copyStep{donorChoice: choice, Answer: c.asker.Ask(ctx, choice.Ordinal), Holds: c.donor == pod}
		if ctx.Err() != nil {
			return copyStep{}, context.Cause(ctx)
		}
		if err := trust.Explain(s.Answer.Err); errors.Is(err, trust.ErrUntrusted) {
			return copyStep{}, fmt.Errorf("clone from %s: %w", pod, err)
		}
		fate, why, ok := judgeAnswer(s.Answer, c.id.Role(), s.Holds)
		if ok {
			return s, nil
		}
		c.book.note(choice.Ordinal, fate, why)
	}
}

// pickUp finds the copy that an earlier process left. One that cannot go on is removed.
func (c *cloner) pickUp(ctx context.Context) error {
	content, err := c.vol.Inspect()
	if err != nil {
		return err
	}
	record, ok := content.Building()
	if !ok || record.Origin == volume.OriginRestored { // that goes on if no sibling has data
		return nil
	}
	if c.gen, err = c.vol.Generation(record.Number); err == nil {
		c.donor, err = clone.Interrupted(c.gen.Root())
	}
	switch {
	case err == nil && (c.book.knows(c.donor) || c.id.Role() == RoleSource): // a source asks its siblings first
		c.log.Info("going on with an unfinished copy", zap.String("donor", c.donor), zap.Int("generation", record.Number))
		return nil
	case err == nil:
		err = fmt.Errorf("it comes from %q, which is no pod to copy from", c.donor)
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("nothing of it was safe when it was interrupted")
	}
	return c.drop(ctx, []Reason{NewReason(CodeCloneInterrupted, "%v", err)})
}

// letGo closes the generation; that changes nothing on disk.
func (c *cloner) letGo() {
	if c.gen != nil {
		_ = c.gen.Close() // a directory opened for reading
	}
	c.gen, c.donor = nil, ""
}

// drop removes the unfinished copy, if there is one, and says why.
func (c *cloner) drop(ctx context.Context, why []Reason) error {
	c.letGo()
	content, err := c.vol.Inspect()
	if err != nil {
		return err
	}
	record, ok := content.Building()
	if !ok {
		return nil
	}
	c.log.Info("removing an unfinished copy; starting over", zap.Int("generation", record.Number), zap.Stringers("reasons", why))
	if err := c.vol.Discard(ctx, record.Number); err != nil {
		return fmt.Errorf("remove the unfinished copy: %w", err)
	}
	return nil
}

// dropCopy removes the unfinished copy of a pod's data, if there is one; the beginning of a restore stays.
func (c *cloner) dropCopy(ctx context.Context, why []Reason) error {
	content, err := c.vol.Inspect()
	if err != nil || unfinishedRestore(content) {
		return err
	}
	return c.drop(ctx, why)
}

// waitForDonors waits a little and begins the next round.
func (c *cloner) waitForDonors(ctx context.Context, reasons []Reason) error {
	has := DataNo
	if c.gen != nil {
		has = DataBuilding
	}
	state := StateWaitingForDonor
	if c.id.Role() == RoleSource {
		state = StateWaitingForSiblings
	}
	c.wait(state, has, reasons)
	if err := c.pause.sleep(ctx); err != nil {
		return err
	}
	c.book.newRound()
	return nil
}

// try asks one donor for a copy, once. An error is one that ends the work; everything else is taken down in the book.
func (c *cloner) try(ctx context.Context, next copyStep) (done bool, err error) {
	pod := c.peers.PodName(next.Ordinal)
	if len(next.Reasons) > 0 && c.passed != pod {
		c.passed = pod // not in every round
		c.log.Warn("passing over pods that stay unfit", zap.String("donor", pod), zap.Stringers("reasons", next.Reasons))
	}
	err = c.from(ctx, next.Ordinal, next.Holds)
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx) // what has been copied stays: the next start goes on with it
	}
	return false, c.judge(ctx, next.Ordinal, err)
}

// judge draws the conclusions from a copy that failed, or was not begun.
func (c *cloner) judge(ctx context.Context, donor int, err error) error {
	var (
		bad     *clone.BadPagesError
		silent  *clone.SilentError
		useless *uselessError
		local   *localError
	)
	pod := c.peers.PodName(donor)
	untrusted := trust.Explain(err)
	need, full := spaceNeeded(err)
	fate, why := judgeError(err, pod, c.peers.DataAddress(donor))
	switch {
	case errors.As(err, &bad):
		c.book.corrupt(donor, bad)
		c.metrics.corrupt.Inc()
		c.log.Error("the donor's data is corrupt; trying the pod before it", zap.Error(err))
		c.pause.reset()
		return c.drop(ctx, []Reason{NewReason(CodeBadPages, "%v", bad)})
	case full:
		return c.waitForSpace(ctx, need, err)
	case errors.As(err, &useless):
		c.book.note(donor, fate, why)
		return c.drop(ctx, []Reason{why})
	case errors.Is(untrusted, trust.ErrUntrusted):
		return fmt.Errorf("clone from %s: %w", pod, untrusted)
	case errors.As(err, &local), fatal(err) && c.donor == pod:
		return errors.Join(err, c.drop(ctx, []Reason{why}))
	case fatal(err):
		return err // before anything was copied from it
	case errors.As(err, &silent):
		c.book.silent(donor, silent.For, why) // it may come back before another one begins
		return nil
	case c.donor != pod: // it has not begun to give a copy
		c.book.note(donor, fate, why)
		return nil
	}
	c.book.note(donor, fate, why)
	return c.drop(ctx, []Reason{why})
}

// fatal reports whether an error needs somebody's hand: asking again would answer the same.
func fatal(err error) bool {
	var (
		refused     *clone.RefusedError
		unsupported *clone.UnsupportedError
		mismatch    *clone.MismatchError
	)
	return errors.As(err, &refused) && refused.Permanent || errors.As(err, &unsupported) || errors.As(err, &mismatch)
}

// uselessError says why nobody can go on with the copy in the volume. No donor is to blame.
type uselessError struct{ err error }

func (e *uselessError) Error() string { return e.err.Error() }
func (e *uselessError) Unwrap() error { return e.err }

// localError is one of this pod's own volume: no donor can help.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// from gets a copy from one donor, or the rest of the one it holds the snapshot of, and puts it in place.
func (c *cloner) from(ctx context.Context, donor int, holds bool) error {
	pod := c.peers.PodName(donor)
	peer := clone.Peer{Pod: pod, Address: c.peers.DataAddress(donor)}
	wants, err := c.wants()
	if err != nil {
		return &localError{err}
	}
	if holds {
		offer, err := c.recipient.Resume(peer, c.gen.Root(), wants)
		if err != nil {
			return &uselessError{err}
		}
		return c.receive(ctx, donor, offer, true)
	}
	offer, err := c.recipient.Ask(ctx, peer, wants)
	if err != nil {
		return err
	}
	if c.lineage != "" && offer.Hello.ClusterID != c.lineage {
		offer.Abandon(ctx)
		return &clone.RefusedError{Donor: pod, Code: string(CodeSourceIsStranger), Message: fmt.Sprintf("its data is of cluster %s, not %s", offer.Hello.ClusterID, c.lineage)}
	}
	for _, warning := range offer.Hello.Warnings {
		c.log.Warn("the copy lacks something", zap.String("donor", pod), zap.String("what", warning))
	}
	if err := c.begin(ctx, pod, offer); err != nil {
		offer.Abandon(ctx)
		return &localError{err}
	}
	return c.receive(ctx, donor, offer, false)
}

// begin makes a new generation for what is offered. The unfinished copy of another donor, which nobody goes on with, makes room for it.
func (c *cloner) begin(ctx context.Context, pod string, offer *clone.Offer) error {
	if c.gen != nil {
		if err := c.drop(ctx, []Reason{NewReason(CodePeerSilent, "%s does not go on with it; %s begins anew", c.donor, pod)}); err != nil {
			return err
		}
	}
	if content, err := c.vol.Inspect(); err == nil && unfinishedRestore(content) {
		if err := c.drop(ctx, []Reason{NewReason(CodeSiblingsHaveData, "%s has data: nothing has to be restored", pod)}); err != nil {
			return err
		}
	}
	if err := c.clearPrepared(ctx); err != nil {
		return err
	}
	gen, err := c.vol.NewGeneration(volume.Record{
		Origin: volume.OriginClone, Donor: pod, Replaces: c.replaces,
		Facts: volume.Facts{ClusterID: offer.Hello.ClusterID, ServerVersion: offer.Hello.ServerVersion},
	})
	if err != nil {
		return err
	}
	c.gen, c.donor = gen, pod
	return nil
}

// clearPrepared removes the directory that was prepared for a first initialisation which has not begun: there is data after all.
func (c *cloner) clearPrepared(ctx context.Context) error {
	content, err := c.vol.Inspect()
	if err != nil || content.Kind != volume.Prepared {
		return err
	}
	return c.vol.Discard(ctx, content.Generation)
}

// receive takes the copy to its end and switches to it.
func (c *cloner) receive(ctx context.Context, donor int, offer *clone.Offer, resumed bool) error {
	pod, what := c.peers.PodName(donor), "cloning"
	if resumed {
		what = "cloning goes on"
	}
	c.book.gives(donor)
	c.log.Info(what, zap.String("donor", pod), zap.String("server_version", offer.Hello.ServerVersion), zap.Int("generation", c.gen.Number()))
	meter := newCloneMeter(ctx, c.workshop, pod, resumed)
	sum, err := offer.Receive(ctx, c.gen.Root(), meter)
	meter.stop()
	var disk *fs.PathError
	if errors.As(err, &disk) {
		return &localError{err}
	}
	if err != nil {
		return err
	}
	c.show(showing{State: StateFinishing, HasData: DataBuilding})
	if err := c.complete(ctx, offer.Hello.GTIDExecuted); err != nil {
		return &localError{err}
	}
	c.log.Info("cloned", zap.String("donor", pod), zap.Int("files", sum.Files), zap.Uint64("bytes", sum.Bytes),
		zap.Uint64("pages_checked", sum.Pages), zap.Int("resumes", meter.resumes()), zap.Duration("took", meter.took()))
	return nil
}

// complete makes the copy the volume's data.
func (c *cloner) complete(ctx context.Context, atLeast string) error {
	if _, err := mysqlx.ParseGTIDSet(atLeast); err != nil {
		atLeast = "" // it came over the network; less is said of the copy then
	}
	return completeGeneration(ctx, c.vol, c.gen, volume.Facts{GTIDExecuted: atLeast})
}

// completeGeneration makes a generation the volume's data. An error after it was recorded as complete is none of the data's: switching to it is tried once more.
func completeGeneration(ctx context.Context, vol *volume.Volume, gen *volume.Generation, facts volume.Facts) error {
	err := vol.Complete(ctx, gen, facts)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if content, lookErr := vol.Inspect(); lookErr == nil && content.Kind == volume.Switching {
		return vol.FinishSwitch()
	}
	return err // what the kernel has lost once it does not report again: the data is removed
}

// wants says what a copy has to fit and how it should travel.
func (c *cloner) wants() (clone.Wants, error) {
	workers := c.cfg.CloneWorkers
	switch {
	case workers < 0:
		workers = 0 // the donor knows its own CPUs
	case workers == 0:
		workers = clone.NoWorkers
	}
	room, err := c.room()
	if err != nil {
		return clone.Wants{}, err
	}
	return clone.Wants{
		Workers: workers, Streams: c.cfg.CloneStreams, Compress: string(c.cfg.Compress), MaxRate: c.cfg.MaxRate,
		PageSize: configuredPageSize(c.cfg.MySQLConfigDir), ServerVersion: c.cfg.MySQLVersion, FreeBytes: room,
	}, nil
}
