package clone

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"ordinal/stream"
)

// Files by which a server knows a cloned data directory. See refman/8.4 clone-plugin-remote and, for what each one makes
// the first start do, docs/formats/generation.md.
const (
	cloneDir         = "#clone"
	fixMarker        = cloneDir + "/#status_fix"
	replacedMarker   = cloneDir + "/#replace_files"
	viewStatusFile   = cloneDir + "/#view_status"
	queryInterrupted = 1317 // ER_QUERY_INTERRUPTED: the state a clone has until the first start has recovered it
)

// Finish turns what has arrived into a data directory that a stock mysqld starts on, and makes all of it durable: sizes as
// on the donor, no bad page, the server's own status files. source names the donor in performance_schema.clone_status, begun
// is when the clone began. Whoever keeps the generation under construction removes the marker after that.
func (d *Directory) Finish(source string, begun time.Time) (Summary, error) {
	if d.stage < stream.StageRedoCopy || !d.ended {
		return Summary{}, fmt.Errorf("%w: it ended in %v", ErrIncomplete, d.stage)
	}
	if err := d.settleNames(); err != nil {
		return Summary{}, err
	}
	if len(d.redo) == 0 {
		return Summary{}, fmt.Errorf("%w: no redo log has arrived", ErrIncomplete)
	}
	sum := Summary{Bytes: d.bytes.Load(), Pages: d.pages.Load()}
	for _, list := range [][]*dataFile{d.files, d.redo} {
		for _, f := range list {
			if f.deleted.Load() || f.path == "" {
				continue
			}
			if len(f.bad) > 0 {
				return Summary{}, &BadPagesError{File: f.path, Pages: f.bad.numbers()}
			}
			if err := d.extend(f); err != nil {
				return Summary{}, fmt.Errorf("extend %s: %w", f.path, err)
			}
			sum.Files++
		}
	}
	if err := d.syncFiles(); err != nil {
		return Summary{}, err
	}
	if err := d.open.closeAll(); err != nil {
		return Summary{}, fmt.Errorf("close the files of the clone: %w", err)
	}
	if err := d.writeStatusFiles(source, begun); err != nil {
		return Summary{}, err
	}
	return sum, d.syncDirectories()
}

// extend gives f the size it has on the donor.
func (d *Directory) extend(f *dataFile) error {
	out, err := d.open.acquire(f.id, f.path)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err == nil && uint64(info.Size()) < f.finalSize() {
		err = out.Truncate(int64(f.finalSize()))
		f.dirty = true
	}
	return errors.Join(err, d.open.release(out))
}

// writeStatusFiles leaves what the first start looks for. Without the fix marker it would miss performance_schema/ and the
// files of CSV tables; without the others it would not tell the binlog coordinates of the copy.
func (d *Directory) writeStatusFiles(source string, begun time.Time) error {
	if err := d.root.MkdirAll("mysql", 0o750); err != nil {
		return fmt.Errorf("make directory mysql: %w", err)
	}
	label := strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, source)
	view := fmt.Sprintf("1 1\n%d 0\n%s\n%d\nQuery execution was interrupted\n\n0\n\n", begun.UnixMicro(), label, queryInterrupted)
	for name, content := range map[string]string{fixMarker: "", replacedMarker: "", viewStatusFile: view} {
		if err := d.writeSynced(name, content); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func (d *Directory) writeSynced(name, content string) error {
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDirectories makes every name in the copy durable.
func (d *Directory) syncDirectories() error {
	return fs.WalkDir(d.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		dir, err := d.root.Open(name)
		if err != nil {
			return fmt.Errorf("sync directory: %w", err)
		}
		return errors.Join(dir.Sync(), dir.Close())
	})
}
