package containers

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// restricted looks at what runs, not at what was asked for: user, capabilities, privileges, seccomp, root file system, and what was written
// outside of the mounts.
func restricted(ctx context.Context, t *testing.T, c *Cluster) {
	for ordinal := range c.Replicas() {
		p := c.Pod(ordinal)
		for _, name := range []string{"agent", "mysql"} {
			id := p.container(name).running()
			line, err := docker("inspect", "--format", "{{.State.Pid}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Privileged}} {{.HostConfig.Memory}}", id)
			must(t, err)
			var pid, memory int
			var readOnly, privileged bool
			if _, err := fmt.Sscan(line, &pid, &readOnly, &privileged, &memory); err != nil || !readOnly || privileged || memory == 0 {
				t.Errorf("%s/%s: read-only root %v, privileged %v, memory %d, %v", p.Name, name, readOnly, privileged, memory, err)
			}
			mustBeRestricted(t, p.Name+"/"+name, pid)
			mustHaveReadOnlyRoot(t, p.Name+"/"+name, pid)
		}
		changed, err := p.Changed()
		must(t, err)
		if len(changed) > 0 {
			t.Errorf("%s has written outside of its mounts: %q", p.Name, changed)
		}
		mustKeepSecrets(t, c, p)
	}
	// The image has no shell to be let in to.
	if _, code, err := c.Pod(0).Exec(ctx, "agent", "/bin/sh", "-c", "true"); code == 0 {
		t.Errorf("there is a shell beside the agent (%v)", err)
	}
	// mysqld cannot write where it has no mount.
	if _, code, err := c.Pod(0).Exec(ctx, "mysql", "touch", "/etc/mysql/written"); code == 0 || !strings.Contains(fmt.Sprint(err), "Read-only file system") {
		t.Errorf("a file outside of the mounts: code %d, %v", code, err)
	}
}

// mustBeRestricted reads what the kernel says about a process.
func mustBeRestricted(t *testing.T, name string, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	status := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.Join(strings.Fields(value), " ")
	}
	for key, want := range map[string]string{
		"Uid": "999 999 999 999", "Gid": "999 999 999 999", "Groups": "999",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2", // a filter
	} {
		if status[key] != want {
			t.Errorf("%s: the kernel says %s %q, want %q", name, key, status[key], want)
		}
	}
}

// mustHaveReadOnlyRoot reads how the process sees its root.
func mustHaveReadOnlyRoot(t *testing.T, name string, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 5 && fields[4] == "/" {
			if options := "," + fields[5] + ","; !strings.Contains(options, ",ro,") {
				t.Errorf("%s: its root is mounted %s", name, fields[5])
			}
			return
		}
	}
	t.Errorf("%s: no root among its mounts", name)
}

// mustKeepSecrets looks for both secrets in what anybody who may ask the engine, or read logs, can see.
func mustKeepSecrets(t *testing.T, c *Cluster, p *Pod) {
	t.Helper()
	seen := ""
	for _, container := range p.all() {
		seen += p.Log(container.spec.Name)
		if id := container.running(); id != "" {
			text, err := docker("inspect", id)
			must(t, err)
			seen += text
		}
	}
	for what, secret := range map[string]string{"the cluster secret": c.options.Overlay.ClusterSecret, "root's password": c.options.Overlay.RootPassword} {
		if strings.Contains(seen, secret) {
			t.Errorf("%s: %s is in a log, an argument or the environment", p.Name, what)
		}
	}
}
