package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"ordinal/backup/archive"
	"ordinal/backup/replay"
	"ordinal/mysqlx"
)

// A replaying brings restored data to the point that was asked for, from the archive. It is under way until done is closed.
type replaying struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	now   replay.Progress
	err   error
	ended time.Time
}

// A replayView is what is known of a replay that has to be made before anybody may use the data.
type replayView struct {
	Target  string // for people
	Backup  string // that was restored
	Damaged string // why the journal cannot be read; "": it can
	Running bool
	Done    uint64 // transactions
	Total   uint64
	Failed  string // why it ended early; "": it has not
	Resting bool   // it failed a moment ago
}

// observeReplay looks whether the data that is served waits for a replay.
func (r *runner) observeReplay(v *view) {
	j, err := replay.ReadJournal(filepath.Join(r.vol.DataDir(), replayJournal))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		v.Replay = &replayView{Damaged: err.Error()}
		return
	}
	v.Replay = &replayView{Target: j.Target.String(), Backup: j.Backup}
	p := r.replaying
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v.Replay.Done, v.Replay.Total = p.now.Done, p.now.Total
	select {
	case <-p.done:
		if p.err != nil {
			v.Replay.Failed, v.Replay.Resting = p.err.Error(), r.now().Sub(p.ended) < rebuildRest
		}
	default:
		v.Replay.Running = true
	}
}

// decideReplay is about data that was restored and is not yet what was asked for. Nobody may use it, nor copy it.
func decideReplay(v view) verdict {
	d := verdict{State: StateRestoring}
	p := v.Replay
	switch {
	case p.Damaged != "":
		return d.because(CodeReplayFailed, "%s", p.Damaged)
	case !v.Mysqld.Facts.SuperReadOnly:
		d.Do = actClose
		return d.because(CodeReplaying, "nothing is written before everything that was archived is executed")
	case p.Running:
		return d.because(CodeReplaying, "backup %s is restored; of the archive, up to %s, %d of %d transactions are executed", p.Backup, p.Target, p.Done, p.Total)
	case p.Resting:
		return d.because(CodeReplayFailed, "%s", p.Failed)
	case len(v.Channels) > 0 && receiving(v.Channels):
		d.Do = actHalt
		return d.because(CodeReplaying, "replication is stopped: what was archived is executed first")
	}
	if p.Failed != "" {
		d = d.because(CodeReplayFailed, "%s", p.Failed)
	}
	d.Do = actReplay
	return d.because(CodeReplaying, "backup %s is restored; what was archived after it, up to %s, is about to be executed", p.Backup, p.Target)
}

// startReplay begins, or goes on.
func (r *runner) startReplay(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	p := &replaying{cancel: cancel, done: make(chan struct{})}
	r.replaying = p
	go func() {
		defer close(p.done)
		err := r.replay(ctx, p)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err, p.ended = err, r.now()
		if err != nil && ctx.Err() == nil {
			r.log.Error("the archive could not be replayed", zap.Error(err))
		}
	}()
}

// endReplay leaves a replay as it is: the next process goes on with it.
func (r *runner) endReplay() {
	if r.replaying != nil {
		r.replaying.cancel()
		<-r.replaying.done
	}
}

// replay executes what the journal asks for.
func (r *runner) replay(ctx context.Context, p *replaying) error {
	data := r.vol.DataDir()
	path := filepath.Join(data, replayJournal)
	j, err := replay.ReadJournal(path)
	if err != nil {
		return err
	}
	if j.Archive == "" || r.cfg.Backups.Open == nil {
		return errors.New("the journal of the replay does not say where the archive is")
	}
	keys, err := r.cfg.Backups.Keys()
	if err != nil {
		return err
	}
	keys.Seal = r.keys.BackupKeys()
	place, err := r.cfg.Backups.Open(j.Archive)
	if err != nil {
		return err
	}
	index, err := archive.Load(ctx, place, keys)
	if err != nil {
		return err
	}
	db := r.db
	if r.root != nil {
		db = r.root // so that binlogs may be purged on the way
	}
	player := &replay.Replayer{
		DB: db, DataDir: data, Journal: path, Archive: j.Archive, Backup: j.Backup,
		Progress: func(now replay.Progress) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.now = now
		},
	}
	r.log.Info("replaying the archive", zap.String("until", j.Target.String()), zap.String("backup", j.Backup), zap.String("archive", j.Archive))
	result, err := player.Run(ctx, ReplayArchive(index), j.Target)
	if err != nil {
		return err
	}
	r.log.Info("replayed the archive", zap.Uint64("transactions", result.Transactions), zap.Stringer("gtid_executed", result.Executed),
		zap.Duration("took", result.Took), zap.Strings("sleeping_events", result.SleepingEvents), zap.Int("prepared", result.Prepared))
	return nil
}

// An indexed gives a replay the segments of an archive.
type indexed struct {
	index    *archive.Index
	segments map[string]archive.Segment
}

// ReplayArchive returns an archive as a replay wants it.
func ReplayArchive(index *archive.Index) replay.Archive {
	a := indexed{index, map[string]archive.Segment{}}
	for _, s := range index.Segments() {
		a.segments[s.Name] = s
	}
	return a
}

// Segments implements replay.Archive.
func (a indexed) Segments() []replay.Segment {
	var all []replay.Segment
	for _, s := range a.index.Segments() {
		all = append(all, replay.Segment{Name: s.Name, GTIDs: s.GTIDs, Before: s.Before, Abandons: s.Abandons, First: s.First, Last: s.Last, Bytes: s.Bytes})
	}
	return all
}

// End implements replay.Archive.
func (a indexed) End(from mysqlx.GTIDSet) (until time.Time, missing mysqlx.GTIDSet) {
	path := a.index.Path(from, time.Time{})
	return path.Reaches.Time, path.Missing
}

// Open implements replay.Archive.
func (a indexed) Open(ctx context.Context, s replay.Segment) (io.ReadCloser, error) {
	own, ok := a.segments[s.Name]
	if !ok {
		return nil, fmt.Errorf("the archive has no segment %s", s.Name)
	}
	return a.index.Open(ctx, own)
}
