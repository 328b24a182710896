package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
	"ordinal/mysqlx"
)

// A plan is what agent plan and agent init --plan print with --json.
type plan struct {
	Pod          string            `json:"pod"`
	Role         string            `json:"role"`
	Decision     string            `json:"decision"`
	Reasons      []localset.Reason `json:"reasons"`
	Donor        string            `json:"donor"`
	Volume       string            `json:"volume"`
	GTIDExecuted mysqlx.GTIDSet    `json:"gtid_executed"`
	Siblings     []siblingInPlan   `json:"siblings"`
	BytesNeeded  *uint64           `json:"bytes_needed"`
	BytesFree    *uint64           `json:"bytes_free"`
	Quarantined  string            `json:"quarantined"`
	Exported     mysqlx.GTIDSet    `json:"exported"`
	Lost         string            `json:"lost"`
}

type siblingInPlan struct {
	Pod          string         `json:"pod"`
	Answer       string         `json:"answer"`
	ClusterID    string         `json:"cluster_id"`
	GTIDExecuted mysqlx.GTIDSet `json:"gtid_executed"`
}

// gives reports whether a plan names a reason.
func (p plan) gives(code string) bool {
	return slices.ContainsFunc(p.Reasons, func(r localset.Reason) bool { return r.Code == code })
}

// planned runs agent init --plan on a pod's volume, checks that it changes nothing there, and returns what it says.
func planned(ctx context.Context, t *testing.T, p *handPod, code int) plan {
	t.Helper()
	before := listing(t, p.volume, p.conf)
	o := p.run(ctx, "init", "--plan", "--json")
	mustBeUntouched(t, before, p.volume, p.conf)
	if o.code != code {
		t.Fatalf("init --plan ended with %d, want %d: %s", o.code, code, o.stderr)
	}
	return readPlan(t, p.name, o.stdout)
}

func readPlan(t *testing.T, pod, text string) (p plan) {
	t.Helper()
	must(t, json.Unmarshal([]byte(text), &p))
	if p.Pod != pod || p.Lost != "nothing" || p.Reasons == nil {
		t.Errorf("planned for %s: %s", pod, text)
	}
	return p
}

