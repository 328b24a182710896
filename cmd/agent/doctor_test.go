package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ordinal/agent"
	"ordinal/doctor"
)

func TestDocsDoctor(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`# agent doctor

What is wrong with a pod, why that matters, and what to do. Beside a running agent, before the first start, and when ` + "`agent init`" + ` does not get on:

` + "```" + `
$ kubectl exec mysql-1 -c agent -- /agent doctor
$ docker compose exec agent-1 /agent doctor
$ agent doctor --pod-name db-1 …        # as plain processes: the options and the environment of agent run
` + "```" + `

It needs no access to the Kubernetes API, writes nothing, neither on disk nor into the server nor into a store, and takes ten seconds at most, also when nothing answers. Its first
line says what is wrong; faults come in order of cause and effect, so begin with the first. A check whose outcome follows from a fault above it, or that cannot be decided
yet, is *not checked* and says why. Nothing that it prints is secret.

| exit code | |
|---|---|
| 0 | no fault; there may be warnings |
| 78 | at least one fault |
| 2 | an option's value outside its range |

` + "`--json`" + ` prints one object: ` + "`faults`, `warnings`, `not_checked`, `pod`, `role`, `agent`" + ` (what the pod's agent says of itself), and in ` + "`checks`" + ` for each check ` + "`id`, `state`" + `
(` + "`ok`, `warning`, `fault`, `not checked`), `title`, `what`, `why`, `fix`" + `. Ids are stable; fields are only ever added.

## The checks

<!-- Written by go generate ./cmd/agent from doctor/check_*.go. -->

| id | what holds if all is well | why it matters | what to do if not |
|---|---|---|---|
`)
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&doc, "| `%s` | %s | %s | %s |\n", c.ID, c.Title, c.Why, c.Remedy)
	}
	doc.WriteString(`
## What it does not see

- What only the Kubernetes API knows: ` + "`terminationGracePeriodSeconds`, `podManagementPolicy`" + `, probes and their ports, the labels that a Service or a NetworkPolicy selects.
- Whether a store can be written to: it would have to write. ` + "`agent backup`" + ` finds out.
- The settings of the other pods' servers, ` + "`lower_case_table_names` and `innodb_page_size`" + ` among them: the agents do not tell each other. mysqld does not start on data of another page
  size or case, and a clone between different page sizes is refused before it begins.
- The memory limit of mysqld's own container: only what the machine has.
- Whether a symbolic link or a lock works on the volume: it goes by the kind of the file system.
- Before mysqld runs: all that it would have to be asked.
`)
	checkDoc(t, "../../docs/doctor.md", doc.String())
}

// A pod before its first start, alone: nothing is wrong, and what nobody can know is not guessed.
func TestDoctorBeforeTheFirstStart(t *testing.T) {
	report, code, stdout, stderr := runDoctor(t, newPod(t), nil)
	if code != agent.ExitOK || report.Faults+report.Warnings > 0 {
		t.Errorf("doctor of a fresh pod: exit code %d, want %d\n%s%s", code, agent.ExitOK, stdout, stderr)
	}
	for _, c := range report.Results {
		if strings.HasPrefix(c.ID, "mysql") && c.State != doctor.NotChecked && c.ID != "mysqld" {
			t.Errorf("%s = %s although there is no mysqld", c.ID, c.State)
		}
	}
}

// A fault has the exit code that is documented, its remedy, and the line that a tired person reads first.
func TestDoctorNamesAFault(t *testing.T) {
	flags := newPod(t)
	if err := os.Remove(flags["secret-file"]); err != nil {
		t.Fatal(err)
	}
	report, code, stdout, stderr := runDoctor(t, flags, nil)
	if code != agent.ExitConfig || report.Faults != 1 {
		t.Errorf("doctor without a secret: exit code %d, %d faults, want %d and 1\n%s", code, report.Faults, agent.ExitConfig, stdout)
	}
	if want := "mysql-0 (source): 1 fault; "; !strings.HasPrefix(stdout, want) {
		t.Errorf("doctor begins with %.100q, want %q", stdout, want)
	}
	for _, want := range []string{"FAULT secret: ", "  why: ", "  fix: ", "head -c 32"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("doctor does not say %q:\n%s", want, stdout)
		}
	}
	if stderr != "agent: doctor: 1 fault\n" {
		t.Errorf("doctor says on standard error %q", stderr)
	}
}

