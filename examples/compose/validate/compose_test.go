package validate

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

const (
	stockImage = "${MYSQL_IMAGE:-mysql:9.7}"
	agentImage = "${AGENT_IMAGE:-ordinal-agent:dev}"
	minioTag   = "minio/minio:RELEASE.2025-09-07T16-13-09Z"
	minioImage = "${MINIO_IMAGE:-" + minioTag + "}"
)

// load decodes both files, merged, against the Compose specification: an unknown key is an error. raw leaves variables as they are written.
func load(t *testing.T, raw bool) *types.Project {
	t.Helper()
	return loadFiles(t, raw, "compose.yaml", "compose.minio.yaml")
}

func loadFiles(t *testing.T, raw bool, names ...string) *types.Project {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	details := types.ConfigDetails{
		WorkingDir: dir, Environment: types.Mapping{},
	}
	for _, name := range names {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: filepath.Join(dir, name)})
	}
	p, err := loader.LoadWithContext(t.Context(), details, loader.WithProfiles([]string{"*"}), func(o *loader.Options) {
		o.SetProjectName("ordinal", true)
		o.SkipInterpolation = raw
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestImagesAreVariables(t *testing.T) {
	for name, s := range load(t, true).Services {
		if s.Image != stockImage && s.Image != agentImage && s.Image != minioImage {
			t.Errorf("%s: image %q, want %s, %s or %s", name, s.Image, stockImage, agentImage, minioImage)
		}
	}
	for name, s := range load(t, false).Services {
		if s.Image != "mysql:9.7" && s.Image != "ordinal-agent:dev" && s.Image != minioTag {
			t.Errorf("%s: image %q without variables", name, s.Image)
		}
	}
}

// TestPods: three times init, mysqld and agent, that know each other by one name.
func TestPods(t *testing.T) {
	p := load(t, false)
	pods := 0
	for ; ; pods++ {
		pod := fmt.Sprintf("mysql-%d", pods)
		init, ok := p.Services[pod+"-init"]
		if !ok {
			break
		}
		mysqld, agent := p.Services[pod], p.Services[pod+"-agent"]
		if !slices.Equal(init.Command, []string{"init"}) || !slices.Equal(agent.Command, []string{"run"}) {
			t.Errorf("%s: init runs %q, the agent %q", pod, init.Command, agent.Command)
		}
		if len(mysqld.Entrypoint) > 0 || len(mysqld.Command) > 0 || mysqld.Image != "mysql:9.7" {
			t.Errorf("%s is not the stock image as it is: %q %q", pod, mysqld.Entrypoint, mysqld.Command)
		}
		for _, s := range []types.ServiceConfig{init, mysqld, agent} {
			if s.Hostname != pod {
				t.Errorf("%s: host name %q, want %s", s.Name, s.Hostname, pod)
			}
			if s.Name != pod && !slices.Contains(aliases(s), pod) {
				t.Errorf("%s does not answer to the name %s", s.Name, pod)
			}
			if s.Name == init.Name {
				if s.Restart != "" || s.HealthCheck != nil {
					t.Errorf("%s: restart %q, health %v: it ends, once", s.Name, s.Restart, s.HealthCheck)
				}
				continue
			}
			if got := s.DependsOn[init.Name].Condition; got != types.ServiceConditionCompletedSuccessfully {
				t.Errorf("%s begins when %s is %q", s.Name, init.Name, got)
			}
			if s.Restart != "always" || s.HealthCheck == nil || s.StopGracePeriod == nil {
				t.Errorf("%s: restart %q, health %v, grace %v", s.Name, s.Restart, s.HealthCheck, s.StopGracePeriod)
			}
		}
		if time.Duration(*mysqld.StopGracePeriod) < time.Minute {
			t.Errorf("%s has %v to write its pages", pod, mysqld.StopGracePeriod)
		}
		if test := strings.Join(mysqld.HealthCheck.Test, " "); !strings.Contains(test, "-agent/8080") || !strings.Contains(test, "/readyz") {
			t.Errorf("%s asks %q, not the status plane", pod, test)
		}
		if writes := slices.Contains(aliases(mysqld), "mysql-write"); writes != (pods == 0) {
			t.Errorf("%s takes writes: %v", pod, writes)
		}
		sameMounts(t, init, agent)
	}
	if got := p.Services["mysql-0-agent"].Environment["AGENT_REPLICAS"]; got == nil || *got != fmt.Sprint(pods) || pods != 3 {
		t.Errorf("%d pods, AGENT_REPLICAS %v", pods, got)
	}
}

func aliases(s types.ServiceConfig) []string {
	if n := s.Networks["default"]; n != nil {
		return n.Aliases
	}
	return nil
}

// sameMounts: what init has made fit, the agent keeps.
func sameMounts(t *testing.T, a, b types.ServiceConfig) {
	t.Helper()
	list := func(s types.ServiceConfig) (mounts []string) {
		for _, v := range s.Volumes {
			mounts = append(mounts, v.Source+":"+v.Target)
		}
		return mounts
	}
	if !slices.Equal(list(a), list(b)) || len(a.Volumes) == 0 {
		t.Errorf("%s mounts %q, %s %q", a.Name, list(a), b.Name, list(b))
	}
}

func TestLeastPrivilege(t *testing.T) {
	for name, s := range load(t, false).Services {
		if !s.ReadOnly || s.Privileged || len(s.CapAdd) > 0 || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read-only root %v, capabilities -%v +%v, %v", name, s.ReadOnly, s.CapDrop, s.CapAdd, s.SecurityOpt)
		}
		if s.NetworkMode != "" || s.Pid != "" || s.Ipc != "" || len(s.Ports) > 0 {
			t.Errorf("%s shares something with the host", name)
		}
		switch {
		case s.Image == "ordinal-agent:dev" && s.User == "": // the image's own: 999:999
		case s.Image == minioTag && s.User == "": // root without capabilities: its volume is root's
		case s.User != "999:999":
			t.Errorf("%s runs as %q", name, s.User)
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				t.Errorf("%s mounts %s of the host", name, v.Source)
			}
		}
	}
}

