package validate

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const chartDir = "../../helm/ordinal"

// charts are renderings with values as people give them.
var charts = []variant{
	charted("defaults", "db", "1.33.0", ``),
	charted("the base's name", "mysql", "1.33.0", `networkPolicy: {enabled: false}`),
	charted("older cluster", "db", "1.28.9", ``),
	charted("oldest cluster", "db", "1.23.0", `
backup: {enabled: true, store: "s3://backups/db"}
`),
	charted("plain by choice", "db", "1.33.0", `agent: {sidecar: plain}`),
	charted("without volumes", "db", "1.33.0", `
persistence: {enabled: false, emptyDir: {sizeLimit: 5Gi}}
agent: {options: {durability: semisync}}
`),
	charted("closed", "db", "1.33.0", `
networkPolicy: {allowExternal: false, allowExternalEgress: false, monitoringNamespaces: [monitoring, observability]}
backup: {enabled: true, store: "file:///backups", existingClaim: db-backups, archive: true, arguments: []}
`),
	charted("everything", "a-release-with-a-very-long-name-that-goes-on-and-on-and-on", "1.33.0", `
commonLabels: {team: shop}
commonAnnotations: {note: mine}
replicaCount: 5
auth:
  existingSecret: shop-db
  secretKeys: {clusterSecret: ordinal, rootPassword: root, userPassword: app}
  rootHost: "%"
  database: shop
  username: shop
image: {pullPolicy: Always, pullSecrets: [registry], tag: "8.4"}
configuration: {innodb_buffer_pool_size: 2147483648, max_connections: 500, long_query_time: 0.5, slow_query_log: true, character-set-server: utf8mb4}
initdbScripts:
  schema.sql: |
    CREATE TABLE shop.orders (id INT PRIMARY KEY);
extraEnvVars: [{name: TZ, value: UTC}]
extraVolumes: [{name: certificates, configMap: {name: certificates}}]
extraVolumeMounts: [{name: certificates, mountPath: /certificates, readOnly: true}]
agent:
  options: {max-lag: 10s, durability: semisync, clone-workers: 4, max-rate: 50MB, adopt: false}
  extraEnvVars: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
persistence: {storageClass: fast, accessModes: [ReadWriteOncePod], size: 200Gi, annotations: {keep: "yes"}}
service:
  write: {type: LoadBalancer, port: 3307, annotations: {internal: "true"}}
  read: {type: NodePort}
metrics: {scrapeAnnotations: true, serviceMonitor: {enabled: true, namespace: monitoring, labels: {release: prometheus}}}
backup: {enabled: true, store: "s3://backups/shop?region=eu-central-1", credentialsSecret: shop-store, serviceAccountName: backup, arguments: [--keep-last=3], archive: true, restoreFrom: latest,
  encryption: {recipients: [age1abc, age1def], existingSecret: keys, passphraseKey: word, identityKey: id}}
podLabels: {tier: data}
podAnnotations: {sidecar.istio.io/inject: "false"}
terminationGracePeriodSeconds: 600
minReadySeconds: 10
podAntiAffinityPreset: hard
topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]
nodeSelector: {disk: nvme}
tolerations: [{key: database, operator: Exists, effect: NoSchedule}]
priorityClassName: important
serviceAccountName: mysql
`),
	charted("a script's ConfigMap, soft", "shop", "1.33.0", `
initdbScriptsConfigMap: schema
podAntiAffinityPreset: soft
topologySpreadConstraints: []
pdb: {maxUnavailable: 1}
fullnameOverride: orders
`),
}

func charted(name, release, kubernetes, values string) variant {
	plain := regexp.MustCompile(`^1\.2[0-8]\.`).MatchString(kubernetes) || strings.Contains(values, "sidecar: plain")
	return variant{name: "chart: " + name, plain: plain, load: sync.OnceValues(func() (*objects, error) {
		files, err := render(release, kubernetes, values)
		if err != nil {
			return nil, err
		}
		var text []byte
		for _, file := range slices.Sorted(maps.Keys(files)) {
			if !strings.HasSuffix(file, "NOTES.txt") {
				text = append(text, "---\n# "+file+"\n"+files[file]+"\n"...)
			}
		}
		return decode(text)
	})}
}

