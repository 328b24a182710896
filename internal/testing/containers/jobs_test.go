package containers

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// jobs runs what the CronJobs of components/backup run. A Job's Pod must end by itself, whatever happens: docs/pods.md.
func jobs(ctx context.Context, t *testing.T, c *Cluster) {
	if code, log := c.job(ctx, t, "mysql-backup", "backup-1", withArgs("--keep-daily=14")); code != 0 {
		t.Fatalf("a backup ends with code %d: %s", code, log)
	}
	if code, log := c.job(ctx, t, "mysql-verify", "verify-1", nil); code != 0 {
		t.Errorf("the verification ends with code %d: %s", code, log)
	}
	first := c.backups(ctx, t)
	if len(first) != 1 {
		t.Fatalf("backups: %q, want one", first)
	}

	t.Log("a native sidecar, as a mesh adds one to every Pod")
	began := time.Now()
	code, log := c.job(ctx, t, "mysql-backup", "backup-2", func(spec *corev1.PodSpec) {
		always := corev1.ContainerRestartPolicyAlways
		proxy := corev1.Container{Name: "proxy", Image: c.pause, Command: []string{"sleep", "infinity"}, RestartPolicy: &always}
		spec.InitContainers = append(spec.InitContainers, proxy)
		*spec.TerminationGracePeriodSeconds = 1 // it knows no SIGTERM
	})
	if code != 0 {
		t.Errorf("a backup beside a sidecar ends with code %d: %s", code, log)
	}
	t.Logf("took %.1f s", time.Since(began).Seconds())
	all := c.backups(ctx, t)
	if len(all) != 2 {
		t.Fatalf("backups: %q, want two", all)
	}

	t.Log("SIGTERM in the middle")
	p := c.underWay(ctx, t, "backup-3", withArgs("--compress=off", "--max-rate=1MB"))
	began = time.Now()
	p.remove()
	code, err := c.Finished(ctx, p)
	must(t, err)
	if took := time.Since(began); code != 143 || took > p.grace()/2 {
		t.Errorf("a backup that is told to end does so after %v with code %d, want 143: %s", took, code, p.Log("agent"))
	}
	if now := c.backups(ctx, t); !slices.Equal(now, all) {
		t.Errorf("backups: %q, want %q", now, all)
	}

	t.Log("the donor's node is lost in the middle, and the Pod comes back at another address")
	p = c.underWay(ctx, t, "backup-4", withArgs("--compress=off", "--max-rate=4MB", "--from=mysql-2", "--wait=1m"))
	c.PowerOff(2)
	if p.container("agent").running() == "" {
		t.Fatal("the backup was over before its donor was lost")
	}
	if now := c.backups(ctx, t); !slices.Equal(now, all) {
		t.Errorf("backups: %q, want %q", now, all)
	}
	t.Log("meanwhile a donor that is gone before the beginning")
	if code, log := c.job(ctx, t, "mysql-backup", "backup-5", withArgs("--from=mysql-2", "--wait=2s")); code != 69 && code != 75 { // worth a retry
		t.Errorf("a backup from a Pod that is gone ends with code %d, want 69 or 75: %s", code, log)
	}
	_, err = c.Create(2)
	must(t, err)
	if code, err = c.Finished(ctx, p); err != nil || code != 0 {
		t.Errorf("a backup whose donor was away ends with code %d, %v: %s", code, err, p.Log("agent"))
	}
	// Of a day's backups --keep-daily keeps the newest one, and the one that was verified last is kept in any case.
	if now := c.backups(ctx, t); len(now) != 2 || now[0] != first[0] || slices.Contains(all, now[1]) {
		t.Errorf("backups: %q, want %q and a new one", now, first)
	}
	c.settled(ctx, t)
}

// underWay starts a backup and returns when it has begun to store something.
func (c *Cluster) underWay(ctx context.Context, t *testing.T, name string, change func(*corev1.PodSpec)) *Pod {
	t.Helper()
	files := func() (n int) {
		for pattern := "*"; len(pattern) < 10; pattern += "/*" {
			n += len(c.claim("backups").Glob(pattern))
		}
		return n
	}
	p, err := c.RunJob("mysql-backup", name, change)
	must(t, err)
	c.eventually(ctx, t, "a copy under way", func() bool { return strings.Contains(p.Log("agent"), `"backup progress"`) })
	if files() == 0 {
		t.Fatal("the store is not where this test looks")
	}
	return p
}

// withArgs adds arguments to the Job's container.
func withArgs(more ...string) func(*corev1.PodSpec) {
	return func(spec *corev1.PodSpec) { spec.Containers[0].Args = append(spec.Containers[0].Args, more...) }
}

// job runs a CronJob's Pod to its end and returns its exit code and log.
func (c *Cluster) job(ctx context.Context, t *testing.T, cronJob, name string, change func(*corev1.PodSpec)) (code int, log string) {
	t.Helper()
	p, err := c.RunJob(cronJob, name, change)
	must(t, err)
	code, err = c.Finished(ctx, p)
	must(t, err)
	return code, p.Log("agent")
}

// backups returns the ids of all backups that are complete, by `agent backups list`. One that a job works on, or has left behind, is listed as
// unfinished and is none.
func (c *Cluster) backups(ctx context.Context, t *testing.T) (ids []string) {
	t.Helper()
	out, code, err := c.Pod(0).Exec(ctx, "agent", "/agent", "backups", "list", "--json")
	if code != 0 {
		t.Fatalf("agent backups list ends with code %d: %v", code, err)
	}
	var list struct {
		Backups []struct {
			ID    string `json:"id"`
			State string `json:"state"`
		} `json:"backups"`
	}
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&list); err != nil {
		t.Fatalf("agent backups list prints %s: %v", out, err)
	}
	for _, b := range list.Backups {
		switch b.State {
		case "complete":
			ids = append(ids, b.ID)
		case "unfinished":
		default:
			t.Errorf("the backup %s is %s", b.ID, b.State)
		}
	}
	return ids
}
