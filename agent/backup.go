package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"ordinal/backup"
	"ordinal/backup/bootcheck"
	"ordinal/backup/catalog"
	"ordinal/backup/store"
	"ordinal/clone"
	"ordinal/internal/trust"
	"ordinal/mysqlx"
)

// A BackupJob makes one backup of a set, as a process of its own: it is no pod of the set, and needs the cluster secret and the network.
type BackupJob struct {
	Config // how to reach the pods; PodName is that of any of them
	Store  store.Store
	Keys   backup.Keys // without Seal, which comes from the cluster's secret

	From       string        // the pod to make it from; "": the best one, see decideBackup
	FromSource bool          // the source may give it although the set has replicas
	Wait       time.Duration // how long to wait for a pod that is fit, and not busy with another copy

	// Checksums is how long the donor may be busy, each time, with reading its tables before the copy and after it, so that a restored copy can be compared with
	// them. 0: not at all.
	Checksums time.Duration

	SegmentBytes int  // see backup.Job
	SizesOnly    bool // see backup.Job

	Log *zap.Logger
}

// maxBackupTries is how many copies may break off, each for a reason of its donor's, before the job gives up.
const maxBackupTries = 4

// Run makes the backup and returns its manifest. When it returns nil the backup can be restored. After an error there is no new backup in the
// store, and no donor holds anything for us. Errors: a *NoDonorError, a *store.ForeignError, those of the store and of the clone.
func (j *BackupJob) Run(ctx context.Context) (*backup.Manifest, error) {
	if err := j.Config.Validate(); err != nil {
		return nil, err
	}
	peers, err := j.Config.Peers()
	if err != nil {
		return nil, err
	}
	keys, err := trust.LoadRing(j.SecretFile)
	if err != nil {
		return nil, err
	}
	j.Keys.Seal = keys.BackupKeys()
	self := trust.ToolName(peers.Identity().Base)
	r := &backupRun{
		BackupJob: j, peers: peers, client: &PeerClient{Peers: peers, TLS: keys, Self: self},
		recipient: &clone.Recipient{TLS: func(peer string) *tls.Config { return keys.ClientTLS(self, peer) }},
		until:     time.Now().Add(j.Wait), corrupt: map[string]bool{},
	}
	return r.run(ctx)
}

// A backupRun is one run of a BackupJob.
type backupRun struct {
	*BackupJob
	peers     *Peers
	client    *PeerClient
	recipient *clone.Recipient
	until     time.Time       // to which donors are waited for
	corrupt   map[string]bool // pods with bad pages
	sourceHas string          // gtid_executed of the source when the pods were asked last; "": not known
}

func (r *backupRun) run(ctx context.Context) (*backup.Manifest, error) {
	for try := 1; ; try++ {
		d, offer, err := r.offer(ctx)
		if err != nil {
			return nil, err
		}
		m, err := r.from(ctx, d, offer)
		switch {
		case err == nil:
			return m, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case isOfStore(err) || try == maxBackupTries:
			return nil, err
		}
		var bad *clone.BadPagesError
		if errors.As(err, &bad) {
			r.corrupt[d.Answer.Pod] = true // another pod may have the same pages whole
		}
		r.Log.Warn("the copy broke off; starting over", zap.String("donor", d.Answer.Pod), zap.Error(err))
		r.until = time.Now().Add(r.Wait)
	}
}

// isOfStore reports whether an error has nothing to do with the donor: another copy would meet it as well.
func isOfStore(err error) bool {
	var (
		failed  *store.Error
		foreign *store.ForeignError
		damage  *backup.DamageError
		key     *backup.WrongKeyError
	)
	return errors.As(err, &failed) || errors.As(err, &foreign) || errors.As(err, &damage) || errors.As(err, &key)
}

// offer opens a session with the best pod that gives one.
func (r *backupRun) offer(ctx context.Context) (backupDonor, *clone.Offer, error) {
	pause, waiting := newBackoff(), ""
	for {
		d, offer, err := r.ask(ctx)
		switch {
		case err == nil:
			return d, offer, nil
		case ctx.Err() != nil:
			return d, nil, context.Cause(ctx)
		case !worthWaiting(err) || time.Now().After(r.until):
			return d, nil, err
		}
		if why := err.Error(); why != waiting {
			waiting = why
			r.Log.Info("waiting for a pod to make the backup from", zap.String("why", why))
		}
		if err := pause.sleep(ctx); err != nil {
			return d, nil, err
		}
	}
}

