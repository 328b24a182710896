package agent

import (
	"errors"
	"time"

	"ordinal/clone"
	"ordinal/stream"
)

// A donorBook keeps what is known of the pods that a replica may clone from.
type donorBook struct {
	patience time.Duration
	now      func() time.Time
	entries  []donorEntry // the previous pod first
}

type donorEntry struct {
	ordinal int
	pod     string
	fate    donorFate
	reason  Reason
	since   time.Time // since when it is unfit; zero: it is not
	bad     *clone.BadPagesError
}

// newDonorBook lists the pods before id, the nearest first.
func newDonorBook(id Identity, patience time.Duration) *donorBook {
	b := &donorBook{patience: patience, now: time.Now}
	for o := id.Ordinal - 1; o >= id.First; o-- {
		b.entries = append(b.entries, donorEntry{ordinal: o, pod: id.PodName(o)})
	}
	return b
}

// add enters a pod that is not one before ours.
func (b *donorBook) add(ordinal int, pod string) {
	if !b.knows(pod) {
		b.entries = append(b.entries, donorEntry{ordinal: ordinal, pod: pod})
	}
}

// view is what decideDonor looks at. held is the pod that an unfinished copy comes from, or "".
func (b *donorBook) view(held string) donorView {
	v := donorView{Patience: b.patience, Held: noDonor}
	now := b.now()
	for _, e := range b.entries {
		c := donorCandidate{Ordinal: e.ordinal, Fate: e.fate, Reason: e.reason}
		if !e.since.IsZero() {
			c.UnfitFor = now.Sub(e.since)
		}
		if e.pod == held {
			v.Held = e.ordinal
		}
		v.Candidates = append(v.Candidates, c)
	}
	return v
}

// knows reports whether pod is one to clone from.
func (b *donorBook) knows(pod string) bool {
	for _, e := range b.entries {
		if e.pod == pod {
			return true
		}
	}
	return false
}

// newRound makes everybody worth asking again, but for who is corrupt. How long somebody has been unfit is kept.
func (b *donorBook) newRound() {
	for i := range b.entries {
		if e := &b.entries[i]; e.fate != donorCorrupt {
			e.fate = donorNotAsked
		}
	}
}

func (b *donorBook) entry(ordinal int) *donorEntry {
	for i := range b.entries {
		if b.entries[i].ordinal == ordinal {
			return &b.entries[i]
		}
	}
	return &donorEntry{} // nobody that was ever asked
}

// note takes down an answer. Whoever is not unfit has a new patience from now on.
func (b *donorBook) note(ordinal int, fate donorFate, reason Reason) {
	e := b.entry(ordinal)
	e.fate, e.reason = fate, reason
	switch {
	case fate != donorUnfit:
		e.since = time.Time{}
	case e.since.IsZero():
		e.since = b.now()
	}
}

// silent takes down that a donor has not been reached for a while.
func (b *donorBook) silent(ordinal int, after time.Duration, reason Reason) {
	b.note(ordinal, donorUnfit, reason)
	if e, since := b.entry(ordinal), b.now().Add(-after); since.Before(e.since) {
		e.since = since
	}
}

// gives takes down that a donor has begun to give a copy: it is fit.
func (b *donorBook) gives(ordinal int) { b.entry(ordinal).since = time.Time{} }

// corrupt takes down bad pages, for as long as this process lives.
func (b *donorBook) corrupt(ordinal int, bad *clone.BadPagesError) {
	b.note(ordinal, donorCorrupt, NewReason(CodeBadPages, "%v", bad))
	b.entry(ordinal).bad = bad
}

// firstCorrupt is the nearest donor's bad pages; nil if it has none.
func (b *donorBook) firstCorrupt() error {
	for _, e := range b.entries {
		if e.bad != nil {
			return e.bad
		}
	}
	return nil
}

// judgeAnswer says what a pod's answer about itself makes of it as a donor for a pod of the given role. ok means that it can be asked for a copy, or, if it holds the snapshot of
// an unfinished one, asked to go on: a donor that has fallen behind still has the snapshot.
func judgeAnswer(a PeerAnswer, role Role, holds bool) (fate donorFate, why Reason, ok bool) {
	if a.Kind != PeerAnswered {
		return donorUnfit, a.Reason(), false
	}
	unfit := fitness(a.Status, role)
	switch {
	case unfit == nil, holds && a.Status.Phase == PhaseRun && a.Status.State != StateTerminating:
		return donorNotAsked, Reason{}, true
	case a.Status.State.isComing():
		fate = donorBuilding
	default:
		fate = donorUnfit
	}
	return fate, NewReason(CodeDonorNotReady, "%s: %s (%s)", a.Pod, unfit.Message, unfit.Code), false
}

// isComing reports whether a pod in this state has no data yet and is getting some without anybody's help.
func (s State) isComing() bool {
	switch s {
	case StateWaitingForSiblings, StateWaitingForDonor, StateCloning, StateFinishing, StateInitialising:
		return true
	}
	return false
}

// judgeError says what an error of asking for a copy, or of receiving one, makes of the donor.
func judgeError(err error, pod, address string) (donorFate, Reason) {
	var (
		refused *clone.RefusedError
		stalled *clone.StalledError
		silent  *clone.SilentError
		aborted *stream.AbortError
		useless *uselessError
		local   *localError
	)
	switch {
	case errors.As(err, &useless):
		return donorLater, NewReason(CodeCloneInterrupted, "%v; starting over", err)
	case errors.As(err, &local):
		return donorLater, NewReason(CodeVolumeNotWritable, "%v", err)
	case errors.Is(err, clone.ErrSnapshotGone):
		return donorLater, NewReason(CodeSnapshotGone, "%s no longer holds the snapshot that the copy was made from; starting over", pod)
	case errors.As(err, &refused) && refused.Code == clone.ReasonBusy:
		return donorLater, NewReason(CodeDonorBusy, "%s: %s", refused.Donor, refused.Message)
	case errors.As(err, &refused) && State(refused.Code).isComing():
		return donorBuilding, NewReason(CodeDonorNotReady, "%s: %s (%s)", refused.Donor, refused.Message, refused.Code)
	case errors.As(err, &refused):
		return donorUnfit, NewReason(CodeDonorNotReady, "%s: %s (%s)", refused.Donor, refused.Message, refused.Code)
	case errors.As(err, &silent):
		return donorUnfit, NewReason(CodeCloneStalled, "%s (%v)", noByte(silent.For, pod), silent.Err)
	case errors.As(err, &stalled):
		return donorUnfit, NewReason(CodeCloneStalled, "%s", noByte(stalled.After, pod))
	case errors.Is(err, stream.ErrTruncated):
		return donorUnfit, NewReason(CodeStreamTruncated, "%v", err)
	case errors.As(err, &aborted):
		return donorUnfit, NewReason(CodeDonorNotReady, "%s broke off: %s (%s)", pod, aborted.Message, aborted.Reason)
	case errors.Is(err, stream.ErrCorrupt):
		return donorUnfit, NewReason(CodeStreamCorrupt, "%v", err)
	}
	kind, why := explain(err, pod, address)
	return donorUnfit, PeerAnswer{Kind: kind, Why: why}.Reason()
}
