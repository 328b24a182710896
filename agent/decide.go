package agent

import "ordinal/internal/volume"

// decide is the whole judgement of a turn; it looks at nothing but v.
func decide(v view) verdict {
	if !v.hasData() {
		return decideUnfinished(v)
	}
	if v.Volume == volume.Switching {
		return decideSwitch(v)
	}
	if d, up := decideMysqld(v); !up {
		return d
	}
	var d verdict
	switch {
	case v.Replaced:
		d = verdict{State: StateNotReplicating, Do: actRetire}
		return d.because(CodeRebuilding, "the old data goes to quarantine")
	case v.Replay != nil:
		d = decideReplay(v)
	case v.Role == RoleSource:
		d = decideSource(v)
	default:
		d = decideReplica(v)
	}
	for _, o := range v.Overridden {
		d = d.because(CodeConfigOverridden, "%s", o)
	}
	if name, ok := spare(v.Quarantine, v); d.Do == actNone && ok {
		d.Do, d.Spare = actDropSpare, name
	}
	if d.Do == actNone && v.answerable() {
		d.Do = actAnswer
	}
	if d.Do == actNone && v.Rebuild != nil && d.Cause == nil && d.refutes() {
		d.Do = actDropRebuild
	}
	return d
}

// answerable reports whether somebody asked for something that can be done now. A source's data is changed by agent init only, while
// nobody writes; a rebuild is the replica's own decision.
func (v view) answerable() bool {
	switch {
	case v.Request == nil || v.Request.Kind == volume.RequestRebuild:
		return false
	case v.Request.Kind == volume.RequestUndo:
		return v.Role == RoleReplica && v.Rebuild == nil && !v.Replaced
	}
	return true
}

// refutes reports whether a verdict that sees no cause for a rebuild is worth more than the one that began it: one that is made while
// the source cannot be asked is not.
func (d verdict) refutes() bool {
	switch d.State {
	case StateReplicating, StateSource, StateSourceIsStranger:
		return true
	}
	return false
}

// decideMysqld is about a server that cannot be asked, whatever the role.
func decideMysqld(v view) (d verdict, up bool) {
	d = verdict{State: StateWaitingForMysqld}
	if !v.ConfigGood {
		// A server that restarts must find that it may not take writes, so this comes before all else.
		d.Do = actConfigure
		return d, false
	}
	switch v.Mysqld.Reach {
	case mysqldUp:
		return verdict{}, true
	case mysqldTemporary:
		return d.because(CodeMysqldInitialising, "mysqld runs without network"), false
	case mysqldDenied, mysqldNoRoot:
		d.State = StateNotReplicating
		if v.Role == RoleSource {
			d.State = StateGateClosed
		}
		return d.because(CodeAccessDenied, "%s", v.Mysqld.Why), false
	case mysqldFailing:
		return d.because(CodeMysqldError, "%s", v.Mysqld.Why), false
	}
	return d.because(CodeMysqldNotAnswering, "%s", v.Mysqld.Why), false
}