var secretName = regexp.MustCompile(`(?i)password|secret|passphrase|token|key`)

// TestNoSecretInClear: secrets are files, and only those that need one see it.
func TestNoSecretInClear(t *testing.T) {
	p := load(t, false)
	for name, s := range p.Secrets {
		if s.File == "" || s.Content != "" || filepath.Base(filepath.Dir(s.File)) != "secrets" {
			t.Errorf("secret %s is not a file of the folder secrets", name)
		}
	}
	if ignored, err := os.ReadFile("../secrets/.gitignore"); err != nil || !strings.Contains(string(ignored), "\n*\n") {
		t.Errorf("git does not ignore what is in secrets: %v", err)
	}
	for name, s := range p.Services {
		for variable, value := range s.Environment {
			if secretName.MatchString(variable) && (!strings.HasSuffix(variable, "_FILE") || value == nil || !strings.HasPrefix(*value, "/run/secrets/")) {
				t.Errorf("%s: %s is not the path of a secret", name, variable)
			}
		}
		for _, secret := range s.Secrets {
			if s.Image == "mysql:9.7" && secret.Source == "cluster-secret" {
				t.Errorf("%s sees the cluster secret", name)
			}
		}
	}
}

// TestOptionsExist: a variable with a spelling mistake would be ignored in silence.
func TestOptionsExist(t *testing.T) {
	docs, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for name, s := range load(t, false).Services {
		for variable := range s.Environment {
			if strings.HasPrefix(variable, "AGENT_") {
				seen++
				if !strings.Contains(string(docs), "`"+variable+"`") {
					t.Errorf("%s: no such option: %s", name, variable)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("%d options seen", seen)
	}
}

// TestOldCompose: docker-compose 1.29 refuses what was specified later.
func TestOldCompose(t *testing.T) {
	text, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile("../compose.minio.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, more...)
	for line := range strings.Lines(string(text)) {
		key := strings.TrimSpace(strings.SplitN(line, ":", 2)[0])
		if slices.Contains([]string{"version", "name", "start_interval", "attach", "required", "include", "develop", "annotations", "subpath"}, key) {
			t.Errorf("%s is not for docker-compose 1.29, or for nobody any more", strings.TrimSpace(line))
		}
	}
}

// TestStore: the main file stands alone, and with the other every agent has the same store, with its keys in a file.
func TestStore(t *testing.T) {
	for name, s := range loadFiles(t, false, "compose.yaml").Services {
		if store := s.Environment["AGENT_STORE"]; s.Image == "ordinal-agent:dev" && (store == nil || *store != "file:///backups") {
			t.Errorf("%s: without MinIO the store is %v", name, store)
		}
	}
	const store = "s3://backups/mysql?endpoint=http://minio:9000"
	agents := 0
	for name, s := range load(t, false).Services {
		if s.Image != "ordinal-agent:dev" {
			continue
		}
		agents++
		for variable, want := range map[string]string{
			"AGENT_STORE": store, "AGENT_RESTORE_FROM": store + "@latest", "AWS_SHARED_CREDENTIALS_FILE": "/run/secrets/s3-credentials", "AGENT_SKIP_IF_SERVED": "true",
		} {
			if got := s.Environment[variable]; got == nil || *got != want {
				t.Errorf("%s: %s is %v, want %s", name, variable, got, want)
			}
		}
		if !slices.ContainsFunc(s.Secrets, func(c types.ServiceSecretConfig) bool { return c.Source == "s3-credentials" }) {
			t.Errorf("%s does not see the store's keys", name)
		}
		if slices.Equal(s.Command, []string{"init"}) && s.DependsOn["minio-bucket"].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s does not wait for the bucket", name)
		}
	}
	if agents != 9 {
		t.Errorf("%d services of the agent, want 9", agents)
	}
}
