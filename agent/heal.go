package agent

import "ordinal/mysqlx"

// HealPolicy says whether the agent builds a replica's data anew by itself.
type HealPolicy string

// The policies.
const (
	HealAuto   HealPolicy = "auto"   // what is taken out of service is kept in quarantine/
	HealReport HealPolicy = "report" // only say what would be done
)

// A rebuildCause is why a pod's data cannot go on and has to be replaced by a copy.
type rebuildCause struct {
	Code    Code
	Message string
	// OnlyHere is what no pod that could be asked has but this one: it is exported before, and its quarantine is kept.
	OnlyHere mysqlx.GTIDSet
	// Lineage is the cluster that the copy has to be of.
	Lineage string
}

// A rebuildView is how a rebuild stands.
type rebuildView struct {
	Cause   rebuildCause
	Now     showing
	Failed  string // why it ended without a copy; "": it has not
	Resting bool   // it failed not long ago
}

// heal asks for a new copy of the data where the policy lets the agent, and else says what it would do.
func (d verdict) heal(v view, cause rebuildCause) verdict {
	if cause.Lineage == "" {
		cause.Lineage = v.ClusterID
	}
	d = d.because(cause.Code, "%s", cause.Message)
	d.Cause = &cause
	switch {
	case v.Heal != HealAuto:
		return d.because(CodeRebuildNeeded, "with --heal=auto the agent would clone this pod anew, and keep its data in quarantine/; or run `agent rebuild` in this pod")
	case v.Held != "":
		return d.because(CodeReplicationHeld, "it would be cloned anew, but somebody asked the agent to keep its hands off: %s", v.Held)
	case v.Rebuild == nil, v.Rebuild.Failed != "" && !v.Rebuild.Resting:
		d.Do = actRebuild
		return d.because(CodeRebuilding, "a new copy is made beside the data, which is kept")
	case v.Rebuild.Failed != "":
		return d.because(CodeRebuildFailed, "a new copy could not be made: %s; it is tried again in a while", v.Rebuild.Failed)
	}
	return d.because(CodeRebuilding, "a new copy is being made beside the data, which is kept (%s)", v.Rebuild.Now.State)
}
