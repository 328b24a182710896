package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// A vocabulary is what expressions may be made of.
type vocabulary struct {
	metrics map[string][]string // and the labels of each, beside those of the target
	values  func(label string) []string
}

// ours is the product's vocabulary, with the recording rules of rules.yaml and the metrics of others.
func ours(t *testing.T) vocabulary {
	t.Helper()
	v := vocabulary{metrics: metrics(t), values: func(label string) []string { return values(t, label) }}
	maps.Copy(v.metrics, notOurs)
	for _, g := range rules(t, "rules.yaml") {
		for _, r := range g.Rules {
			if r.Record != "" {
				v.metrics[r.Record] = nil
			}
		}
	}
	return v
}

// check returns what is wrong with one expression.
func (v vocabulary) check(text string) (wrong []string) {
	expr, err := parser.ParseExpr(text)
	if err != nil {
		return []string{err.Error()}
	}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	used := map[string]bool{}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		own, known := v.metrics[s.Name]
		if !known {
			say("there is no metric %q", s.Name)
		}
		for _, name := range slices.Concat(own, targetLabels) {
			used[name] = true
		}
		for _, m := range s.LabelMatchers {
			if m.Name == labels.MetricName {
				continue
			}
			if !slices.Contains(slices.Concat(own, targetLabels), m.Name) {
				say("%s has no label %q", s.Name, m.Name)
			}
			if all := v.values(m.Name); all != nil {
				for _, value := range strings.Split(m.Value, "|") {
					if !slices.Contains(all, value) {
						say("%s is never %q", m.Name, value)
					}
				}
			}
		}
		return nil
	})
	// What is grouped and matched by are labels of what is selected somewhere in the expression.
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		var named []string
		switch n := node.(type) {
		case *parser.AggregateExpr:
			named = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				named = slices.Concat(n.VectorMatching.MatchingLabels, n.VectorMatching.Include)
			}
		}
		for _, name := range named {
			if !used[name] {
				say("nothing has the label %q", name)
			}
		}
		return nil
	})
	return wrong
}

// TestCheckNotices: a check that cannot fail protects nothing.
func TestCheckNotices(t *testing.T) {
	v := ours(t)
	for text, want := range map[string]string{
		`ordinal_pod_ready == 0`: "",
		`sum by (pod) (rate(ordinal_clone_sent_bytes_total[5m])) > 1`: "",
		`job:ordinal_clones_active:sum > 0`:                           "",
		`ordinal_pod_raedy == 0`:                                      `no metric "ordinal_pod_raedy"`,
		`mysql_slave_status_seconds_behind_source > 1`:                `no metric`,
		`ordinal_pod_ready{state="source"}`:                           `no label "state"`,
		`ordinal_pod_reason{code="binlog_purged"}`:                    `code is never "binlog_purged"`,
		`ordinal_pod_reason{code=~"no_space|bad_pages"}`:              `code is never "bad_pages"`,
		`ordinal_pod_state{state="Source"}`:                           `state is never "Source"`,
		`sum by (donor) (ordinal_pod_ready)`:                          `nothing has the label "donor"`,
		`ordinal_pod_ready and on (node) up`:                          `nothing has the label "node"`,
		`ordinal_pod_ready ==`:                                        `parse error`,
	} {
		got := strings.Join(v.check(text), "; ")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("check(%s) = %q, want %q", text, got, want)
		}
	}
}

func TestRulesUseWhatThereIs(t *testing.T) {
	v := ours(t)
	for _, file := range []string{"rules.yaml", "rules-mysqld.yaml"} {
		for _, g := range rules(t, file) {
			for _, r := range g.Rules {
				for _, w := range v.check(r.Expr) {
					t.Errorf("%s: %s%s: %s", file, r.Record, r.Alert, w)
				}
			}
		}
	}
}
