package agent

import (
	"context"
	"math"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"ordinal/backup"
	"ordinal/internal/progress"
)

// A restoreMeter shows how a restore comes along: on the board, and as a bar on a terminal or a line in the log. Its bytes are those of the store.
type restoreMeter struct {
	log      *zap.Logger
	backup   string
	donor    string
	progress progress.Progress
	cancel   context.CancelFunc
	shown    sync.WaitGroup
}

// newRestoreMeter starts to report; stop ends it. beat and show may be nil.
func newRestoreMeter(ctx context.Context, log *zap.Logger, m *backup.Manifest, beat func(), show func(showing)) *restoreMeter {
	r := &restoreMeter{log: log, backup: m.ID, donor: m.Donor.Pod}
	r.progress.Start(int64(m.StoredBytes))
	r.progress.SetStage("restoring")
	ctx, r.cancel = context.WithCancel(ctx)
	r.shown.Go(func() { r.progress.Show(ctx, os.Stderr, r.logLine) })
	if show != nil {
		r.shown.Go(func() { r.tell(ctx, beat, show) })
	}
	return r
}

// read counts bytes of the store that have been restored.
func (r *restoreMeter) read(n int64) { r.progress.Add(n) }

// tell reports until ctx ends.
func (r *restoreMeter) tell(ctx context.Context, beat func(), show func(showing)) {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		beat()
		s := r.progress.State()
		now := CloneProgress{
			Donor: "backup " + r.backup, Stage: s.Stage, BytesDone: s.Done, BytesTotal: s.Total,
			RateBytesPerSecond: math.Round(s.Rate), Since: s.Since.UTC().Round(time.Millisecond),
		}
		if s.ETA >= 0 {
			eta := s.ETA.Seconds()
			now.ETASeconds = &eta
		}
		show(showing{
			State: StateRestoring, HasData: DataBuilding, Clone: &now,
			Reasons: []Reason{NewReason(CodeRestoring, "nobody in the set has data: backup %s is restored", r.backup)},
		})
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stop ends the reports; no goroutine is left.
func (r *restoreMeter) stop() {
	r.cancel()
	r.shown.Wait()
}

func (r *restoreMeter) logLine(s progress.State) {
	r.log.Info("restore progress", zap.String("backup", r.backup), zap.Int64("bytes", s.Done), zap.Int64("bytes_total", s.Total),
		zap.Float64("bytes_per_second", math.Round(s.Rate)), timeLeft(s))
}
