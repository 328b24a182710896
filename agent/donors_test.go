package agent

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"ordinal/clone"
	"ordinal/stream"
)

func TestJudgeAnswer(t *testing.T) {
	says := func(phase Phase, state State) PeerAnswer {
		return PeerAnswer{Pod: "mysql-1", Kind: PeerAnswered, Status: Status{Pod: "mysql-1", Phase: phase, State: state}}
	}
	tests := []struct {
		name  string
		in    PeerAnswer
		fate  donorFate
		ok    bool // to be asked for a copy
		holds bool // to be asked to go on with one
	}{
		{"the source", says(PhaseRun, StateSource), donorNotAsked, true, true},
		{"a replica", says(PhaseRun, StateReplicating), donorNotAsked, true, true},
		{"behind", says(PhaseRun, StateCatchingUp), donorUnfit, false, true},
		{"stopped", says(PhaseRun, StateNotReplicating), donorUnfit, false, true},
		{"its gate is closed", says(PhaseRun, StateGateClosed), donorUnfit, false, true},
		{"mysqld does not answer", says(PhaseRun, StateWaitingForMysqld), donorUnfit, false, true},
		{"its agent ends", says(PhaseRun, StateTerminating), donorUnfit, false, false},
		{"first initialisation", says(PhaseRun, StateInitialising), donorBuilding, false, true},
		{"asks its siblings", says(PhaseInit, StateWaitingForSiblings), donorBuilding, false, false},
		{"waits for its own donor", says(PhaseInit, StateWaitingForDonor), donorBuilding, false, false},
		{"is cloning", says(PhaseInit, StateCloning), donorBuilding, false, false},
		{"is about to start", says(PhaseInit, StateFinishing), donorBuilding, false, false},
		{"has no room for its own copy", says(PhaseInit, StateWaitingForSpace), donorUnfit, false, false},
		{"refuses to start", says(PhaseInit, StateRefused), donorUnfit, false, false},
		{"says what nobody knows", says(PhaseRun, "brand_new"), donorUnfit, false, true},
		{"absent", PeerAnswer{Kind: PeerAbsent}, donorUnfit, false, false},
		{"silent", PeerAnswer{Kind: PeerSilent}, donorUnfit, false, false},
	}
	for _, test := range tests {
		for _, holds := range []bool{false, true} {
			want, wantFate := test.ok, test.fate
			if holds {
				want = test.holds
			}
			if want {
				wantFate = donorNotAsked
			}
			fate, why, ok := judgeAnswer(test.in, RoleReplica, holds)
			if fate != wantFate || ok != want || !ok && why.Code == "" {
				t.Errorf("%s, holds %t: judgeAnswer() = %d, %v, %t, want %d, %t", test.name, holds, fate, why, ok, wantFate, want)
			}
		}
	}
}

func TestJudgeError(t *testing.T) {
	refused := func(code string) error {
		return fmt.Errorf("ask: %w", &clone.RefusedError{Donor: "mysql-1", Code: code, Message: "m"})
	}
	tests := []struct {
		err  error
		fate donorFate
		want string
	}{
		{refused(clone.ReasonBusy), donorLater, "donor_busy: mysql-1: m"},
		{refused(string(StateCloning)), donorBuilding, "donor_not_ready: mysql-1: m (cloning)"},
		{refused(string(StateCatchingUp)), donorUnfit, "donor_not_ready: mysql-1: m (catching_up)"},
		{refused(clone.ReasonDonorNoSpace), donorUnfit, "donor_not_ready: mysql-1: m (donor_no_space)"},
		{fmt.Errorf("clone: %w", clone.ErrSnapshotGone), donorLater, "snapshot_gone: mysql-1 no longer holds the snapshot that the copy was made from; starting over"},
		{&clone.SilentError{Donor: "mysql-1", For: 5 * time.Minute, Err: errors.New("x")}, donorUnfit, "clone_stalled: no byte for 300 s from mysql-1 (x)"},
		{&clone.StalledError{Donor: "mysql-1", After: time.Minute}, donorUnfit, "clone_stalled: no byte for 60 s from mysql-1"},
		{fmt.Errorf("clone: %w", stream.ErrTruncated), donorUnfit, "stream_truncated: clone: " + stream.ErrTruncated.Error()},
		{fmt.Errorf("clone: %w", stream.ErrCorrupt), donorUnfit, "stream_corrupt: clone: " + stream.ErrCorrupt.Error()},
		{&stream.AbortError{Reason: "donor_failed", Message: "m"}, donorUnfit, "donor_not_ready: mysql-1 broke off: m (donor_failed)"},
		{&uselessError{clone.ErrSaved}, donorLater, "clone_interrupted: " + clone.ErrSaved.Error() + "; starting over"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, donorUnfit, "peer_silent: mysql-1 (h:1) refused the connection: no agent listens there"},
	}
	for _, test := range tests {
		if fate, why := judgeError(test.err, "mysql-1", "h:1"); fate != test.fate || why.String() != test.want {
			t.Errorf("judgeError(%v) = %d, %q, want %d, %q", test.err, fate, why, test.fate, test.want)
		}
	}
}

