package agent

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"ordinal/internal/progress"
	"ordinal/stream"
)

const (
	// meterEvery is how often the board is told how far a clone is.
	meterEvery = 500 * time.Millisecond
	// stallWorthSaying is how long a broken connection may bring nothing before that is called a stall.
	stallWorthSaying = 30 * time.Second
)

// A cloneMeter tells everybody how a clone comes along: the board, the metrics, and a bar on a terminal or a line in the log. It is
// the clone.Progress of a recipient; safe for concurrent use.
type cloneMeter struct {
	show     func(showing)
	beat     func()
	log      *zap.Logger
	metrics  *Metrics
	donor    string
	progress progress.Progress
	cancel   context.CancelFunc
	shown    sync.WaitGroup

	mu       sync.Mutex
	stage    string    // that was begun last
	before   int64     // bytes of the stages before it
	went     int       // how often it went on
	broken   error     // of the attempt that ended last; nil: bytes have come since
	lastByte time.Time // when the last one came
}

// newCloneMeter starts to report a copy from donor, or the rest of one; stop ends it.
func newCloneMeter(ctx context.Context, w workshop, donor string, resumed bool) *cloneMeter {
	m := &cloneMeter{show: w.show, beat: w.beat, log: w.log, metrics: w.metrics, donor: donor, lastByte: time.Now()}
	m.progress.Start(0)
	m.progress.SetStage(stream.StageInit.String())
	if resumed {
		m.went = 1
	}
	m.metrics.attempt(sideRecipient, resumed)
	ctx, m.cancel = context.WithCancel(ctx)
	m.shown.Go(func() { m.progress.Show(ctx, os.Stderr, m.logLine) })
	m.shown.Go(func() { m.tellAll(ctx) })
	return m
}

// Stage begins: the total grows by what the donor expects to send in it. A stage that is begun again, after a break, corrects it.
func (m *cloneMeter) Stage(name string, total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name != m.stage {
		m.stage, m.before = name, m.progress.State().Done
		m.progress.SetStage(name)
	}
	m.progress.SetTotal(m.before + clamp(total))
}

// Resumed says that the copy goes on within a stage, or after it: done bytes of the whole copy are here, from before this process's start. How
// many of them are the stage's own is not known; in those after FILE_COPY it hardly matters.
func (m *cloneMeter) Resumed(name string, total, done uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stage, m.before = name, 0
	if name != stream.StageFileCopy.String() {
		m.before = clamp(done)
	}
	m.progress.SetStage(name)
	m.progress.Skip(clamp(done))
	m.progress.SetTotal(max(m.before+clamp(total), clamp(done)))
}

// clamp makes a number from the network fit to be added to.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64/4)) }

// Add counts bytes received.
func (m *cloneMeter) Add(n uint64) {
	m.progress.Add(int64(n))
	m.metrics.received(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken, m.lastByte = nil, time.Now()
}

// Broke says that the connection was lost and the copy goes on from what has arrived.
func (m *cloneMeter) Broke(err error) {
	m.mu.Lock()
	m.went++
	m.broken = err
	m.mu.Unlock()
	m.metrics.attempt(sideRecipient, true)
	s := m.progress.State()
	m.log.Warn("connection lost; going on", zap.String("donor", m.donor), zap.String("stage", s.Stage), zap.Int64("bytes", s.Done),
		zap.Int64("bytes_total", s.Total), zap.Error(err))
}

// resumes is how often the copy went on after a break.
func (m *cloneMeter) resumes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.went
}

// took is how long the clone has been under way.
func (m *cloneMeter) took() time.Duration { return m.progress.State().Elapsed.Round(time.Millisecond) }

// stop ends the reports; no goroutine is left.
func (m *cloneMeter) stop() {
	m.cancel()
	m.shown.Wait()
}

// tellAll reports until ctx ends. A clone that receives nothing beats as well: its own stall watch ends it.
func (m *cloneMeter) tellAll(ctx context.Context) {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		m.beat()
		now := m.snapshot()
		m.show(showing{State: StateCloning, HasData: DataBuilding, Reasons: m.reasons(), Clone: &now})
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *cloneMeter) snapshot() CloneProgress {
	s := m.progress.State()
	p := CloneProgress{
		Donor: m.donor, Stage: s.Stage, BytesDone: s.Done, BytesTotal: s.Total, Resumes: m.resumes(),
		RateBytesPerSecond: math.Round(s.Rate), Since: s.Since.UTC().Round(time.Millisecond),
	}
	if s.ETA >= 0 {
		eta := s.ETA.Seconds()
		p.ETASeconds = &eta
	}
	return p
}

// reasons says what is wrong while the connection is lost.
func (m *cloneMeter) reasons() []Reason {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken == nil {
		return nil
	}
	if silent := time.Since(m.lastByte); silent >= stallWorthSaying {
		return []Reason{NewReason(CodeCloneStalled, "%s (%v)", noByte(silent, m.donor), m.broken)}
	}
	return []Reason{NewReason(CodeCloneInterrupted, "the connection to %s was lost; going on (%v)", m.donor, m.broken)}
}

// noByte says how long nothing has come.
func noByte(silent time.Duration, donor string) string {
	return fmt.Sprintf("no byte for %d s from %s", int(silent.Seconds()), donor)
}

// timeLeft is for log lines about something that takes long.
func timeLeft(s progress.State) zap.Field {
	if s.ETA < 0 {
		return zap.Skip() // not known
	}
	return zap.Duration("eta", s.ETA)
}

func (m *cloneMeter) logLine(s progress.State) {
	fields := []zap.Field{
		zap.String("donor", m.donor), zap.String("stage", s.Stage), zap.Int64("bytes", s.Done), zap.Int64("bytes_total", s.Total),
		zap.Float64("bytes_per_second", math.Round(s.Rate)), timeLeft(s),
	}
	if reasons := m.reasons(); len(reasons) > 0 {
		fields = append(fields, zap.Stringers("reasons", reasons))
	}
	m.log.Info("clone progress", fields...)
}
