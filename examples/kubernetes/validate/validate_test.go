// Package validate checks that the manifests are what Kubernetes would accept, and that what the agent relies on is in
// them. It is a module of its own: the product does not depend on Kubernetes' libraries.
package validate

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

type manifest struct {
	services map[string]*corev1.Service
	set      *appsv1.StatefulSet
	budget   *policyv1.PodDisruptionBudget
}

// load decodes strictly: an unknown or repeated field is an error, as with `kubectl apply --validate=strict`.
func load(t *testing.T) manifest {
	t.Helper()
	file, err := os.ReadFile("../mysql.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := manifest{services: map[string]*corev1.Service{}}
	for i, doc := range bytes.Split(file, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatalf("document %d: %v", i, err)
		}
		var object any
		switch kind.APIVersion + " " + kind.Kind {
		case " ":
			continue // the comment on top
		case "v1 Service":
			object = &corev1.Service{}
		case "apps/v1 StatefulSet":
			object = &appsv1.StatefulSet{}
		case "policy/v1 PodDisruptionBudget":
			object = &policyv1.PodDisruptionBudget{}
		default:
			t.Fatalf("document %d is %v: add its type to this test", i, kind)
		}
		if err := yaml.UnmarshalStrict(doc, object); err != nil {
			t.Fatalf("document %d, %s: %v", i, kind.Kind, err)
		}
		switch object := object.(type) {
		case *corev1.Service:
			m.services[object.Name] = object
		case *appsv1.StatefulSet:
			m.set = object
		case *policyv1.PodDisruptionBudget:
			m.budget = object
		}
	}
	if m.set == nil || m.budget == nil {
		t.Fatal("mysql.yaml has no StatefulSet or no PodDisruptionBudget")
	}
	return m
}

func (m manifest) container(t *testing.T, name string) corev1.Container {
	t.Helper()
	pod := m.set.Spec.Template.Spec
	all := slices.Concat(pod.InitContainers, pod.Containers)
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no container %q", name)
	}
	return all[i]
}

func TestOrderOfContainers(t *testing.T) {
	pod := load(t).set.Spec.Template.Spec
	var got []string
	for _, c := range pod.InitContainers {
		always := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		got = append(got, fmt.Sprintf("%s %v sidecar=%v", c.Name, c.Args, always))
	}
	for _, c := range pod.Containers {
		got = append(got, fmt.Sprintf("%s %v %v", c.Name, c.Command, c.Args))
	}
	want := []string{"init [init] sidecar=false", "agent [run] sidecar=true", "mysql [] []"}
	if !slices.Equal(got, want) {
		t.Errorf("containers = %q, want %q", got, want)
	}
}

// A native sidecar's startupProbe gates mysqld, and the agent's start-up needs mysqld: each would wait for the other.
func TestProbesCannotDeadlock(t *testing.T) {
	m := load(t)
	agent := m.container(t, "agent")
	if agent.StartupProbe != nil {
		t.Error("agent has a startupProbe: mysqld would never start")
	}
	for probe, want := range map[*corev1.Probe]string{agent.ReadinessProbe: "/readyz", agent.LivenessProbe: "/livez"} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != want || probe.HTTPGet.Port.String() != "ordinal-status" {
			t.Errorf("probe = %+v, want GET %s on ordinal-status", probe, want)
		}
	}
	if mysql := m.container(t, "mysql"); mysql.StartupProbe != nil || mysql.LivenessProbe != nil || mysql.ReadinessProbe != nil {
		t.Error("mysql has a probe: the agent answers for it")
	}
}

func TestPodSecurityRestricted(t *testing.T) {
	pod := load(t).set.Spec.Template.Spec
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("automountServiceAccountToken is not false")
	}
	s := pod.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Fatalf("securityContext of the Pod = %+v, want runAsNonRoot and seccomp RuntimeDefault", s)
	}
	for name, id := range map[string]*int64{"runAsUser": s.RunAsUser, "runAsGroup": s.RunAsGroup, "fsGroup": s.FSGroup} {
		if id == nil || *id != 999 {
			t.Errorf("%s = %v, want 999", name, id)
		}
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
			s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) != 0 {
			t.Errorf("securityContext of %s = %+v, want restricted and a read-only root file system", c.Name, s)
		}
		if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s has no memory request or limit", c.Name)
		}
		for _, env := range c.Env {
			if strings.Contains(env.Name, "PASSWORD") && !strings.HasSuffix(env.Name, "_FILE") {
				t.Errorf("%s: %s puts a secret into the environment", c.Name, env.Name)
			}
		}
	}
}

