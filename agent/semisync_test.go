package agent

import (
	"strings"
	"testing"
	"time"
)

func TestUnheard(t *testing.T) {
	var u unheard
	start := time.Now()
	for i, step := range []struct {
		at      time.Duration
		waiting int
		acked   uint64
		want    time.Duration
	}{
		{0, 0, 5, 0},
		{1, 1, 5, 0}, // begins to wait
		{4, 3, 5, 3},
		{6, 3, 6, 0}, // one was acknowledged
		{9, 3, 6, 3},
		{10, 0, 6, 0},
		{30, 1, 6, 0}, // nobody waited in between
		{41, 1, 6, 11},
	} {
		if got := u.look(start.Add(step.at*time.Second), step.waiting, step.acked); got != step.want*time.Second {
			t.Errorf("step %d: %v, want %d s", i, got, step.want)
		}
	}
}

func TestNobodyAcknowledges(t *testing.T) {
	on := semisyncView{Wanted: true, Known: true, Plugins: true, On: true, Clients: 1}
	for _, tt := range []struct {
		name   string
		change func(*semisyncView)
		want   string // in the reason; "": none
	}{
		{"a replica acknowledges", func(*semisyncView) {}, ""},
		{"a commit waits a moment", func(s *semisyncView) { s.Waiting, s.Unheard = 2, 3*time.Second }, ""},
		{"no replica", func(s *semisyncView) { s.Clients, s.Waiting = 0, 4 }, "4 sessions wait"},
		{"a replica that was cut off", func(s *semisyncView) { s.Waiting, s.Unheard = 2, 12*time.Second }, "acknowledged one for 12s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := on
			tt.change(&s)
			v := view{Semisync: s}
			v.Rotation.Rotate = true
			d := s.judge(rotate(verdict{State: StateSource}, v))
			var said string
			for _, r := range d.Reasons {
				if r.Code == CodeNobodyAcknowledges {
					said = r.Message
				}
			}
			if (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) {
				t.Errorf("it says %q, want %q", said, tt.want)
			}
			// A change of accounts would wait for the replica with a lock that the replica needs to log in.
			if rotates := d.Do == actRotate; rotates != (tt.want == "") {
				t.Errorf("it rotates passwords: %v", rotates)
			}
		})
	}
}
