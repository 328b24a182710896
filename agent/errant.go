package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"ordinal/internal/binlog"
	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// Names of what is exported of a generation. See docs/formats/errant-transactions.md.
const (
	errantBinlog = "errant.binlog"
	errantList   = "errant.json"
)

// exportErrant writes the transactions that only this pod has into a file that can be replayed, and a list of them. It lies beside the
// data and goes to quarantine with it. What is not in the binlogs any more is in the data that is kept; so is everything, and an
// export that cannot be made does not keep the pod from being healed.
func (r *runner) exportErrant(ctx context.Context, only mysqlx.GTIDSet, generation int) error {
	done, err := r.exported(only, generation)
	if done || err != nil {
		return err
	}
	result, where, err := r.export(ctx, generation, func(data *os.Root, out *os.File) (binlog.Result, error) {
		return binlog.Export(ctx, data, binlogName, only, out)
	})
	var damaged *binlog.DamageError
	if errors.Is(err, binlog.ErrEncrypted) || errors.As(err, &damaged) {
		r.log.Warn("the transactions that only this pod has cannot be exported; they are in the data that is kept", zap.Error(err))
		result, where, err = r.export(ctx, generation, func(*os.Root, *os.File) (binlog.Result, error) {
			return binlog.Result{Missing: only, Transactions: []binlog.Transaction{}}, nil
		})
	}
	if err != nil {
		return err
	}
	r.log.Warn("exported the transactions that only this pod has", zap.Int("transactions", result.Count), zap.Stringer("gtid_set", result.Exported),
		zap.Stringer("missing", result.Missing), zap.String("file", filepath.Join(where, errantBinlog)))
	return nil
}

// export makes one export of a generation: what write puts into the file, and the list that it returns.
func (r *runner) export(ctx context.Context, generation int, write func(data *os.Root, out *os.File) (binlog.Result, error)) (
	result binlog.Result, where string, err error,
) {
	gen, err := r.vol.Generation(generation)
	if err != nil {
		return result, "", err
	}
	defer gen.Close()
	x, err := r.vol.NewExport(generation)
	if err != nil {
		return result, "", err
	}
	defer x.Close()
	f, err := x.Root().OpenFile(errantBinlog, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return result, "", err
	}
	result, err = write(gen.Root(), f)
	if err = errors.Join(err, f.Close()); err != nil {
		return result, "", err
	}
	list, err := json.MarshalIndent(result, "", "\t")
	if err == nil {
		err = x.Root().WriteFile(errantList, append(list, '\n'), 0o640)
	}
	if err == nil {
		where, err = x.Keep(ctx) // syncs what was written
	}
	return result, where, err
}

// exported reports whether an earlier try has exported all of that already.
func (r *runner) exported(only mysqlx.GTIDSet, generation int) (bool, error) {
	set, err := r.exportedOf(generation)
	return err == nil && set.Contains(only), err
}

// exportedOf is what was exported of a generation so far, or could not be found in its binlogs.
func (r *runner) exportedOf(generation int) (set mysqlx.GTIDSet, err error) {
	dirs, err := r.vol.Exports(generation)
	if err != nil {
		return set, err
	}
	for _, dir := range dirs {
		var result binlog.Result
		text, err := os.ReadFile(filepath.Join(dir, errantList))
		if err == nil {
			err = json.Unmarshal(text, &result)
		}
		if err != nil {
			return set, fmt.Errorf("read what was exported before: %w", err)
		}
		set = set.Union(result.Exported).Union(result.Missing)
	}
	return set, nil
}

// observeSpare looks for data in quarantine that could make room, where room is short and what is served has proven itself.
func (r *runner) observeSpare(v *view, content *volume.Content) error {
	record := content.Record
	if content.Kind != volume.Complete || record == nil || record.ServedAt == nil || !verified(record.Origin) || !r.short(v) {
		return nil
	}
	list, err := volume.ListQuarantine(r.vol.Path())
	if err == nil {
		v.Quarantine = slices.DeleteFunc(list, func(e volume.QuarantineEntry) bool { return slices.Contains(r.kept, e.Name) })
	}
	return err
}

// copied reports whether data of this origin was another server's: its own server_uuid stands for nothing that this pod has ever executed.
func copied(o volume.Origin) bool { return o == volume.OriginClone || o == volume.OriginRestored }

// verified reports whether every page of data of this origin was verified when it came.
func verified(o volume.Origin) bool { return copied(o) }

// shortOf is the part of a volume that has to be free: a twentieth.
const shortOf = 20

// short reports whether the volume has little room: a rebuild waits for some, or little is left at all.
func (r *runner) short(v *view) bool {
	if v.Rebuild != nil && v.Rebuild.Now.State == StateWaitingForSpace {
		return true
	}
	free, size, err := space(r.vol.Path())
	return err == nil && free < size/shortOf
}