var loadChart = sync.OnceValues(func() (*chart.Chart, error) { return loader.Load(chartDir) })

// render does what `helm template` does: the schema first, then every template. A value that a template uses and nobody has is an error.
func render(release, kubernetes, values string) (map[string]string, error) {
	c, err := loadChart()
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		return nil, err
	}
	version, err := chartutil.ParseKubeVersion(kubernetes)
	if err != nil {
		return nil, err
	}
	if !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, version.Version) {
		return nil, fmt.Errorf("kubeVersion %s does not take %s", c.Metadata.KubeVersion, version.Version)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: release, Namespace: "shop", Revision: 1, IsInstall: true}, capabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(c, all)
}

func TestChartRefuses(t *testing.T) {
	tests := []struct {
		name, values string
		want         string
	}{
		{"a value of another chart", `primary: {persistence: {size: 8Gi}}`, "primary"},
		{"a typing error further in", `persistence: {sise: 8Gi}`, "sise"},
		{"no Pods", `replicaCount: 0`, "replicaCount"},
		{"half a Pod", `replicaCount: 1.5`, "replicaCount"},
		{"no Secret", `auth: {existingSecret: ""}`, "existingSecret"},
		{"a password as a value", `auth: {rootPassword: x}`, "rootPassword"},
		{"a password in the environment", `extraEnvVars: [{name: MYSQL_PASSWORD, value: x}]`, "MYSQL_PASSWORD looks like a secret"},
		{"a token in the agent's environment", `agent: {extraEnvVars: [{name: X_TOKEN, value: x}]}`, "X_TOKEN looks like a secret"},
		{"root as the application's user", `auth: {username: root}`, "username"},
		{"the agent's user as the application's", `auth: {username: ordinal_agent}`, "username"},
		{"a tag with a space", `image: {tag: "9.7 "}`, "tag"},
		{"a number as a tag", `image: {tag: 9.7}`, "tag"},
		{"a registry that ends in a slash", `image: {registry: "registry.example/"}`, "registry"},
		{"half a digest", `image: {digest: "sha256:12"}`, "digest"},
		{"a sidecar of another kind", `agent: {sidecar: injected}`, "sidecar"},
		{"an option that does not exist", `agent: {options: {maxLag: 10s}}`, "maxLag"},
		{"an option that the chart sets", `agent: {options: {service: other}}`, "service"},
		{"an option out of its words", `agent: {options: {durability: sync}}`, "durability"},
		{"an option out of its range", `agent: {options: {clone-workers: 99}}`, "clone-workers"},
		{"a duration without a unit", `agent: {options: {max-lag: "10"}}`, "max-lag"},
		{"no memory limit", `resources: {limits: null}`, "limits"},
		{"no memory request", `agent: {resources: {requests: {memory: null}}}`, "memory"},
		{"a volume for several Pods", `persistence: {accessModes: [ReadWriteMany]}`, "accessModes"},
		{"a size without a unit's name", `persistence: {size: 10GB}`, "size"},
		{"the node's files", `extraVolumes: [{name: x, hostPath: {path: /}}]`, "extraVolumes"},
		{"root's user id", `podSecurityContext: {runAsUser: 0}`, "runAsUser"},
		{"labels that are the chart's", `podLabels: {app.kubernetes.io/name: x}`, "podLabels"},
		{"no time to end in", `terminationGracePeriodSeconds: 1`, "terminationGracePeriodSeconds"},
		{"no Pod may be away", `pdb: {maxUnavailable: 0}`, "maxUnavailable"},
		{"a backup without a store", `backup: {enabled: true}`, "store"},
		{"an archive without a store", `backup: {archive: true}`, "need backup.store"},
		{"a passphrase of no Secret", `backup: {enabled: true, store: "s3://x/y", encryption: {passphraseKey: word}}`, "which Secret has the keys"},
		{"a recipient that is none", `backup: {encryption: {recipients: [me]}}`, "recipients"},
		{"a store of an unknown kind", `backup: {store: "ftp://x"}`, "store"},
		{"half a schedule", `backup: {schedule: "17 2"}`, "schedule"},
		{"a name that is none", `fullnameOverride: Orders`, "fullnameOverride"},
		{"a port that is none", `service: {write: {port: 0}}`, "port"},
		{"the binlog off", `configuration: {skip-log-bin: true}`, "configuration.skip-log-bin: the agent sets this"},
		{"another server_id, well hidden", `configuration: {loose_server-id: 7}`, "the agent sets this"},
		{"scripts twice", "initdbScripts: {a.sql: x}\ninitdbScriptsConfigMap: schema", "use one of them"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := render("db", "1.33.0", test.values)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("render(%s) = %v, want an error with %q", test.values, err, test.want)
			}
		})
	}
	if _, err := render("db", "1.28.0", `agent: {sidecar: native}`); err == nil || !strings.Contains(err.Error(), "1.29") {
		t.Errorf("render(native, Kubernetes 1.28) = %v, want what it needs", err)
	}
	if _, err := render("db", "1.22.0", ``); err == nil {
		t.Error("render(Kubernetes 1.22) works")
	}
}

