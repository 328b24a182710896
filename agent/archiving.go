package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"ordinal/backup"
	"ordinal/backup/archive"
	"ordinal/backup/store"
	"ordinal/mysqlx"
)

// ArchiveStatus is what a pod knows of the binlogs' archive. A pod that does not archive repeats what the one that does has told.
type ArchiveStatus struct {
	Pod string `json:"pod"` // the pod that archives: appointed by the source
	archive.Status
	Guard *archive.GuardStatus `json:"guard,omitempty"` // of this pod's own binlogs
}

// archiveRest is the pause after an archiver that could not be begun.
const archiveRest = 10 * time.Second

// An archivist archives the pod's binlogs while it is this pod's turn, and keeps them from being purged before somebody has archived them. BinlogState and archived
// may be called at any time, and keep runs beside the loop, which alone calls the others. The last group of fields is for all of them.
type archivist struct {
	self
	keys  func() [][]byte // seals
	agent mysqlx.Endpoint

	appointed string
	worker    *archive.Archiver // nil: it is not this pod's turn
	cancel    context.CancelFunc
	working   sync.WaitGroup
	rested    time.Time // no archiver is begun before
	filling   sync.WaitGroup
	fillAfter time.Time // no gap is filled before

	mu        sync.Mutex
	unclaimed error          // why the store is not this set's; nil: it is, or nobody has asked yet
	known     mysqlx.GTIDSet // archived, as far as anybody has told; empty: nobody has
	source    mysqlx.BinlogState
	guard     *archive.Guard // nil: not begun
}

// newArchivist returns nil if nothing is to be archived.
func (r *runner) newArchivist() *archivist {
	if r.cfg.Backups.Store == "" {
		return nil
	}
	return &archivist{self: r.self, keys: r.keys.BackupKeys, agent: r.agent}
}

// turn does what a turn of the loop has found out, and returns what is to be told; nil: nothing. ctx is the agent's.
func (a *archivist) turn(ctx context.Context, v view, d verdict) *ArchiveStatus {
	if a == nil || v.Mysqld.Reach != mysqldUp || v.ClusterID == "" {
		return nil
	}
	told := a.listen(v, d)
	mine := a.appointed == a.id.Pod && (d.State == StateSource || v.Role == RoleReplica && d.Serving)
	switch {
	case mine && a.worker == nil && time.Now().After(a.rested):
		if err := a.begin(ctx, v.ClusterID); err != nil {
			a.rested = time.Now().Add(archiveRest)
			a.log.Warn("the binlogs cannot be archived", zap.Error(err))
			told = &archive.Status{State: archive.StateWaiting, Error: err.Error()}
		}
	case !mine && a.worker != nil:
		a.log.Info("another pod archives the binlogs now", zap.String("archiver", a.appointed))
		a.end()
	}
	if !mine && told != nil && !told.Gap.IsEmpty() && time.Now().After(a.fillAfter) {
		a.fillAfter = time.Now().Add(fillEvery)
		a.filling.Go(func() { a.fill(ctx, v.ClusterID) })
	}
	s := &ArchiveStatus{Pod: a.appointed}
	switch {
	case a.worker != nil:
		s.Status = a.worker.Status()
	case told != nil:
		s.Status = *told
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.worker != nil && a.unclaimed != nil {
		s.State, s.Error = archive.StateWaiting, a.unclaimed.Error()
	}
	if !s.Archived.IsEmpty() {
		a.known = s.Archived
	}
	if a.guard != nil {
		g := a.guard.Status()
		s.Guard = &g
	}
	return s
}

// fillEvery is how often a pod looks whether its own binlogs have what the archive lacks.
const fillEvery = 5 * time.Minute

// fill stores what the archive lacks, because its pod's binlogs were purged, and this pod's have.
func (a *archivist) fill(ctx context.Context, cluster string) {
	err := func() error {
		place, keys, err := a.cfg.Backups.open(a.keys())
		if err != nil {
			return err
		}
		server, err := archive.NewLocal(a.agent)
		if err != nil {
			return err
		}
		defer server.Close()
		filled, err := archive.Fill(ctx, archive.Options{Server: server, Store: place, Keys: keys, Cluster: cluster, Set: a.id.Base})
		if !filled.IsEmpty() {
			a.log.Info("filled a gap of the archive", zap.Stringer("gtid_set", filled))
		}
		return err
	}()
	if err != nil && ctx.Err() == nil {
		a.log.Warn("a gap of the archive cannot be filled from here", zap.Error(err))
	}
}

// listen learns who archives, and how far that is, from whoever knows.
func (a *archivist) listen(v view, d verdict) *archive.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case v.Role == RoleSource && d.State == StateSource:
		if next := appointArchiver(a.id.Pod, v.ClusterID, v.Siblings, a.appointed); next != a.appointed {
			a.log.Info("appointed", zap.String("archiver", next), zap.String("before", a.appointed))
			a.appointed = next
		}
		for _, p := range v.Siblings {
			if p.Pod == a.appointed && p.Kind == PeerAnswered && p.Status.Archive != nil && p.Status.Archive.Pod == p.Pod {
				return relayed(p)
			}
		}
	case v.Role == RoleReplica && v.sourceTold():
		s := v.Source.Status
		if s.State == StateSource && s.Archive != nil {
			a.appointed = s.Archive.Pod
		}
		if executed, err := mysqlx.ParseGTIDSet(s.GTIDExecuted); err == nil && s.State == StateSource {
			a.source = mysqlx.BinlogState{At: s.ObservedAt.UTC(), Seen: v.Source.Observed, ServerUUID: s.ServerUUID, Version: s.ServerVersion, Executed: executed, Writable: true}
		}
		if s.Archive != nil {
			return relayed(v.Source)
		}
	}
	return nil
}

