package validate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
)

// cases say what happens, and which alerts follow. An alert that is in none of them fails the test.
var cases = []struct {
	name  string
	make  func(world)
	fires []string
}{
	{"all is well", func(world) {}, nil},
	{"the source waits at its gate", func(w world) { w.is("mysql-0", "gate_closed"); w.says("mysql-0", "sibling_silent") },
		[]string{"OrdinalNoWrites", "OrdinalPodNotReady mysql-0"}},
	{"the source's agent is gone", func(w world) {
		for name := range w {
			if strings.Contains(name, `"mysql-0"`) && strings.HasPrefix(name, "ordinal_") {
				w[name] = strings.Replace(w[name], always, "x10", 1)
			}
		}
		w[series("mysql-0", "up")] = "1x10 0x229"
	}, []string{"OrdinalAgentDown mysql-0", "OrdinalNoWrites"}},
	{"the source waits for its siblings, who hold nothing either", func(w world) {
		for _, pod := range []string{"mysql-0", "mysql-1", "mysql-2"} {
			w.inInit(pod, map[bool]string{true: "waiting_for_siblings", false: "waiting_for_donor"}[pod == "mysql-0"])
		}
	}, []string{"OrdinalNoWrites", "OrdinalPodNotReady mysql-0", "OrdinalNobodyToCloneFrom mysql-1", "OrdinalNobodyToCloneFrom mysql-2"}},
	{"a pod comes back with another address", func(w world) {
		w[`up{namespace="shop",job="mysql",pod="mysql-2",instance="10.0.0.9:8080"}`] = "0" + always
	}, []string{"OrdinalAgentDown mysql-2"}},
	{"a target that was never an agent", func(w world) {
		w[`up{namespace="shop",job="other",pod="web-0",instance="web-0:8080"}`] = "0" + always
	}, nil},
	{"commits wait", func(w world) { w.says("mysql-0", "nobody_acknowledges") }, []string{"OrdinalCommitsWait mysql-0"}},
	{"histories differ", func(w world) { w.is("mysql-0", "diverged"); w.says("mysql-0", "siblings_diverged") },
		[]string{"OrdinalDiverged mysql-0", "OrdinalNoWrites", "OrdinalPodNotReady mysql-0"}},
	{"a stranger", func(w world) { w.is("mysql-1", "source_is_stranger"); w.says("mysql-1", "source_is_stranger") },
		[]string{"OrdinalStranger mysql-1", "OrdinalPodNotReady mysql-1"}},
	{"the volume is full", func(w world) { w.is("mysql-1", "not_replicating"); w.says("mysql-1", "disk_full") },
		[]string{"OrdinalVolumeFull mysql-1", "OrdinalNotReplicating mysql-1", "OrdinalPodNotReady mysql-1"}},
	{"no room for a copy", func(w world) { w.inInit("mysql-2", "waiting_for_space"); w.says("mysql-2", "no_space") },
		[]string{"OrdinalVolumeFull mysql-2", "OrdinalPodNotReady mysql-2"}},
	{"the volume is damaged", func(w world) { w.is("mysql-2", "waiting_for_mysqld"); w.says("mysql-2", "volume_damaged") },
		[]string{"OrdinalVolumeDamaged mysql-2", "OrdinalPodNotReady mysql-2"}},
	{"a clone under way is no accident", func(w world) {
		w.inInit("mysql-2", "cloning")
		w[series("mysql-2", "ordinal_clone_active")] = "1" + always
		w[series("mysql-2", "ordinal_clone_rate_bytes_per_second")] = "1000000" + always
		delete(w, series("mysql-2", "ordinal_replication_lag_seconds"))
	}, nil},
	{"waiting for the pod before, which is being cloned, is none either", func(w world) {
		w.inInit("mysql-1", "cloning")
		w[series("mysql-1", "ordinal_clone_active")] = "1" + always
		w.inInit("mysql-2", "waiting_for_donor")
		w.says("mysql-2", "donor_not_ready")
	}, nil},
	{"a clone that stands still", func(w world) {
		w.inInit("mysql-2", "cloning")
		w[series("mysql-2", "ordinal_clone_active")] = "1" + always
		w[series("mysql-2", "ordinal_clone_rate_bytes_per_second")] = "0" + always
	}, []string{"OrdinalCloneStandsStill mysql-2"}},
	{"clones that fail", func(w world) {
		w[series("mysql-1", "ordinal_clone_sessions_total", `result="failed"`)] = "0x180 1 2 3 4x57"
	},
		[]string{"OrdinalClonesFail mysql-1"}},
	{"a donor whose disk is rotten", func(w world) {
		w[series("mysql-2", "ordinal_clone_corrupt_total")] = "0x200 1x39"
	}, []string{"OrdinalBadPages mysql-2"}},
	{"a donor that refuses", func(w world) {
		w[series("mysql-1", "ordinal_clone_refused_total", `reason="unsupported_content"`)] = "1x230 2+1x9"
	}, []string{"OrdinalDonorRefuses mysql-1"}},
	{"the loop stands still", func(w world) { w[series("mysql-1", "ordinal_status_age_seconds")] = "90" + always },
		[]string{"OrdinalStatusStale mysql-1"}},
	{"lag", func(w world) { w[series("mysql-2", "ordinal_replication_lag_seconds")] = "45" + always },
		[]string{"OrdinalReplicationLag mysql-2"}},
	{"errant transactions", func(w world) { w.is("mysql-1", "diverged"); w.says("mysql-1", "errant_transactions") },
		[]string{"OrdinalReplicaWritten mysql-1", "OrdinalPodNotReady mysql-1"}},
	{"purged binlogs", func(w world) { w.is("mysql-1", "not_replicating"); w.says("mysql-1", "binlogs_purged") },
		[]string{"OrdinalBinlogsPurged mysql-1", "OrdinalNotReplicating mysql-1", "OrdinalPodNotReady mysql-1"}},
	{"a rebuild that waits for somebody", func(w world) { w.says("mysql-1", "rebuild_needed") }, []string{"OrdinalRebuildWaits mysql-1"}},
	{"a wrong password", func(w world) { w.is("mysql-1", "not_replicating"); w.says("mysql-1", "access_denied") },
		[]string{"OrdinalAccess mysql-1", "OrdinalNotReplicating mysql-1", "OrdinalPodNotReady mysql-1"}},
	{"an overridden option", func(w world) { w.says("mysql-1", "config_overridden") }, []string{"OrdinalConfiguration mysql-1"}},
	{"a restore under way is an accident only for who wants to write", func(w world) {
		w.inInit("mysql-0", "restoring")
		w.inInit("mysql-1", "waiting_for_donor")
		w.inInit("mysql-2", "waiting_for_donor")
	}, []string{"OrdinalNoWrites"}},
	{"a store that does not answer", func(w world) { w.inInit("mysql-0", "restoring"); w.says("mysql-0", "store_unavailable") },
		[]string{"OrdinalNoWrites", "OrdinalRestoreStandsStill mysql-0"}},
	{"a gap in the archive", func(w world) { w.says("mysql-0", "archive_gap") }, []string{"OrdinalArchiveGap mysql-0"}},
	{"a late archive", func(w world) { w.says("mysql-0", "archive_late") }, []string{"OrdinalArchiveLate mysql-0"}},
	{"a store, and nobody who archives", func(w world) {
		for _, pod := range []string{"mysql-0", "mysql-1", "mysql-2"} {
			w[series(pod, "ordinal_archive_active")] = "0" + always
		}
	}, []string{"OrdinalNobodyArchives"}},
	{"an archive that somebody writes", func(w world) {
		for n, pod := range []string{"mysql-0", "mysql-1", "mysql-2"} {
			w[series(pod, "ordinal_archive_active")] = map[bool]string{true: "1", false: "0"}[n == 1] + always
			w[series(pod, "ordinal_archive_guard_gave_up")] = "0" + always
			w[series(pod, "ordinal_archive_rpo_seconds")] = "2" + always
		}
	}, nil},
	{"binlogs that take too much room", func(w world) { w[series("mysql-0", "ordinal_archive_guard_gave_up")] = "1" + always },
		[]string{"OrdinalBinlogsMayBePurged mysql-0"}},
	{"a forgotten hold", func(w world) { w.says("mysql-2", "replication_held") }, []string{"OrdinalHeld mysql-2"}},
	{"half of an update", func(w world) {
		delete(w, series("mysql-2", "ordinal_build_info", `version="v1"`, `go_version="go1.26"`))
		w[series("mysql-2", "ordinal_build_info", `version="v2"`, `go_version="go1.26"`)] = "1" + always
	}, []string{"OrdinalVersionsDiffer"}},
	{"the exporter cannot log in", func(w world) { w[series("mysql-1", "mysql_up")] = "0" + always }, []string{"MySQLExporterCannotLogIn mysql-1"}},
	{"many connections", func(w world) { w[series("mysql-0", "mysql_global_status_threads_connected")] = "150" + always },
		[]string{"MySQLConnectionsNearLimit mysql-0"}},
}