func TestDonorBook(t *testing.T) {
	now := time.Now()
	b := newDonorBook(Identity{Base: "mysql", Pod: "mysql-4", Ordinal: 4, First: 1}, 2*time.Minute)
	b.now = func() time.Time { return now }
	mustChoose := func(what string, step donorStep, ordinal int, held string) {
		t.Helper()
		if got := decideDonor(b.view(held)); got.Step != step || got.Ordinal != ordinal {
			t.Errorf("%s: decideDonor() = %+v, want step %d, ordinal %d", what, got, step, ordinal)
		}
	}
	silent := NewReason(CodePeerSilent, "")

	mustChoose("first", donorAsk, 3, "")
	b.note(3, donorUnfit, silent)
	mustChoose("just unfit", donorWait, 0, "")
	now = now.Add(time.Minute)
	b.newRound()
	mustChoose("next round", donorAsk, 3, "")
	b.note(3, donorUnfit, silent)
	mustChoose("unfit for a minute", donorWait, 0, "")
	now = now.Add(time.Minute)
	mustChoose("unfit for two", donorAsk, 2, "")
	b.note(2, donorUnfit, silent)
	mustChoose("the next one is unfit, too", donorAsk, 1, "")
	b.note(1, donorBuilding, silent)
	mustChoose("the last one is coming", donorWait, 0, "")

	b.newRound()
	b.note(3, donorBuilding, silent)
	b.newRound()
	b.note(3, donorUnfit, silent)
	mustChoose("one that was coming has all patience again", donorWait, 0, "")
	b.newRound()
	b.note(3, donorUnfit, silent)
	now = now.Add(2 * time.Minute)
	b.gives(3)
	b.note(3, donorUnfit, silent)
	mustChoose("so has one that gave a copy", donorWait, 0, "")

	mustChoose("the donor of a copy comes first", donorAsk, 1, "mysql-1")
	b.newRound()
	mustChoose("whoever it is", donorAsk, 1, "mysql-1")
	b.silent(1, 299*time.Second, silent)
	mustChoose("it may come back", donorWait, 0, "mysql-1")
	b.silent(1, 300*time.Second, silent)
	mustChoose("it does not", donorAsk, 3, "mysql-1")
	if b.knows("mysql-4") || b.knows("mysql-0") || !b.knows("mysql-1") {
		t.Error("the book knows others than mysql-1 to mysql-3")
	}

	for o := 3; o >= 1; o-- {
		if b.firstCorrupt() != nil && o == 3 {
			t.Error("somebody is corrupt")
		}
		b.corrupt(o, &clone.BadPagesError{Donor: "mysql-" + string(rune('0'+o)), File: "f", Pages: []uint64{1}})
		b.newRound()
	}
	mustChoose("all are corrupt", donorNone, 0, "mysql-2")
	var bad *clone.BadPagesError
	if !errors.As(b.firstCorrupt(), &bad) || bad.Donor != "mysql-3" {
		t.Errorf("firstCorrupt() = %v, want the nearest pod's", b.firstCorrupt())
	}
}
