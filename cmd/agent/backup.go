package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"ordinal/agent"
	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/backup/store"
	"ordinal/mysqlx"
)

const (
	minSegmentSize = 1 << 20
	maxWait        = 24 * time.Hour
	rereadFull     = "full"
	rereadSizes    = "sizes"
)

func newBackup(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Make a backup of the set into a store (Job, cron)",
		Long: `backup takes a copy of a pod's data, as a new replica would, and keeps it in the store: in segments that are compressed, checked and, if
told to, encrypted, and a manifest that is written last. It needs no volume, and the pods' mysqld go on working. It exits 0 only for a backup that can be
restored; after an error there is no new one.

The copy comes from the freshest replica that is fit; from the source only if it is alone, or with --from-source. Progress goes to stderr. The result is
one JSON object in one line on stdout. With one of the --keep options, backups that are not to be kept are removed afterwards, as "agent backups prune" does:
what goes wrong there is a warning in the result, for the backup is there.`,
		Example: `  agent backup --set mysql --service mysql --secret-file /run/secrets/ordinal/cluster-secret --store file:///backups
  AGENT_STORE='s3://backups/shop?endpoint=https://minio:9000' agent backup --set shop --replicas 3 --secret-file ./secret --keep-daily 7 --keep-weekly 5`,
		Args: noArgs,
	}
	s := addOptions(cmd, cmdBackup)
	j := &backupCommand{settings: s, surroundings: sur, segment: backup.DefaultSegmentBytes, reread: rereadFull, wait: 10 * time.Minute, checksums: 10 * time.Second}
	flags := cmd.Flags()
	flags.StringVar(&j.from, "from", "", "pod to make the backup from; empty: the best one")
	flags.BoolVar(&j.fromSource, "from-source", false, "let the source give it if no replica can")
	flags.DurationVar(&j.wait, "wait", j.wait, "how long to wait for a pod that is fit and not busy, before a copy begins; one that has begun is gone on with after a break for as long as its donor may have the snapshot, five minutes")
	flags.Var((*sizeValue)(&j.segment), "segment-size", "about how large a segment is before it is compressed; memory is some ten times that")
	flags.DurationVar(&j.checksums, "checksums", j.checksums, "how long the donor may read its tables, before the copy and after it, so that verify --boot can compare them; 0s: not at all")
	flags.StringVar(&j.reread, "reread", j.reread, "what is read from the store before the backup counts: all of it (full), or names and sizes (sizes)")
	j.keep.addFlags(cmd)
	flags.Bool("json", false, "makes no difference: the result is one JSON object in any case")
	bound(cmd, "from", "the name of a pod of the set, like mysql-2")
	bound(cmd, "wait", fmt.Sprintf("0s to %v", maxWait))
	bound(cmd, "checksums", fmt.Sprintf("0s to %v", maxWait))
	bound(cmd, "segment-size", "1MiB to 1GiB")
	bound(cmd, "reread", rereadFull+" or "+rereadSizes)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return j.run(cmd) }
	return cmd
}

// A backupCommand is one call of agent backup.
type backupCommand struct {
	*settings
	*surroundings
	from       string
	fromSource bool
	wait       time.Duration
	checksums  time.Duration
	segment    int64
	reread     string
	keep       retention
}

func (j *backupCommand) run(cmd *cobra.Command) error {
	began := time.Now()
	from, set, err := j.check(cmd)
	if err != nil {
		return err
	}
	inner, err := newLogger(j.stderr, j.logLevel, j.logFormat)
	if err != nil {
		return from.name(err)
	}
	heard := new(warnings)
	log := heard.listenTo(inner)
	keys, err := j.storeKeys(from, false)
	if err != nil {
		return err
	}
	place, url, err := j.openStore(from, j.surroundings, longPatience)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	d := &depot{Store: place, url: url, keys: keys}
	cleaned := []string{}
	switch d.marker, err = store.ReadMarker(ctx, place); {
	case errors.Is(err, store.ErrNotFound): // the first backup
	case err != nil:
		return err
	case d.marker.Set != set:
		return &store.ForeignError{
			Reason: fmt.Sprintf("it belongs to the set %q, and this is a backup of %q", d.marker.Set, set), Remedy: "give each set its own directory or prefix",
		}
	default:
		cleaned = d.sweep(ctx, log)
	}
	job := &agent.BackupJob{
		Config: j.Config, Store: place, Keys: keys, From: j.from, FromSource: j.fromSource, Wait: j.wait, Checksums: j.checksums,
		SegmentBytes: int(j.segment), SizesOnly: j.reread == rereadSizes, Log: log,
	}
	m, err := job.Run(ctx)
	if err != nil {
		return orTerminated(ctx, err, "the backup was complete", "run it again: what this one has stored is no backup, and is removed")
	}
	d.marker = store.Marker{Cluster: m.Cluster, Set: m.Set}
	result := newBackupResult(m, url, time.Since(began))
	result.Cleaned, result.Pruned = cleaned, j.retire(ctx, d, log)
	result.Warnings = heard.list()
	return json.NewEncoder(j.stdout).Encode(result)
}

