package agent

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"ordinal/internal/trust"
)

// Phase is which of the agent's two programs speaks.
type Phase string

// The phases.
const (
	PhaseInit Phase = "init" // before mysqld: agent init
	PhaseRun  Phase = "run"  // beside mysqld: agent run
)

// State is what the pod is doing, in one word.
type State string

// States of agent init.
const (
	StateWaitingForSiblings State = "waiting_for_siblings" // an empty source asks who has data
	StateWaitingForDonor    State = "waiting_for_donor"    // an empty replica has nobody to clone from yet
	StateWaitingForSpace    State = "waiting_for_space"    // the volume has no room for the copy
	StateCloning            State = "cloning"
	StateFinishing          State = "finishing" // the copy is complete: syncing, switching, writing the configuration
	StateRefused            State = "refused"   // a guard said no; the reasons say which
)

// States of agent run.
const (
	StateWaitingForMysqld State = "waiting_for_mysqld"
	StateInitialising     State = "initialising" // the image's first initialisation, with its temporary server
	StateGateClosed       State = "gate_closed"  // a source that must not take writes yet
	StateSource           State = "source"       // takes writes
	StateReplicating      State = "replicating"  // lag within bound
	StateCatchingUp       State = "catching_up"  // replicates, lag above the bound or not known yet
	StateNotReplicating   State = "not_replicating"
	StateSourceIsStranger State = "source_is_stranger" // the source's history does not contain ours: not followed
	StateRestoring        State = "restoring"          // data from a backup is being made, or what was archived after it is executed
	StateDiverged         State = "diverged"           // this replica has transactions the source lacks
	StateTerminating      State = "terminating"
)

// states lists what a pod can be doing in a phase.
func states(p Phase) []State {
	if p == PhaseInit {
		return []State{StateWaitingForSiblings, StateWaitingForDonor, StateWaitingForSpace, StateCloning, StateRestoring, StateFinishing, StateRefused}
	}
	return []State{
		StateWaitingForMysqld, StateInitialising, StateGateClosed, StateSource, StateReplicating, StateCatchingUp,
		StateNotReplicating, StateSourceIsStranger, StateDiverged, StateRestoring, StateTerminating,
	}
}

// HasData says whether the pod's volume holds a complete data directory.
type HasData string

// Answers to "do you have data?". Unknown is never taken for no.
const (
	DataYes      HasData = "yes"
	DataNo       HasData = "no"
	DataBuilding HasData = "building" // a clone or the first initialisation is under way
	DataUnknown  HasData = "unknown"
)

// Status is what a pod says about itself: the answer of /v1/status, of the data plane's /v1/peer and, per pod, of
// `agent status --json`. Fields are only ever added. It carries no secret and no row of data.
type Status struct {
	Pod     string   `json:"pod"`
	Ordinal int      `json:"ordinal"`
	Role    Role     `json:"role"`
	State   State    `json:"state"`
	Ready   bool     `json:"ready"`   // serving its role; the verdict of /readyz
	Reasons []Reason `json:"reasons"` // why it is not ready, or what to look at; never null

	ClusterID     string `json:"cluster_id"`     // "" not known (yet)
	ServerUUID    string `json:"server_uuid"`    // "" not known (yet)
	ServerVersion string `json:"server_version"` // "" not known (yet)
	GTIDExecuted  string `json:"gtid_executed"`  // as the server prints it
	GTIDPurged    string `json:"gtid_purged"`    // as the server prints it
	GTIDWaiting   string `json:"gtid_waiting"`   // of a replica: received and not executed yet
	// GTIDLocal is what a replica that was cloned has executed by itself: nobody else has ever had it from the source.
	GTIDLocal string  `json:"gtid_local"`
	HasData   HasData `json:"has_data"`

	LagSeconds *float64       `json:"lag_seconds"` // behind the source; null: not known, or this is the source
	UserTables *int           `json:"user_tables"` // base tables outside the system schemas; null: not known
	DataBytes  *uint64        `json:"data_bytes"`  // what a copy of the data takes on disk, about; null: not known
	Clone      *CloneProgress `json:"clone"`       // null: no clone under way

	Archive *ArchiveStatus `json:"archive,omitempty"` // of the binlogs; absent: nothing is archived, or nothing is known of it

	Secret       *trust.RingState `json:"secret"` // fingerprints of the secrets that are held; null: not known yet
	Phase        Phase            `json:"phase"`
	ObservedAt   time.Time        `json:"observed_at"` // when the above was true, by this pod's clock
	AgeSeconds   float64          `json:"age_seconds"` // how long ago that was when the answer was given, by this pod's monotonic clock
	AgentVersion string           `json:"agent_version"`
}

