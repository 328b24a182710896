package containers

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"ordinal/internal/testing/localset"
)

// assembles starts all Pods at once, as the manifest asks for, on empty volumes.
func assembles(ctx context.Context, t *testing.T, c *Cluster) {
	if c.manifest.Set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || c.Replicas() != 3 {
		t.Fatalf("the set starts %d Pods, %s", c.Replicas(), c.manifest.Set.Spec.PodManagementPolicy)
	}
	for ordinal := range c.Replicas() {
		_, err := c.Create(ordinal)
		must(t, err)
	}
	// Until mysqld has started there is nothing to write to, and Services lead nowhere.
	if n := len(c.Service("mysql-write").Endpoints()) + len(c.Service("mysql-read").Endpoints()); n != 0 {
		t.Errorf("Services lead to %d Pods that have just been made", n)
	}
	must(t, c.WaitReady(ctx, 0))
	c.createApp(ctx, t)
	_, stop := c.startLoad(ctx, t) // replicas clone under load
	must(t, c.WaitReady(ctx))
	stop()
	c.settled(ctx, t)

	for ordinal, want := range []struct{ role, state string }{{"source", "source"}, {"replica", "replicating"}, {"replica", "replicating"}} {
		st, err := c.Status(ctx, ordinal)
		must(t, err)
		if st.Role != want.role || st.State != want.state || !st.Ready {
			t.Errorf("%s is %s, %s, ready: %v", st.Pod, st.Role, st.Explain(), st.Ready)
		}
	}
	if log := c.Pod(2).Log("init"); !strings.Contains(log, `"mysql-1"`) {
		t.Errorf("mysql-2 was not cloned from mysql-1, the Pod before it: %s", log)
	}
	if got := names(c.Service("mysql-write").Endpoints()); got != "mysql-0" {
		t.Errorf("the write Service leads to %s", got)
	}
	if got := names(c.Service("mysql-read").Endpoints()); got != "mysql-0 mysql-1 mysql-2" {
		t.Errorf("the read Service leads to %s", got)
	}
	for ordinal := range c.Replicas() {
		if got, want := started(c.Pod(ordinal)), "init started, init ended with code 0, agent started, mysql started"; !strings.HasPrefix(got, want) {
			t.Errorf("%s began with %s, want %s", c.Name(ordinal), got, want)
		}
	}
	c.waitStatus(ctx, t, 0, "the binlogs to be archived", func(st localset.Status) bool { return st.Archive != nil && st.Archive.Error == "" })
}

func names(pods []*Pod) string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// started returns what has happened to a Pod's containers so far, without what probes say and what a retry adds.
func started(p *Pod) string {
	var all []string
	for _, e := range p.Events() {
		if e.Container != "" && !strings.Contains(e.What, "ready") {
			all = append(all, e.Container+" "+e.What)
		}
	}
	return strings.Join(all, ", ")
}
