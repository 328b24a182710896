package agent

import (
	"context"

	"ordinal/mysqlx"
)

// Durability says when a source acknowledges a commit.
type Durability string

// The durabilities.
const (
	DurabilityAsync    Durability = "async"    // when it has it itself
	DurabilitySemisync Durability = "semisync" // when a replica has it as well
)

// A semisyncView is how a source's commits are acknowledged.
type semisyncView struct {
	Wanted  bool // --durability=semisync
	Known   bool // the rest was asked
	Plugins bool // the server has what it needs
	On      bool
	Clients int // replicas that acknowledge
	Waiting int // sessions whose commit waits for one
}

// differs reports whether the server is not set as it should be, and can be.
func (s semisyncView) differs() bool {
	return s.Known && s.Plugins && s.On != s.Wanted
}

// want says what differs wants.
func (s semisyncView) want() string {
	if s.Wanted {
		return "a commit is to be acknowledged when a replica has it"
	}
	return "a commit is to be acknowledged without waiting for a replica"
}

// judge adds what there is to say of a source that takes writes. One that nobody acknowledges goes on to serve reads; its commits wait.
func (s semisyncView) judge(d verdict) verdict {
	switch {
	case !s.Wanted || !s.Known:
		return d
	case !s.Plugins:
		return d.because(CodeSemisyncMissing, "--durability=semisync was asked for, and this server has no plugins for it: commits are not protected")
	case s.Clients == 0:
		return d.because(CodeNobodyAcknowledges, "no replica acknowledges: %d sessions wait in their commit until one does", s.Waiting)
	}
	return d
}

// observeSemisync asks how commits are acknowledged. A server that cannot say is asked again in the next turn.
func (r *runner) observeSemisync(ctx context.Context, db *mysqlx.DB, v *view) {
	v.Semisync.Wanted = r.cfg.Durability == DurabilitySemisync
	now, err := db.SemiSync(ctx)
	if err != nil {
		return
	}
	v.Semisync.Known, v.Semisync.Plugins, v.Semisync.On = true, now.SourcePlugin, now.SourceEnabled
	v.Semisync.Clients, v.Semisync.Waiting = now.Clients, now.WaitingSessions
}
