package validate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// starts is the order in which a kubelet starts a Pod's containers, by Kubernetes' documentation (Pod lifecycle, init containers,
// sidecar containers): init containers one after the other, an ordinary one to its end, one that goes on running until it has
// started; then all others at once. "a;" is run to its end, "a+" goes on.
func starts(pod corev1.PodSpec) string {
	var steps, rest []string
	for _, c := range pod.InitContainers {
		if nativeSidecar(c) {
			steps = append(steps, c.Name+"+")
		} else {
			steps = append(steps, c.Name+";")
		}
	}
	for _, c := range pod.Containers {
		rest = append(rest, c.Name+"+")
	}
	return strings.Join(append(steps, strings.Join(rest, " ")), " then ")
}

// stops is the order in which a Pod that is deleted is told to end: all ordinary containers at once; when the last one has ended,
// those init containers that go on running, in the opposite order.
func stops(pod corev1.PodSpec) string {
	var first []string
	for _, c := range pod.Containers {
		first = append(first, c.Name)
	}
	steps := []string{strings.Join(first, " ")}
	for _, c := range slices.Backward(pod.InitContainers) {
		if nativeSidecar(c) {
			steps = append(steps, c.Name)
		}
	}
	return strings.Join(steps, " then ")
}

func TestOrderOfContainers(t *testing.T) {
	each(t, variants(), func(t *testing.T, v variant, o *objects) {
		pod := o.set.Spec.Template.Spec
		// mysqld begins when the volume is ready and the agent looks on, and ends before the agent does.
		start, stop := "init; then agent+ then mysql+", "mysql then agent"
		if v.plain {
			start, stop = "init; then agent+ mysql+", "agent mysql"
		}
		if got := starts(pod); got != start {
			t.Errorf("containers start %q, want %q", got, start)
		}
		if got := stops(pod); got != stop {
			t.Errorf("containers stop %q, want %q", got, stop)
		}
		// Clusters that have no native sidecars do not know the field either.
		for _, c := range pod.Containers {
			if c.RestartPolicy != nil {
				t.Errorf("the ordinary container %s has a restartPolicy", c.Name)
			}
		}
		for name, want := range map[string]string{"init": "init", "agent": "run"} {
			if c := container(pod, name); c == nil || !slices.Equal(c.Args, []string{want}) || len(c.Command) > 0 {
				t.Errorf("container %s = %+v, want the arguments [%s]", name, c, want)
			}
		}
		for _, arg := range container(pod, "mysql").Args {
			if !strings.HasPrefix(arg, "--") {
				t.Errorf("mysql gets the argument %q: the image's entry point takes options only for options of mysqld", arg)
			}
		}
	})
}

// A native sidecar's startupProbe gates mysqld, and the agent's start-up needs mysqld: each would wait for the other.
func TestProbesCannotDeadlock(t *testing.T) {
	known := strings.Join(sourceLines(t, "../../../agent/statusplane.go", `mux.HandleFunc("`), "\n")
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		pod := o.set.Spec.Template.Spec
		agent := container(pod, "agent")
		if agent.StartupProbe != nil {
			t.Error("agent has a startupProbe: mysqld would never start")
		}
		for path, probe := range map[string]*corev1.Probe{"/readyz": agent.ReadinessProbe, "/livez": agent.LivenessProbe} {
			if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != "ordinal-status" {
				t.Errorf("probe = %+v, want GET %s on ordinal-status", probe, path)
				continue
			}
			if !strings.Contains(known, `"`+path+`"`) {
				t.Errorf("the agent's status plane has no %s", path)
			}
			if probe.PeriodSeconds == 0 || probe.TimeoutSeconds == 0 || probe.FailureThreshold == 0 {
				t.Errorf("probe %s leaves its rhythm to the defaults", path)
			}
		}
		// The loop's longest turn is far below this: a liveness probe must not end an agent that works.
		if live := agent.LivenessProbe; live.PeriodSeconds*live.FailureThreshold < 60 {
			t.Errorf("the agent is ended after %d s without an answer, want a minute", live.PeriodSeconds*live.FailureThreshold)
		}
		for _, name := range []string{"mysql", "init"} {
			if c := container(pod, name); c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil || c.Lifecycle != nil {
				t.Errorf("%s has a probe or a hook: the agent answers for it", name)
			}
		}
	})
}

