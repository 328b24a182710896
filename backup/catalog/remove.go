package catalog

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"ordinal/backup"
	"ordinal/backup/store"
)

// deletions is how many objects are removed at a time.
const deletions = 8

// Remove removes a backup for good, whatever state it is in and whoever wants to keep it: [Prune] and [Clean] decide, this does not. The manifest goes first, and
// what else there is only after that: however far it gets, the backup either is as it was or has no manifest. It may be called again, and by several at a time.
func Remove(ctx context.Context, s store.Store, id string) error {
	if _, err := backup.ParseID(id); err != nil {
		return err
	}
	if err := s.Delete(ctx, backup.ManifestName(id)); err != nil {
		return fmt.Errorf("remove backup %s: %w", id, err)
	}
	if err := removeRest(ctx, s, id); err != nil {
		return fmt.Errorf("remove backup %s (it is none any more; the rest of it can be cleaned up later): %w", id, err)
	}
	return nil
}

// removeUnfinished removes what there is of a backup without a manifest, unless the job that everybody thought dead finishes it at the same moment: errFinished.
// The job's claim goes first, see [Ownership.Confirm]; then the first segment, without which no reader takes it for complete, should the job
// still write its manifest, and be killed before it looks for its claim.
func removeUnfinished(ctx context.Context, s store.Store, id string) error {
	for _, name := range []string{backup.Dir(id) + claimObject, backup.SegmentName(id, 1)} {
		finished, err := hasManifest(ctx, s, id)
		if finished {
			err = errFinished
		}
		if err == nil {
			err = s.Delete(ctx, name)
		}
		if err != nil {
			return fmt.Errorf("clean up backup %s: %w", id, err)
		}
	}
	return Remove(ctx, s, id)
}

// errFinished: a backup that was unfinished when it was looked at has a manifest now.
var errFinished = errors.New("it is finished now")

func hasManifest(ctx context.Context, s store.Reader, id string) (bool, error) {
	_, err := s.Stat(ctx, backup.ManifestName(id))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// removeRest removes all objects of a backup. The sign of life goes last: as long as there is something else, it tells how old that is.
func removeRest(ctx context.Context, s store.Store, id string) error {
	alive := backup.Dir(id) + aliveObject
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deletions)
	var listing error
	for info, err := range s.List(ctx, backup.Dir(id), "") {
		if err != nil {
			listing = err
			break
		}
		if info.Name != alive {
			g.Go(func() error { return s.Delete(ctx, info.Name) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if listing != nil {
		return listing
	}
	return s.Delete(outer, alive)
}
