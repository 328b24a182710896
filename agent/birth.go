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

// A birth is what a source whose volume is empty, and whose siblings have nothing, begins with.
type birth struct {
	point    RestorePoint
	place    store.Store
	keys     backup.Keys
	manifest *backup.Manifest
	after    *afterwards
}

// restoreAtBirth gives a source whose volume is empty, and whose siblings have nothing, what the set's store has. It reports false if that is nothing, because
// the set is being born: then no store was ever this set's. It waits for a store that does not answer, for as long as it takes. An error is one that no waiting
// would cure.
func (i *initialiser) restoreAtBirth(ctx context.Context, w *waiter) (restored bool, err error) {
	pause := newBackoff()
	for {
		b, err := i.planBirth(ctx)
		if b != nil && err == nil {
			restored, err = true, i.restore(ctx, w, b)
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return restored && err == nil, err
		}
		w.wait(StateRestoring, DataNo, []Reason{NewReason(CodeStoreUnavailable, "%v", err)})
		if err := pause.sleep(ctx); err != nil {
			return false, err
		}
	}
}

// planBirth looks at the store, and changes nothing; nil: the source is to begin empty.
func (i *initialiser) planBirth(ctx context.Context) (*birth, error) {
	c := i.cfg.Backups
	switch {
	case i.id.Role() != RoleSource:
		return nil, nil
	case c.RestoreFrom == "":
		return nil, i.refuseEmpty(ctx)
	}
	b := new(birth)
	var err error
	if b.point, err = ParseRestorePoint(c.RestoreFrom); err != nil {
		return nil, &OptionError{Flag: "restore-from", Value: c.RestoreFrom, Allowed: "URL[@backup|@latest|@time]: " + err.Error()}
	}
	if b.keys, err = c.Keys(); err != nil {
		return nil, err
	}
	b.keys.Seal = i.keys.BackupKeys()
	if b.place, err = c.Open(b.point.Store); err != nil {
		return nil, err
	}
	if b.manifest, err = i.findBackup(ctx, b.place, b.keys, b.point); b.manifest == nil || err != nil {
		return nil, err
	}
	if b.point.Backup == "" {
		b.after = &afterwards{Target: b.point.Until, Archive: b.point.Store}
		// What cannot be reached is refused before anything is restored.
		if _, err := planReplay(ctx, b.place, b.keys, b.manifest, b.after.Target); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// reason says what is restored, and why.
func (b *birth) reason() Reason {
	m := b.manifest
	text := fmt.Sprintf("this source's volume is empty and no sibling has data: backup %s of %s is restored from %s, made at %s, gtid_executed at least %s",
		m.ID, m.Donor.Pod, b.point.Store, m.Created.Format(time.RFC3339), orNotKnown(m.GTIDAtLeast))
	if b.after != nil {
		text += "; then what was archived after it is executed, up to " + b.after.Target.String()
	}
	return Reason{Code: CodeRestoring, Message: text}
}

// storeAnswers is how long a store may take to say whose it is, before the pod says that it waits for it.
const storeAnswers = 15 * time.Second

// readMarker is store.ReadMarker, with less patience: who waits is to say so.
func readMarker(ctx context.Context, place store.Reader) (store.Marker, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, storeAnswers, fmt.Errorf("%w: no answer within %v", store.ErrUnavailable, storeAnswers))
	defer cancel()
	return store.ReadMarker(ctx, place)
}

// refuseEmpty refuses to begin a new cluster where the set's store says that there was one.
func (i *initialiser) refuseEmpty(ctx context.Context) error {
	if i.cfg.Backups.Store == "" || i.cfg.AllowEmptySource {
		return nil
	}
	place, err := i.cfg.Backups.Open(i.cfg.Backups.Store)
	if err != nil {
		return err
	}
	marker, err := readMarker(ctx, place)
	switch {
	case errors.Is(err, store.ErrNotFound): // the set is being born; whether the place is empty shows when the archive begins
		return nil
	case err != nil:
		return err
	}
	return &RefusedError{
		Reason: NewReason(CodeBackupKnown, "this source's volume is empty and no sibling has data, but the set had some: the store %s is that of cluster %s, set %q, since %s",
			i.cfg.Backups.Store, marker.Cluster, marker.Set, marker.Created.Format(time.RFC3339)),
		Remedy: "restore it: give --restore-from=" + i.cfg.Backups.Store + " to agent init, or use agent restore; to begin a new cluster all the same give another --store, or --allow-empty-source",
	}
}

// restore does what was planned.
func (i *initialiser) restore(ctx context.Context, w *waiter, b *birth) error {
	i.log.Warn("restoring the set's backup", zap.Stringer("why", b.reason()))
	meter := newRestoreMeter(ctx, i.log, b.manifest, i.beat.Beat, w.show)
	defer meter.stop()
	r := restoration{Store: b.place, Keys: b.keys, Manifest: b.manifest, Log: i.log, Meter: meter.read}
	_, err := r.ontoVolume(ctx, i.vol, b.after)
	return err
}

// findBackup chooses the backup to restore; nil: the store has never been anybody's.
func (i *initialiser) findBackup(ctx context.Context, place store.Store, keys backup.Keys, point RestorePoint) (*backup.Manifest, error) {
	marker, err := readMarker(ctx, place)
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
