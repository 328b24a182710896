package validate

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// imageName is a placeholder: no registry, no tag that moves.
var imageName = regexp.MustCompile(`^(ordinal-agent:(dev|v?\d[0-9a-z.-]*)|mysql:\d+\.\d+)$`)

// secretName is how a variable is called that holds a secret.
var secretName = regexp.MustCompile(`PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY`)

// restricted is Kubernetes' own judge of the Pod Security Standards.
var restricted = func() policy.Evaluator {
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		panic(err)
	}
	return e
}()

// findings says what is wrong with the Pods of a workload: by Kubernetes' own standard, and by ours, which asks for more.
func findings(w workload) []string {
	var found []string
	bad := func(format string, args ...any) { found = append(found, w.name+": "+fmt.Sprintf(format, args...)) }
	pod := w.pod.Spec
	for _, result := range restricted.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &w.pod.ObjectMeta, &pod) {
		if !result.Allowed {
			bad("Pod Security: %s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		bad("automountServiceAccountToken is not false")
	}
	context := pod.SecurityContext
	if context == nil {
		context = &corev1.PodSecurityContext{}
	}
	for _, id := range []struct {
		name string
		has  *int64
	}{{"runAsUser", context.RunAsUser}, {"runAsGroup", context.RunAsGroup}, {"fsGroup", context.FSGroup}} {
		if id.has == nil || *id.has != 999 {
			bad("%s is not 999, mysql in the stock image", id.name)
		}
	}
	if pod.TerminationGracePeriodSeconds == nil && w.job == nil && !strings.HasPrefix(w.name, "Pod ") {
		bad("no terminationGracePeriodSeconds: mysqld would have the 30 s of everybody")
	}
	for _, c := range containers(pod) {
		for _, problem := range containerFindings(c) {
			bad("%s: %s", c.Name, problem)
		}
	}
	return found
}

func containerFindings(c corev1.Container) []string {
	var found []string
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		bad("the root file system is not read-only")
	}
	if s := c.SecurityContext; s != nil && (s.RunAsUser != nil || s.Capabilities != nil && len(s.Capabilities.Add) > 0) {
		bad("a user or capabilities of its own")
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		bad("no request for CPU or memory, or no limit for memory")
	}
	if limit := c.Resources.Limits.Memory(); c.Resources.Requests.Memory().Cmp(*limit) > 0 {
		bad("asks for more memory than its limit")
	}
	if !imageName.MatchString(c.Image) {
		bad("image %q is not a placeholder with a tag that stays", c.Image)
	}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil:
			bad("%s puts a secret into the environment", e.Name)
		case e.Value != "" && secretName.MatchString(e.Name) && !strings.HasSuffix(e.Name, "_FILE"):
			bad("%s is a secret in clear", e.Name)
		}
	}
	if len(c.EnvFrom) > 0 {
		bad("takes a whole object into its environment")
	}
	for _, arg := range slices.Concat(c.Command, c.Args) {
		if strings.Contains(arg, "password") {
			bad("argument %q names a password", arg)
		}
	}
	for _, m := range c.VolumeMounts {
		if m.SubPath != "" || m.SubPathExpr != "" {
			bad("mounts %s by subPath: a changed Secret would never arrive", m.Name)
		}
	}
	return found
}

func TestPolicy(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		if len(o.workloads()) == 0 {
			t.Fatal("nothing that makes Pods")
		}
		for _, w := range o.workloads() {
			for _, problem := range findings(w) {
				t.Error(problem)
			}
		}
	})
}

// A rule that cannot fail protects nothing: each one sees a Pod that breaks it.
func TestPolicyNotices(t *testing.T) {
	no, yes, root := false, true, int64(0)
	tests := []struct {
		name  string
		spoil func(*corev1.PodSpec)
		want  string
	}{
		{"privilege escalation", func(p *corev1.PodSpec) { p.InitContainers[0].SecurityContext.AllowPrivilegeEscalation = &yes }, "allowPrivilegeEscalation"},
		{"capabilities", func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Capabilities = nil }, "unrestricted capabilities"},
		{"root", func(p *corev1.PodSpec) { p.SecurityContext.RunAsUser = &root }, "runAsUser=0"},
		{"may be root", func(p *corev1.PodSpec) { p.SecurityContext.RunAsNonRoot = nil }, "runAsNonRoot != true"},
		{"seccomp", func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile = nil }, "seccompProfile"},
		{"the node's files", func(p *corev1.PodSpec) {
			p.Volumes[0].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		}, "hostPath"},
		{"the node's network", func(p *corev1.PodSpec) { p.HostNetwork = true }, "hostNetwork"},
		{"token", func(p *corev1.PodSpec) { p.AutomountServiceAccountToken = nil }, "automountServiceAccountToken"},
		{"another group", func(p *corev1.PodSpec) { p.SecurityContext.FSGroup = nil }, "fsGroup is not 999"},
		{"writable root", func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.ReadOnlyRootFilesystem = &no }, "read-only"},
		{"no limit", func(p *corev1.PodSpec) { delete(p.Containers[0].Resources.Limits, corev1.ResourceMemory) }, "limit"},
		{"no grace", func(p *corev1.PodSpec) { p.TerminationGracePeriodSeconds = nil }, "terminationGracePeriodSeconds"},
		{"latest", func(p *corev1.PodSpec) { p.Containers[0].Image = "mysql:latest" }, "placeholder"},
		{"registry", func(p *corev1.PodSpec) { p.Containers[0].Image = "registry.example/mysql:9.7" }, "placeholder"},
		{"password in clear", func(p *corev1.PodSpec) {
			p.Containers[0].Env = append(p.Containers[0].Env, corev1.EnvVar{Name: "MYSQL_ROOT_PASSWORD", Value: "x"})
		}, "secret in clear"},
		{"password from a Secret", func(p *corev1.PodSpec) {
			p.Containers[0].Env = append(p.Containers[0].Env, corev1.EnvVar{Name: "MYSQL_PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "x"}}})
		}, "into the environment"},
		{"password as an argument", func(p *corev1.PodSpec) { p.Containers[0].Args = []string{"--password=x"} }, "names a password"},
		{"subPath", func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[0].SubPath = "x" }, "subPath"},
	}
	good := workload{name: "StatefulSet mysql", pod: find(t, "kubernetes").set.Spec.Template}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spoiled := good
			spoiled.pod = *good.pod.DeepCopy()
			test.spoil(&spoiled.pod.Spec)
			got := findings(spoiled)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, test.want) }) {
				t.Errorf("findings() = %q, want one with %q", got, test.want)
			}
		})
	}
}

// A user's secrets are in Secrets alone, and no other Secret has anything in it.
func TestNoSecretInClear(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		for _, planted := range []string{plantedSecret, plantedPassword} {
			if bytes.Contains(o.text, []byte(planted)) {
				t.Errorf("%q stands in clear", planted)
			}
			coded := base64.StdEncoding.EncodeToString([]byte(planted + "\n"))
			if n := bytes.Count(o.text, []byte(coded)); n > len(o.secrets) {
				t.Errorf("%q stands in %d places, %d Secrets", planted, n, len(o.secrets))
			}
		}
		for _, s := range o.secrets {
			if len(s.StringData) > 0 {
				t.Errorf("Secret %s is written down", s.Name)
			}
			for key, value := range s.Data {
				if v := strings.TrimSpace(string(value)); v != plantedSecret && v != plantedPassword {
					t.Errorf("Secret %s has a value for %s that no file gave it", s.Name, key)
				}
			}
		}
	})
}
