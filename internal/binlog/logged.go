package binlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"ordinal/mysqlx"
)

// Logged returns the GTIDs of all transactions that the binlogs, or relay logs, of dir with this base name have at least the beginning of: a
// receiver that was stopped leaves half a transaction. Without an index file there are none. Errors: as [Export].
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
		l.Live = true // a torn end has nothing that was acknowledged
		begun, err := l.begun()
		l.close()
		if err != nil {
			return set, fmt.Errorf("read logs: %w", err)
		}
		set = set.Union(begun)
	}
	return set, nil
}

// begun returns the GTIDs of all transactions that begin from here to the end of the file.
func (r *Reader) begun() (set mysqlx.GTIDSet, err error) {
	for {
		event, err := r.Next()
		if err == io.EOF {
			return set, nil
		}
		if err != nil {
			return set, err
		}
		if !begins(event.Type) || event.Type == TypeAnonymousGTID {
			continue
		}
		if !event.Whole {
			return set, r.fail(event, fmt.Errorf("%v of %d bytes", event.Type, event.Size))
		}
		b, err := parseBeginning(event.Type, event.Data)
		if err != nil {
			return set, r.fail(event, err)
		}
		one, err := mysqlx.ParseGTIDSet(b.gtid)
		if err != nil {
			return set, r.fail(event, err)
		}
		set = set.Union(one)
	}
}