// hangs says why a Pod that is meant to end would not. A Job is over when all ordinary containers of its Pod have ended; init
// containers that go on running do not count, they are ended then.
func hangs(pod corev1.PodSpec) []string {
	var found []string
	for _, c := range pod.Containers {
		if !strings.HasPrefix(c.Image, "ordinal-agent:") || len(c.Args) == 0 || c.Args[0] == "run" {
			found = append(found, fmt.Sprintf("%s %v never ends by itself", c.Name, c.Args))
		}
	}
	for _, c := range pod.InitContainers {
		if !nativeSidecar(c) && (len(c.Args) == 0 || c.Args[0] == "run") {
			found = append(found, fmt.Sprintf("%s %v comes before the others and never ends", c.Name, c.Args))
		}
	}
	if pod.RestartPolicy == corev1.RestartPolicyAlways || pod.RestartPolicy == "" {
		found = append(found, "restartPolicy is Always")
	}
	return found
}

func TestJobsEnd(t *testing.T) {
	jobs := 0
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		for _, w := range o.workloads() {
			if w.job == nil {
				continue
			}
			jobs++
			for _, problem := range hangs(w.pod.Spec) {
				t.Errorf("%s: %s", w.name, problem)
			}
			switch job := w.job; {
			case job.ActiveDeadlineSeconds == nil || job.BackoffLimit == nil:
				t.Errorf("%s has no deadline or no limit of attempts", w.name)
			case w.pod.Spec.RestartPolicy != corev1.RestartPolicyNever:
				t.Errorf("%s: podFailurePolicy needs restartPolicy Never", w.name)
			}
		}
		for _, p := range o.pods {
			if problems := hangs(p.Spec); len(problems) > 0 {
				t.Errorf("Pod %s: %v", p.Name, problems)
			}
		}
	})
	if jobs < 9 {
		t.Errorf("saw %d Jobs: three overlays have two, three charts one", jobs)
	}
}

// A sidecar in a Job is what hangs it, unless it is a native one.
func TestHangsNotices(t *testing.T) {
	job := find(t, "kubernetes/overlays/production").cronJobs[0].Spec.JobTemplate.Spec.Template.Spec
	sidecar := *container(find(t, "kubernetes").set.Spec.Template.Spec, "agent")
	always := sidecar.RestartPolicy

	plain := *job.DeepCopy()
	sidecar.RestartPolicy = nil
	plain.Containers = append(plain.Containers, sidecar)
	if got := hangs(plain); len(got) != 1 {
		t.Errorf("hangs(with a plain sidecar) = %q, want one finding", got)
	}
	native := *job.DeepCopy()
	sidecar.RestartPolicy = always
	native.InitContainers = append(native.InitContainers, sidecar)
	if got := hangs(native); len(got) != 0 {
		t.Errorf("hangs(with a native sidecar) = %q, want none", got)
	}
	first := *job.DeepCopy()
	sidecar.RestartPolicy = nil
	first.InitContainers = append(first.InitContainers, sidecar)
	if got := hangs(first); len(got) != 1 {
		t.Errorf("hangs(with a sidecar as an init container) = %q, want one finding", got)
	}
}

// What a backup's Job does not try again, and what it does, follows from the exit codes' own table.
func TestJobsActOnExitCodes(t *testing.T) {
	retry := map[int32]bool{}
	for _, line := range sourceLines(t, "../../../docs/exit-codes.md", "| ") {
		var code int32
		if cells := strings.Split(line, "|"); len(cells) == 6 {
			if _, err := fmt.Sscan(cells[1], &code); err == nil {
				retry[code] = strings.TrimSpace(cells[3]) == "yes"
			}
		}
	}
	if len(retry) < 10 {
		t.Fatalf("read %d exit codes out of docs/exit-codes.md", len(retry))
	}
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		for _, c := range o.cronJobs {
			policy := c.Spec.JobTemplate.Spec.PodFailurePolicy
			if policy == nil {
				continue // an older cluster does not know it
			}
			for _, rule := range policy.Rules {
				if rule.OnExitCodes == nil {
					continue
				}
				for _, code := range rule.OnExitCodes.Values {
					if again, known := retry[code]; !known || again {
						t.Errorf("CronJob %s gives up at exit code %d, known: %v, worth a retry: %v", c.Name, code, known, again)
					}
				}
			}
		}
	})
}
