package binlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ordinal/mysqlx"
)

// Logged returns the GTIDs of all transactions that are complete in the binlogs, or relay logs, of dir with this base name. Without an index
// file there are none. Errors: as [Export].
func Logged(ctx context.Context, dir *os.Root, base string) (set mysqlx.GTIDSet, err error) {
	names, err := Files(dir, base)
	if errors.Is(err, fs.ErrNotExist) {
		return set, nil
	}
	if err != nil {
		return set, fmt.Errorf("list logs: %w", err)
	}
	e := exporter{ctx: ctx, dir: dir}
	for _, name := range names {
		l, err := e.open(name)
		if err != nil {
			return set, fmt.Errorf("read logs: %w", err)
		}
		if l == nil {
			continue // purged in the meantime
		}
		for t, err := range l.Transactions() {
			if err != nil {
				l.close()
				return set, fmt.Errorf("read logs: %w", err)
			}
			if t.GTID == "" {
				continue
			}
			one, err := mysqlx.ParseGTIDSet(t.GTID)
			if err != nil {
				l.close()
				return set, fmt.Errorf("read logs: %w", err)
			}
			set = set.Union(one)
		}
		l.close()
	}
	return set, nil
}
