package agent

import (
	"errors"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ordinal/clone"
)

//go:generate go test -run TestMetricsAreDocumented -update

// Sides of a clone, as the label `side` has them.
const (
	sideDonor     = "donor"
	sideRecipient = "recipient"
)

// How a session of a donor ended, as the label `result` has it.
const (
	resultComplete = "complete"
	resultFailed   = "failed"
)

// Metrics are this process's figures for Prometheus. What describes the pod is read from its board when it is asked for; what happens is counted here.
// The registry is its own: nothing is global. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	sessions *prometheus.CounterVec // result
	refused  *prometheus.CounterVec // reason
	attempts *prometheus.CounterVec // side
	resumes  *prometheus.CounterVec // side
	sent     prometheus.Counter
	taken    prometheus.Counter
	sending  prometheus.Gauge
	corrupt  prometheus.Counter
	acts     *prometheus.CounterVec // act
}

// NewMetrics returns the figures of the pod that board describes.
func NewMetrics(board *Board, agentVersion string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		sessions: counter("ordinal_clone_sessions_total", "Clones that this pod gave, by how they ended.", "result"),
		refused:  counter("ordinal_clone_refused_total", "Requests for a clone that this pod refused, by reason code.", "reason"),
		attempts: counter("ordinal_clone_attempts_total", "Transfers begun, those that went on after a break included, by this pod's side.", "side"),
		resumes:  counter("ordinal_clone_resumes_total", "Transfers that went on after a break, by this pod's side.", "side"),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ordinal_clone_sent_bytes_total", Help: "Bytes of data files sent in clones that this pod gave.",
		}),
		taken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ordinal_clone_received_bytes_total", Help: "Bytes of data files received in clones that this pod took.",
		}),
		sending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ordinal_clone_sending", Help: "1 while this pod gives a clone, else 0; also 0 while a broken one waits to go on.",
		}),
	}
	m.corrupt = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ordinal_clone_corrupt_total", Help: "Clones that this pod took and did not use, because their donor has pages with a bad checksum.",
	})
	m.acts = counter("ordinal_acts_total", "What the agent has changed in mysqld or on the volume, by what it was.", "act")
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ordinal_build_info", Help: "1; the labels say which agent this is.",
		ConstLabels: prometheus.Labels{"version": agentVersion, "go_version": runtime.Version()},
	})
	build.Set(1)
	// A series that begins with its first event hides that event from rate().
	for _, result := range []string{resultComplete, resultFailed} {
		m.sessions.WithLabelValues(result)
	}
	for _, side := range []string{sideDonor, sideRecipient} {
		m.attempts.WithLabelValues(side)
		m.resumes.WithLabelValues(side)
	}
	m.refused.WithLabelValues(clone.ReasonBusy)
	for _, a := range []act{actClose, actStart, actFollow, actRebuild} {
		m.acts.WithLabelValues(string(a))
	}
	m.registry.MustRegister(build, m.sessions, m.refused, m.attempts, m.resumes, m.sent, m.taken, m.sending, m.corrupt, m.acts, boardCollector{board})
	return m
}

// Handler serves the figures in Prometheus' formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// attempt counts a transfer that begins or, after a break, goes on.
func (m *Metrics) attempt(side string, resumed bool) {
	m.attempts.WithLabelValues(side).Inc()
	if resumed {
		m.resumes.WithLabelValues(side).Inc()
	}
}

// acted counts something that the agent has done.
func (m *Metrics) acted(a act) { m.acts.WithLabelValues(string(a)).Inc() }

// received counts bytes of a copy that this pod takes.
func (m *Metrics) received(n uint64) { m.taken.Add(float64(n)) }

// refuse counts a request that this pod did not grant.
func (m *Metrics) refuse(err error) {
	reason := clone.ReasonDonorFailed
	var refused *clone.RefusedError
	var unsupported *clone.UnsupportedError
	var noSpace *clone.NoSpaceError
	switch {
	case errors.As(err, &refused):
		reason = refused.Code
	case errors.As(err, &unsupported):
		reason = clone.ReasonUnsupported
	case errors.As(err, &noSpace):
		reason = string(CodeNoSpace)
	}
	m.refused.WithLabelValues(reason).Inc()
}

// A boardCollector turns a pod's status into figures, at the moment they are asked for.
type boardCollector struct{ board *Board }