// worthWaiting reports whether time may heal why nobody gives a copy.
func worthWaiting(err error) bool {
	var none *NoDonorError
	var refused *clone.RefusedError
	switch {
	case errors.As(err, &none):
		return true
	case errors.As(err, &refused):
		return !refused.Permanent
	}
	return !fatal(err) && !errors.Is(trust.Explain(err), trust.ErrUntrusted)
}

// ask looks at all pods and asks those that are fit, the best first. It asks once.
func (r *backupRun) ask(ctx context.Context) (backupDonor, *clone.Offer, error) {
	answers, err := r.pods(ctx)
	if err != nil {
		return backupDonor{}, nil, err
	}
	r.sourceHas = sourceGTIDs(answers)
	donors, err := decideBackup(backupView{Pods: answers, From: r.From, FromSource: r.FromSource, MaxLag: r.MaxLag})
	if err != nil {
		return backupDonor{}, nil, err
	}
	err = nil
	for _, d := range donors {
		if r.corrupt[d.Answer.Pod] {
			err = errors.Join(err, fmt.Errorf("%s has bad pages", d.Answer.Pod))
			continue
		}
		peer := clone.Peer{Pod: d.Answer.Pod, Address: r.peers.DataAddress(d.Answer.Ordinal)}
		offer, askErr := r.recipient.Ask(ctx, peer, clone.Wants{
			Streams: r.CloneStreams, Compress: string(r.Compress), MaxRate: r.MaxRate, ClusterID: d.Answer.Status.ClusterID,
		})
		if askErr == nil {
			return d, offer, nil
		}
		if ctx.Err() != nil {
			return d, nil, context.Cause(ctx)
		}
		err = errors.Join(err, askErr)
	}
	return backupDonor{}, nil, err
}

// pods asks every pod of the set how it is.
func (r *backupRun) pods(ctx context.Context) ([]PeerAnswer, error) {
	lookup, cancel := context.WithTimeout(ctx, DefaultPeerTimeout)
	defer cancel()
	ordinals, err := r.peers.Ordinals(lookup, net.DefaultResolver)
	if err != nil {
		return nil, err
	}
	return askAll(ctx, r.client, ordinals), nil
}

// sourceGTIDs is what the source says that it has executed; "" if it does not.
func sourceGTIDs(pods []PeerAnswer) string {
	for _, p := range pods {
		if p.Kind == PeerAnswered && p.Status.Role == RoleSource {
			return p.Status.GTIDExecuted
		}
	}
	return ""
}

// from makes the backup of what was offered.
func (r *backupRun) from(ctx context.Context, d backupDonor, offer *clone.Offer) (*backup.Manifest, error) {
	pod, hello, began := d.Answer.Pod, offer.Hello, time.Now()
	base := r.peers.Identity().Base
	if err := store.Claim(ctx, r.Store, hello.ClusterID, base, began); err != nil {
		offer.Abandon(ctx)
		return nil, err
	}
	for _, warning := range hello.Warnings {
		r.Log.Warn("the backup lacks something", zap.String("donor", pod), zap.String("what", warning))
	}
	job := backup.Job{
		ID: backup.NewID(began), Cluster: hello.ClusterID, Set: base, Created: began, Hello: hello, Keys: r.Keys,
		Donor:      backup.Donor{Pod: pod, Role: string(d.Role), ServerUUID: d.Answer.Status.ServerUUID},
		SourceGTID: r.sourceHas, SegmentBytes: r.SegmentBytes, SizesOnly: r.SizesOnly,
	}
	if lag, known := d.Answer.Status.Lag(); known {
		job.Lag = lag
	}
	r.Log.Info("backing up", zap.String("backup", job.ID), zap.String("donor", pod), zap.String("role", string(d.Role)),
		zap.String("server_version", hello.ServerVersion), zap.String("gtid_executed", hello.GTIDExecuted))
	before, known := r.checksums(ctx, d, nil)
	meter := newBackupMeter(ctx, r.Log, pod)
	defer meter.stop()
	job.Stored, job.Reread = meter.stored, meter.reread
	m, err := r.own(ctx, job, func(ctx context.Context, to backup.Taker) (backup.Copied, error) {
		sum, err := offer.Relay(ctx, to, meter)
		if err != nil {
			return backup.Copied{}, err
		}
		ended := time.Now()
		copied := backup.Copied{Files: sum.Files, Bytes: sum.Bytes, Pages: sum.Pages}
		if known {
			if copied.Attachments, err = r.attach(ctx, d, before); err != nil {
				return backup.Copied{}, err
			}
		}
		copied.GTIDAtMost = r.executedAfter(ctx, d, ended)
		meter.check()
		return copied, nil
	})
	if err != nil {
		offer.Abandon(ctx) // in case nobody began to fetch it
		return nil, err
	}
	r.Log.Info("backed up", zap.String("backup", m.ID), zap.String("donor", pod), zap.Int("files", m.Files), zap.Uint64("bytes", m.Bytes),
		zap.Uint64("stored_bytes", m.StoredBytes), zap.Uint64("pages_checked", m.Pages), zap.Duration("took", time.Since(began).Round(time.Millisecond)))
	return m, nil
}