// check merges and checks all options before anything is touched, and returns the name of the set.
func (j *backupCommand) check(cmd *cobra.Command) (from origins, set string, err error) {
	if from, err = j.complete(cmd.Flags(), j.getenv); err != nil {
		return nil, "", err
	}
	j.AgentVersion = version
	if err := j.Validate(); err != nil {
		return nil, "", from.nameOf(j.settings, err)
	}
	refuse := func(flag, value string) error {
		return &agent.OptionError{Flag: flag, Value: value, Allowed: allowedFor(cmd.Flags().Lookup(flag))}
	}
	id, err := j.Identity()
	if err != nil {
		return nil, "", from.nameOf(j.settings, err)
	}
	if donor, err := agent.ParseIdentity(j.from, -1, id.First); j.from != "" && (err != nil || donor.Base != id.Base) {
		return nil, "", refuse("from", j.from)
	}
	switch {
	case j.wait < 0 || j.wait > maxWait:
		return nil, "", refuse("wait", j.wait.String())
	case j.checksums < 0 || j.checksums > maxWait:
		return nil, "", refuse("checksums", j.checksums.String())
	case j.segment < minSegmentSize || j.segment > backup.MaxSegmentBytes:
		return nil, "", refuse("segment-size", fmt.Sprint(j.segment))
	case !slices.Contains([]string{rereadFull, rereadSizes}, j.reread):
		return nil, "", refuse("reread", j.reread)
	}
	return from, id.Base, j.keep.check()
}

// backupResult is what `agent backup` prints. Fields are only ever added.
type backupResult struct {
	ID            string     `json:"id"`
	Store         string     `json:"store"` // its URL
	ClusterID     string     `json:"cluster_id"`
	Set           string     `json:"set"`
	Donor         string     `json:"donor"`
	Role          agent.Role `json:"role"` // the donor's
	ServerVersion string     `json:"server_version"`
	// GTIDExecuted is what a server has that starts on the backup, exactly; "" if only a verification with --boot can tell: then it is at least
	// GTIDAtLeast and at most GTIDAtMost, as far as these are known.
	GTIDExecuted string  `json:"gtid_executed"`
	GTIDAtLeast  string  `json:"gtid_at_least"`
	GTIDAtMost   string  `json:"gtid_at_most"`
	LagSeconds   float64 `json:"lag_seconds"` // of the donor behind its source, when the backup began

	Files       int    `json:"files"`
	Bytes       uint64 `json:"bytes"`
	StoredBytes uint64 `json:"stored_bytes"`
	Segments    int    `json:"segments"`
	Encrypted   bool   `json:"encrypted"`

	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	Seconds    float64   `json:"seconds"` // from the command's start, what it waited for included
	// MBPerSecond is Bytes by the time from the first byte of the copy to the manifest, in millions.
	MBPerSecond float64 `json:"mb_per_second"`

	Warnings []string `json:"warnings"`
	Cleaned  []string `json:"cleaned"` // ids of unfinished backups of dead jobs that were removed
	Pruned   []string `json:"pruned"`  // ids of backups that were removed; empty without a --keep option
}

func newBackupResult(m *backup.Manifest, url string, took time.Duration) backupResult {
	r := backupResult{
		ID: m.ID, Store: url, ClusterID: m.Cluster, Set: m.Set, Donor: m.Donor.Pod, Role: agent.Role(m.Donor.Role), ServerVersion: m.ServerVersion,
		GTIDExecuted: m.GTIDExecuted, GTIDAtLeast: m.GTIDAtLeast, GTIDAtMost: m.GTIDAtMost, LagSeconds: m.LagSeconds,
		Files: m.Files, Bytes: m.Bytes, StoredBytes: m.StoredBytes, Segments: len(m.Segments), Encrypted: m.Encryption != nil,
		StartedAt: m.Created, FinishedAt: m.Finished, Seconds: math.Round(took.Seconds()*1000) / 1000,
	}
	// What lies between two sets that are the same is that set.
	least, err := mysqlx.ParseGTIDSet(m.GTIDAtLeast)
	most, err2 := mysqlx.ParseGTIDSet(m.GTIDAtMost)
	if r.GTIDExecuted == "" && err == nil && err2 == nil && !least.IsEmpty() && least.Equal(most) {
		r.GTIDExecuted = least.String()
	}
	// Created and Finished are whole seconds; for a small backup the command's own time is the better one.
	if d := min(max(m.Finished.Sub(m.Created), time.Second), took); d > 0 {
		r.MBPerSecond = math.Round(float64(m.Bytes)/d.Seconds()/1e4) / 100
	}
	return r
}

// sweep removes what jobs have left that died in the middle, and returns their ids. It is not worth failing for.
func (d *depot) sweep(ctx context.Context, log *zap.Logger) []string {
	done, err := catalog.Clean(ctx, d.place(), d.Store, false, func(left []catalog.Entry) {
		log.Info("looking whether anybody works on unfinished backups before they are removed", zap.Strings("backups", idsOf(left)), zap.Duration("for", catalog.Quiet))
	})
	if err != nil && ctx.Err() == nil {
		log.Warn("what unfinished backups have left could not be removed", zap.Error(err))
	}
	if len(done.Removed) > 0 {
		log.Info("removed what unfinished backups have left", zap.Strings("backups", idsOf(done.Removed)))
	}
	return idsOf(done.Removed)
}

// retire removes what is not to be kept, and returns the ids. The new backup is there, whatever comes of this.
func (j *backupCommand) retire(ctx context.Context, d *depot, log *zap.Logger) []string {
	if !j.keep.given() {
		return []string{}
	}
	p, err := d.prune(ctx, j.keep, false)
	if err != nil {
		log.Warn("backups that are not to be kept could not be removed", zap.Error(err))
	}
	if len(p.Removed) > 0 || p.Archive.Objects > 0 {
		log.Info("pruned", zap.Strings("backups", p.Removed), zap.Int("archive_objects", p.Archive.Objects))
	}
	return p.Removed
}
