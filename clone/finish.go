package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
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
// on the donor, no bad page, the server's own status files, none of ours. source names the donor in
// performance_schema.clone_status, begun is when the clone began. Whoever keeps the generation under construction removes the marker
// after that. A Finish that was interrupted is called again on what LoadDirectory returns.
func (d *Directory) Finish(source string, begun time.Time) (Summary, error) {
	d.turn.Lock()
	defer d.turn.Unlock()
	sum, err := d.complete()
	if err != nil {
		return Summary{}, err
	}
	if err := d.fail(d.finish(source, begun)); err != nil {
		return Summary{}, err
	}
	return sum, nil
}

// complete checks that nothing is missing and nothing is bad.
func (d *Directory) complete() (Summary, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.broken != nil:
		return Summary{}, d.broken
	case d.stage.Stage < stream.StageRedoCopy || !d.ended:
		return Summary{}, fmt.Errorf("%w: it ended in %v", ErrIncomplete, d.stage.Stage)
	case len(d.redo) == 0:
		return Summary{}, fmt.Errorf("%w: no redo log has arrived", ErrIncomplete)
	}
	sum := Summary{Bytes: d.bytes, Pages: d.pages}
	for f := range d.kept() {
		if len(f.bad) > 0 {
			return Summary{}, &BadPagesError{File: f.path, Pages: f.bad.numbers()}
		}
		sum.Files++
	}
	return sum, nil
}

// kept yields the files that the finished copy has.
func (d *Directory) kept() iter.Seq[*dataFile] {
	return func(yield func(*dataFile) bool) {
		for _, list := range [][]*dataFile{d.files, d.redo} {
			for _, f := range list {
				if !f.deleted && f.path != "" && !yield(f) {
					return
				}
			}
		}
	}
}

func (d *Directory) finish(source string, begun time.Time) error {
	d.finished = true // from here on there is nothing to go on with
	if err := d.finishFiles(); err != nil {
		return err
	}
	if err := d.syncAll(context.Background()); err != nil {
		return err
	}
	if err := d.open.closeAll(); err != nil {
		return fmt.Errorf("close the files of the clone: %w", err)
	}
	if err := d.writeStatusFiles(source, begun); err != nil {
		return err
	}
	if err := d.syncDirectories(); err != nil {
		return err
	}
	// Last, so that whatever ends this process before finds the copy still there.
	if err := d.disk.remove(savedFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", savedFile, err)
	}
	return d.disk.syncDir(cloneDir)
}

// finishFiles removes what vanished last, and gives every file the size it has on the donor.
func (d *Directory) finishFiles() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		if f.deleted && f.path != "" {
			if err := d.remove(f.path); err != nil {
				return err
			}
		}
	}
	for f := range d.kept() {
		if err := d.extend(f); err != nil {
			return fmt.Errorf("extend %s: %w", f.path, err)
		}
	}
	return nil
}

// extend gives f the size it has on the donor.
func (d *Directory) extend(f *dataFile) error {
	out, err := d.open.acquire(f.id, f.path)
	if err != nil {
		return err
	}
	size, err := out.size()
	if err == nil && uint64(size) < f.finalSize() {
		err = out.truncate(int64(f.finalSize()))
		d.touch(f)
	}
	return errors.Join(err, d.open.release(out))
}

// writeStatusFiles leaves what the first start looks for. Without the fix marker it would miss performance_schema/ and the
// files of CSV tables; without the others it would not tell the binlog coordinates of the copy.
func (d *Directory) writeStatusFiles(source string, begun time.Time) error {
	for _, name := range []string{"mysql/any", viewStatusFile} {
		if err := d.makeParent(name); err != nil {
			return err
		}
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
	f, err := d.disk.create(name)
	if err != nil {
		return err
	}
	if content != "" {
		_, err = f.WriteAt([]byte(content), 0)
	}
	if err == nil {
		err = f.sync()
	}
	return errors.Join(err, f.Close())
}

// syncDirectories makes every name in the copy durable.
func (d *Directory) syncDirectories() error {
	for _, dir := range append(slices.Sorted(maps.Keys(d.made)), ".") {
		if err := d.disk.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
