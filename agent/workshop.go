package agent

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"ordinal/internal/trust"
	"ordinal/internal/volume"
)

// A showing is how the work on a copy stands, for whoever asks.
type showing struct {
	State   State
	HasData HasData // of the copy, not of what may be served beside it
	Reasons []Reason
	Clone   *CloneProgress // nil: no byte is under way
}

// A workshop is where copies of a pod's data are made: in agent init before there is any, in agent run beside what is served.
type workshop struct {
	self
	vol     *volume.Volume
	keys    *trust.Ring
	metrics *Metrics
	beat    func()        // says that the work goes on
	show    func(showing) // must not block; called from several goroutines
}

// A waiter says what is waited for, in the log only when it is news: another state, other reasons, or after a minute another wording of them. A reason
// may have a figure that grows every second.
type waiter struct {
	workshop
	last   showing
	logged time.Time
}

// rewordedEvery is how long a wait has been logged before the same reasons in other words are worth a line.
const rewordedEvery = time.Minute

func (w *waiter) wait(state State, has HasData, reasons []Reason) {
	now := showing{State: state, HasData: has, Reasons: reasons}
	w.show(now)
	same := w.last.State == state && slices.EqualFunc(w.last.Reasons, reasons, func(a, b Reason) bool { return a.Code == b.Code })
	if !same || !slices.Equal(w.last.Reasons, reasons) && time.Since(w.logged) >= rewordedEvery {
		w.log.Info("waiting", zap.String("state", string(state)), zap.Stringers("reasons", reasons))
		w.last, w.logged = now, time.Now()
	}
}
