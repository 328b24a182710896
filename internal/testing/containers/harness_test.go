package containers

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestNameServer asks as an agent does.
func TestNameServer(t *testing.T) {
	t.Parallel()
	s, err := startNameServer("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = s.close() })
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", s.conn.LocalAddr().String())
	}}
	missing := func(err error) bool {
		var d *net.DNSError
		return errors.As(err, &d) && d.IsNotFound
	}
	s.publish("mysql", []uint16{3306, 3307, 8080})
	if _, _, err := r.LookupSRV(t.Context(), "", "", serviceName("mysql")); !missing(err) {
		t.Errorf("a Service without Pods: %v, want no such name", err)
	}
	s.set("mysql", "mysql-0", "10.0.0.1")
	s.set("mysql", "mysql-1", "10.0.0.2")
	_, records, err := r.LookupSRV(t.Context(), "", "", serviceName("mysql"))
	must(t, err)
	if len(records) != 6 || !slices.ContainsFunc(records, func(r *net.SRV) bool { return r.Target == "mysql-1."+serviceName("mysql") && r.Port == 3307 }) {
		t.Errorf("%d SRV records, want one for each Pod and port", len(records))
	}
	s.set("mysql", "mysql-1", "10.0.0.3")
	if got, err := r.LookupHost(t.Context(), "mysql-1."+serviceName("mysql")); err != nil || !slices.Equal(got, []string{"10.0.0.3"}) {
		t.Errorf("a Pod with a new address is at %v, %v", got, err)
	}
	s.set("mysql", "mysql-1", "")
	if _, err := r.LookupHost(t.Context(), "mysql-1."+serviceName("mysql")); !missing(err) {
		t.Errorf("a Pod that is gone: %v, want no such name", err)
	}
}

// TestUnknownFields: what a manifest says and this package would leave out ends the test that relies on it.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	m, err := Overlay{Kustomization: kustomization("ordinal-agent:dev", "mysql:9.7"), ClusterSecret: "a", RootPassword: "b"}.Build(t.TempDir())
	must(t, err)
	spec := m.Set.Spec.Template.Spec
	must(t, knownPod(spec))
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		must(t, known(c))
	}
	for what, change := range map[string]func(*corev1.PodSpec){
		"host network": func(s *corev1.PodSpec) { s.HostNetwork = true },
		"shared pids":  func(s *corev1.PodSpec) { yes := true; s.ShareProcessNamespace = &yes },
		"no grace":     func(s *corev1.PodSpec) { s.TerminationGracePeriodSeconds = nil },
		"a hook":       func(s *corev1.PodSpec) { s.Containers[0].Lifecycle = &corev1.Lifecycle{} },
		"a subPath":    func(s *corev1.PodSpec) { s.Containers[0].VolumeMounts[0].SubPath = "data" },
		"privileged":   func(s *corev1.PodSpec) { yes := true; s.Containers[0].SecurityContext.Privileged = &yes },
		"a capability": func(s *corev1.PodSpec) {
			s.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
		},
		"a working path": func(s *corev1.PodSpec) { s.Containers[0].WorkingDir = "/tmp" },
	} {
		s := spec.DeepCopy()
		change(s)
		if err := errors.Join(knownPod(*s), known(s.Containers[0])); err == nil {
			t.Errorf("%s: nobody notices", what)
		}
	}
	if _, err := decode([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selektor: {}}\n")); err == nil || !strings.Contains(err.Error(), "selektor") {
		t.Errorf("a field that Kubernetes does not know: %v", err)
	}
}
