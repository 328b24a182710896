package agent

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// answers of a set of three that is well.
func wellSet() []PeerAnswer {
	source := peer("mysql-0", clusterA, ours+":1-100")
	source.Ordinal, source.Status.Role, source.Status.State, source.Status.Phase, source.Status.HasData = 0, RoleSource, StateSource, PhaseRun, DataYes
	all := []PeerAnswer{source}
	for n, has := range []string{ours + ":1-99", ours + ":1-98"} {
		lag := 0.5
		p := peer([]string{"mysql-1", "mysql-2"}[n], clusterA, has)
		p.Ordinal, p.Status.Role, p.Status.State, p.Status.Phase, p.Status.HasData, p.Status.LagSeconds = n+1, RoleReplica, StateReplicating, PhaseRun, DataYes, &lag
		all = append(all, p)
	}
	return all
}

func TestDecideBackup(t *testing.T) {
	minutes := 120.0
	for _, c := range []struct {
		name   string
		change func(v *backupView)
		want   string // the pods in order; or what the error says
	}{
		{"the freshest replica", func(*backupView) {}, "mysql-1 mysql-2"},
		{"of equals the last one", func(v *backupView) { v.Pods[2].Status.GTIDExecuted = ours + ":1-99" }, "mysql-2 mysql-1"},
		{"a replica that lags", func(v *backupView) { v.Pods[1].Status.LagSeconds = &minutes }, "mysql-2"},
		{"a replica whose lag is not known", func(v *backupView) { v.Pods[1].Status.LagSeconds = nil }, "mysql-2"},
		{"a replica that has diverged", func(v *backupView) { v.Pods[1].Status.State = StateDiverged }, "mysql-2"},
		{"a replica that is silent", func(v *backupView) { v.Pods[1] = silent("mysql-1") }, "mysql-2"},
		{"no replica is fit", func(v *backupView) {
			v.Pods[1].Status.State, v.Pods[2] = StateNotReplicating, silent("mysql-2")
		}, "mysql-1 is not_replicating; mysql-2"},
		{"no replica is fit, the source may", func(v *backupView) {
			v.Pods[1].Status.State, v.Pods[2], v.FromSource = StateNotReplicating, silent("mysql-2"), true
		}, "mysql-0"},
		{"a replica comes before the source that may", func(v *backupView) { v.FromSource = true }, "mysql-1 mysql-2 mysql-0"},
		{"the source is alone", func(v *backupView) { v.Pods = v.Pods[:1] }, "mysql-0"},
		{"its replicas were scaled away", func(v *backupView) {
			v.Pods[1], v.Pods[2] = PeerAnswer{Pod: "mysql-1", Kind: PeerAbsent, Why: "no such name"}, PeerAnswer{Pod: "mysql-2", Kind: PeerAbsent, Why: "no such name"}
		}, "mysql-0"},
		{"somebody wants the source", func(v *backupView) { v.From = "mysql-0" }, "mysql-0"},
		{"somebody wants a replica", func(v *backupView) { v.From = "mysql-2" }, "mysql-2"},
		{"somebody wants a replica that is not fit", func(v *backupView) { v.From, v.Pods[2].Status.State = "mysql-2", StateNotReplicating }, "mysql-2 is not_replicating"},
		{"somebody wants a pod that is not there", func(v *backupView) { v.From = "mysql-7" }, "mysql-7 is no pod of this set"},
		{"two clusters", func(v *backupView) { v.Pods[2].Status.ClusterID = clusterB }, "belongs to cluster"},
		{"nobody", func(v *backupView) { v.Pods = nil }, "the set has no pods"},
		{"a pod that is being built", func(v *backupView) { v.Pods[1].Status.Phase = PhaseInit }, "mysql-2"},
		{"a source that is closed", func(v *backupView) { v.Pods, v.Pods[0].Status.State = v.Pods[:1], StateGateClosed }, "mysql-0 is gate_closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := backupView{Pods: wellSet(), MaxLag: time.Minute}
			c.change(&v)
			donors, err := decideBackup(v)
			var got []string
			for _, d := range donors {
				got = append(got, d.Answer.Pod)
			}
			text := strings.Join(got, " ")
			var none *NoDonorError
			if err != nil {
				text = err.Error()
				if errors.As(err, &none) && none.Hint() == "" {
					t.Error("no remedy")
				}
			}
			if err == nil && text != c.want || err != nil && !strings.Contains(text, c.want) {
				t.Errorf("decideBackup() = %q, want %q", text, c.want)
			}
		})
	}
}