// A pod's name that is none is a finding; a value that no command takes is a usage error.
func TestDoctorTellsUsageFromFaults(t *testing.T) {
	flags := newPod(t)
	flags["pod-name"] = "build-host"
	if report, code, stdout, _ := runDoctor(t, flags, nil); code != agent.ExitConfig || report.Faults != 1 || !strings.Contains(stdout, "FAULT pod-name") {
		t.Errorf("doctor of a host: exit code %d, %d faults:\n%s", code, report.Faults, stdout)
	}
	flags["max-lag"] = "1ms"
	var stdout, stderr bytes.Buffer
	if code := run(flags.args("doctor"), noEnv, &stdout, &stderr); code != agent.ExitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), "--max-lag") {
		t.Errorf("doctor --max-lag=1ms: exit code %d, want %d: %s%s", code, agent.ExitUsage, &stdout, &stderr)
	}
}

// Whatever does not answer, it ends within the ten seconds that are promised.
func TestDoctorEndsInTime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	flags := newPod(t)
	flags["mysql-address"] = silent.Addr().String()
	flags["status-listen"] = silent.Addr().String()
	flags["peer-host"], flags["replicas"] = "192.0.2.{ordinal}", "5" // nobody is there: RFC 5737
	flags["store"] = "s3://bucket/prefix?endpoint=https://" + silent.Addr().String()
	began := time.Now()
	_, code, stdout, _ := runDoctor(t, flags, map[string]string{"AWS_ACCESS_KEY_ID": "doctor-key", "AWS_SECRET_ACCESS_KEY": "doctor-planted-secret"})
	if took := time.Since(began) / 2; took > 10*time.Second { // it was run twice
		t.Errorf("doctor took %v", took)
	}
	if code != agent.ExitConfig || !strings.Contains(stdout, "FAULT store") {
		t.Errorf("doctor with nobody there: exit code %d\n%s", code, stdout)
	}
}

// podFlags are a pod's options.
type podFlags map[string]string

func (f podFlags) args(command string, more ...string) []string {
	args := append([]string{command}, more...)
	for name, value := range f {
		args = append(args, "--"+name+"="+value)
	}
	return args
}

const plantedSecret = "planted-cluster-secret-planted-cluster-secret"

// newPod returns the options of a pod that is alone and has never been started.
func newPod(t *testing.T) podFlags {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"volume", "conf.d", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(plantedSecret+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	return podFlags{
		"pod-name": "mysql-0", "replicas": "1", "peer-host": "127.77.0.{ordinal}", "volume": filepath.Join(dir, "volume"), "mysql-config-dir": filepath.Join(dir, "conf.d"),
		"mysql-address": filepath.Join(dir, "run", "mysqld.sock"), "secret-file": filepath.Join(dir, "secret"), "status-listen": "127.77.0.0:8080", "data-listen": "127.77.0.0:3307",
	}
}

func noEnv(string) string { return "" }

// runDoctor runs it for people and for programs, and sees that no secret is in what either gets.
func runDoctor(t *testing.T, flags podFlags, env map[string]string) (report doctorReport, code int, stdout, stderr string) {
	t.Helper()
	var forPeople, forPrograms, errors bytes.Buffer
	getenv := func(name string) string { return env[name] }
	code = run(flags.args("doctor"), getenv, &forPeople, &errors)
	run(flags.args("doctor", "--json"), getenv, &forPrograms, &bytes.Buffer{})
	if err := json.Unmarshal(forPrograms.Bytes(), &report); err != nil {
		t.Fatalf("doctor --json: %v\n%s", err, &forPrograms)
	}
	for _, text := range []string{forPeople.String(), forPrograms.String(), errors.String()} {
		if strings.Contains(text, "planted") {
			t.Errorf("doctor shows a secret:\n%s", text)
		}
	}
	return report, code, forPeople.String(), errors.String()
}