var (
	descState = prometheus.NewDesc("ordinal_pod_state", "1 for the state that the pod is in, 0 for every other one.", []string{"state"}, nil)
	descRole  = prometheus.NewDesc("ordinal_pod_role", "1; the label says whether the pod is the source or a replica.", []string{"role"}, nil)
	descReady = prometheus.NewDesc("ordinal_pod_ready", "1 while the pod serves its role, else 0; what /readyz says.", nil, nil)
	descWhy   = prometheus.NewDesc("ordinal_pod_reason", "1 for each reason code that the pod reports; no series for the others.", []string{"code"}, nil)
	descAge   = prometheus.NewDesc("ordinal_status_age_seconds", "How long ago the pod's state was observed.", nil, nil)
	descLag   = prometheus.NewDesc("ordinal_replication_lag_seconds", "How far a replica is behind its source; no series where that is not known.", nil, nil)

	descArchiver   = prometheus.NewDesc("ordinal_archive_active", "1 while this pod archives the binlogs of the set, else 0; no series where nothing is archived.", nil, nil)
	descRPO        = prometheus.NewDesc("ordinal_archive_rpo_seconds", "How long ago everything that was committed was archived: what a loss of all volumes would cost. Of every pod that knows it.", nil, nil)
	descGap        = prometheus.NewDesc("ordinal_archive_gap_transactions", "Transactions that the archive lacks because they were purged before they were archived.", nil, nil)
	descArchived   = prometheus.NewDesc("ordinal_archive_binlog_bytes_total", "Bytes of binlogs that this pod has archived, since it began to.", nil, nil)
	descUnarchived = prometheus.NewDesc("ordinal_archive_waiting_bytes", "Bytes of this pod's binlogs that are kept because they are not archived yet.", nil, nil)
	descGaveUp     = prometheus.NewDesc("ordinal_archive_guard_gave_up", "1 while this pod's binlogs take more than --keep-binlogs and may be purged before they are archived, else 0.", nil, nil)

	descActive = prometheus.NewDesc("ordinal_clone_active", "1 while this pod takes a clone, else 0.", nil, nil)
	descStage  = prometheus.NewDesc("ordinal_clone_stage", "1 for the stage that the clone this pod takes is in.", []string{"stage", "donor"}, nil)
	descDone   = prometheus.NewDesc("ordinal_clone_done_bytes", "Bytes of the clone under way that are here.", nil, nil)
	descTotal  = prometheus.NewDesc("ordinal_clone_expected_bytes", "Bytes that the clone under way is going to have, as far as its donor can tell; no series where it cannot.", nil, nil)
	descRate   = prometheus.NewDesc("ordinal_clone_rate_bytes_per_second", "How fast the clone under way has been during the last ten seconds.", nil, nil)
)

var boardDescs = []*prometheus.Desc{
	descState, descRole, descReady, descWhy, descAge, descLag, descActive, descStage, descDone, descTotal, descRate,
	descArchiver, descRPO, descGap, descArchived, descUnarchived, descGaveUp,
}

// Describe lists what Collect may send.
func (boardCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range boardDescs {
		out <- d
	}
}

// Collect reads the board.
func (c boardCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.board.Status()
	known := false
	for _, state := range states(s.Phase) {
		known = known || state == s.State
		gauge(descState, oneIf(state == s.State), string(state))
	}
	if !known {
		gauge(descState, 1, string(s.State))
	}
	gauge(descRole, 1, string(s.Role))
	gauge(descReady, oneIf(s.Ready))
	gauge(descAge, c.board.Age().Seconds())
	said := map[Code]bool{}
	for _, r := range s.Reasons {
		if !said[r.Code] { // the same series twice would be no answer at all
			gauge(descWhy, 1, string(r.Code))
			said[r.Code] = true
		}
	}
	if s.LagSeconds != nil {
		gauge(descLag, *s.LagSeconds)
	}
	c.collectArchive(out, s)
	gauge(descActive, oneIf(s.Clone != nil))
	if p := s.Clone; p != nil {
		gauge(descStage, 1, p.Stage, p.Donor)
		gauge(descDone, float64(p.BytesDone))
		if p.BytesTotal > 0 {
			gauge(descTotal, float64(p.BytesTotal))
		}
		gauge(descRate, p.RateBytesPerSecond)
	}
}

// collectArchive sends what the pod knows of the binlogs' archive.
func (boardCollector) collectArchive(out chan<- prometheus.Metric, s Status) {
	a := s.Archive
	if a == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	mine := a.Pod == s.Pod
	gauge(descArchiver, oneIf(mine))
	if a.RPO != nil {
		gauge(descRPO, *a.RPO)
	}
	gauge(descGap, float64(a.Gap.Count()))
	if mine {
		out <- prometheus.MustNewConstMetric(descArchived, prometheus.CounterValue, float64(a.RawBytes))
	}
	if g := a.Guard; g != nil {
		gauge(descUnarchived, float64(g.WaitingBytes))
		gauge(descGaveUp, oneIf(g.GaveUp))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
