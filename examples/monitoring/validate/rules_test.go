package validate

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/rulefmt"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write prometheusrule.yaml")

// rules reads a file of rules as Prometheus does: strictly, expressions and templates included.
func rules(t *testing.T, name string) []rulefmt.RuleGroup {
	t.Helper()
	parsed, errs := rulefmt.Parse([]byte(read(t, "examples/monitoring/"+name)), false)
	for _, err := range errs {
		t.Errorf("%s: %v", name, err)
	}
	if len(errs) > 0 || len(parsed.Groups) == 0 {
		t.Fatalf("%s is not a file of rules", name)
	}
	return parsed.Groups
}

// alerts lists the alerting rules of a file.
func alerts(t *testing.T, name string) (all []rulefmt.Rule) {
	t.Helper()
	for _, g := range rules(t, name) {
		for _, r := range g.Rules {
			if r.Alert != "" {
				all = append(all, r)
			}
		}
	}
	return all
}

// TestAlertsSayWhatToDo: each alert has a summary, a description, a severity and a place in docs/what-if.md.
func TestAlertsSayWhatToDo(t *testing.T) {
	anchors := anchors(read(t, "docs/what-if.md"))
	seen := map[string]bool{}
	for _, r := range slices.Concat(alerts(t, "rules.yaml"), alerts(t, "rules-mysqld.yaml")) {
		if seen[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		seen[r.Alert] = true
		if len(r.Annotations) != 3 || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: annotations %v, want summary, description and runbook_url", r.Alert, r.Annotations)
		}
		if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, s) {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], "docs/what-if.md#")
		if !ok || !slices.Contains(anchors, anchor) {
			t.Errorf("%s: runbook_url %q leads nowhere", r.Alert, r.Annotations["runbook_url"])
		}
		// An alert about one reason code leads to its entry, unless several codes share one.
		if m := regexp.MustCompile(`\{code="(\w+)"\}`).FindStringSubmatch(r.Expr); m != nil && anchor != m[1] {
			t.Errorf("%s is about %s and leads to #%s", r.Alert, m[1], anchor)
		}
	}
}

// anchors are those that GitHub gives the headings of a document: lower case, spaces to hyphens, letters, digits, "-" and "_" kept.
func anchors(doc string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(doc, -1) {
		all = append(all, strings.Map(func(c rune) rune {
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
				return c
			case c >= 'A' && c <= 'Z':
				return c - 'A' + 'a'
			case c == ' ':
				return '-'
			}
			return -1
		}, strings.TrimSpace(m[1])))
	}
	return all
}

const prometheusRule = `# rules.yaml for the Prometheus Operator. Written by: cd validate && go test -run TestPrometheusRule -update ./...
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: mysql
  labels: {app.kubernetes.io/name: mysql, app.kubernetes.io/part-of: ordinal}
spec:
`

// TestPrometheusRule: prometheusrule.yaml is rules.yaml, in the form that the operator takes.
func TestPrometheusRule(t *testing.T) {
	want := strings.Builder{}
	want.WriteString(prometheusRule)
	_, groups, ok := strings.Cut("\n"+read(t, "examples/monitoring/rules.yaml"), "\ngroups:\n")
	if !ok {
		t.Fatal("rules.yaml has no groups")
	}
	for line := range strings.Lines("groups:\n" + groups) {
		if strings.TrimSpace(line) != "" {
			line = "  " + line
		}
		want.WriteString(line)
	}
	const path = "../prometheusrule.yaml"
	if *update {
		if err := os.WriteFile(path, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, "examples/monitoring/prometheusrule.yaml"); got != want.String() {
		t.Errorf("%s is not what rules.yaml says: run go test -run TestPrometheusRule -update", path)
	}
	var rule monitoringv1.PrometheusRule
	if err := yaml.UnmarshalStrict([]byte(want.String()), &rule); err != nil {
		t.Fatal(err)
	}
	if n, m := len(rule.Spec.Groups), len(rules(t, "rules.yaml")); n != m {
		t.Errorf("%d groups in the PrometheusRule, %d in rules.yaml", n, m)
	}
}
