package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"ordinal/backup"
	"ordinal/backup/catalog"
	"ordinal/backup/replay"
	"ordinal/backup/store"
	"ordinal/internal/volume"
)

// A RestorePoint says which backup is restored, and what is executed on it afterwards.
type RestorePoint struct {
	Store  string        // a URL without secrets
	Backup string        // id; "": the newest that is not after Until
	Until  replay.Target // with Backup "": up to where the archive is replayed; the zero target is its end
}

// ParseRestorePoint reads the value of --restore-from: URL[@backup|@latest|@time]. Without the last part it is @latest: the newest backup and all that was
// archived after it.
func ParseRestorePoint(text string) (RestorePoint, error) {
	url, which, found := text, "", false
	if i := strings.LastIndex(text, "@"); i > strings.LastIndex(text, "/") {
		url, which, found = text[:i], text[i+1:], true
	}
	p := RestorePoint{Store: url}
	if url == "" {
		return p, errors.New("it names no store")
	}
	if !found || which == "latest" {
		return p, nil
	}
	if _, err := backup.ParseID(which); err == nil {
		p.Backup = which
		return p, nil
	}
	at, err := time.Parse(time.RFC3339Nano, which)
	if err != nil {
		return p, fmt.Errorf("%.60q is neither latest, nor the id of a backup, nor a time such as 2026-11-21T12:00:00Z", which)
	}
	p.Until.Time = at.UTC()
	return p, nil
}

// String is p as it is given.
func (p RestorePoint) String() string {
	switch {
	case p.Backup != "":
		return p.Store + "@" + p.Backup
	case !p.Until.Time.IsZero():
		return p.Store + "@" + p.Until.Time.Format(time.RFC3339Nano)
	}
	return p.Store + "@latest"
}

// restoreAtBirth gives a source whose volume is empty, and whose siblings have nothing, what the set's store has. It reports false if that is nothing, because
// the set is being born: then no store was ever this set's. It waits for a store that does not answer, for as long as it takes. An error is one that no waiting
// would cure.
func (i *initialiser) restoreAtBirth(ctx context.Context, w *waiter) (restored bool, err error) {
	if i.cfg.Backups.RestoreFrom == "" || i.id.Role() != RoleSource {
		return false, nil
	}
	point, err := ParseRestorePoint(i.cfg.Backups.RestoreFrom)
	if err != nil {
		return false, &OptionError{Flag: "restore-from", Value: i.cfg.Backups.RestoreFrom, Allowed: "URL[@backup|@latest|@time]: " + err.Error()}
	}
	pause := newBackoff()
	for {
		restored, err := i.restoreOnce(ctx, w, point)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return restored, err
		}
		w.wait(StateRestoring, DataNo, []Reason{NewReason(CodeStoreUnavailable, "%v", err)})
		if err := pause.sleep(ctx); err != nil {
			return false, err
		}
	}
}

// restoreOnce looks at the store and restores what it has.
func (i *initialiser) restoreOnce(ctx context.Context, w *waiter, point RestorePoint) (bool, error) {
	keys, err := i.cfg.Backups.Keys()
	if err != nil {
		return false, err
	}
	keys.Seal = i.keys.BackupKeys()
	place, err := i.cfg.Backups.Open(point.Store)
	if err != nil {
		return false, err
	}
	m, err := i.findBackup(ctx, place, keys, point)
	if m == nil || err != nil {
		return false, err
	}
	i.log.Warn("nobody in the set has data: restoring the set's backup", zap.String("backup", m.ID), zap.Time("made_at", m.Created),
		zap.String("gtid_at_least", m.GTIDAtLeast), zap.Stringer("restore_from", point))
	var after *afterwards
	if point.Backup == "" {
		after = &afterwards{Target: point.Until, Archive: point.Store}
	}
	meter := newRestoreMeter(ctx, i.log, m, i.beat.Beat, w.show)
	defer meter.stop()
	r := restoration{Store: place, Keys: keys, Manifest: m, Log: i.log, Meter: meter.read}
	if _, err := r.ontoVolume(ctx, i.vol, nil, after); err != nil {
		return false, err
	}
	return true, nil
}

// findBackup chooses the backup to restore; nil: the store has never been anybody's.
func (i *initialiser) findBackup(ctx context.Context, place store.Store, keys backup.Keys, point RestorePoint) (*backup.Manifest, error) {
	marker, err := store.ReadMarker(ctx, place)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if thing, err := place.Anything(ctx); err != nil || thing == "" {
			return nil, err
		}
		return nil, &RefusedError{
			Reason: NewReason(CodeNoBackup, "%s holds something and is no store of backups", point.Store),
			Remedy: "name the right place with --restore-from",
		}
	case err != nil:
		return nil, err
	case marker.Set != i.id.Base:
		return nil, &RefusedError{
			Reason: NewReason(CodeNoBackup, "the store %s is that of the set %q, and this pod is of %q", point.Store, marker.Set, i.id.Base),
			Remedy: "name the right place with --restore-from; to give one set another's data restore it with agent restore",
		}
	}
	m, err := i.choose(ctx, catalog.Place{Store: place, Cluster: marker.Cluster, Set: marker.Set, Keys: keys}, point)
	var none *catalog.NoMatchError
	switch {
	case !errors.As(err, &none):
		return m, err
	case i.cfg.AllowEmptySource:
		i.log.Warn("starting empty, as somebody asked", zap.Error(err))
		return nil, nil
	}
	return nil, &RefusedError{
		Reason: NewReason(CodeNoBackup, "this source's volume is empty, no sibling has data, and the set's store has nothing to restore: %v", none),
		Remedy: "see what there is with agent backups list; if the set is to start empty, give --allow-empty-source",
	}
}

// choose finds the backup that is meant.
func (i *initialiser) choose(ctx context.Context, place catalog.Place, point RestorePoint) (*backup.Manifest, error) {
	if point.Backup != "" {
		return backup.Open(ctx, place.Store, point.Backup, place.Keys)
	}
	entries, err := place.List(ctx)
	if err != nil {
		return nil, err
	}
	which := "@latest"
	if !point.Until.Time.IsZero() {
		which = "@" + point.Until.Time.Format(time.RFC3339Nano)
	}
	selector, err := catalog.ParseSelector(which)
	if err != nil {
		return nil, err
	}
	found, passedOver, err := catalog.Find(entries, selector)
	if err != nil {
		return nil, err
	}
	for _, e := range passedOver {
		i.log.Warn("passing over a backup that failed its last verification", zap.String("backup", e.ID))
	}
	return backup.Open(ctx, place.Store, found.ID, place.Keys)
}

// unfinishedRestore reports whether the volume holds the beginning of one.
func unfinishedRestore(c *volume.Content) bool {
	record, ok := c.Building()
	return ok && record.Origin == volume.OriginRestored
}
