package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"

	"ordinal/backup"
	"ordinal/backup/replay"
	"ordinal/backup/store"
	"ordinal/clone"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A restoration turns a backup into a data directory.
type restoration struct {
	Store    store.Reader
	Keys     backup.Keys
	Manifest *backup.Manifest
	Log      *zap.Logger
	// Meter hears how it comes along; nil: nobody does.
	Meter func(stored int64)
}

// A restoreNote is what an unfinished data directory says of where it comes from: everything before the segment is in it, perhaps more.
type restoreNote struct {
	Backup  string `json:"backup"`
	Segment int    `json:"segment"`
}

// fill builds the data directory in root, which holds nothing but the marker that keeps servers away, or what an earlier call has left there of the
// same backup. When it returns nil, the data is complete and durable in every respect but the marker. What an error leaves is gone on with by the next call,
// unless the error is errOtherRestore.
func (r *restoration) fill(ctx context.Context, root *os.Root) (sum clone.Summary, err error) {
	version, err := mysqlx.ParseVersion(r.Manifest.ServerVersion)
	if err != nil {
		return sum, fmt.Errorf("restore backup %s: %w", r.Manifest.ID, err)
	}
	dir, reading, err := r.pickUp(root, version)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if !dir.Whole() {
		if err := r.save(ctx, dir, max(reading.From, 1)); err != nil {
			return sum, err
		}
		reading.Keys, reading.Read = r.Keys, r.Meter
		reading.Border = r.saver(dir)
		if err := backup.Restore(ctx, r.Store, r.Manifest, dir, reading); err != nil {
			return sum, err
		}
	}
	return dir.Finish("backup "+r.Manifest.ID, time.Now())
}

// errOtherRestore says that what is there is the beginning of something else.
var errOtherRestore = errors.New("the unfinished data is not of this backup")

// pickUp takes up what an earlier call has left, or begins.
func (r *restoration) pickUp(root *os.Root, version mysqlx.Version) (*clone.Directory, backup.Reading, error) {
	dir, note, err := clone.LoadDirectory(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// The state goes last when the data is finished: a process that was killed between that and the removal of the marker leaves data without it.
		entries, err := fs.ReadDir(root.FS(), ".")
		if err != nil {
			return nil, backup.Reading{}, err
		}
		for _, e := range entries {
			if e.Name() != markerDir {
				return nil, backup.Reading{}, fmt.Errorf("%w: nothing says how far it is", errOtherRestore)
			}
		}
		return clone.NewDirectory(root, version), backup.Reading{}, nil
	case errors.Is(err, clone.ErrSaved):
		return nil, backup.Reading{}, fmt.Errorf("%w: %w", errOtherRestore, err)
	case err != nil:
		return nil, backup.Reading{}, err
	}
	var n restoreNote
	if err := json.Unmarshal(note, &n); err != nil || n.Backup != r.Manifest.ID || n.Segment < 1 || n.Segment > len(r.Manifest.Segments) {
		return nil, backup.Reading{}, errors.Join(errOtherRestore, dir.Close())
	}
	stage, ended := dir.Reached()
	r.Log.Info("going on with an unfinished restore", zap.String("backup", n.Backup), zap.Int("segment", n.Segment), zap.Int("of", len(r.Manifest.Segments)))
	return dir, backup.Reading{From: n.Segment, Applied: backup.Position{Stage: stage, Ended: ended}}, nil
}

// How often an unfinished restore is saved: what a killed one reads again. A save that took long is followed by a pause of so many times as long.
const (
	saveRestoreEvery = 2 * time.Second
	saveRestoreShare = 20
)

// saver saves at a border, now and then.
func (r *restoration) saver(dir *clone.Directory) func(ctx context.Context, next int) error {
	due := time.Now().Add(saveRestoreEvery)
	return func(ctx context.Context, next int) error {
		began := time.Now()
		if began.Before(due) {
			return nil
		}
		err := r.save(ctx, dir, next)
		due = time.Now().Add(max(saveRestoreEvery, saveRestoreShare*time.Since(began)))
		return err
	}
}

func (r *restoration) save(ctx context.Context, dir *clone.Directory, next int) error {
	note, err := json.Marshal(restoreNote{Backup: r.Manifest.ID, Segment: next})
	if err != nil {
		return err
	}
	return dir.Save(ctx, note)
}

// replayJournal is the name, in a data directory, of the journal of a replay that is still to be made: see docs/formats/replay.md. It travels with the
// data wherever that goes.
const replayJournal = "ordinal-replay.json"

// An afterwards says what is to be executed on restored data before anybody may use it.
type afterwards struct {
	Target  replay.Target
	Archive string // where the archive is: a URL without secrets
}

// ontoVolume restores a backup into a new generation of a volume, or goes on with that, and puts it into service. What was served goes to quarantine when the
// pod runs. With after, the data is not to be used before the replay that it names was made by agent run.
func (r *restoration) ontoVolume(ctx context.Context, vol *volume.Volume, after *afterwards) (clone.Summary, error) {
	gen, err := r.generation(ctx, vol)
	if err != nil {
		return clone.Summary{}, err
	}
	defer gen.Close() // a directory opened for reading
	sum, err := r.fill(ctx, gen.Root())
	if errors.Is(err, errOtherRestore) {
		_ = gen.Close()
		r.Log.Info("removing unfinished data of another backup; starting over", zap.Int("generation", gen.Number()), zap.Error(err))
		if err := vol.Discard(ctx, gen.Number()); err != nil {
			return sum, err
		}
		return r.ontoVolume(ctx, vol, after)
	}
	if err != nil {
		return sum, err
	}
	if after != nil {
		if err := replay.WriteIntent(gen.Path()+"/"+replayJournal, after.Target, after.Archive, r.Manifest.ID); err != nil {
			return sum, err
		}
	}
	err = completeGeneration(ctx, vol, gen, volume.Facts{
		ClusterID: r.Manifest.Cluster, ServerVersion: r.Manifest.ServerVersion, GTIDExecuted: r.Manifest.GTIDAtLeast,
	})
	if err != nil {
		return sum, err
	}
	r.Log.Info("restored", zap.String("backup", r.Manifest.ID), zap.Int("generation", gen.Number()), zap.Int("files", sum.Files),
		zap.Uint64("bytes", sum.Bytes), zap.Uint64("pages_checked", sum.Pages))
	return sum, nil
}

// generation is the one to restore into: unfinished, of this or another backup, or new. An unfinished copy of another pod makes room.
func (r *restoration) generation(ctx context.Context, vol *volume.Volume) (*volume.Generation, error) {
	content, err := vol.Inspect()
	if err != nil {
		return nil, err
	}
	if record, ok := content.Building(); ok {
		if record.Origin == volume.OriginRestored {
			return vol.Generation(record.Number)
		}
		r.Log.Info("removing an unfinished copy: it is restored from a backup instead", zap.Int("generation", record.Number), zap.String("donor", record.Donor))
		if err := vol.Discard(ctx, record.Number); err != nil {
			return nil, err
		}
	}
	if content.Kind == volume.Prepared {
		if err := vol.Discard(ctx, content.Generation); err != nil {
			return nil, err
		}
	}
	return vol.NewGeneration(volume.Record{
		Origin: volume.OriginRestored, Donor: r.Manifest.Donor.Pod,
		Facts: volume.Facts{ClusterID: r.Manifest.Cluster, ServerVersion: r.Manifest.ServerVersion},
	})
}
