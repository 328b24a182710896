package agent

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/zap"

	"ordinal/backup/archive"
	"ordinal/clone"
)

// busyBoard is a replica that has something to say about everything.
func busyBoard() *Board {
	board := NewBoard(Identity{Base: "mysql", Pod: "mysql-2", Ordinal: 2}, PhaseRun, "1.2.3")
	lag := 1.5
	board.Update(func(s *Status) {
		s.State, s.Ready, s.LagSeconds = StateReplicating, true, &lag
		s.Reasons = []Reason{{CodeReadOnlyReasserted, "once"}, {CodeReadOnlyReasserted, "twice"}, {CodeLagAboveBound, ""}}
		s.Archive = &ArchiveStatus{Pod: "mysql-2", Status: archive.Status{RPO: &lag, RawBytes: 1000}, Guard: &archive.GuardStatus{WaitingBytes: 77}}
		s.Clone = &CloneProgress{Donor: "mysql-1", Stage: "FILE_COPY", BytesDone: 100, BytesTotal: 400, RateBytesPerSecond: 50, Since: time.Now()}
	})
	return board
}

// scrape returns the page.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics answers %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestArchiveMetrics(t *testing.T) {
	mustSay(t, scrape(t, NewMetrics(busyBoard(), "1.2.3")), `ordinal_archive_active 1`, `ordinal_archive_rpo_seconds 1.5`, `ordinal_archive_gap_transactions 0`,
		`ordinal_archive_binlog_bytes_total 1000`, `ordinal_archive_waiting_bytes 77`, `ordinal_archive_guard_gave_up 0`)
}

func mustSay(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+page, "\n"+line+"\n") {
			t.Errorf("/metrics lacks %q", line)
		}
	}
}

func TestMetricsOfTheBoard(t *testing.T) {
	page := scrape(t, NewMetrics(busyBoard(), "1.2.3"))
	mustSay(t, page, `ordinal_pod_state{state="replicating"} 1`, `ordinal_pod_state{state="source"} 0`, `ordinal_pod_role{role="replica"} 1`, `ordinal_pod_ready 1`,
		`ordinal_pod_reason{code="super_read_only_reasserted"} 1`, `ordinal_replication_lag_seconds 1.5`, `ordinal_clone_active 1`,
		`ordinal_clone_stage{donor="mysql-1",stage="FILE_COPY"} 1`, `ordinal_clone_done_bytes 100`, `ordinal_clone_expected_bytes 400`,
		`ordinal_clone_rate_bytes_per_second 50`, `ordinal_clone_sessions_total{result="failed"} 0`, `ordinal_clone_sent_bytes_total 0`)
	if !strings.Contains(page, `version="1.2.3"} 1`) {
		t.Error("/metrics does not say which version this is")
	}

	quiet := NewBoard(Identity{Base: "mysql", Pod: "mysql-2", Ordinal: 2}, PhaseInit, "1.2.3")
	quiet.Update(func(s *Status) { s.Reasons = nil })
	page = scrape(t, NewMetrics(quiet, "1.2.3"))
	mustSay(t, page, `ordinal_pod_state{state="waiting_for_donor"} 1`, `ordinal_pod_ready 0`, `ordinal_clone_active 0`)
	for _, absent := range []string{"ordinal_pod_reason{", "ordinal_replication_lag_seconds", "ordinal_clone_done_bytes", `state="source"`} {
		if strings.Contains(page, absent) {
			t.Errorf("/metrics of a pod that waits has %s", absent)
		}
	}

	// A state that the list of states forgets is shown all the same.
	quiet.Update(func(s *Status) { s.State = "brand_new" })
	mustSay(t, scrape(t, NewMetrics(quiet, "1.2.3")), `ordinal_pod_state{state="brand_new"} 1`)
}

// TestMetricsOfADonor follows the events of one session after the other.
func TestMetricsOfADonor(t *testing.T) {
	m := NewMetrics(busyBoard(), "1.2.3")
	d := &donorEvents{log: zap.NewNop(), metrics: m}
	broken := errors.New("connection reset")
	for _, e := range []clone.Event{
		{What: "refused", Err: &clone.RefusedError{Code: clone.ReasonBusy}},
		{What: "refused", Err: &clone.RefusedError{Code: clone.ReasonBusy}},
		{What: "refused", Err: &clone.UnsupportedError{What: "x", Names: []string{"y"}}},
		{What: "refused", Err: broken},
		{Session: "a", What: "began"},
		{Session: "a", What: "interrupted", Bytes: 100, Err: broken},
		{Session: "a", What: "resumed", Bytes: 100},
		{Session: "a", What: "fallback", Bytes: 150, Err: broken},
		{Session: "a", What: "ended", Bytes: 300},
		{Session: "b", What: "began"},
		{Session: "b", What: "interrupted", Bytes: 10, Err: broken}, // and never heard of again
		{Session: "c", What: "began"},
		{Session: "c", What: "failed", Bytes: 5, Err: broken},
		{Session: "d", What: "resumed", Bytes: 1000}, // begun under an earlier process
	} {
		d.hear(e)
	}
	mustSay(t, scrape(t, m),
		`ordinal_clone_refused_total{reason="donor_busy"} 2`, `ordinal_clone_refused_total{reason="unsupported_content"} 1`, `ordinal_clone_refused_total{reason="donor_failed"} 1`,
		`ordinal_clone_sessions_total{result="complete"} 1`, `ordinal_clone_sessions_total{result="failed"} 2`,
		`ordinal_clone_attempts_total{side="donor"} 5`, `ordinal_clone_resumes_total{side="donor"} 2`,
		`ordinal_clone_sent_bytes_total 315`, `ordinal_clone_sending 1`)
}

// TestMetricsAreDocumented keeps docs/metrics.md equal to the registry, and the registry to Prometheus' own rules of names.
func TestMetricsAreDocumented(t *testing.T) {
	m := NewMetrics(busyBoard(), "1.2.3")
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, d := range boardDescs {
		described = append(described, d.String())
	}
	doc := strings.Builder{}
	doc.WriteString(metricsIntro)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "ordinal_") {
			t.Errorf("%s is not ours by its name", f.GetName())
		}
		var labels []string
		for _, pair := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+pair.GetName()+"`")
		}
		fmt.Fprintf(&doc, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
		described = slices.DeleteFunc(described, func(d string) bool { return strings.Contains(d, `"`+f.GetName()+`"`) })
	}
	if len(described) > 0 {
		t.Errorf("a board that says everything does not show %v", described)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if err != nil {
		t.Error(err)
	}
	doc.WriteString(metricsOutro)
	const path = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != doc.String() {
		t.Errorf("%s is not what the registry says (%v): run go generate ./agent", path, err)
	}
}

const metricsIntro = `# Metrics

` + "`GET /metrics`" + ` on the status port answers in Prometheus' formats, from ` + "`agent init` and `agent run`" + ` alike. It asks nobody: mysqld may hang and the answer
comes at once. Names, types and labels are an API: they are only ever added to. Memory and CPU are not among them, the container runtime tells those of
every container.

<!-- Written by go generate ./agent from agent/metrics.go. -->

| Name | Type | Labels | Meaning |
|---|---|---|---|
`

const metricsOutro = `
Values of ` + "`reason` and `code`" + ` are [reason codes](reason-codes.md). Counters begin at zero with each process.

What is worth an alert is in [examples/monitoring](../examples/monitoring/README.md).
`
