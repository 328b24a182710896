package validate

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// podLabels are those of the set's Pod with an ordinal: the template's, and what the StatefulSet's controller adds.
func podLabels(o *objects, ordinal int) labels.Set {
	return labels.Merge(o.set.Spec.Template.Labels, labels.Set{
		appsv1.StatefulSetPodNameLabel: fmt.Sprintf("%s-%d", o.set.Name, ordinal),
		appsv1.PodIndexLabel:           fmt.Sprint(ordinal),
	})
}

func selects(s *corev1.Service, pod labels.Set) bool {
	return len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(pod)
}

// One Service names the Pods, one leads to the source alone, one to every Pod; none to Pods of a Job.
func TestServices(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		kinds := map[string]int{}
		for _, s := range o.services {
			if !selects(s, podLabels(o, 0)) {
				t.Errorf("Service %s does not select the source", s.Name)
			}
			governing := s.Name == o.set.Spec.ServiceName
			if s.Spec.PublishNotReadyAddresses != governing {
				t.Errorf("Service %s: publishNotReadyAddresses = %v", s.Name, s.Spec.PublishNotReadyAddresses)
			}
			switch {
			case governing:
				kinds["governing"]++
				if s.Spec.ClusterIP != corev1.ClusterIPNone || !selects(s, podLabels(o, 1)) {
					t.Errorf("the governing Service %s is not headless, or leaves Pods out", s.Name)
				}
				if got, want := ports(s), []string{"mysql 3306", "ordinal-data 3307", "ordinal-status 8080"}; !slices.Equal(got, want) {
					t.Errorf("ports of the governing Service = %q, want %q", got, want)
				}
			case selects(s, podLabels(o, 1)):
				kinds["read"]++
			default:
				kinds["write"]++
			}
			if !governing && (len(s.Spec.Ports) != 1 || s.Spec.Ports[0].Name != "mysql") {
				t.Errorf("Service %s has the ports %v, want mysql alone", s.Name, ports(s))
			}
			for _, p := range s.Spec.Ports {
				reachesMySQL(t, o, s, p)
			}
			for _, w := range o.workloads()[1:] {
				if selects(s, w.pod.Labels) {
					t.Errorf("Service %s takes the Pods of %s for servers", s.Name, w.name)
				}
			}
		}
		if want := map[string]int{"governing": 1, "read": 1, "write": 1}; !reflect.DeepEqual(kinds, want) {
			t.Errorf("Services: %v, want %v", kinds, want)
		}
		for _, name := range []string{"init", "agent"} {
			if got := variable(container(o.set.Spec.Template.Spec, name), "AGENT_SERVICE"); got != o.set.Spec.ServiceName {
				t.Errorf("%s knows the governing Service as %q, it is %q", name, got, o.set.Spec.ServiceName)
			}
		}
	})
}

func ports(s *corev1.Service) []string {
	var all []string
	for _, p := range s.Spec.Ports {
		all = append(all, fmt.Sprint(p.Name, " ", p.Port))
	}
	return all
}

// reachesMySQL follows a Service's port to a container's. Headless Services do not translate ports.
func reachesMySQL(t *testing.T, o *objects, s *corev1.Service, p corev1.ServicePort) {
	t.Helper()
	want := map[string]int32{"mysql": 3306, "ordinal-data": 3307, "ordinal-status": 8080}[p.Name]
	got := p.Port
	switch {
	case p.TargetPort.Type == intstr.String && p.TargetPort.StrVal != "":
		got = 0
		for _, c := range containers(o.set.Spec.Template.Spec) {
			for _, port := range c.Ports {
				if port.Name == p.TargetPort.StrVal && c.Name != "init" {
					got = port.ContainerPort
				}
			}
		}
	case p.TargetPort.IntVal != 0:
		got = p.TargetPort.IntVal
	}
	if got != want {
		t.Errorf("port %s of Service %s leads to %d, want %d", p.Name, s.Name, got, want)
	}
}

func variable(c *corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func TestSetAssembles(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		spec := o.set.Spec
		if spec.PodManagementPolicy != appsv1.ParallelPodManagement {
			t.Error("podManagementPolicy is not Parallel: an empty source could not ask its siblings")
		}
		if spec.UpdateStrategy.Type != "" && spec.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
			t.Errorf("updateStrategy = %v: replicas would not be replaced before the source", spec.UpdateStrategy.Type)
		}
		if len(o.budgets) != 1 || o.budgets[0].Spec.MaxUnavailable == nil || o.budgets[0].Spec.MaxUnavailable.String() != "1" {
			t.Error("no PodDisruptionBudget of one Pod at a time")
		}
		selectors := map[string]*metav1.LabelSelector{"StatefulSet": spec.Selector}
		for _, b := range o.budgets {
			selectors["PodDisruptionBudget "+b.Name] = b.Spec.Selector
		}
		for i, c := range spec.Template.Spec.TopologySpreadConstraints {
			selectors[fmt.Sprint("topologySpreadConstraints ", i)] = c.LabelSelector
		}
		if a := spec.Template.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
			for _, term := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				selectors["podAntiAffinity"] = term.LabelSelector
			}
			for _, term := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
				selectors["podAntiAffinity"] = term.PodAffinityTerm.LabelSelector
			}
		}
		for what, selector := range selectors {
			if selector == nil || !reflect.DeepEqual(selector.MatchLabels, spec.Selector.MatchLabels) || len(selector.MatchExpressions) > 0 {
				t.Errorf("selector of %s = %v, want %v", what, selector, spec.Selector)
				continue
			}
			if !labels.SelectorFromSet(selector.MatchLabels).Matches(labels.Set(spec.Template.Labels)) {
				t.Errorf("selector of %s does not select the Pods", what)
			}
			for _, w := range o.workloads()[1:] {
				if labels.SelectorFromSet(selector.MatchLabels).Matches(labels.Set(w.pod.Labels)) {
					t.Errorf("selector of %s takes the Pods of %s for servers", what, w.name)
				}
			}
		}
	})
}

// Kubernetes refuses a Pod whose labels are longer, and the StatefulSet's controller adds some with the set's name in them.
func TestNamesAreShortEnough(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		if len(o.set.Name) > 52 {
			t.Errorf("StatefulSet %s: no room for a revision's hash within 63 bytes", o.set.Name)
		}
		for _, s := range o.services {
			if len(s.Name) > 63 {
				t.Errorf("Service %s has more than 63 bytes", s.Name)
			}
		}
		for _, c := range o.cronJobs {
			if len(c.Name) > 52 {
				t.Errorf("CronJob %s has more than 52 bytes", c.Name)
			}
		}
		seen := map[string]bool{}
		for _, name := range o.names {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	})
}

func TestServiceMonitor(t *testing.T) {
	seen := 0
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		for _, m := range o.monitors {
			seen++
			for _, s := range o.services {
				got := labels.SelectorFromSet(m.Spec.Selector.MatchLabels).Matches(labels.Set(s.Labels))
				if want := s.Name == o.set.Spec.ServiceName; got != want {
					t.Errorf("the ServiceMonitor selects the Service %s: %v, want %v; every Pod once", s.Name, got, want)
				}
			}
			if e := m.Spec.Endpoints; len(e) != 1 || e[0].Port != "ordinal-status" || e[0].Path != "/metrics" {
				t.Errorf("endpoints of the ServiceMonitor = %+v", e)
			}
		}
	})
	if seen == 0 {
		t.Error("no variant has a ServiceMonitor")
	}
}
