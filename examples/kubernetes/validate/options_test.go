package validate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A row of docs/configuration.md.
type option struct {
	name, variable, kind, allowed, help string
	pods                                bool // agent init and agent run take it
}

// options are those that have a variable. The table's columns are found by their names.
func options(t *testing.T) []option {
	t.Helper()
	split := func(line string) []string { return strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ") }
	column := map[string]int{}
	for i, name := range split(sourceLines(t, "../../../docs/configuration.md", "| Flag | Environment |")[0]) {
		column[strings.TrimSpace(name)] = i
	}
	var all []option
	for _, line := range sourceLines(t, "../../../docs/configuration.md", "| `--") {
		cells := split(line)
		if !strings.HasPrefix(line, "| `--") {
			continue // a flag of a single command
		}
		if len(cells) != len(column) {
			t.Fatalf("docs/configuration.md: %d cells, want %d in %s", len(cells), len(column), line)
		}
		cell := func(name string) string {
			i, ok := column[name]
			if !ok {
				t.Fatalf("docs/configuration.md has no column %q", name)
			}
			return strings.TrimSpace(cells[i])
		}
		all = append(all, option{
			name:     strings.TrimPrefix(strings.Trim(cell("Flag"), "`"), "--"),
			variable: strings.Trim(strings.Split(cell("Environment"), ",")[0], "`"),
			pods:     slices.Contains(strings.Split(cell("Commands"), ", "), "run"),
			kind:     cell("Type"), allowed: cell("Must be"), help: cell("Meaning"),
		})
	}
	return all
}

// setByTheChart are options that follow from what the chart renders; everything else is agent.options.
var setByTheChart = []string{
	"pod-name", "ordinal", "first-ordinal", "service", "peer-host", "replicas", "volume", "mysql-config-dir", "mysql-address", "mysql-port",
	"data-listen", "data-port", "status-listen", "status-port", "secret-file", "root-password-file",
	"store", "restore-from", "encrypt-to", "passphrase-file", "identity-file",
}

// A misspelt variable is not noticed by anybody: every one that is set has to be one of the documented.
func TestVariablesExist(t *testing.T) {
	var known []string
	for _, o := range options(t) {
		known = append(known, o.variable)
	}
	each(t, variants(), func(t *testing.T, _ variant, o *objects) {
		for _, w := range o.workloads() {
			for _, c := range containers(w.pod.Spec) {
				for _, e := range c.Env {
					if strings.HasPrefix(e.Name, "AGENT_") && !slices.Contains(known, e.Name) {
						t.Errorf("%s: %s: %s is no option of the agent", w.name, c.Name, e.Name)
					}
				}
			}
		}
		// init and run are to be told the same, but for root's password, which init does not need, and what is logged.
		said := func(name string) map[string]corev1.EnvVar {
			all := map[string]corev1.EnvVar{}
			for _, e := range container(o.set.Spec.Template.Spec, name).Env {
				if e.Name != "AGENT_ROOT_PASSWORD_FILE" && e.Name != "AGENT_LOG_LEVEL" {
					all[e.Name] = e
				}
			}
			return all
		}
		if init, agent := said("init"), said("agent"); !reflect.DeepEqual(init, agent) {
			t.Errorf("init is told %v, agent %v", init, agent)
		}
	})
}

var (
	words     = regexp.MustCompile(`^[a-z]+(, [a-z]+)* or [a-z]+$`)
	wholeFrom = regexp.MustCompile(`^(-?\d+) to (\d+)$`)
)

// schemaOf is what the chart's schema asks of an option, by the option table's own words.
func schemaOf(o option) (map[string]any, error) {
	s := map[string]any{"description": strings.ReplaceAll(o.help, "`", "")}
	switch bounds := wholeFrom.FindStringSubmatch(o.allowed); {
	case o.kind == "bool":
		s["type"] = "boolean"
	case (o.kind == "int" || o.kind == "uint32") && bounds != nil:
		s["type"], s["minimum"], s["maximum"] = "integer", json.Number(bounds[1]), json.Number(bounds[2])
	case o.kind == "duration":
		s["type"], s["pattern"] = "string", `^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$`
	case o.kind == "list":
		s["type"], s["minLength"] = "string", 1
	case o.kind == "rate" || o.kind == "size":
		s["type"], s["pattern"] = []string{"string", "integer"}, `^[0-9]+(\.[0-9]+)? ?([kKmMgGtT]?[iI]?[bB]?)(/s)?$`
	case o.kind == "string" && words.MatchString(o.allowed):
		s["type"], s["enum"] = "string", strings.Split(strings.ReplaceAll(o.allowed, " or ", ", "), ", ")
	case o.kind == "string":
		s["type"], s["minLength"] = "string", 1
	default:
		return nil, fmt.Errorf("--%s has the type %s, %q: say in this test what the schema makes of it", o.name, o.kind, o.allowed)
	}
	return s, nil
}

// The chart's schema has the agent's options as the option table has them. With -update it is written.
func TestSchemaHasTheOptions(t *testing.T) {
	properties := map[string]any{}
	for _, o := range options(t) {
		if !o.pods || slices.Contains(setByTheChart, o.name) {
			continue
		}
		s, err := schemaOf(o)
		if err != nil {
			t.Fatal(err)
		}
		properties[o.name] = s
	}
	var want bytes.Buffer
	want.WriteString("{\n      \"type\": \"object\",\n      \"additionalProperties\": false,\n      \"properties\": {\n")
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		var line bytes.Buffer
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(properties[name]); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "        %q: %s", name, bytes.TrimSpace(line.Bytes()))
		if i < len(names)-1 {
			want.WriteByte(',')
		}
		want.WriteByte('\n')
	}
	want.WriteString("      }\n    }\n  }\n}\n")

	file := filepath.Join(chartDir, "values.schema.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const begin = `"agentOptions": `
	head, have, ok := bytes.Cut(text, []byte(begin))
	if !ok || bytes.Contains(have, []byte(begin)) {
		t.Fatalf("%s: %s is not its last definition", file, begin)
	}
	if bytes.Equal(have, want.Bytes()) {
		return
	}
	if !*update {
		t.Fatalf("%s does not have the agent's options as docs/configuration.md has them; go test -run TestSchemaHasTheOptions -update", file)
	}
	if err := os.WriteFile(file, slices.Concat(head, []byte(begin), want.Bytes()), 0o644); err != nil {
		t.Fatal(err)
	}
}