// TestAlertsFire evaluates every alert's expression with Prometheus' own engine in every case: those named fire, all others are silent. How long an
// alert waits (for) is Prometheus' affair.
func TestAlertsFire(t *testing.T) {
	all := slices.Concat(alerts(t, "rules.yaml"), alerts(t, "rules-mysqld.yaml"))
	recorded := map[string]string{}
	for _, g := range rules(t, "rules.yaml") {
		for _, r := range g.Rules {
			if r.Record != "" {
				recorded[r.Record] = "(" + r.Expr + ")"
			}
		}
	}
	unseen := map[string]bool{}
	for _, r := range all {
		unseen[r.Alert] = true
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	defer engine.Close()
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			w := healthy()
			test.make(w)
			data := w.load(t)
			var got []string
			for _, r := range all {
				text := r.Expr
				for name, expr := range recorded {
					text = strings.ReplaceAll(text, name, expr)
				}
				for _, sample := range evaluate(t, engine, data, text) {
					delete(unseen, r.Alert)
					got = append(got, strings.TrimSpace(r.Alert+" "+sample.Metric.Get("pod")))
					for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(fmt.Sprint(r.Annotations), -1) {
						if !sample.Metric.Has(m[1]) {
							t.Errorf("%s speaks of the label %q, and the result has none: %v", r.Alert, m[1], sample.Metric)
						}
					}
				}
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(test.fires))
			if !slices.Equal(slices.Compact(got), want) {
				t.Errorf("these fire: %q, want %q", got, want)
			}
		})
	}
	for name := range unseen {
		t.Errorf("no case makes %s fire", name)
	}
}
