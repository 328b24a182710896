package compose

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ordinal/internal/testing/images"
)

// example is the folder with the Compose file.
const example = "../../../examples/compose"

// A project is the example in a folder of its own, under a name of its own.
type project struct {
	t    *testing.T
	ctx  context.Context
	name string
	dir  string
	argv []string // of Compose
	env  []string

	healthy int // how many containers should be, when all is well
}

// newProject copies the example and makes its secrets. All that comes of it is removed with the test. files are those that Compose is told of; without any it
// finds compose.yaml itself.
func newProject(ctx context.Context, t *testing.T, name string, files ...string) *project {
	t.Helper()
	images.Need(t)
	p := &project{t: t, ctx: ctx, name: name + "-" + strings.ToLower(rand.Text()[:8]), dir: t.TempDir(), argv: composeProgram(ctx, t), healthy: 6}
	must(t, os.CopyFS(p.dir, os.DirFS(example)))
	for _, file := range files {
		p.argv = append(p.argv, "--file", file)
	}
	for _, secret := range []string{"cluster-secret", "root-password"} {
		p.secret(secret, rand.Text()+rand.Text())
	}
	mysql, err := images.MySQL(ctx)
	must(t, err)
	agent, err := images.Agent(ctx)
	must(t, err)
	p.env = append(os.Environ(), "COMPOSE_PROJECT_NAME="+p.name, "MYSQL_IMAGE="+mysql, "AGENT_IMAGE="+agent)
	t.Cleanup(p.remove)
	return p
}

// composeProgram is the command line of the Compose that is here: the plugin, or the program before it.
func composeProgram(ctx context.Context, t *testing.T) []string {
	t.Helper()
	for _, argv := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.CommandContext(ctx, argv[0], append(argv[1:], "version")...).Run() == nil {
			return argv
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs Docker Compose, as `docker compose` or `docker-compose`")
	}
	t.Skip("needs Docker Compose, as `docker compose` or `docker-compose`")
	return nil
}

// secret writes one of the files that the example's README makes.
func (p *project) secret(name, text string) {
	p.t.Helper()
	must(p.t, os.WriteFile(filepath.Join(p.dir, "secrets", name), []byte(text+"\n"), 0o644))
}