// CloneProgress is how far a recipient's clone is.
type CloneProgress struct {
	Donor              string    `json:"donor"` // pod name
	Stage              string    `json:"stage"`
	BytesDone          int64     `json:"bytes_done"`
	BytesTotal         int64     `json:"bytes_total"` // the donor's estimate; 0 unknown
	RateBytesPerSecond float64   `json:"rate_bytes_per_second"`
	ETASeconds         *float64  `json:"eta_seconds"` // null unknown
	Since              time.Time `json:"since"`
	Resumes            int       `json:"resumes"` // how often it went on after a break, those before this process's start included as one
}

// Reason is one thing worth saying about a pod. Code is stable and for machines, Message is for people and may change.
type Reason struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// NewReason formats a reason. A message never contains a secret.
func NewReason(code Code, format string, args ...any) Reason {
	return Reason{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (r Reason) String() string {
	if r.Message == "" {
		return string(r.Code)
	}
	return string(r.Code) + ": " + r.Message
}

// Lag returns the lag, and whether it is known.
func (s Status) Lag() (lag time.Duration, known bool) {
	if s.LagSeconds == nil {
		return 0, false
	}
	return time.Duration(*s.LagSeconds * float64(time.Second)), true
}

// clone returns a copy that shares nothing with s that could change.
func (s Status) clone() Status {
	s.Reasons = slices.Clone(s.Reasons)
	if s.Reasons == nil {
		s.Reasons = []Reason{} // null would be one more case for every reader
	}
	s.LagSeconds = copyOf(s.LagSeconds)
	s.UserTables = copyOf(s.UserTables)
	s.DataBytes = copyOf(s.DataBytes)
	if s.Secret = copyOf(s.Secret); s.Secret != nil {
		s.Secret.Accepted = slices.Clone(s.Secret.Accepted)
	}
	s.Archive = copyOf(s.Archive)
	s.Clone = copyOf(s.Clone)
	if s.Clone != nil {
		s.Clone.ETASeconds = copyOf(s.Clone.ETASeconds)
	}
	return s
}

func copyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// Board holds what was last observed, so that whoever asks is answered at once, whatever MySQL does. Safe for concurrent
// use. The zero Board is not usable; see NewBoard.
type Board struct {
	mu      sync.Mutex
	status  Status
	plan    *Plan     // of the latest turn; nil: none was made yet
	seen    time.Time // of the last Update, with its monotonic reading: a jump of the clock does not make it old
	started bool
	now     func() time.Time
}

// NewBoard returns a board that says that nothing is known yet.
func NewBoard(id Identity, phase Phase, agentVersion string) *Board {
	b := &Board{now: time.Now}
	state := StateWaitingForMysqld
	if phase == PhaseInit {
		state = StateWaitingForSiblings
		if id.Role() == RoleReplica {
			state = StateWaitingForDonor
		}
	}
	b.Update(func(s *Status) {
		*s = Status{
			Pod: id.Pod, Ordinal: id.Ordinal, Role: id.Role(), State: state, HasData: DataUnknown,
			Phase: phase, AgentVersion: agentVersion,
			Reasons: []Reason{NewReason(CodeStarting, "the agent has just started")},
		}
	})
	return b
}

// Update lets change alter the status and stamps it with the time. change runs under the board's lock: it only assigns.
func (b *Board) Update(change func(*Status)) { b.UpdateAsOf(b.now(), change) }

// UpdateAsOf is Update for what was true at a moment that is past.
func (b *Board) UpdateAsOf(at time.Time, change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
	b.seen = at
	b.status.ObservedAt = b.seen.UTC().Round(time.Millisecond)
	b.started = b.started || b.status.servesRole()
}

// Status returns the latest status. The caller owns it.
func (b *Board) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status.clone()
	s.AgeSeconds = b.now().Sub(b.seen).Seconds()
	return s
}

// SetPlan puts up what the agent is about to do. Nobody changes p afterwards.
func (b *Board) SetPlan(p *Plan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan = p
}

// Plan returns what the agent was about to do when it last thought about it; nil: it has not yet. The caller does not change it.
func (b *Board) Plan() *Plan {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.plan
}

// Age returns how long ago the last Update was.
func (b *Board) Age() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now().Sub(b.seen)
}

// Started reports whether the pod has served its role at least once since this board was made. It never turns back.
func (b *Board) Started() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.started
}

// servesRole reports whether mysqld is up in its role, however far behind a replica may be.
func (s Status) servesRole() bool {
	switch s.State {
	case StateSource, StateReplicating, StateCatchingUp:
		return s.Phase == PhaseRun
	}
	return false
}
