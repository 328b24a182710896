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
)

// A cloner fills a replica's volume from a donor. It goes on with the copy that an earlier process left unfinished.
type cloner struct {
	*initialiser
	recipient *clone.Recipient
	asker     *PeerClient
	book      *donorBook
	pause     *backoff
	passed    string // the pod that others were passed over for, as the log has it

	gen   *volume.Generation // the unfinished copy; nil: there is none
	donor string             // pod that it comes from
}

// clone fills a replica: see decideDonor for whom it asks. It returns when the copy is in place, or with an error that no waiting
// would cure.
func (i *initialiser) clone(ctx context.Context) error {
	c := &cloner{
		initialiser: i,
		recipient: &clone.Recipient{
			TLS:     func(peer string) *tls.Config { return i.keys.ClientTLS(i.id.Pod, peer) },
			Silence: max(copyPatience(i.cfg.DonorPatience), time.Second),
		},
		asker: &PeerClient{Peers: i.peers, TLS: i.keys},
		book:  newDonorBook(i.id, i.cfg.DonorPatience),
		pause: newBackoff(),
	}
	if err := c.pickUp(ctx); err != nil {
		return err
	}
	defer c.letGo()
	for {
		i.beat.Beat()
		choice := decideDonor(c.book.view(c.donor))
		switch choice.Step {
		case donorNone:
			return c.book.firstCorrupt()
		case donorDrop:
			if err := c.drop(ctx, choice.Reasons); err != nil {
				return err
			}
		case donorWait:
			if err := c.waitForDonors(ctx, choice.Reasons); err != nil {
				return err
			}
		case donorAsk:
			if done, err := c.try(ctx, choice); done || err != nil {
				return err
			}
		}
	}
}

// pickUp finds the copy that an earlier process left. One that cannot go on is removed.
func (c *cloner) pickUp(ctx context.Context) error {
	content, err := c.vol.Inspect()
	if err != nil || content.Kind != volume.UnderWay {
		return err
	}
	if c.gen, err = c.vol.Generation(content.Generation); err == nil {
		c.donor, err = clone.Interrupted(c.gen.Root())
	}
	switch {
	case err == nil && c.book.knows(c.donor):
		c.log.Info("going on with an unfinished copy", zap.String("donor", c.donor), zap.Int("generation", content.Generation))
		return nil
	case err == nil:
		err = fmt.Errorf("it comes from %q, which is no pod before this one", c.donor)
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
	if err != nil || content.Kind != volume.UnderWay {
		return err
	}
	c.log.Info("removing an unfinished copy; starting over", zap.Int("generation", content.Generation), zap.Stringers("reasons", why))
	if err := c.vol.Discard(ctx, content.Generation); err != nil {
		return fmt.Errorf("remove the unfinished copy: %w", err)
	}
	return nil
}

// waitForDonors waits a little and begins the next round.
func (c *cloner) waitForDonors(ctx context.Context, reasons []Reason) error {
	has := DataNo
	if c.gen != nil {
		has = DataBuilding
	}
	c.wait(StateWaitingForDonor, has, reasons)
	if err := c.pause.sleep(ctx); err != nil {
		return err
	}
	c.book.newRound()
	return nil
}

// try asks one donor, once. An error is one that ends agent init; everything else is taken down in the book.
func (c *cloner) try(ctx context.Context, choice donorChoice) (done bool, err error) {
	donor, pod := choice.Ordinal, c.peers.PodName(choice.Ordinal)
	holds := c.gen != nil && c.donor == pod
	answer := c.asker.Ask(ctx, donor)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err := trust.Explain(answer.Err); errors.Is(err, trust.ErrUntrusted) {
		return false, fmt.Errorf("clone from %s: %w", pod, err)
	}
	fate, why, ok := judgeAnswer(answer, holds)
	if !ok {
		c.book.note(donor, fate, why)
		return false, nil
	}
	if len(choice.Reasons) > 0 && c.passed != pod {
		c.passed = pod // not in every round
		c.log.Warn("passing over pods that stay unfit", zap.String("donor", pod), zap.Stringers("reasons", choice.Reasons))
	}
	err = c.from(ctx, donor, holds)
	if err == nil {
		return true, c.configure(true)
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx) // what has been copied stays: the next start goes on with it
	}
	return false, c.judge(ctx, donor, err)
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
	gen, err := c.vol.NewGeneration(volume.Record{
		Origin: volume.OriginClone, Donor: pod,
		Facts: volume.Facts{ClusterID: offer.Hello.ClusterID, ServerVersion: offer.Hello.ServerVersion},
	})
	if err != nil {
		return err
	}
	c.gen, c.donor = gen, pod
	return nil
}

// receive takes the copy to its end and switches to it.
func (c *cloner) receive(ctx context.Context, donor int, offer *clone.Offer, resumed bool) error {
	pod, what := c.peers.PodName(donor), "cloning"
	if resumed {
		what = "cloning goes on"
	}
	c.book.gives(donor)
	c.log.Info(what, zap.String("donor", pod), zap.String("server_version", offer.Hello.ServerVersion), zap.Int("generation", c.gen.Number()))
	meter := newCloneMeter(ctx, c.initialiser, pod, resumed)
	sum, err := offer.Receive(ctx, c.gen.Root(), meter)
	meter.stop()
	var disk *fs.PathError
	if errors.As(err, &disk) {
		return &localError{err}
	}
	if err != nil {
		return err
	}
	c.board.Update(func(s *Status) { s.State, s.Reasons = StateFinishing, nil })
	if err := c.complete(ctx); err != nil {
		return &localError{err}
	}
	c.log.Info("cloned", zap.String("donor", pod), zap.Int("files", sum.Files), zap.Uint64("bytes", sum.Bytes),
		zap.Uint64("pages_checked", sum.Pages), zap.Int("resumes", meter.resumes()), zap.Duration("took", meter.took()))
	return nil
}

// complete makes the copy the volume's data. An error after the copy was recorded as complete is none of the copy's: switching to it is tried
// once more.
func (c *cloner) complete(ctx context.Context) error {
	err := c.vol.Complete(ctx, c.gen, volume.Facts{})
	if err == nil || ctx.Err() != nil {
		return err
	}
	if content, lookErr := c.vol.Inspect(); lookErr == nil && content.Kind == volume.Switching {
		return c.vol.FinishSwitch()
	}
	return err // what the kernel has lost once it does not report again: the copy is removed
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