// TestPlan: what is about to be done is told before, by agent init --plan for a volume and by agent plan for a running pod, without changing
// anything; and what was told is what is done.
func TestPlan(t *testing.T) {
	t.Parallel()
	ctx := withDeadline(t, 8*time.Minute)
	var heal atomic.Value
	heal.Store("report")
	s := localset.ForTest(t, localset.Options{Replicas: 3, Database: "shop", AgentArgs: func(int) []string { return []string{"--heal=" + heal.Load().(string)} }})
	must(t, s.WaitReady(ctx))
	must(t, s.Exec(ctx, 0, "CREATE TABLE shop.t (id INT PRIMARY KEY)"))
	must(t, s.WaitConverged(ctx))
	cluster, all := lineage(ctx, t, s, 0), executed(ctx, t, s, 0)
	for n := range 3 {
		waitStatus(ctx, t, s, n, "the status to have everything", func(st localset.Status) bool {
			set, err := mysqlx.ParseGTIDSet(st.GTIDExecuted)
			return err == nil && set.Equal(all)
		})
	}
	hand := func(name string) *handPod { return newHandPod(t, name, hostsOf(s), s.SecretFile()) }

	t.Run("a volume that is complete", func(t *testing.T) {
		must(t, s.Change(ctx, 2, func(volume string) error { // nothing of the pod runs
			h := hand("mysql-2")
			h.volume = volume
			if p := planned(ctx, t, h, 0); p.Decision != "serve" || p.Role != "replica" || len(p.Siblings) > 0 {
				t.Errorf("planned %+v", p)
			}
			return nil
		}))
		must(t, s.WaitReady(ctx))
	})

	t.Run("an empty replica", func(t *testing.T) {
		p := planned(ctx, t, hand("mysql-3"), 0)
		if p.Decision != "clone" || p.Donor != "mysql-2" || p.BytesNeeded == nil || *p.BytesNeeded < 10<<20 || p.BytesFree == nil || *p.BytesFree == 0 {
			t.Errorf("planned %+v", p)
		}
	})

	t.Run("an empty source whose siblings have data", func(t *testing.T) {
		p := planned(ctx, t, hand("mysql-0"), 0)
		if p.Decision != "reverse_clone" || p.Role != "source" || p.Donor != "mysql-1" || !p.gives("siblings_have_data") || p.BytesNeeded == nil {
			t.Errorf("planned %+v", p)
		}
		for n, pod := range []string{"mysql-1", "mysql-2"} {
			if len(p.Siblings) != 2 || p.Siblings[n].Pod != pod || p.Siblings[n].Answer != "answered" || p.Siblings[n].ClusterID != cluster || !p.Siblings[n].GTIDExecuted.Equal(all) {
				t.Fatalf("it rests on %+v, want %s and %v", p.Siblings, pod, all)
			}
		}
	})

	t.Run("files that are not ours", func(t *testing.T) {
		h := hand("mysql-1")
		must(t, os.WriteFile(filepath.Join(h.volume, "holiday.jpg"), nil, 0o644))
		if p := planned(ctx, t, h, 80); p.Decision != "refuse" || !p.gives("foreign_data") {
			t.Errorf("planned %+v", p)
		}
	})

	ask := func(n int, more ...string) outcome {
		args := append([]string{"plan", "--pod-name=" + s.Pod(n).Name, "--peer-host=" + hostsOf(s), "--replicas=3"}, more...)
		return startAgent(t, localset.BuildAgent(t), &syscall.SysProcAttr{}, args...).wait(ctx)
	}
	errant := map[int]mysqlx.GTIDSet{}
	rebuild := map[int]plan{}
	t.Run("a running replica that has diverged", func(t *testing.T) {
		if p := readPlan(t, "mysql-1", ask(1, "--json").stdout); p.Decision != "nothing" || len(p.Reasons) > 0 {
			t.Errorf("planned for a healthy replica: %+v", p)
		}
		for n := 1; n < 3; n++ {
			writeOnReplica(ctx, t, s, n, "CREATE DATABASE errant"+s.Pod(n).Name[len("mysql-"):])
			errant[n] = executed(ctx, t, s, n).Subtract(all)
			waitStatus(ctx, t, s, n, "the errant transaction to be seen", func(st localset.Status) bool { return has(st, "rebuild_needed") })
			p := readPlan(t, s.Pod(n).Name, ask(n, "--json").stdout)
			if p.Decision != "rebuild" || !p.gives("errant_transactions") || !p.gives("rebuild_needed") || !p.Exported.Equal(errant[n]) ||
				!strings.Contains(p.Quarantined, "generation 1") || !p.GTIDExecuted.Contains(errant[n]) {
				t.Errorf("planned %+v, want a rebuild that exports %v", p, errant[n])
			}
			rebuild[n] = p
			if text := ask(n).stdout; !strings.HasPrefix(text, s.Pod(n).Name+" (replica): rebuild\n") || !strings.Contains(text, errant[n].String()) || !strings.Contains(text, "loses") {
				t.Errorf("for people: %s", text)
			}
			mustHaveKeptItsData(t, s, n)
		}
	})

	t.Run("an empty source whose siblings have diverged", func(t *testing.T) {
		p := planned(ctx, t, hand("mysql-0"), 80)
		if p.Decision != "refuse" || !p.gives("siblings_diverged") || len(p.Siblings) != 2 {
			t.Fatalf("planned %+v", p)
		}
		for i, n := range []int{1, 2} {
			if !p.Siblings[i].GTIDExecuted.Contains(errant[n]) || !strings.Contains(p.Reasons[0].Message, errant[n].String()) {
				t.Errorf("it does not say that pod %d alone has %v: %+v", n, errant[n], p)
			}
		}
	})

	t.Run("what was planned is done", func(t *testing.T) {
		heal.Store("auto")
		for n := 1; n < 3; n++ {
			if !s.Kill9(n, localset.Agent) {
				t.Errorf("no agent run on pod %d", n)
			}
		}
		for n := 1; n < 3; n++ {
			name := waitQuarantined(ctx, t, s, n, "errant_transactions")
			if x := exported(t, s, n, name); !x.Exported.Equal(rebuild[n].Exported) || !x.Missing.IsEmpty() {
				t.Errorf("pod %d: exported %v, planned %v", n, x.Exported, rebuild[n].Exported)
			}
			var kept struct {
				Generation int `json:"generation"`
			}
			text, err := os.ReadFile(filepath.Join(s.Pod(n).Volume, "quarantine", name, "reason.json"))
			must(t, err)
			must(t, json.Unmarshal(text, &kept))
			if kept.Generation != 1 {
				t.Errorf("pod %d: generation %d is in quarantine, planned %s", n, kept.Generation, rebuild[n].Quarantined)
			}
		}
		mustBeEqual(ctx, t, s)
	})
}
