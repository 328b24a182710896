package validate

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	yamlv2 "go.yaml.in/yaml/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// decode reads one of the manifests strictly.
func decode(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(read(t, "examples/monitoring/"+name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// manifests finds the objects of one kind in examples/kubernetes, wherever they are there.
func manifests[T any](t *testing.T, kind string) (all []T) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, "examples/kubernetes"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, doc := range strings.Split(string(text), "\n---\n") {
			var object struct {
				Kind string         `json:"kind"`
				Spec map[string]any `json:"spec"`
			}
			if yaml.Unmarshal([]byte(doc), &object) != nil || object.Kind != kind {
				continue
			}
			var typed T
			if err := yaml.Unmarshal([]byte(doc), &typed); err == nil {
				all = append(all, typed)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// theSet is the StatefulSet of the examples: the one whose Pods have the agent's port.
func theSet(t *testing.T) appsv1.StatefulSet {
	t.Helper()
	for _, set := range manifests[appsv1.StatefulSet](t, "StatefulSet") {
		if len(statusPorts(set)) > 0 {
			return set
		}
	}
	t.Fatal("examples/kubernetes has no StatefulSet whose containers name the port ordinal-status")
	return appsv1.StatefulSet{}
}

// statusPorts are the containers that name the status port, with its number.
func statusPorts(set appsv1.StatefulSet) map[string]int32 {
	ports := map[string]int32{}
	pod := set.Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, p := range c.Ports {
			if p.Name == "ordinal-status" {
				ports[c.Name] = p.ContainerPort
			}
		}
	}
	return ports
}

// TestMonitorsFitTheManifests: what the monitors select is what examples/kubernetes makes, one target for each Pod.
func TestMonitorsFitTheManifests(t *testing.T) {
	set := theSet(t)
	pod := labels.FromMap(set.Spec.Template.Labels)
	var pm monitoringv1.PodMonitor
	decode(t, "podmonitor.yaml", &pm)
	for name, value := range pm.Spec.Selector.MatchLabels {
		if pod.Get(name) != value {
			t.Errorf("the PodMonitor selects %s=%s, the Pods have %v", name, value, pod)
		}
	}
	if e := pm.Spec.PodMetricsEndpoints; len(e) != 1 || e[0].Port == nil || *e[0].Port != "ordinal-status" || e[0].Path != "/metrics" {
		t.Errorf("endpoints of the PodMonitor: %+v", e)
	} else if len(statusPorts(set)) != 1 { // a target for each container that names it
		t.Errorf("the containers with the port are %v, want one", statusPorts(set))
	}

	var sm monitoringv1.ServiceMonitor
	decode(t, "servicemonitor.yaml", &sm)
	if e := sm.Spec.Endpoints; len(e) != 1 || e[0].Port != "ordinal-status" || e[0].Path != "/metrics" {
		t.Errorf("endpoints of the ServiceMonitor: %+v", e)
	}
	selected := map[string]bool{}
	for _, s := range manifests[corev1.Service](t, "Service") {
		fits := true
		for name, value := range sm.Spec.Selector.MatchLabels {
			fits = fits && s.Labels[name] == value
		}
		if fits && slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == "ordinal-status" }) {
			selected[s.Name] = s.Spec.PublishNotReadyAddresses
		}
	}
	if publishes, ok := selected[set.Spec.ServiceName]; !ok || !publishes || len(selected) != 1 {
		t.Errorf("the ServiceMonitor finds %v, want the governing Service %s alone, with Pods that are not ready", selected, set.Spec.ServiceName)
	}

	var patch appsv1.StatefulSet
	decode(t, "annotations.yaml", &patch)
	want := map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": fmt.Sprint(statusPorts(set)["agent"]), "prometheus.io/path": "/metrics"}
	for name, value := range want {
		if patch.Spec.Template.Annotations[name] != value {
			t.Errorf("annotation %s is %q, want %q", name, patch.Spec.Template.Annotations[name], value)
		}
	}
	if patch.Name != set.Name {
		t.Errorf("the annotations are for the StatefulSet %s, want %s", patch.Name, set.Name)
	}
}

// TestScrapeConfiguration applies the relabelling of prometheus.yaml, with Prometheus' own code, to what its discovery finds of a Pod: a target for each
// port of each container. One is left, with the labels that the rules need.
func TestScrapeConfiguration(t *testing.T) {
	var config struct {
		Global        map[string]any `yaml:"global"`
		RuleFiles     []string       `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName    string           `yaml:"job_name"`
			Kubernetes []map[string]any `yaml:"kubernetes_sd_configs"`
			Static     []struct {
				Targets []string          `yaml:"targets"`
				Labels  map[string]string `yaml:"labels"`
			} `yaml:"static_configs"`
			Relabel []*relabel.Config `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yamlv2.UnmarshalStrict([]byte(read(t, "examples/monitoring/prometheus.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	for _, name := range config.RuleFiles {
		rules(t, name)
	}
	if len(config.ScrapeConfigs) != 2 {
		t.Fatalf("%d jobs, want one for Kubernetes and one without", len(config.ScrapeConfigs))
	}
	set := theSet(t)
	pod := set.Spec.Template.Spec
	found := map[string]int{}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, p := range c.Ports {
			kept, ok := relabel.Process(labels.FromMap(map[string]string{
				"__address__":                                           fmt.Sprintf("10.0.0.7:%d", p.ContainerPort),
				"__metrics_path__":                                      "/metrics",
				"job":                                                   config.ScrapeConfigs[0].JobName,
				"__meta_kubernetes_namespace":                           "shop",
				"__meta_kubernetes_pod_name":                            "mysql-2",
				"__meta_kubernetes_pod_container_name":                  c.Name,
				"__meta_kubernetes_pod_container_port_name":             p.Name,
				"__meta_kubernetes_pod_container_port_number":           fmt.Sprint(p.ContainerPort),
				"__meta_kubernetes_pod_label_app_kubernetes_io_name":    set.Spec.Template.Labels["app.kubernetes.io/name"],
				"__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
				"__meta_kubernetes_pod_annotation_prometheus_io_path":   "/metrics",
			}), config.ScrapeConfigs[0].Relabel...)
			if ok {
				found[fmt.Sprint(kept.Get("__address__"), kept.Get("__metrics_path__"), " ", kept.Get("namespace"), " ", kept.Get("pod"))]++
			}
		}
	}
	if want := "10.0.0.7:8080/metrics shop mysql-2"; len(found) != 1 || found[want] != 1 {
		t.Errorf("targets of one Pod: %v, want once %s", found, want)
	}
	for _, s := range config.ScrapeConfigs[1].Static {
		if s.Labels["namespace"] == "" || s.Labels["pod"] == "" {
			t.Errorf("targets %v lack the labels namespace and pod", s.Targets)
		}
	}
}

// TestKustomization: it names what is there, and both monitors are not in it at once.
func TestKustomization(t *testing.T) {
	var k struct {
		Resources          []string `json:"resources"`
		ConfigMapGenerator []struct {
			Files   []string                           `json:"files"`
			Options struct{ Labels map[string]string } `json:"options"`
		} `json:"configMapGenerator"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "examples/monitoring/kustomization.yaml")), &k); err != nil {
		t.Fatal(err)
	}
	for _, name := range k.Resources {
		read(t, "examples/monitoring/"+name)
	}
	if slices.Contains(k.Resources, "podmonitor.yaml") == slices.Contains(k.Resources, "servicemonitor.yaml") {
		t.Errorf("resources %v, want one of the two monitors", k.Resources)
	}
	if len(k.ConfigMapGenerator) != 1 || !slices.Equal(k.ConfigMapGenerator[0].Files, []string{"ordinal.json=dashboard.json"}) || k.ConfigMapGenerator[0].Options.Labels["grafana_dashboard"] == "" {
		t.Errorf("the dashboard is not made a ConfigMap: %+v", k.ConfigMapGenerator)
	}
}
