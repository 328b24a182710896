package validate

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestVolumes(t *testing.T) {
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		for _, w := range o.workloads() {
			volumes := map[string]corev1.Volume{}
			for _, v := range w.pod.Spec.Volumes {
				volumes[v.Name] = v
			}
			if w.name == "StatefulSet "+o.set.Name {
				for _, claim := range o.set.Spec.VolumeClaimTemplates {
					if _, ok := volumes[claim.Name]; ok {
						t.Errorf("%s: the volume %s is there twice", w.name, claim.Name)
					}
					volumes[claim.Name] = corev1.Volume{Name: claim.Name}
				}
			}
			checkMounts(t, w, volumes)
		}
		shared(t, o.set.Spec.Template.Spec)
	})
}

// checkMounts: every mount has its volume, every volume its mount, and every file that a variable names is in a mounted Secret.
func checkMounts(t *testing.T, w workload, volumes map[string]corev1.Volume) {
	t.Helper()
	used := map[string]bool{}
	for _, c := range containers(w.pod.Spec) {
		files := map[string]bool{}
		for _, m := range c.VolumeMounts {
			v, ok := volumes[m.Name]
			if !ok {
				t.Errorf("%s: %s mounts %s, which is no volume", w.name, c.Name, m.Name)
			}
			used[m.Name] = true
			if v.Secret == nil {
				continue
			}
			if !m.ReadOnly || v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 {
				t.Errorf("%s: %s does not mount the Secret %s read-only with mode 440", w.name, c.Name, m.Name)
			}
			for _, item := range v.Secret.Items {
				files[path.Join(m.MountPath, item.Path)] = true
				if item.Path == "cluster-secret" && strings.HasPrefix(c.Image, "mysql:") {
					t.Errorf("%s: mysqld can read the cluster secret", w.name)
				}
			}
			if len(v.Secret.Items) == 0 { // a file of the user's, as the AWS tools read it
				files[path.Join(m.MountPath, "credentials")] = true
			}
		}
		for _, e := range c.Env {
			if strings.HasSuffix(e.Name, "_FILE") && !files[e.Value] {
				t.Errorf("%s: %s: %s=%s is in no mounted Secret", w.name, c.Name, e.Name, e.Value)
			}
		}
	}
	for name := range volumes {
		if !used[name] {
			t.Errorf("%s: volume %s is mounted nowhere", w.name, name)
		}
	}
}

// shared: the agent and mysqld see the same folders under the same names, and mysqld's root file system may be read-only.
func shared(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	mounts := map[string]map[string]corev1.VolumeMount{}
	for _, c := range containers(pod) {
		mounts[c.Name] = map[string]corev1.VolumeMount{}
		for _, m := range c.VolumeMounts {
			mounts[c.Name][m.MountPath] = m
		}
	}
	for at, who := range map[string][]string{
		"/var/lib/mysql":    {"init", "agent", "mysql"},
		"/etc/mysql/conf.d": {"init", "agent", "mysql"},
		"/var/run/mysqld":   {"agent", "mysql"},
	} {
		for _, c := range who {
			m := mounts[c][at]
			if m.Name == "" || m.Name != mounts["mysql"][at].Name {
				t.Errorf("%s mounts %q on %s, mysql mounts %q", c, m.Name, at, mounts["mysql"][at].Name)
			}
			if m.ReadOnly && (c != "mysql" || at != "/etc/mysql/conf.d") {
				t.Errorf("%s cannot write to %s", c, at)
			}
		}
	}
	for _, at := range []string{"/tmp", "/var/lib/mysql-files", "/var/run/mysqld"} {
		v := mounts["mysql"][at].Name
		if i := slices.IndexFunc(pod.Volumes, func(have corev1.Volume) bool { return have.Name == v }); i < 0 || pod.Volumes[i].EmptyDir == nil {
			t.Errorf("mysql has no emptyDir on %s", at)
		}
	}
}

// The variants without claims have an emptyDir for the data, and the others have none.
func TestClaims(t *testing.T) {
	without := []string{"kubernetes/overlays/workshop", "kubernetes/overlays/plain-workshop", "kubernetes/overlays/dev-emptydir", "eks-catalog/after", "chart: without volumes"}
	each(t, variants(), func(t *testing.T, v variant, o *objects) {
		claims := o.set.Spec.VolumeClaimTemplates
		i := slices.IndexFunc(o.set.Spec.Template.Spec.Volumes, func(have corev1.Volume) bool { return have.Name == "data" })
		if slices.Contains(without, v.name) {
			if len(claims) > 0 || i < 0 || o.set.Spec.Template.Spec.Volumes[i].EmptyDir == nil {
				t.Errorf("claims %v, want an emptyDir for the data", claims)
			}
			return
		}
		if len(claims) != 1 || i >= 0 || len(claims[0].Spec.AccessModes) != 1 || claims[0].Spec.Resources.Requests.Storage().IsZero() {
			t.Errorf("claims %v, want one with an access mode and a size", claims)
		}
		for _, mode := range claims[0].Spec.AccessModes {
			if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
				t.Errorf("access mode %s: two Pods could have one volume", mode)
			}
		}
		if r := o.set.Spec.PersistentVolumeClaimRetentionPolicy; r != nil && (r.WhenDeleted != "Retain" || r.WhenScaled != "Retain") {
			t.Errorf("claims are not kept: %+v", r)
		}
	})
}

// Whoever reads or writes a store holds segments of it in memory: 32 MiB each, some ten of them for a backup.
func TestMemoryForTheStore(t *testing.T) {
	seen := 0
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		for _, w := range o.workloads() {
			for _, c := range containers(w.pod.Spec) {
				has := func(name string) bool {
					return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name })
				}
				var want resource.Quantity
				switch {
				case has("AGENT_RESTORE_FROM") || w.job != nil:
					want = resource.MustParse("1Gi")
				case has("AGENT_STORE") && c.Name == "agent":
					want = resource.MustParse("512Mi")
				default:
					continue
				}
				seen++
				if got := c.Resources.Limits.Memory(); got.Cmp(want) < 0 {
					t.Errorf("%s: %s may have %v of memory, want %v", w.name, c.Name, got, &want)
				}
			}
		}
	})
	if seen == 0 {
		t.Error("nobody uses a store")
	}
}

// sourceLines are the lines of a file of the product that contain part.
func sourceLines(t *testing.T, file, part string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		t.Fatalf("%s has no line with %q", file, part)
	}
	return lines
}