// compose runs a command of Compose and returns what it prints.
func (p *project) compose(args ...string) (string, error) {
	cmd := exec.CommandContext(p.ctx, p.argv[0], append(p.argv[1:], args...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = p.dir, p.env, 5*time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("compose %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), said.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// must runs a command of Compose that has to succeed.
func (p *project) must(args ...string) string {
	p.t.Helper()
	out, err := p.compose(args...)
	must(p.t, err)
	return out
}

// agent runs a command of the agent in a pod's container.
func (p *project) agent(ordinal int, args ...string) (string, error) {
	return p.compose(append([]string{"exec", "-T", fmt.Sprintf("mysql-%d-agent", ordinal), "/agent"}, args...)...)
}

// sql runs statements as root in a pod's mysqld and returns the rows, columns separated by tabs.
func (p *project) sql(ordinal int, statements string) (string, error) {
	const client = `MYSQL_PWD=$(< /run/secrets/root-password) exec mysql --user=root --skip-column-names --batch --database=shop --execute="$1"`
	return p.compose("exec", "-T", fmt.Sprintf("mysql-%d", ordinal), "bash", "-c", client, "-", statements)
}

// waitReady waits until every pod of the set is ready and has what the source has, and Docker says that each container is healthy.
func (p *project) waitReady() {
	p.t.Helper()
	var last string
	p.waitFor("a set that is ready", func() bool {
		out, err := p.agent(0, "status", "--json")
		if last = out; err != nil {
			last = err.Error()
			return false
		}
		var set struct {
			Ready bool
			Pods  []struct {
				Status struct{ State string }
			}
		}
		must(p.t, json.Unmarshal([]byte(out), &set))
		want := []string{"source", "replicating", "replicating"}
		for i, pod := range set.Pods {
			if i >= len(want) || pod.Status.State != want[i] {
				return false
			}
		}
		return set.Ready && len(set.Pods) == len(want)
	}, &last)
	p.waitFor("containers that are healthy", func() bool {
		out, err := images.Docker(p.ctx, "ps", "--filter", "label=com.docker.compose.project="+p.name, "--filter", "health=healthy", "--quiet")
		must(p.t, err)
		last = out
		return len(strings.Fields(out)) == p.healthy
	}, &last)
}

// waitRow waits until a pod's mysqld answers a query with one value.
func (p *project) waitRow(ordinal int, query, want string) {
	p.t.Helper()
	var last string
	p.waitFor(fmt.Sprintf("%s on pod %d to be %q", query, ordinal, want), func() bool {
		got, err := p.sql(ordinal, query)
		last = fmt.Sprint(got, err)
		return err == nil && got == want
	}, &last)
}

// waitArchived waits until the store has all that the source has.
func (p *project) waitArchived() {
	p.t.Helper()
	var last string
	p.waitFor("everything to be archived", func() bool {
		out, err := p.agent(0, "status", "--json")
		if last = out; err != nil {
			last = err.Error()
			return false
		}
		var set struct {
			Pods []struct {
				Status struct {
					Archive struct {
						Archived string `json:"archived_gtid_set"`
					}
				}
			}
		}
		must(p.t, json.Unmarshal([]byte(out), &set))
		for _, pod := range set.Pods { // one of them archives, and it need not be the source
			all, err := p.sql(0, "SELECT GTID_SUBSET(@@GLOBAL.gtid_executed, '"+pod.Status.Archive.Archived+"')")
			if err == nil && all == "1" {
				return true
			}
		}
		return false
	}, &last)
}

func (p *project) waitFor(what string, ok func() bool, last *string) {
	p.t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			p.t.Fatalf("waiting for %s: %s", what, *last)
		}
	}
}

// replaceVolume takes a pod away with its volume and brings it back, as one would: by an `up` of everything, while all others run.
func (p *project) replaceVolume(ordinal int) {
	p.t.Helper()
	p.stop(ordinal)
	p.removeVolume(ordinal)
	p.upOnly(fmt.Sprintf("mysql-%d", ordinal))
}

func (p *project) stop(ordinal int) {
	p.t.Helper()
	pod := fmt.Sprintf("mysql-%d", ordinal)
	p.must("rm", "--stop", "--force", pod, pod+"-agent", pod+"-init")
}

func (p *project) removeVolume(ordinal int) {
	p.t.Helper()
	_, err := images.Docker(p.ctx, "volume", "rm", fmt.Sprintf("%s_data-%d", p.name, ordinal))
	must(p.t, err)
}

// upOnly is an `up` on a set that runs. It restarts and replaces none of the servers and agents that run, but those of the pod that is named, if any.
func (p *project) upOnly(pod string) {
	p.t.Helper()
	before := p.running()
	p.must("up", "--detach")
	after := p.running()
	for service, since := range before {
		if service != pod && service != pod+"-agent" && after[service] != since {
			p.t.Errorf("`up` on a set that runs: %s was %s, is %s", service, since, after[service])
		}
	}
	if len(after) != p.healthy {
		p.t.Errorf("after `up` these run: %v", after)
	}
}

// running are the services whose containers run, with their ids and the time when they began.
func (p *project) running() map[string]string {
	p.t.Helper()
	ids, err := images.Docker(p.ctx, "ps", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+p.name)
	must(p.t, err)
	services := map[string]string{}
	if ids == "" {
		return services
	}
	const format = `{{index .Config.Labels "com.docker.compose.service"}} {{.Id}} {{.State.StartedAt}}`
	out, err := images.Docker(p.ctx, append([]string{"inspect", "--format", format}, strings.Fields(ids)...)...)
	must(p.t, err)
	for line := range strings.Lines(out) {
		service, since, _ := strings.Cut(strings.TrimSpace(line), " ")
		services[service] = since
	}
	return services
}

// logs returns what the containers of a service have said, without progress.
func (p *project) logs(service string) string {
	p.t.Helper()
	return p.must("logs", "--no-color", service)
}

// remove removes everything that belongs to the project, one by one.
func (p *project) remove() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 5*time.Minute)
	defer cancel()
	ours := "label=com.docker.compose.project=" + p.name
	if p.t.Failed() {
		if out, err := exec.CommandContext(ctx, "docker", "ps", "--all", "--filter", ours).CombinedOutput(); err == nil {
			p.t.Logf("containers:\n%s", out)
		}
		containers, _ := images.Docker(ctx, "ps", "--all", "--quiet", "--filter", ours)
		for _, id := range strings.Fields(containers) {
			out, _ := exec.CommandContext(ctx, "docker", "logs", "--tail=15", id).CombinedOutput()
			p.t.Logf("%s:\n%s", id, out)
		}
	}
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "--all"}, []string{"rm", "--force", "--volumes"}},
		{[]string{"network", "ls"}, []string{"network", "rm"}},
		{[]string{"volume", "ls"}, []string{"volume", "rm"}},
	} {
		ids, err := images.Docker(ctx, append(kind.list, "--quiet", "--filter", ours)...)
		if err == nil && ids != "" {
			_, err = images.Docker(ctx, append(kind.remove, strings.Fields(ids)...)...)
		}
		if err != nil {
			p.t.Errorf("clean up: %v", err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
