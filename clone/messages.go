package clone

import (
	"ordinal/clone/protocol"
	"ordinal/stream"
)

// Reason codes of answers on the data plane. They are an API: only ever added. See docs/reason-codes.md.
const (
	ReasonBusy          = "donor_busy"
	ReasonNoClonePlugin = "clone_plugin_inactive"
	ReasonUnsupported   = "unsupported_content"
	ReasonDonorFailed   = "donor_failed"
	ReasonDonorNoSpace  = "donor_no_space"
	ReasonNoSession     = "no_such_session"
	ReasonSnapshotGone  = "snapshot_gone"
	ReasonBadRequest    = "bad_request"
)

// sessionsPath is the root of the clone endpoint. See docs/formats/data-plane.md.
const sessionsPath = "/v1/clone/sessions"

// Bounds of the bodies of requests, in bytes. An attempt names the chunks that the recipient holds, a bit each.
const (
	maxRequest        = 64 << 10
	maxAttemptRequest = 16 << 20
)

// maxStreams is how many connections one attempt may have.
const maxStreams = 16

// openRequest asks for a session.
type openRequest struct {
	Workers  int    `json:"workers,omitempty"`  // at most; 0: the donor chooses; negative: none
	Streams  int    `json:"streams,omitempty"`  // at most; 0: the donor chooses
	Compress string `json:"compress,omitempty"` // auto, on or off; "": off
	MaxRate  uint64 `json:"max_rate,omitempty"` // bytes per second; 0: none of the recipient's
}

// openAnswer grants one.
type openAnswer struct {
	Session      string       `json:"session"`
	Hello        stream.Hello `json:"hello"`
	LeaseSeconds int          `json:"lease_seconds"` // how long it is kept after a break
}

// attemptRequest begins to transfer, or goes on after a break.
type attemptRequest struct {
	Progress protocol.Progress `json:"progress"` // what the recipient holds
}

// attemptAnswer says where to fetch.
type attemptAnswer struct {
	Attempt int `json:"attempt"`
	Lanes   int `json:"lanes"`
}

// confirmRequest says that a stage is durable at the recipient.
type confirmRequest struct {
	Attempt int          `json:"attempt"`
	Stage   stream.Stage `json:"stage"`
}

// refusal is the body of every answer that is not a success.
type refusal struct {
	Reason    string   `json:"reason"`
	Message   string   `json:"message"`
	What      string   `json:"what,omitempty"` // with unsupported_content
	Names     []string `json:"names,omitempty"`
	Permanent bool     `json:"permanent,omitempty"`
}
