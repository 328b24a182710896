package agent

import (
	"fmt"
	"time"
)

// Observation is what readiness depends on.
type Observation struct {
	Role Role
	// Serving: mysqld is up in its role. A source takes writes; a replica holds this cluster's data, is super_read_only and
	// has no transactions of its own. Whether the replica's source is up does not matter here.
	Serving bool
	Lag     *time.Duration // of a replica; nil not known, for instance because the source is down
}

// Verdict is the answer of a Readiness.
type Verdict struct {
	Ready  bool
	Reason *Reason // why not, as far as lag is the cause; nil otherwise
}

// Readiness decides whether a pod is ready, with hysteresis, so that a replica at the edge of the bound does not flap in and
// out of its Service:
//
//   - Not serving its role: not ready, at once.
//   - A source that serves is ready.
//   - A replica becomes ready when its lag is at most half of MaxLag, and stops being ready when its lag exceeds MaxLag.
//   - Source down: what is known about the lag is then its past. A ready replica stays ready for reads until the lag has been
//     unknown for longer than MaxLag: until then its data is not older than twice the bound. One that was not ready does not
//     become ready on an unknown lag.
//
// It is a pure state machine: time is an argument. Not safe for concurrent use.
type Readiness struct {
	MaxLag time.Duration

	ready   bool
	knownAt time.Time // when the lag was last known
}

// Observe takes in what is true at now and returns the verdict. Call it once per turn of the loop.
func (r *Readiness) Observe(now time.Time, o Observation) Verdict {
	if o.Lag != nil {
		r.knownAt = now
	}
	switch {
	case !o.Serving:
		r.ready = false
		return Verdict{}
	case o.Role == RoleSource:
		r.ready = true
		return Verdict{Ready: true}
	case o.Lag == nil:
		return r.unknown(now)
	case *o.Lag > r.MaxLag, !r.ready && *o.Lag > r.MaxLag/2:
		r.ready = false
		return r.no(CodeLagAboveBound, fmt.Sprintf("lag %v; ready again at %v", o.Lag.Round(time.Millisecond), r.MaxLag/2))
	}
	r.ready = true
	return Verdict{Ready: true}
}

func (r *Readiness) unknown(now time.Time) Verdict {
	if !r.ready {
		return r.no(CodeLagUnknown, "it has to be known once before the replica is ready")
	}
	silent := now.Sub(r.knownAt)
	if silent > r.MaxLag {
		r.ready = false
		return r.no(CodeLagUnknown, fmt.Sprintf("not known for %v, bound %v", silent.Round(time.Second), r.MaxLag))
	}
	return Verdict{Ready: true}
}

func (r *Readiness) no(code Code, message string) Verdict {
	return Verdict{Reason: &Reason{Code: code, Message: message}}
}