// relayed is what another pod has told of the archive, as of now.
func relayed(p PeerAnswer) *archive.Status {
	s := p.Status.Archive.Status
	if s.RPO != nil {
		rpo := *s.RPO + time.Since(p.Observed).Seconds()
		s.RPO = &rpo
	}
	return &s
}

// archiveLate is how far the archive may be behind before that is worth saying.
const archiveLate = time.Minute

// judge adds to a verdict what is wrong with the archive. The pod serves its role all the same.
func (s *ArchiveStatus) judge(d verdict, pod string) verdict {
	if s == nil || s.Pod != pod && d.State != StateSource {
		return d // whoever archives says it, and the source, where people look
	}
	if !s.Gap.IsEmpty() {
		d = d.because(CodeArchiveGap, "the archive of the binlogs lacks %d transactions, which were purged before they were archived: %s", s.Gap.Count(), orNotKnown(s.Gap.String()))
	}
	late := s.RPO != nil && *s.RPO > archiveLate.Seconds()
	switch {
	case late && s.Error != "":
		d = d.because(CodeArchiveLate, "the archive of the binlogs is %.0f s behind: %s", *s.RPO, s.Error)
	case late:
		d = d.because(CodeArchiveLate, "the archive of the binlogs is %.0f s behind", *s.RPO)
	case s.State == archive.StateWaiting && s.RPO == nil && s.Error != "":
		d = d.because(CodeArchiveLate, "the binlogs are not archived: %s", s.Error)
	}
	return d
}

// begin starts to archive this pod's binlogs. It asks nobody: a store may take its time.
func (a *archivist) begin(ctx context.Context, cluster string) error {
	place, keys, err := a.cfg.Backups.open(a.keys())
	if err != nil {
		return err
	}
	server, err := archive.NewLocal(a.agent)
	if err != nil {
		return err
	}
	o := archive.Options{Server: server, Store: place, Keys: keys, Cluster: cluster, Set: a.id.Base}
	if a.id.Role() == RoleReplica {
		o.Source = a
	}
	w, err := archive.New(o)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.worker = w
	a.log.Info("archiving the binlogs", zap.String("store", a.cfg.Backups.Store))
	a.working.Go(func() {
		defer server.Close()
		err := a.claim(ctx, place, cluster)
		if err == nil {
			err = w.Run(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Warn("the archiver has ended", zap.Error(err))
		}
	})
	return nil
}

// claim makes the store this set's, or finds that it is. It tries for as long as that may help, and says why it does not.
func (a *archivist) claim(ctx context.Context, place store.Store, cluster string) error {
	for {
		err := store.Claim(ctx, place, cluster, a.id.Base, time.Now())
		a.mu.Lock()
		a.unclaimed = err
		a.mu.Unlock()
		if err == nil || ctx.Err() != nil {
			return err
		}
		a.log.Warn("the binlogs cannot be archived", zap.Error(err))
		select {
		case <-time.After(archiveRest):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// close ends everything, when the agent ends.
func (a *archivist) close() {
	if a != nil {
		a.end()
		a.filling.Wait()
	}
}

// end stops to archive, after what there is was stored.
func (a *archivist) end() {
	if a == nil || a.worker == nil {
		return
	}
	a.cancel()
	a.working.Wait()
	a.worker = nil
}

// BinlogState implements archive.Clock: what the source has told last. So rpo_seconds counts from the source's commits, also on a replica that lags.
func (a *archivist) BinlogState(context.Context) (mysqlx.BinlogState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.source.ServerUUID == "" {
		return a.source, errors.New("the source has not told yet what it has")
	}
	return a.source, nil
}

// archived is what a guard need not keep.
func (a *archivist) archived(context.Context) (mysqlx.GTIDSet, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known.IsEmpty() {
		return a.known, errors.New("nobody has told yet what is archived")
	}
	return a.known, nil
}

// keep runs the guard of this pod's binlogs until ctx ends.
func (a *archivist) keep(ctx context.Context, db *mysqlx.DB) error {
	if a == nil {
		return nil
	}
	g, err := archive.NewGuard(archive.GuardOptions{Server: db, Archived: a.archived, Bytes: a.cfg.Backups.KeepBinlogs})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.guard = g
	a.mu.Unlock()
	return g.Run(ctx)
}

// BackupConfig says where a set keeps its backups and the archive of its binlogs. The zero value: nowhere.
type BackupConfig struct {
	Store       string // --store: where the binlogs are archived; a URL without secrets
	RestoreFrom string // --restore-from: what an empty source whose siblings have nothing starts with
	KeepBinlogs int64  // bytes of binlogs that are kept from being purged at most; 0: archive.DefaultGuardBytes

	// Open returns the store at a URL; it touches nothing. Keys returns the keys, but for seals, which come from the cluster secret. Both are needed with
	// Store or RestoreFrom.
	Open func(url string) (store.Store, error)
	Keys func() (backup.Keys, error)
}

// open returns the set's store, and the keys with these for seals.
func (c BackupConfig) open(seals [][]byte) (store.Store, backup.Keys, error) {
	keys, err := c.Keys()
	if err != nil {
		return nil, keys, err
	}
	keys.Seal = seals
	place, err := c.Open(c.Store)
	return place, keys, err
}
