package archive

import (
	"context"
	"fmt"

	"ordinal/backup"
	"ordinal/backup/store"
	"ordinal/mysqlx"
)

// Pruned says what [Prune] removed, or would remove.
type Pruned struct {
	Objects []string // names
	Bytes   int64
}

// Prune removes the objects that no backup needs any more: all of their transactions are in base, which is what the oldest backup that is kept has
// executed, and every other backup as well. With dryRun it only says which. It may be interrupted, and run beside archivers. An empty base removes
// nothing.
func Prune(ctx context.Context, s store.Store, keys backup.Keys, base mysqlx.GTIDSet, dryRun bool) (done Pruned, err error) {
	if base.IsEmpty() {
		return done, nil
	}
	x, err := Load(ctx, s, keys)
	if err != nil {
		return done, err
	}
	for _, o := range x.objects {
		if !o.within(base) {
			continue
		}
		if !dryRun {
			if err := s.Delete(ctx, o.name); err != nil {
				return done, fmt.Errorf("prune the archive: %w", err)
			}
		}
		done.Objects = append(done.Objects, o.name)
		done.Bytes += o.size
	}
	return done, nil
}

// within says whether all transactions of an object are in base.
func (o object) within(base mysqlx.GTIDSet) bool {
	for _, m := range o.header.Members {
		if !base.Contains(m.gtids) {
			return false
		}
	}
	return true
}
