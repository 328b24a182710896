package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ordinal/internal/testing/localset"
)

// agentStatus starts agent status as an operator would, from outside of the set.
func agentStatus(t *testing.T, hosts string, more ...string) *program {
	t.Helper()
	return startAgent(t, localset.BuildAgent(t), &syscall.SysProcAttr{}, append([]string{"status", "--pod-name=mysql-0", "--peer-host=" + hosts}, more...)...)
}

// statusOfSet: agent status of a set that is as it should be, one with a pod that is missing, and one that is not there.
func statusOfSet(ctx context.Context, t *testing.T, s *localset.Set) {
	hosts := hostsOf(s)
	t.Run("table", func(t *testing.T) {
		for _, replicas := range []string{"--replicas=2", "--replicas=0"} {
			o := agentStatus(t, hosts, replicas).wait(ctx)
			if o.code != 0 || o.stderr != "" {
				t.Errorf("%s: exit code %d, stderr %q", replicas, o.code, o.stderr)
			}
			mustMatch(t, o.stdout,
				`^POD +ROLE +STATE +READY +GTID +LAG +CLONE +REASONS\n`,
				`(?m)^mysql-0 +source +source +yes +[0-9a-f]{8}:1-\d+ +- +- +-$`,
				`(?m)^mysql-1 +replica +replicating +yes +[0-9a-f]{8}:1-\d+\S* +\S+ +- +-$`)
		}
	})

	t.Run("json", func(t *testing.T) {
		o := agentStatus(t, hosts, "--replicas=2", "--json").wait(ctx)
		if o.code != 0 || o.stderr != "" {
			t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
		}
		var set map[string]any
		must(t, json.Unmarshal([]byte(o.stdout), &set))
		// Scripts depend on these names: they are only ever added to.
		mustHaveKeys(t, set, "note", "observed_at", "pods", "ready")
		pods, _ := set["pods"].([]any)
		if len(pods) != 2 || set["ready"] != true {
			t.Fatalf("status --json = %s", o.stdout)
		}
		for ordinal, entry := range pods {
			pod, _ := entry.(map[string]any)
			mustHaveKeys(t, pod, "answer", "message", "ordinal", "pod", "role", "status")
			status, _ := pod["status"].(map[string]any)
			mustHaveKeys(t, status, "age_seconds", "agent_version", "clone", "cluster_id", "data_bytes", "gtid_executed", "gtid_local", "gtid_purged", "gtid_waiting", "has_data", "lag_seconds",
				"observed_at", "ordinal", "phase", "pod", "ready", "reasons", "role", "secret", "server_uuid", "server_version", "state", "user_tables")
			if pod["pod"] != fmt.Sprintf("mysql-%d", ordinal) || pod["answer"] != "answered" || status["has_data"] != "yes" || status["user_tables"] == nil {
				t.Errorf("pod %d = %v", ordinal, pod)
			}
			if reasons, ok := status["reasons"].([]any); !ok || len(reasons) > 0 {
				t.Errorf("reasons of a ready pod = %v", status["reasons"])
			}
		}
	})

	t.Run("a pod is missing", func(t *testing.T) {
		o := agentStatus(t, hosts, "--replicas=3").wait(ctx)
		if o.code != 75 || !slices.Equal(o.said(), []string{"agent: 1 of 3 pods not ready"}) {
			t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
		}
		mustMatch(t, o.stdout, `(?m)^mysql-2 +replica +silent +no +- +- +- +-$`, `(?m)^mysql-2: .*refused the connection`)
	})

	t.Run("nobody there", func(t *testing.T) {
		o := agentStatus(t, freeHosts(t), "--replicas=2").wait(ctx)
		if o.code != 69 {
			t.Errorf("exit code %d, want 69", o.code)
		}
		mustMatch(t, o.stderr, `^agent: no pod answers\nhint: `)
	})

	t.Run("watch", func(t *testing.T) {
		w := agentStatus(t, hosts, "--replicas=2", "--watch", "--json")
		waitFor(ctx, t, "two answers", func() bool { return strings.Count(w.out(), "\n") >= 2 })
		w.signal(syscall.SIGINT)
		o := w.wait(ctx)
		if o.code != 0 || o.stderr != "" || o.took > time.Second {
			t.Errorf("watch ended after %v with %d, stderr %q", o.took, o.code, o.stderr)
		}
		for line := range strings.Lines(o.stdout) {
			var set map[string]any
			if err := json.Unmarshal([]byte(line), &set); err != nil || set["ready"] != true {
				t.Errorf("a line of watch: %v, %q", err, line)
			}
		}
		w = agentStatus(t, hosts, "--replicas=2", "--watch")
		waitFor(ctx, t, "a table", func() bool { return strings.Contains(w.out(), "mysql-1") })
		w.signal(syscall.SIGTERM)
		if o := w.wait(ctx); o.code != 0 {
			t.Errorf("watch ended with %d, stderr %q", o.code, o.stderr)
		}
	})
}

// statusWhileCloning: the third pod's copy is held in the middle.
func statusWhileCloning(ctx context.Context, t *testing.T, s *localset.Set) {
	t.Helper()
	o := agentStatus(t, hostsOf(s), "--replicas=3").wait(ctx)
	if o.code != 75 {
		t.Errorf("exit code of agent status while a pod is cloning = %d, want 75", o.code)
	}
	var set struct {
		Pods []struct {
			Status struct{ Clone map[string]any }
		}
	}
	must(t, json.Unmarshal([]byte(agentStatus(t, hostsOf(s), "--replicas=3", "--json").wait(ctx).stdout), &set))
	mustHaveKeys(t, set.Pods[2].Status.Clone, "bytes_done", "bytes_total", "donor", "eta_seconds", "rate_bytes_per_second", "resumes", "since", "stage")
	mustMatch(t, o.stdout, `(?m)^mysql-2 +replica +cloning +no +- +- +FILE_COPY +\d+% .*from mysql-1`, `(?m)^mysql-1 +replica +replicating +yes`)
}

func mustMatch(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("no match for %q:\n%s", pattern, text)
		}
	}
}

func mustHaveKeys(t *testing.T, object map[string]any, want ...string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
		t.Errorf("keys = %q, want %q", got, want)
	}
}