func TestVolumes(t *testing.T) {
	m := load(t)
	pod := m.set.Spec.Template.Spec
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = false
	}
	for _, claim := range m.set.Spec.VolumeClaimTemplates {
		volumes[claim.Name] = false
	}
	paths := map[string]map[string]string{}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		paths[c.Name] = map[string]string{}
		for _, mount := range c.VolumeMounts {
			if _, ok := volumes[mount.Name]; !ok {
				t.Errorf("%s mounts %s, which is no volume", c.Name, mount.Name)
			}
			if mount.SubPath != "" {
				t.Errorf("%s mounts %s by subPath: a changed Secret would never arrive", c.Name, mount.Name)
			}
			volumes[mount.Name] = true
			paths[c.Name][mount.MountPath] = mount.Name
		}
	}
	for name, used := range volumes {
		if !used {
			t.Errorf("volume %s is mounted nowhere", name)
		}
	}
	// The agent and mysqld must see the same folders under the same names.
	for path, containers := range map[string][]string{
		"/var/lib/mysql":    {"init", "agent", "mysql"},
		"/etc/mysql/conf.d": {"init", "agent", "mysql"},
		"/var/run/mysqld":   {"agent", "mysql"},
	} {
		for _, c := range containers {
			if paths[c][path] == "" || paths[c][path] != paths["mysql"][path] {
				t.Errorf("%s mounts %q on %s, mysql mounts %q", c, paths[c][path], path, paths["mysql"][path])
			}
		}
	}
	for path := range paths["mysql"] {
		if strings.HasPrefix(path, "/run/secrets/ordinal") {
			t.Error("mysqld can read the cluster secret")
		}
	}
	// Every file named in the environment lies in a mounted Secret, under a key that kustomization.yaml makes.
	keys := secretKeys(t)
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, env := range c.Env {
			if !strings.HasSuffix(env.Name, "_FILE") {
				continue
			}
			i := strings.LastIndex(env.Value, "/")
			dir, file := env.Value[:i], env.Value[i+1:]
			if !slices.Contains(keys, file) || paths[c.Name][dir] != file {
				t.Errorf("%s: %s=%s, want a mounted Secret's key out of %q", c.Name, env.Name, env.Value, keys)
			}
		}
	}
}

// secretKeys are the keys of the generated Secret; the StatefulSet's volumes must name the same Secret.
func secretKeys(t *testing.T) []string {
	t.Helper()
	file, err := os.ReadFile("../kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var kustomization struct {
		Resources       []string
		SecretGenerator []struct {
			Name  string
			Files []string
		}
		GeneratorOptions struct{ DisableNameSuffixHash bool }
	}
	if err := yaml.Unmarshal(file, &kustomization); err != nil {
		t.Fatal(err)
	}
	if len(kustomization.SecretGenerator) != 1 || !kustomization.GeneratorOptions.DisableNameSuffixHash || !slices.Equal(kustomization.Resources, []string{"mysql.yaml"}) {
		t.Fatalf("kustomization.yaml = %+v, want mysql.yaml and one Secret without a hash in its name", kustomization)
	}
	for _, v := range load(t).set.Spec.Template.Spec.Volumes {
		if v.Secret != nil && v.Secret.SecretName != kustomization.SecretGenerator[0].Name {
			t.Errorf("volume %s uses the Secret %s, want %s", v.Name, v.Secret.SecretName, kustomization.SecretGenerator[0].Name)
		}
		if v.Secret != nil && *v.Secret.DefaultMode != 0o440 {
			t.Errorf("volume %s has mode %o, want 440", v.Name, *v.Secret.DefaultMode)
		}
	}
	var keys []string
	for _, f := range kustomization.SecretGenerator[0].Files {
		key, _, _ := strings.Cut(f, "=")
		keys = append(keys, key)
	}
	return keys
}

func TestServices(t *testing.T) {
	m := load(t)
	pod := labels.Set(m.set.Spec.Template.Labels)
	for name, s := range m.services {
		own := labels.Set{"statefulset.kubernetes.io/pod-name": "mysql-0"}
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Merge(pod, own)) {
			t.Errorf("Service %s does not select mysql-0", name)
		}
		other := labels.Set{"statefulset.kubernetes.io/pod-name": "mysql-1"}
		if got, want := labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Merge(pod, other)), name != "mysql-write"; got != want {
			t.Errorf("Service %s selects mysql-1: %v, want %v", name, got, want)
		}
		if got, want := s.Spec.PublishNotReadyAddresses, name == m.set.Spec.ServiceName; got != want {
			t.Errorf("Service %s: publishNotReadyAddresses = %v, want %v", name, got, want)
		}
	}
	governing := m.services[m.set.Spec.ServiceName]
	if governing == nil || governing.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("governing Service %q is missing or not headless", m.set.Spec.ServiceName)
	}
	var ports []string
	for _, p := range governing.Spec.Ports {
		ports = append(ports, fmt.Sprint(p.Name, " ", p.Port))
	}
	if want := []string{"mysql 3306", "ordinal-data 3307", "ordinal-status 8080"}; !slices.Equal(ports, want) {
		t.Errorf("ports of the governing Service = %q, want %q", ports, want)
	}
	for _, name := range []string{"init", "agent"} {
		if !slices.ContainsFunc(m.container(t, name).Env, func(e corev1.EnvVar) bool {
			return e.Name == "AGENT_SERVICE" && e.Value == m.set.Spec.ServiceName
		}) {
			t.Errorf("%s does not know the governing Service", name)
		}
	}
}

func TestSelectorsFitTheSet(t *testing.T) {
	m := load(t)
	pod := m.set.Spec.Template
	for what, selector := range map[string]*metav1.LabelSelector{
		"StatefulSet":               m.set.Spec.Selector,
		"PodDisruptionBudget":       m.budget.Spec.Selector,
		"topologySpreadConstraints": pod.Spec.TopologySpreadConstraints[0].LabelSelector,
	} {
		if !reflect.DeepEqual(selector.MatchLabels, m.set.Spec.Selector.MatchLabels) {
			t.Errorf("selector of the %s = %v, want %v", what, selector.MatchLabels, m.set.Spec.Selector.MatchLabels)
		}
		if !labels.SelectorFromSet(selector.MatchLabels).Matches(labels.Set(pod.Labels)) {
			t.Errorf("selector of the %s does not select the Pods", what)
		}
	}
	if m.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Error("podManagementPolicy is not Parallel: an empty mysql-0 could not ask its siblings")
	}
}
