package agent

import (
	"context"
	"math"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"ordinal/internal/progress"
	"ordinal/stream"
)

// meterEvery is how often the board is told how far a clone is.
const meterEvery = 500 * time.Millisecond

// A cloneMeter tells everybody how a clone comes along: the board, and a bar on a terminal or a line in the log. It is the
// clone.Progress of a recipient; safe for concurrent use.
type cloneMeter struct {
	board    *Board
	beat     *Heartbeat
	log      *zap.Logger
	donor    string
	progress progress.Progress
	cancel   context.CancelFunc
	shown    sync.WaitGroup

	mu     sync.Mutex
	before int64 // bytes of the stages that are over
}

// newCloneMeter starts to report; stop ends it.
func newCloneMeter(ctx context.Context, board *Board, beat *Heartbeat, log *zap.Logger, donor string) *cloneMeter {
	m := &cloneMeter{board: board, beat: beat, log: log, donor: donor}
	m.progress.Start(0)
	m.progress.SetStage(stream.StageInit.String())
	ctx, m.cancel = context.WithCancel(ctx)
	m.shown.Go(func() { m.progress.Show(ctx, os.Stderr, m.logLine) })
	m.shown.Go(func() { m.tellBoard(ctx) })
	return m
}

// Stage begins: the total grows by what the donor expects to send in it.
func (m *cloneMeter) Stage(name string, total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = m.progress.State().Done
	m.progress.SetStage(name)
	m.progress.SetTotal(m.before + int64(min(total, math.MaxInt64/2)))
}

// Add counts bytes received.
func (m *cloneMeter) Add(n uint64) { m.progress.Add(int64(n)) }

// took is how long the clone has been under way.
func (m *cloneMeter) took() time.Duration { return m.progress.State().Elapsed.Round(time.Millisecond) }

// stop ends the reports; no goroutine is left.
func (m *cloneMeter) stop() {
	m.cancel()
	m.shown.Wait()
}

// tellBoard reports until ctx ends. A clone that receives nothing beats as well: its own stall watch ends it.
func (m *cloneMeter) tellBoard(ctx context.Context) {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		m.beat.Beat()
		now := m.snapshot()
		m.board.Update(func(s *Status) { s.State, s.HasData, s.Reasons, s.Clone = StateCloning, DataBuilding, nil, &now })
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
		Donor: m.donor, Stage: s.Stage, BytesDone: s.Done, BytesTotal: s.Total,
		RateBytesPerSecond: math.Round(s.Rate), Since: s.Since.UTC().Round(time.Millisecond),
	}
	if s.ETA >= 0 {
		eta := s.ETA.Seconds()
		p.ETASeconds = &eta
	}
	return p
}

func (m *cloneMeter) logLine(s progress.State) {
	m.log.Info("clone progress", zap.String("donor", m.donor), zap.String("stage", s.Stage), zap.Int64("bytes", s.Done),
		zap.Int64("bytes_total", s.Total), zap.Float64("bytes_per_second", math.Round(s.Rate)), zap.Duration("eta", s.ETA))
}
