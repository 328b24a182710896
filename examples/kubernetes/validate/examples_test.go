package validate

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// What each folder is for.
func TestOverlays(t *testing.T) {
	each(t, overlays, func(t *testing.T, v variant, o *objects) {
		pod := o.set.Spec.Template.Spec
		replicas, memory := *o.set.Spec.Replicas, container(pod, "mysql").Resources.Limits.Memory()
		switch v.name {
		case "kubernetes/overlays/dev":
			if replicas != 2 || memory.Cmp(*container(find(t, "kubernetes").set.Spec.Template.Spec, "mysql").Resources.Limits.Memory()) >= 0 {
				t.Errorf("dev has %d Pods with %v, want two small ones", replicas, memory)
			}
		case "kubernetes/overlays/production", "kubernetes/overlays/restore", "kubernetes/overlays/plain-production":
			if replicas != 3 || len(o.policies) != 2 || len(o.cronJobs) != 2 || o.set.Namespace != "mysql" {
				t.Errorf("%d Pods, %d policies, %d CronJobs in %q", replicas, len(o.policies), len(o.cronJobs), o.set.Namespace)
			}
			if n := namespace(t); n.Name != o.set.Namespace || n.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
				t.Errorf("the namespace %s does not enforce the standard that the Pods keep", n.Name)
			}
			if a := pod.Affinity; a == nil || len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) != 1 || len(pod.TopologySpreadConstraints) != 2 {
				t.Errorf("affinity = %+v, spread = %+v", a, pod.TopologySpreadConstraints)
			}
			if request := container(pod, "mysql").Resources.Requests.Memory(); request.Cmp(*memory) != 0 {
				t.Errorf("mysqld asks for %v of memory and may have %v", request, memory)
			}
			for _, s := range o.services {
				if s.Namespace != "mysql" {
					t.Errorf("Service %s is in the namespace %q", s.Name, s.Namespace)
				}
			}
			for _, c := range []string{"init", "agent"} {
				agent := container(pod, c)
				if got := fromConfig(o, agent, "AGENT_STORE"); got == "" || got != fromConfig(o, &o.cronJobs[0].Spec.JobTemplate.Spec.Template.Spec.Containers[0], "AGENT_STORE") {
					t.Errorf("%s archives into %q, backups go elsewhere", c, got)
				}
				want := ""
				if v.name == "kubernetes/overlays/restore" {
					want = fromConfig(o, agent, "AGENT_STORE") + "@latest"
				}
				if got := fromConfig(o, agent, "AGENT_RESTORE_FROM"); got != want {
					t.Errorf("%s restores from %q, want %q", c, got, want)
				}
			}
		}
		// Data that goes with its Pod: a commit counts when another Pod has it.
		semisync := variable(container(pod, "init"), "AGENT_DURABILITY") == "semisync"
		if want := strings.Contains(v.name, "workshop") || strings.HasPrefix(v.name, "eks-catalog"); semisync != want {
			t.Errorf("semisync: %v, want %v", semisync, want)
		}
	})
}

// namespace is that of production, which is made apart.
func namespace(t *testing.T) *corev1.Namespace {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, "kubernetes/overlays/production/namespace.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return o.namespaces[0]
}

// What is taken away with `kubectl delete -k` or `helm uninstall` has no data: neither claims nor a namespace that has them.
func TestDeletingKeepsTheData(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		if len(o.namespaces) > 0 {
			t.Errorf("the namespace %s would go, with all claims", o.namespaces[0].Name)
		}
		if r := o.set.Spec.PersistentVolumeClaimRetentionPolicy; r != nil && r.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
			t.Errorf("claims go with the set: %v", r.WhenDeleted)
		}
	})
}

// fromConfig is the value of a variable that comes out of a ConfigMap; "": there is none.
func fromConfig(o *objects, c *corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name != name || e.ValueFrom == nil || e.ValueFrom.ConfigMapKeyRef == nil {
			continue
		}
		for _, m := range o.configs {
			if m.Name == e.ValueFrom.ConfigMapKeyRef.Name {
				return m.Data[e.ValueFrom.ConfigMapKeyRef.Key]
			}
		}
	}
	return ""
}

