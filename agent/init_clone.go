package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"ordinal/clone"
	"ordinal/internal/trust"
	"ordinal/internal/volume"
	"ordinal/stream"
)

// clone fills an empty replica from the pod before it: ordinal−1, not just any pod, so that a set of five reads its source
// once. A donor that is not there yet is waited for. Only one that has shown itself to be corrupt is passed over.
func (i *initialiser) clone(ctx context.Context) error {
	recipient := &clone.Recipient{TLS: func(peer string) *tls.Config { return i.keys.ClientTLS(i.id.Pod, peer) }}
	corrupt := map[int]*clone.BadPagesError{}
	wait := newBackoff()
	for {
		i.beat.Beat()
		donor, ok := i.donor(corrupt)
		if !ok {
			return corrupt[i.id.Ordinal-1]
		}
		err := i.cloneFrom(ctx, recipient, donor)
		var bad *clone.BadPagesError
		switch {
		case err == nil:
			return i.configure(true)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &bad):
			corrupt[donor] = bad
			i.log.Error("the donor's data is corrupt; trying the pod before it", zap.Error(err))
			wait.reset()
			continue
		case errors.Is(trust.Explain(err), trust.ErrUntrusted):
			return fmt.Errorf("clone from %s: %w", i.peers.PodName(donor), trust.Explain(err))
		case fatal(err):
			return err
		}
		i.wait(StateWaitingForDonor, DataNo, []Reason{i.why(donor, err)})
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// donor is the pod to clone from: the highest ordinal below ours whose data has not been found corrupt.
func (i *initialiser) donor(corrupt map[int]*clone.BadPagesError) (ordinal int, ok bool) {
	for o := i.id.Ordinal - 1; o >= i.id.First; o-- {
		if corrupt[o] == nil {
			return o, true
		}
	}
	return 0, false
}

// fatal reports whether an error needs somebody's hand: asking again would answer the same.
func fatal(err error) bool {
	var (
		refused     *clone.RefusedError
		unsupported *clone.UnsupportedError
		mismatch    *clone.MismatchError
		noSpace     *clone.NoSpaceError
	)
	return errors.As(err, &refused) && refused.Permanent || errors.As(err, &unsupported) || errors.As(err, &mismatch) ||
		errors.As(err, &noSpace)
}

// why tells in one line what is waited for.
func (i *initialiser) why(donor int, err error) Reason {
	var refused *clone.RefusedError
	var stalled *clone.StalledError
	var aborted *stream.AbortError
	switch {
	case errors.As(err, &refused) && refused.Code == clone.ReasonBusy:
		return NewReason(CodeDonorBusy, "%s: %s", refused.Donor, refused.Message)
	case errors.As(err, &refused):
		return NewReason(CodeDonorNotReady, "%s: %s (%s)", refused.Donor, refused.Message, refused.Code)
	case errors.As(err, &stalled):
		return NewReason(CodeCloneStalled, "%v", stalled)
	case errors.Is(err, stream.ErrTruncated):
		return NewReason(CodeStreamTruncated, "%v; starting over", err)
	case errors.As(err, &aborted):
		return NewReason(CodeDonorNotReady, "%s broke off: %s (%s); starting over", i.peers.PodName(donor), aborted.Message, aborted.Reason)
	case errors.Is(err, stream.ErrCorrupt):
		return NewReason(CodeStreamCorrupt, "%v; starting over", err)
	}
	kind, why := explain(err, i.peers.PodName(donor), i.peers.DataAddress(donor))
	return PeerAnswer{Kind: kind, Why: why}.Reason()
}

// cloneFrom tries one donor once. After an error nothing of the copy is left, or a later call removes it.
func (i *initialiser) cloneFrom(ctx context.Context, recipient *clone.Recipient, donor int) error {
	pod := i.peers.PodName(donor)
	offer, err := recipient.Ask(ctx, clone.Peer{Pod: pod, Address: i.peers.DataAddress(donor)}, i.wants())
	if err != nil {
		return err
	}
	for _, warning := range offer.Hello.Warnings {
		i.log.Warn("the copy lacks something", zap.String("donor", pod), zap.String("what", warning))
	}
	gen, err := i.vol.NewGeneration(volume.Record{
		Origin: volume.OriginClone, Donor: pod,
		Facts: volume.Facts{ClusterID: offer.Hello.ClusterID, ServerVersion: offer.Hello.ServerVersion},
	})
	if err != nil {
		offer.Abandon(ctx)
		return err
	}
	defer gen.Close() // a directory opened for reading
	i.log.Info("cloning", zap.String("donor", pod), zap.String("server_version", offer.Hello.ServerVersion), zap.Int("generation", gen.Number()))
	meter := newCloneMeter(ctx, i.board, i.beat, i.log, pod)
	sum, err := offer.Receive(ctx, gen.Root(), meter)
	meter.stop()
	if err == nil {
		i.board.Update(func(s *Status) { s.State = StateFinishing })
		if err = i.vol.Complete(ctx, gen, volume.Facts{}); err == nil {
			i.log.Info("cloned", zap.String("donor", pod), zap.Int("files", sum.Files), zap.Uint64("bytes", sum.Bytes),
				zap.Uint64("pages_checked", sum.Pages), zap.Duration("took", meter.took()))
			return nil
		}
	}
	if ctx.Err() != nil {
		return err // the grace period is not for removing files: the next start does that
	}
	return errors.Join(err, i.discard(ctx, gen.Number()))
}

// discard removes what a failed clone left, unless it turns out that it is complete.
func (i *initialiser) discard(ctx context.Context, generation int) error {
	content, err := i.vol.Inspect()
	if err != nil || content.Kind != volume.UnderWay {
		return err
	}
	if err := i.vol.Discard(ctx, generation); err != nil {
		return fmt.Errorf("remove the unfinished copy: %w", err)
	}
	return nil
}

// wants says what a copy has to fit.
func (i *initialiser) wants() clone.Wants {
	workers := i.cfg.CloneWorkers
	switch {
	case workers < 0:
		workers = 0 // the donor knows its own CPUs
	case workers == 0:
		workers = clone.NoWorkers
	}
	return clone.Wants{
		Workers: workers, PageSize: configuredPageSize(i.cfg.MySQLConfigDir), ServerVersion: i.cfg.MySQLVersion,
	}
}