// own makes a backup while it says that somebody works on it, so that nobody takes it for what a dead job has left.
func (r *backupRun) own(ctx context.Context, job backup.Job, copy func(context.Context, backup.Taker) (backup.Copied, error)) (m *backup.Manifest, err error) {
	by, _ := os.Hostname() // for people
	hold, err := catalog.Own(ctx, r.Store, job.ID, by)
	if err != nil {
		return nil, err
	}
	defer func() {
		if releaseErr := hold.Release(context.WithoutCancel(ctx)); releaseErr != nil {
			r.Log.Warn("the mark that a job works on the backup is left in the store", zap.String("backup", job.ID), zap.Error(releaseErr))
		}
	}()
	g, working := errgroup.WithContext(ctx)
	beating, stop := context.WithCancel(working)
	g.Go(func() error { return hold.Run(beating) })
	g.Go(func() error {
		defer stop()
		var err error
		m, err = backup.Create(working, r.Store, job, copy)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := hold.Confirm(ctx); err != nil {
		// Nobody knows whether its segments are being removed: it is to be no backup.
		return nil, errors.Join(err, r.Store.Delete(context.WithoutCancel(ctx), backup.ManifestName(job.ID)))
	}
	return m, nil
}

// executedAfter asks the donor what it had executed at some moment after the given one; "" if it does not say so in time. What a pod says of itself is as old as
// its latest look at its server: what it says at once may be from before the end of the copy.
func (r *backupRun) executedAfter(ctx context.Context, d backupDonor, at time.Time) string {
	ctx, cancel := context.WithTimeout(ctx, DefaultPeerTimeout)
	defer cancel()
	for pause := newBackoff(); ; {
		a := r.client.Ask(ctx, d.Answer.Ordinal)
		if a.Kind == PeerAnswered && a.Observed.After(at) && a.Status.State != StateWaitingForMysqld {
			return a.Status.GTIDExecuted
		}
		if pause.sleep(ctx) != nil {
			return ""
		}
	}
}

// attach reads the donor's tables once more, and makes of both what goes along with the backup.
func (r *backupRun) attach(ctx context.Context, d backupDonor, before mysqlx.TableChecksums) (map[string][]byte, error) {
	after, ok := r.checksums(ctx, d, &before)
	if !ok {
		return nil, nil
	}
	content, err := recordChecksums(before, after, r.Checksums)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{bootcheck.ChecksumsName: content}, nil
}

// checksums asks the donor what its tables hold. A backup without them is as good; only less can be compared later.
func (r *backupRun) checksums(ctx context.Context, d backupDonor, before *mysqlx.TableChecksums) (sums mysqlx.TableChecksums, ok bool) {
	if r.Checksums <= 0 {
		return sums, false
	}
	sums, err := r.client.Checksums(ctx, d.Answer.Ordinal, r.Checksums, before)
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("the backup will have no checksums of its tables", zap.String("donor", d.Answer.Pod), zap.Error(err))
	}
	return sums, err == nil
}
