package validate

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A panel is what this test reads of one.
type panel struct {
	ID         int
	Type       string
	Title      string
	Collapsed  bool
	GridPos    struct{ X, Y, W, H int }
	Datasource *struct{ Type, UID string }
	Targets    []struct {
		RefID        string
		Expr         string
		LegendFormat string
		Format       string
		Datasource   struct{ Type, UID string }
	}
	Panels []panel
}

type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []panel
}

// interpolated is an expression as Grafana would send it.
func interpolated(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$job", ".*", "$pod", ".*").Replace(expr)
}

func TestDashboard(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "examples/monitoring/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion == 0 {
		t.Error("a dashboard needs a uid, a title and a schemaVersion")
	}
	v := ours(t)
	var variables []string
	for _, x := range d.Templating.List {
		variables = append(variables, x.Name)
		if x.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(x.Definition)
		if m == nil || !slices.Contains(targetLabels, m[2]) {
			t.Errorf("variable %s: %s", x.Name, x.Definition)
			continue
		}
		for _, w := range v.check(interpolated(m[1])) {
			t.Errorf("variable %s: %s", x.Name, w)
		}
	}
	var all []panel
	for _, p := range d.Panels {
		all = append(append(all, p), p.Panels...)
	}
	ids, shown := map[int]bool{}, map[string]bool{}
	for _, p := range all {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q has id %d, as another one", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: data source %q, want the variable", p.Title, target.Datasource.UID)
			}
			for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if m[1] != "__rate_interval" && !slices.Contains(variables, m[1]) {
					t.Errorf("panel %q: there is no variable %s", p.Title, m[1])
				}
			}
			for _, w := range v.check(interpolated(target.Expr)) {
				t.Errorf("panel %q: %s: %s", p.Title, target.Expr, w)
			}
			for name, labels := range v.metrics {
				if !regexp.MustCompile(`\b` + name + `\b`).MatchString(target.Expr) {
					continue
				}
				shown[name] = true
				for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
					if !slices.Contains(slices.Concat(labels, targetLabels), m[1]) {
						t.Errorf("panel %q: %s has no label %q for the legend", p.Title, name, m[1])
					}
				}
			}
		}
	}
	for name := range metrics(t) {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
	mustNotOverlap(t, d.Panels)
}

// mustNotOverlap checks that no panel lies on another one, or outside of the 24 columns.
func mustNotOverlap(t *testing.T, panels []panel) {
	t.Helper()
	for i, p := range panels {
		a := p.GridPos
		if a.X < 0 || a.W < 1 || a.H < 1 || a.X+a.W > 24 {
			t.Errorf("panel %q lies outside: %+v", p.Title, a)
		}
		for _, q := range panels[:i] {
			b := q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q overlap", p.Title, q.Title)
			}
		}
		mustNotOverlap(t, p.Panels)
	}
}
