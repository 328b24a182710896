package agent

import (
	"context"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"ordinal/internal/progress"
	"ordinal/stream"
)

// A backupMeter shows how a backup comes along: a bar on a terminal, else a line in the log. It is the clone.Progress of the copy that the backup is
// made from; safe for concurrent use.
type backupMeter struct {
	log      *zap.Logger
	donor    string
	progress progress.Progress
	cancel   context.CancelFunc
	shown    sync.WaitGroup
	written  atomic.Int64 // bytes in the store

	mu     sync.Mutex
	stage  string
	before int64 // bytes of the stages before it
}

// newBackupMeter starts to report a backup from donor; stop ends it.
func newBackupMeter(ctx context.Context, log *zap.Logger, donor string) *backupMeter {
	m := &backupMeter{log: log, donor: donor}
	m.progress.Start(0)
	m.progress.SetStage(stream.StageInit.String())
	ctx, m.cancel = context.WithCancel(ctx)
	m.shown.Go(func() { m.progress.Show(ctx, os.Stderr, m.logLine) })
	return m
}

// Stage implements clone.Progress.
func (m *backupMeter) Stage(name string, total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name != m.stage {
		m.stage, m.before = name, m.progress.State().Done
		m.progress.SetStage(name)
	}
	m.progress.SetTotal(m.before + clamp(total))
}

// Resumed implements clone.Progress. A job's copy never is: what it has taken ends with it.
func (m *backupMeter) Resumed(string, uint64, uint64) {}

// Add implements clone.Progress.
func (m *backupMeter) Add(n uint64) { m.progress.Add(int64(n)) }

// Broke implements clone.Progress.
func (m *backupMeter) Broke(err error) {
	m.log.Warn("connection lost; going on", zap.String("donor", m.donor), zap.Error(err))
}

// stored counts what is in the store.
func (m *backupMeter) stored(n int64) { m.written.Add(n) }

// check says that the copy is whole, and the store is being read once more.
func (m *backupMeter) check() {
	m.progress.Start(m.written.Load())
	m.progress.SetStage("reading what was stored")
}

// reread counts what was read once more.
func (m *backupMeter) reread(n int64) { m.progress.Add(n) }

// stop ends the reports; no goroutine is left.
func (m *backupMeter) stop() {
	m.cancel()
	m.shown.Wait()
}

func (m *backupMeter) logLine(s progress.State) {
	m.log.Info("backup progress", zap.String("donor", m.donor), zap.String("stage", s.Stage), zap.Int64("bytes", s.Done), zap.Int64("bytes_total", s.Total),
		zap.Int64("bytes_stored", m.written.Load()), zap.Float64("bytes_per_second", math.Round(s.Rate)), timeLeft(s))
}
