package agent

import (
	"testing"
	"time"
)

func TestReadiness(t *testing.T) {
	type turn struct {
		at      int // seconds
		serving bool
		lag     int // seconds, -1 unknown
		want    bool
		code    Code
	}
	for _, tt := range []struct {
		name  string
		role  Role
		turns []turn
	}{
		{"a source is ready while it serves", RoleSource, []turn{{0, false, -1, false, ""}, {1, true, -1, true, ""}, {2, false, -1, false, ""}}},
		{"a new replica catches up to half the bound first", RoleReplica, []turn{
			{0, false, -1, false, ""}, {1, true, -1, false, CodeLagUnknown}, {2, true, 40, false, CodeLagAboveBound},
			{3, true, 29, false, CodeLagAboveBound}, {4, true, 15, true, ""}}},
		{"no flapping at the bound", RoleReplica, []turn{
			{0, true, 0, true, ""}, {1, true, 30, true, ""}, {2, true, 31, false, CodeLagAboveBound}, {3, true, 29, false, CodeLagAboveBound},
			{4, true, 31, false, CodeLagAboveBound}, {5, true, 10, true, ""}, {6, true, 29, true, ""}}},
		{"source down: ready until the lag is unknown for longer than the bound", RoleReplica, []turn{
			{0, true, 0, true, ""}, {10, true, -1, true, ""}, {30, true, -1, true, ""}, {31, true, -1, false, CodeLagUnknown},
			{60, true, -1, false, CodeLagUnknown}, {61, true, 0, true, ""}}},
		{"the source coming back for a moment starts the count anew", RoleReplica, []turn{
			{0, true, 0, true, ""}, {29, true, -1, true, ""}, {30, true, 1, true, ""}, {59, true, -1, true, ""}, {61, true, -1, false, CodeLagUnknown}}},
		{"an unready replica does not become ready on an unknown lag", RoleReplica, []turn{
			{0, true, 60, false, CodeLagAboveBound}, {1, true, -1, false, CodeLagUnknown}}},
		{"mysqld away: at once", RoleReplica, []turn{{0, true, 0, true, ""}, {1, false, -1, false, ""}, {2, true, -1, false, CodeLagUnknown}, {3, true, 0, true, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Readiness{MaxLag: 30 * time.Second}
			start := time.Now()
			for _, turn := range tt.turns {
				o := Observation{Role: tt.role, Serving: turn.serving}
				if turn.lag >= 0 {
					lag := time.Duration(turn.lag) * time.Second
					o.Lag = &lag
				}
				v := r.Observe(start.Add(time.Duration(turn.at)*time.Second), o)
				var code Code
				if v.Reason != nil {
					code = v.Reason.Code
				}
				if v.Ready != turn.want || code != turn.code {
					t.Fatalf("at %d s: Observe(%+v) = %v %q, want %v %q", turn.at, turn, v.Ready, code, turn.want, turn.code)
				}
			}
		})
	}
}
