package agent

import "testing"

func TestAppointArchiver(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(pods []PeerAnswer)
		before string
		want   string
	}{
		{"the first replica", func([]PeerAnswer) {}, "", "mysql-1"},
		{"the one before stays", func([]PeerAnswer) {}, "mysql-2", "mysql-2"},
		{"the one before stays although it lags", func(p []PeerAnswer) { p[1].Status.State = StateCatchingUp }, "mysql-2", "mysql-2"},
		{"one that lags is not appointed", func(p []PeerAnswer) { p[0].Status.State = StateCatchingUp }, "", "mysql-2"},
		{"the one before is gone", func(p []PeerAnswer) { p[1] = silent("mysql-2") }, "mysql-2", "mysql-1"},
		{"the one before is cloned anew", func(p []PeerAnswer) { p[1].Status.Phase = PhaseInit }, "mysql-2", "mysql-1"},
		{"one of another cluster", func(p []PeerAnswer) { p[0].Status.ClusterID = clusterB }, "", "mysql-2"},
		{"the source is alone", func(p []PeerAnswer) { p[0], p[1] = silent("mysql-1"), silent("mysql-2") }, "", "mysql-0"},
		{"a replica comes", func([]PeerAnswer) {}, "mysql-0", "mysql-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := wellSet()
			siblings := all[1:]
			c.change(siblings)
			if got := appointArchiver("mysql-0", clusterA, siblings, c.before); got != c.want {
				t.Errorf("appointed %s, want %s", got, c.want)
			}
		})
	}
}