// before is the EKS example's first half.
func before(t *testing.T) *objects {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, "eks-catalog/before/catalog-mysql.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The first half of the example shows what it is there to show: a manifest that Kubernetes takes, and the policy does not.
func TestBeforeIsWhatItSays(t *testing.T) {
	o := before(t)
	got := strings.Join(findings(o.workloads()[0]), "\n")
	for _, want := range []string{"MYSQL_ROOT_PASSWORD is a secret in clear", "MYSQL_PASSWORD puts a secret into the environment", "Pod Security", "read-only", "limit", "999"} {
		if !strings.Contains(got, want) {
			t.Errorf("findings lack %q:\n%s", want, got)
		}
	}
	if pod := o.set.Spec.Template.Spec; *o.set.Spec.Replicas != 1 || pod.Volumes[0].EmptyDir == nil || len(o.secrets[0].StringData) != 2 {
		t.Errorf("set = %+v", o.set.Spec)
	}
}

// The application does not notice: its Service, port, Secret and database are what they were. What cannot be changed in a set
// that exists is as it was, or the README says that the set has to go first.
func TestAfterFitsTheApplication(t *testing.T) {
	old := before(t)
	for _, name := range []string{"eks-catalog/after", "eks-catalog/after-ebs"} {
		o := find(t, name)
		if o.set.Name != old.set.Name || o.set.Namespace != old.set.Namespace || !reflect.DeepEqual(o.set.Spec.Selector, old.set.Spec.Selector) {
			t.Errorf("%s: the set is %s/%s %v", name, o.set.Namespace, o.set.Name, o.set.Spec.Selector)
		}
		i := slices.IndexFunc(o.services, func(s *corev1.Service) bool { return s.Name == old.services[0].Name })
		if i < 0 || !slices.Equal(ports(o.services[i]), ports(old.services[0])) || selects(o.services[i], podLabels(o, 1)) {
			t.Errorf("%s: the application's Service does not lead to the source alone", name)
		}
		mysql := container(o.set.Spec.Template.Spec, "mysql")
		if got, want := variable(mysql, "MYSQL_DATABASE"), variable(container(old.set.Spec.Template.Spec, "mysql"), "MYSQL_DATABASE"); got != want {
			t.Errorf("%s: database %q, want %q", name, got, want)
		}
		keys := map[string]bool{}
		for _, v := range o.set.Spec.Template.Spec.Volumes {
			if v.Secret != nil && v.Secret.SecretName == old.secrets[0].Name {
				for _, item := range v.Secret.Items {
					keys[item.Key] = true
				}
			}
		}
		for key := range old.secrets[0].StringData {
			if !keys[key] {
				t.Errorf("%s: %s of the application's Secret is not used", name, key)
			}
		}
		if bytes.Contains(o.text, []byte("in-the-clear")) {
			t.Errorf("%s: a password stands in clear", name)
		}
	}
}

// What a README tells people to apply, build or look at is there.
func TestReadmesNameWhatExists(t *testing.T) {
	folder := regexp.MustCompile(`kubectl (?:apply -k|delete -k|diff -k|kustomize) ([a-z.][a-z0-9-/.]*)`)
	file := regexp.MustCompile(`kubectl (?:-n \S+ )?(?:apply|create|delete) -f ([a-z][a-z0-9-/.]*)`)
	chart := regexp.MustCompile(`helm (?:install|upgrade|template|lint)[^\n]* (examples/helm/[a-z]+|\.\.?/[a-z/]+)`)
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	for _, dir := range []string{"..", "../../eks-catalog", chartDir} {
		text, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, m := range slices.Concat(file.FindAllSubmatch(text, -1), link.FindAllSubmatch(text, -1)) {
			found++
			if _, err := os.Stat(filepath.Join(dir, string(m[1]))); err != nil {
				t.Errorf("%s/README.md: %v", dir, err)
			}
		}
		for _, m := range folder.FindAllSubmatch(text, -1) {
			found++
			if _, err := os.Stat(filepath.Join(dir, string(m[1]), "kustomization.yaml")); err != nil {
				t.Errorf("%s/README.md: %s: %v", dir, m[0], err)
			}
		}
		for _, m := range chart.FindAllSubmatch(text, -1) {
			found++
			at := filepath.Join(dir, string(m[1]))
			if strings.HasPrefix(string(m[1]), "examples/") {
				at = filepath.Join("../../..", string(m[1]))
			}
			if _, err := os.Stat(filepath.Join(at, "Chart.yaml")); err != nil {
				t.Errorf("%s/README.md: %s: %v", dir, m[0], err)
			}
		}
		if found == 0 {
			t.Errorf("%s/README.md names nothing: does this test still read it?", dir)
		}
	}
}
