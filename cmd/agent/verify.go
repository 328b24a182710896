package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"ordinal/backup"
	"ordinal/backup/bootcheck"
	"ordinal/backup/catalog"
	"ordinal/internal/progress"
)

func newVerify(sur *surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [BACKUP]",
		Short: "Read a backup back and check all of it",
		Long: `verify reads every segment of a backup and checks it against the manifest: digests, encryption, sizes, every event. Without BACKUP it is the latest one.
With --boot it also restores the backup below --scratch, starts a real mysqld on it, runs CHECK TABLE on every table, and compares their checksums with those
that the backup has of its donor; nothing of that is left behind.

What came of it is kept beside the backup, and agent backups list shows it. It exits 82 for a backup that cannot be restored, 84 without the keys, and 81
if the server does not find in it what it should.`,
		Example: `  agent verify
  agent verify 20261121T120000Z-0f9c2d7e --boot --scratch /scratch --mysqld /usr/sbin/mysqld --json`,
		Args: oneBackup,
	}
	v := &verifyCommand{settings: addOptions(cmd, cmdVerify), surroundings: sur}
	flags := cmd.Flags()
	flags.BoolVar(&v.boot, "boot", false, "also restore it and start a mysqld on it")
	flags.StringVar(&v.mysqld, "mysqld", "", "with --boot: the server; empty: the one that is installed")
	flags.StringVar(&v.scratch, "scratch", os.TempDir(), "with --boot: where to restore it")
	flags.BoolVar(&v.asJSON, "json", false, "print one JSON object")
	v.ignoreSeal = addIgnoreSeal(cmd)
	bound(cmd, "mysqld", "the path of a program")
	bound(cmd, "scratch", "the path to a directory with room for the data")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return v.run(cmd, args) }
	return cmd
}

// A verifyCommand is one call of agent verify.
type verifyCommand struct {
	*settings
	*surroundings
	boot       bool
	mysqld     string
	scratch    string
	asJSON     bool
	ignoreSeal *bool
}

// verifyResult is what `agent verify --json` prints. Fields are only ever added.
type verifyResult struct {
	ID          string  `json:"id"`
	Store       string  `json:"store"` // its URL
	OK          bool    `json:"ok"`
	Problem     string  `json:"problem,omitempty"`
	Segments    int     `json:"segments"`
	Bytes       int64   `json:"bytes"` // that were read
	Seconds     float64 `json:"seconds"`
	MBPerSecond float64 `json:"mb_per_second"`
	// Boot is what came of starting a server on it; absent if that was not asked for, or not come to.
	Boot     *bootcheck.Result `json:"boot,omitempty"`
	Recorded bool              `json:"recorded"` // beside the backup
}

func (v *verifyCommand) run(cmd *cobra.Command, args []string) error {
	from, err := v.complete(cmd.Flags(), v.getenv)
	if err != nil {
		return err
	}
	log, err := newLogger(v.stderr, v.logLevel, v.logFormat)
	if err != nil {
		return from.name(err)
	}
	selector, err := selectorOf(args)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	d, err := v.openDepot(ctx, from, v.surroundings, longPatience, *v.ignoreSeal)
	if err != nil {
		return err
	}
	m, err := d.find(ctx, selector, func(text string) { log.Warn(text) })
	if err != nil {
		return err
	}
	result, err := v.verify(ctx, d, m, log)
	if result != nil {
		err = errors.Join(v.print(result), err)
	}
	return orTerminated(ctx, err, "everything was checked", "run it again: nothing is known yet")
}

// verify checks a backup. Without a result it came to none.
func (v *verifyCommand) verify(ctx context.Context, d *depot, m *backup.Manifest, log *zap.Logger) (*verifyResult, error) {
	began := time.Now()
	check, err := readSegments(ctx, d, m, log)
	if check == nil {
		return nil, err
	}
	took := time.Since(began)
	r := &verifyResult{ID: m.ID, Store: d.url, OK: check.OK, Problem: check.Problem, Segments: check.Segments, Bytes: check.Bytes}
	r.Seconds = math.Round(took.Seconds()*1000) / 1000
	if took > 0 {
		r.MBPerSecond = math.Round(float64(check.Bytes)/took.Seconds()/1e4) / 100
	}
	if err == nil && v.boot {
		if r.Boot, err = v.start(ctx, d, m, log); r.Boot != nil {
			r.OK = r.Boot.OK
			err = errors.Join(r.Boot.Err(), err)
		}
	}
	// What is known is kept, also if there was no way to start a server. Without the cluster's own secret nobody would believe it.
	if *v.ignoreSeal {
		log.Info("what came of it is not kept beside the backup", zap.String("why", "--ignore-seal"))
	} else if recordErr := catalog.Record(context.WithoutCancel(ctx), d.Store, m, d.keys, check, r.Boot); recordErr != nil {
		log.Warn("what came of it could not be kept beside the backup", zap.Error(recordErr))
	} else {
		r.Recorded = true
	}
	if err != nil && r.OK { // nothing is wrong with the backup, as far as is known
		return nil, err
	}
	return r, err
}

// readSegments reads all of a backup. check is nil if that was not possible for a reason that is not the backup's.
func readSegments(ctx context.Context, d *depot, m *backup.Manifest, log *zap.Logger) (check *catalog.SegmentsCheck, err error) {
	var meter progress.Progress
	meter.Start(int64(m.StoredBytes))
	meter.SetStage("verifying")
	done := show(ctx, &meter, func(s progress.State) {
		left := zap.Skip() // not known
		if s.ETA >= 0 {
			left = zap.Duration("eta", s.ETA)
		}
		log.Info("verify progress", zap.String("backup", m.ID), zap.Int64("bytes", s.Done), zap.Int64("bytes_total", s.Total),
			zap.Float64("bytes_per_second", math.Round(s.Rate)), left)
	})
	err = backup.Verify(ctx, d.Store, m, backup.Reading{Keys: d.keys, Read: func(n int64) { meter.Add(n) }})
	done()
	check = &catalog.SegmentsCheck{OK: err == nil, Finished: time.Now(), Segments: len(m.Segments), Bytes: meter.State().Done}
	var damage *backup.DamageError
	switch {
	case errors.As(err, &damage):
		check.Problem = err.Error()
	case err != nil:
		return nil, err
	}
	return check, err
}

// print shows a result.
func (v *verifyCommand) print(r *verifyResult) error {
	if v.asJSON {
		return json.NewEncoder(v.stdout).Encode(r)
	}
	return r.print(v.stdout)
}

func (r *verifyResult) print(w io.Writer) error {
	if !r.OK {
		_, err := fmt.Fprintf(w, "backup %s is not what it should be\n", r.ID)
		return err
	}
	if _, err := fmt.Fprintf(w, "backup %s: %d segments, %s, all as they were written\n", r.ID, r.Segments, progress.Bytes(r.Bytes)); err != nil {
		return err
	}
	b := r.Boot
	if b == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "mysqld %s started on it in %.1fs: %d of %d tables checked, %d of them compared with the donor's; %d changed during the backup, %d without a checksum\ngtid_executed %s\n",
		clean(b.ServerVersion, 40), b.StartSeconds, b.Checked, b.Tables, b.Compared, b.ChangedDuringBackup, b.WithoutChecksum, orDash(clean(oneLine(b.GTIDExecuted), 600)))
	return err
}