// What docs/requirements.md asks people not to set is refused, however it is spelt.
func TestChartRefusesWhatTheAgentSets(t *testing.T) {
	text, err := os.ReadFile("../../../docs/requirements.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(text), "Do not set these yourself: ")
	list, _, end := strings.Cut(list, ". Keep ")
	names := regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(list, -1)
	if !ok || !end || len(names) < 10 {
		t.Fatalf("docs/requirements.md names %d settings", len(names))
	}
	for _, name := range names {
		for _, spelling := range []string{name[1], strings.ReplaceAll(name[1], "_", "-"), "loose_" + name[1]} {
			if _, err := render("db", "1.33.0", "configuration: {"+spelling+": 1}"); err == nil {
				t.Errorf("configuration.%s is taken", spelling)
			}
		}
	}
}

// The chart and the manifests are the same set: what is improved in one place is missing in the other.
func TestChartIsTheBase(t *testing.T) {
	from, to := find(t, "kubernetes"), find(t, "chart: the base's name")
	want, got := from.set.DeepCopy(), to.set.DeepCopy()
	for _, set := range []*corev1.PodTemplateSpec{&want.Spec.Template, &got.Spec.Template} {
		set.Labels = nil
		for i := range set.Spec.TopologySpreadConstraints {
			set.Spec.TopologySpreadConstraints[i].LabelSelector = nil
		}
		for i := range set.Spec.InitContainers {
			set.Spec.InitContainers[i].ImagePullPolicy = ""
		}
		for i := range set.Spec.Containers {
			set.Spec.Containers[i].ImagePullPolicy = ""
		}
		sortVolumes(set.Spec.Volumes)
	}
	if a, b := asYAML(t, want.Spec.Template), asYAML(t, got.Spec.Template); a != b {
		t.Errorf("Pods of the base:\n%s\nand of the chart:\n%s", a, b)
	}
	for _, c := range []*corev1.PersistentVolumeClaim{&want.Spec.VolumeClaimTemplates[0], &got.Spec.VolumeClaimTemplates[0]} {
		c.Labels = nil
	}
	if a, b := asYAML(t, want.Spec.VolumeClaimTemplates), asYAML(t, got.Spec.VolumeClaimTemplates); a != b {
		t.Errorf("claims of the base:\n%s\nand of the chart:\n%s", a, b)
	}
	if want.Name != got.Name || want.Spec.ServiceName != got.Spec.ServiceName || *want.Spec.Replicas != *got.Spec.Replicas {
		t.Errorf("set of the base %s, %s, %d; of the chart %s, %s, %d",
			want.Name, want.Spec.ServiceName, *want.Spec.Replicas, got.Name, got.Spec.ServiceName, *got.Spec.Replicas)
	}
	services := func(o *objects) map[string][]string {
		all := map[string][]string{}
		for _, s := range o.services {
			all[s.Name] = ports(s)
		}
		return all
	}
	if a, b := services(from), services(to); !reflect.DeepEqual(a, b) {
		t.Errorf("Services of the base %v, of the chart %v", a, b)
	}
}

func sortVolumes(all []corev1.Volume) {
	slices.SortFunc(all, func(a, b corev1.Volume) int { return strings.Compare(a.Name, b.Name) })
}

func asYAML(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Values reach the objects as they were meant.
func TestChartUsesItsValues(t *testing.T) {
	o := find(t, "chart: everything")
	pod := o.set.Spec.Template.Spec
	mysql, agent := container(pod, "mysql"), container(pod, "agent")
	want := []string{
		"--character-set-server=utf8mb4", "--innodb-buffer-pool-size=2147483648", "--long-query-time=0.5", "--max-connections=500", "--slow-query-log=true",
	}
	if !slices.Equal(mysql.Args, want) {
		t.Errorf("arguments of mysqld = %q, want %q", mysql.Args, want)
	}
	for name, want := range map[string]string{"MYSQL_USER": "shop", "MYSQL_DATABASE": "shop", "MYSQL_ROOT_HOST": "%", "TZ": "UTC"} {
		if got := variable(mysql, name); got != want {
			t.Errorf("mysqld's %s = %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"AGENT_MAX_LAG": "10s", "AGENT_DURABILITY": "semisync", "AGENT_CLONE_WORKERS": "4", "AGENT_MAX_RATE": "50MB", "AGENT_ADOPT": "false",
		"HTTPS_PROXY": "http://proxy:3128",
	} {
		for _, c := range []*corev1.Container{agent, container(pod, "init")} {
			if got := variable(c, name); got != want {
				t.Errorf("%s of %s = %q, want %q", name, c.Name, got, want)
			}
		}
	}
	if mysql.Image != "mysql:8.4" || mysql.ImagePullPolicy != corev1.PullAlways || pod.ImagePullSecrets[0].Name != "registry" {
		t.Errorf("image = %s %s %v", mysql.Image, mysql.ImagePullPolicy, pod.ImagePullSecrets)
	}
	if c := o.configs[0]; mounted(mysql, "initdb") != "/docker-entrypoint-initdb.d" || !strings.Contains(c.Data["schema.sql"], "CREATE TABLE") {
		t.Errorf("scripts = %v", c.Data)
	}
	if *o.set.Spec.Replicas != 5 || o.set.Spec.MinReadySeconds != 10 || *pod.TerminationGracePeriodSeconds != 600 {
		t.Errorf("replicas, minReadySeconds, grace = %d, %d, %d", *o.set.Spec.Replicas, o.set.Spec.MinReadySeconds, *pod.TerminationGracePeriodSeconds)
	}
	if a := pod.Affinity; a == nil || len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) != 1 || len(pod.TopologySpreadConstraints) != 1 {
		t.Errorf("affinity = %+v, spread = %+v", a, pod.TopologySpreadConstraints)
	}
	if pod.NodeSelector["disk"] != "nvme" || len(pod.Tolerations) != 1 || pod.PriorityClassName != "important" || pod.ServiceAccountName != "mysql" {
		t.Errorf("nodes = %v %v %s %s", pod.NodeSelector, pod.Tolerations, pod.PriorityClassName, pod.ServiceAccountName)
	}
	for key, want := range map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "note": "mine", "sidecar.istio.io/inject": "false"} {
		if got := o.set.Spec.Template.Annotations[key]; got != want {
			t.Errorf("annotation %s = %q, want %q", key, got, want)
		}
	}
	if l := o.set.Spec.Template.Labels; l["tier"] != "data" || l["team"] != "shop" {
		t.Errorf("labels = %v", l)
	}
	claim := o.set.Spec.VolumeClaimTemplates[0]
	if *claim.Spec.StorageClassName != "fast" || claim.Spec.Resources.Requests.Storage().String() != "200Gi" || claim.Annotations["keep"] != "yes" {
		t.Errorf("claim = %+v", claim)
	}
	for _, s := range o.services {
		if strings.HasSuffix(s.Name, "-write") && (s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.Ports[0].Port != 3307 ||
			s.Spec.Ports[0].TargetPort != intstr.FromString("mysql") || s.Annotations["internal"] != "true" || s.Annotations["note"] != "mine") {
			t.Errorf("write Service = %+v", s)
		}
	}
	backup := o.cronJobs[0].Spec.JobTemplate.Spec.Template.Spec
	if got := backup.Containers[0]; !slices.Equal(got.Args, []string{"backup", "--keep-last=3"}) || backup.ServiceAccountName != "backup" {
		t.Errorf("backup = %q as %q", got.Args, backup.ServiceAccountName)
	}
	const store = "s3://backups/shop?region=eu-central-1"
	for name, want := range map[string]string{
		"AGENT_STORE": store, "AGENT_RESTORE_FROM": store + "@latest", "AGENT_ENCRYPT_TO": "age1abc,age1def",
		"AGENT_PASSPHRASE_FILE": "/run/secrets/backup-keys/passphrase", "AGENT_IDENTITY_FILE": "/run/secrets/backup-keys/identities",
	} {
		for _, c := range []*corev1.Container{agent, container(pod, "init"), &backup.Containers[0]} {
			want := want
			if c.Name == "agent" && c.Args[0] == "backup" && (name == "AGENT_RESTORE_FROM" || name == "AGENT_IDENTITY_FILE") {
				want = "" // who makes backups need not be able to read them
			}
			if got := variable(c, name); got != want {
				t.Errorf("%s of %s %v = %q, want %q", name, c.Name, c.Args, got, want)
			}
		}
	}
	if soft := find(t, "chart: a script's ConfigMap, soft"); soft.set.Name != "orders" || len(soft.set.Spec.Template.Spec.TopologySpreadConstraints) != 0 ||
		len(soft.set.Spec.Template.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) != 1 {
		t.Errorf("soft: %s %+v", soft.set.Name, soft.set.Spec.Template.Spec.Affinity)
	}
}

func mounted(c *corev1.Container, volume string) string {
	for _, m := range c.VolumeMounts {
		if m.Name == volume {
			return m.MountPath
		}
	}
	return ""
}

func TestNotes(t *testing.T) {
	tests := []struct {
		values string
		want   []string
		never  []string
	}{
		{``, []string{"db-mysql-0 takes writes", "db-mysql-write.shop:3306", "mysql-secrets", "exec db-mysql-0 -c agent -- /agent status"}, []string{"WARNING", "user-password", "<nil>", "%!"}},
		{`persistence: {enabled: false}`, []string{"WARNING: without volumes", "durability=semisync"}, nil},
		{`{persistence: {enabled: false}, agent: {options: {durability: semisync}}}`, []string{"WARNING: without volumes"}, []string{"set agent.options.durability"}},
		{`{replicaCount: 1, agent: {options: {durability: semisync}}}`, []string{"1 Pod of mysql:9.7", "every commit waits"}, []string{"the others replicate"}},
		{`image: {tag: latest}`, []string{`tag "latest" moves`}, nil},
		{`auth: {username: shop}`, []string{"--from-file=user-password=user-password"}, nil},
		{`networkPolicy: {allowExternal: false}`, []string{`db-mysql-client: "true"`}, nil},
	}
	for _, test := range tests {
		files, err := render("db", "1.33.0", test.values)
		if err != nil {
			t.Fatal(err)
		}
		notes := files["ordinal/templates/NOTES.txt"]
		for _, want := range test.want {
			if !strings.Contains(notes, want) {
				t.Errorf("notes for %q lack %q:\n%s", test.values, want, notes)
			}
		}
		for _, never := range test.never {
			if strings.Contains(notes, never) {
				t.Errorf("notes for %q say %q:\n%s", test.values, never, notes)
			}
		}
	}
}

// Every value has a default, a type in the schema and a line in the README.
func TestValuesAreComplete(t *testing.T) {
	c, err := loadChart()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]any
		Required   []string
	}
	if err := yaml.Unmarshal(c.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	for key := range schema.Properties {
		if _, ok := values[key]; !ok && key != "global" {
			t.Errorf("values.yaml lacks %s", key)
		}
	}
	for key := range values {
		if _, ok := schema.Properties[key]; !ok {
			t.Errorf("values.schema.json lacks %s", key)
		}
		if !strings.Contains(string(readme), "`"+key) {
			t.Errorf("README.md does not speak of %s", key)
		}
	}
}
