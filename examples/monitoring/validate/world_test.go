package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// A world is the series of one set, by name and labels, with their values over two hours in Prometheus' notation: "1x240" is 1 at the
// first scrape and at each of the 240 that follow, 30 s apart.
type world map[string]string

const (
	every  = 30 * time.Second
	always = "x240"
)

// theEnd is when the world is looked at: its last scrape.
var theEnd = time.Unix(0, 0).Add(240 * every)

// series names one of a pod's.
func series(pod, name string, more ...string) string {
	all := append([]string{`namespace="shop"`, `job="mysql"`, fmt.Sprintf("pod=%q", pod), fmt.Sprintf(`instance="%s:8080"`, pod)}, more...)
	return name + "{" + strings.Join(all, ",") + "}"
}

// healthy is a set of three pods in which nothing is wrong.
func healthy() world {
	w := world{}
	for n, pod := range []string{"mysql-0", "mysql-1", "mysql-2"} {
		state, role := "replicating", "replica"
		if n == 0 {
			state, role = "source", "source"
		}
		for _, s := range []string{"source", "replicating", "not_replicating", "diverged", "waiting_for_mysqld"} {
			v := "0"
			if s == state {
				v = "1"
			}
			w[series(pod, "ordinal_pod_state", fmt.Sprintf("state=%q", s))] = v + always
		}
		w[series(pod, "up")] = "1" + always
		w[series(pod, "ordinal_build_info", `version="v1"`, `go_version="go1.26"`)] = "1" + always
		w[series(pod, "ordinal_pod_role", fmt.Sprintf("role=%q", role))] = "1" + always
		w[series(pod, "ordinal_pod_ready")] = "1" + always
		w[series(pod, "ordinal_status_age_seconds")] = "1" + always
		w[series(pod, "ordinal_clone_active")] = "0" + always
		w[series(pod, "ordinal_clone_received_bytes_total")] = "0" + always
		w[series(pod, "ordinal_clone_sessions_total", `result="failed"`)] = "0" + always
		w[series(pod, "ordinal_clone_sessions_total", `result="complete"`)] = "1" + always
		w[series(pod, "ordinal_clone_refused_total", `reason="donor_busy"`)] = "0+1" + always
		if n > 0 {
			w[series(pod, "ordinal_replication_lag_seconds")] = "0.5" + always
		}
		w[series(pod, "mysql_up")] = "1" + always
		w[series(pod, "mysql_global_status_threads_connected")] = "10" + always
		w[series(pod, "mysql_global_variables_max_connections")] = "151" + always
	}
	return w
}

// says adds a reason to a pod.
func (w world) says(pod, code string) {
	w[series(pod, "ordinal_pod_reason", fmt.Sprintf("code=%q", code))] = "1" + always
}

// is puts a pod into a state in which it is not ready.
func (w world) is(pod, state string) {
	for name := range w {
		if strings.HasPrefix(name, "ordinal_pod_state") && strings.Contains(name, `"`+pod+`"`) {
			w[name] = "0" + always
		}
	}
	w[series(pod, "ordinal_pod_state", fmt.Sprintf("state=%q", state))] = "1" + always
	w[series(pod, "ordinal_pod_ready")] = "0" + always
}

// inInit puts a pod back into agent init, which has other states.
func (w world) inInit(pod, state string) {
	for name := range w {
		if strings.HasPrefix(name, "ordinal_pod_state") && strings.Contains(name, `"`+pod+`"`) {
			delete(w, name)
		}
	}
	w.is(pod, state)
}

// A point is one sample.
type point struct {
	t int64 // ms
	v float64
}

func (p point) T() int64                      { return p.t }
func (p point) F() float64                    { return p.v }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }

// load makes a storage of the world.
func (w world) load(t *testing.T) storage.Queryable {
	t.Helper()
	var all []storage.Series
	for _, name := range slices.Sorted(maps.Keys(w)) {
		set, values, err := parser.ParseSeriesDesc(name + " " + w[name])
		if err != nil {
			t.Fatalf("%s %s: %v", name, w[name], err)
		}
		var samples []chunks.Sample
		for n, v := range values {
			if !v.Omitted {
				samples = append(samples, point{(time.Duration(n) * every).Milliseconds(), v.Value})
			}
		}
		all = append(all, storage.NewListSeries(set, samples))
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			return &selected{at: -1, all: slices.DeleteFunc(slices.Clone(all), func(s storage.Series) bool {
				return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) })
			})}
		},
	}}
}

// selected is the answer to one question.
type selected struct {
	all []storage.Series
	at  int
}

func (s *selected) Next() bool         { s.at++; return s.at < len(s.all) }
func (s *selected) At() storage.Series { return s.all[s.at] }
func (s *selected) Err() error         { return nil }

func (s *selected) Warnings() annotations.Annotations { return nil }

// evaluate asks Prometheus' own engine at the end of the world.
func evaluate(t *testing.T, engine *promql.Engine, from storage.Queryable, text string) promql.Vector {
	t.Helper()
	query, err := engine.NewInstantQuery(t.Context(), from, nil, text, theEnd)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer query.Close()
	found, err := query.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return slices.Clone(found)
}
