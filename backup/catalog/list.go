package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ordinal/backup"
	"ordinal/backup/store"
)

// maxBackups is how many backups a store may have. It bounds the memory of a catalog.
const maxBackups = 20_000

// readers is how many manifests are read, and held in memory, at a time.
const readers = 4

// Place is where backups lie, and whose they are.
type Place struct {
	Store   store.Reader
	Cluster string // identity and name of the set, as in the store's marker
	Set     string
	Keys    backup.Keys // to check seals
}

// List returns all backups of a place, the oldest first. What lies below backups/ and is no object of a backup is passed over. An error means that the list
// would not be complete; nothing should be decided from half a list, so there is none.
func (p Place) List(ctx context.Context) ([]Entry, error) {
	found, err := p.scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	entries := make([]Entry, len(found))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, f := range found {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			entries[i], err = p.entry(ctx, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return entries, nil
}

// Get returns one backup by its id. [backup.ErrNoBackup] if the store has nothing of it.
func (p Place) Get(ctx context.Context, id string) (Entry, error) {
	if _, err := backup.ParseID(id); err != nil {
		return Entry{}, err
	}
	found, err := scanFrom(ctx, p.Store, backup.Dir(id))
	if err != nil {
		return Entry{}, fmt.Errorf("look for backup %s: %w", id, err)
	}
	if len(found) == 0 {
		return Entry{}, &backup.DamageError{Backup: id, Kind: backup.ErrNoBackup}
	}
	return p.entry(ctx, found[0])
}

// found is what a listing of the store shows of one backup.
type found struct {
	id                       string
	manifest, mark, verified bool
	claim, alive, first      bool // first: the segment with index 1
	segments, objects        int
	bytes                    int64
	newest                   store.Info
}

const (
	// notSegments is after all segments of a backup in the order of names.
	notSegments    = "segments/z"
	manifestObject = "manifest.json"
)

func (f *found) add(rest string, info store.Info) {
	f.objects++
	f.bytes += info.Size
	if info.Modified.After(f.newest.Modified) {
		f.newest = info
	}
	switch rest {
	case manifestObject:
		f.manifest = true
	case markObject:
		f.mark = true
	case verifiedObject:
		f.verified = true
	case claimObject:
		f.claim = true
	case aliveObject:
		f.alive = true
	}
	if index, ok := backup.SegmentIndex(rest); ok {
		f.segments++
		f.first = f.first || index == 1
	}
}

func (p Place) scan(ctx context.Context) ([]found, error) {
	return scanFrom(ctx, p.Store, backup.Prefix)
}

// scanFrom lists what begins with prefix. Of a backup that has a manifest it leaves out all segments but the first: there may be a hundred thousand, and the manifest,
// which is before them in the order of names, knows them.
func scanFrom(ctx context.Context, from store.Reader, prefix string) (all []found, err error) {
	after := ""
	for more := true; more; {
		more = false
		for info, err := range from.List(ctx, prefix, after) {
			if err != nil {
				return nil, err
			}
			id, rest, ok := backup.SplitName(info.Name)
			if !ok {
				continue
			}
			if n := len(all); n == 0 || all[n-1].id != id {
				if n == maxBackups {
					return nil, fmt.Errorf("there are more than %d", maxBackups)
				}
				all = append(all, found{id: id})
			}
			f := &all[len(all)-1]
			f.add(rest, info)
			if f.manifest && f.segments > 0 && strings.HasPrefix(rest, "segments/") {
				after, more = backup.Dir(id)+notSegments, true
				break
			}
		}
	}
	return all, nil
}

// entry reads what there is to be read of a backup. Its errors are those of the store.
func (p Place) entry(ctx context.Context, f found) (Entry, error) {
	began, err := backup.ParseID(f.id)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{ID: f.id, Began: began, State: Unfinished, Objects: f.objects, Bytes: f.bytes, Newest: f.newest.Modified}
	if f.mark {
		if e.Mark, err = readMark(ctx, p.Store, f.id); err != nil {
			return Entry{}, err
		}
	}
	if !f.manifest {
		if f.claim || f.alive {
			e.Owner, err = readOwner(ctx, p.Store, f)
		}
		return e, err
	}
	m, err := backup.Open(ctx, p.Store, f.id, p.Keys)
	switch damage := (*backup.DamageError)(nil); {
	case errors.Is(err, backup.ErrNoBackup):
		return e, nil // it was removed a moment ago
	case errors.Is(err, backup.ErrWrongKey):
		e.fail(WrongKey, err)
	case errors.As(err, &damage):
		e.fail(Damaged, err)
		return e, nil
	case err != nil:
		return Entry{}, err
	}
	e.Objects, e.Bytes, e.Newest = 0, 0, e.Began // what was counted is not all
	e.Segments = len(m.Segments)
	if e.Manifest, err = headOf(m); err != nil {
		return Entry{}, err
	}
	if e.State == WrongKey {
		return e, nil
	}
	switch {
	case m.Cluster != p.Cluster || m.Set != p.Set:
		e.fail(Foreign, fmt.Errorf("it is of set %q of cluster %s", m.Set, m.Cluster))
	case !f.first:
		e.fail(Damaged, &backup.DamageError{Backup: f.id, Object: backup.SegmentName(f.id, 1), Kind: backup.ErrMissing})
	default:
		e.State = Complete
	}
	if f.verified {
		e.Verification, err = readVerification(ctx, p.Store, m, p.Keys)
	}
	return e, err
}

func (e *Entry) fail(state State, err error) {
	e.State, e.Err, e.Problem = state, err, err.Error()
}

// newerFirst orders entries by when their jobs began, the newest first.
func newerFirst(a, b *Entry) int {
	return cmp.Or(b.created().Compare(a.created()), strings.Compare(b.ID, a.ID))
}
