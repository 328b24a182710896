package clone

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ordinal/mysqlx"
	"ordinal/stream"
)

// Bounds on what a stream may make a recipient keep in memory.
const (
	maxFiles    = 4 << 20
	maxFileSize = 64 << 40 // bytes; InnoDB's own limit for 16 KiB pages
)

// syncers is how many files are synced at a time: enough to keep a disk's queue filled, few enough to leave it usable.
const syncers = 8

// A Directory builds a data directory from the parts of a clone, in the order in which a donor's server sends them.
//
// Data may be called concurrently. No other method may run beside it or beside another, except that File may announce the
// deletion of a file whose data is still being written. After an error the directory is good for Close only.
type Directory struct {
	root    *os.Root
	server  mysqlx.Version
	stage   stream.Stage
	ended   bool // the present stage's end has been seen
	files   []*dataFile
	redo    []*dataFile
	byPath  map[string]fileID // where something is, or is about to be
	renamed []*dataFile       // that wait for their final path
	made    map[string]bool   // directories
	open    *openFiles
	bytes   atomic.Uint64
	pages   atomic.Uint64
	mu      sync.Mutex // guards files and redo against File beside Data
}

// Summary is what a finished copy consists of.
type Summary struct {
	Files int    `json:"files"`
	Bytes uint64 `json:"bytes"` // received, including what PAGE_COPY sent again
	Pages uint64 `json:"pages"` // checked
}

// NewDirectory starts to build in root, which holds nothing but the marker that keeps servers away. server is the version
// of the donor's mysqld: it decides about names and formats. The caller keeps root open until after Close.
func NewDirectory(root *os.Root, server mysqlx.Version) *Directory {
	return &Directory{
		root:   root,
		server: server,
		byPath: make(map[string]fileID),
		made:   make(map[string]bool),
		open:   newOpenFiles(root),
	}
}

// Close releases the descriptors; what was built stays as it is.
func (d *Directory) Close() error { return d.open.closeAll() }

// StageStart enters the next stage. Changes by DDL that were announced before it become final.
func (d *Directory) StageStart(s stream.StageStart) error {
	if s.Stage != d.stage+1 && !(d.stage == 0 && s.Stage == stream.StageFileCopy) || d.stage != 0 && !d.ended {
		return fmt.Errorf("%v follows %v: out of order", s.Stage, d.stage)
	}
	if err := d.settleNames(); err != nil {
		return err
	}
	d.stage, d.ended = s.Stage, false
	return nil
}

// File takes a file's description: a new file, a change by DDL, or the news that it is gone.
func (d *Directory) File(meta stream.File) error {
	switch copying := d.stage == stream.StageFileCopy || d.stage == stream.StagePageCopy; {
	case d.ended && copying && meta.Stage == d.stage+1:
		return d.change(meta)
	case d.ended || meta.Stage != d.stage:
		return fmt.Errorf("file %q of %v in %v: out of order", meta.Name, meta.Stage, d.stage)
	case meta.Flags&stream.FlagDeleted != 0:
		return d.gone(meta)
	case d.stage == stream.StageFileCopy:
		return d.create(meta)
	case d.stage == stream.StageRedoCopy:
		return d.redoFile(meta)
	}
	return fmt.Errorf("file %q is described in the middle of %v", meta.Name, d.stage)
}

// gone notes that the donor's file vanished while it was being sent. Our copy stays until the next change says so too.
func (d *Directory) gone(meta stream.File) error {
	f, err := d.file(fileID{index: meta.Index})
	if err != nil {
		return err
	}
	f.deleted.Store(true)
	return nil
}

// create makes the file that FILE_COPY is going to fill.
func (d *Directory) create(meta stream.File) error {
	if int(meta.Index) != len(d.files) {
		return fmt.Errorf("file %q has index %d, want %d", meta.Name, meta.Index, len(d.files))
	}
	f, err := d.newFile(meta)
	if err != nil {
		return err
	}
	f.arrived.size = meta.Size
	if f.path != "" {
		if err := d.makeFile(f); err != nil {
			return err
		}
	}
	d.add(f)
	return nil
}

// newFile describes a data file without touching the disk. Its path is free of any other file's.
func (d *Directory) newFile(meta stream.File) (*dataFile, error) {
	if meta.Index >= maxFiles || meta.Size > maxFileSize {
		return nil, fmt.Errorf("file %q: index %d or size %d is beyond any server's", meta.Name, meta.Index, meta.Size)
	}
	id := fileID{index: meta.Index}
	if meta.FSPFlags == notATablespace {
		if meta.Name != bufferPoolFile && meta.Name != "./"+bufferPoolFile {
			return newDataFile(id, meta, "") // a list of pages to warm up with under another name: not worth a risk
		}
		return newDataFile(id, meta, bufferPoolFile)
	}
	rel, err := tablespacePath(meta.Name)
	if err != nil {
		return nil, err
	}
	return newDataFile(id, meta, rel)
}

// bufferPoolFile is the one file of a clone that is no tablespace. See refman/8.4 innodb-preload-buffer-pool.
const bufferPoolFile = "ib_buffer_pool"

// makeFile creates f's empty file and the directory it is in.
func (d *Directory) makeFile(f *dataFile) error {
	if other, taken := d.byPath[f.path]; taken && other != f.id {
		return fmt.Errorf("two files of the clone are named %q", f.path)
	}
	if err := d.makeParent(f.path); err != nil {
		return err
	}
	file, err := d.root.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return fmt.Errorf("create %s: %w", f.path, err)
	}
	d.byPath[f.path] = f.id
	f.dirty = true
	return file.Close()
}

// makeParent makes the directory of the schema that name lies in, if it is not there yet.
func (d *Directory) makeParent(name string) error {
	dir := path.Dir(name)
	if dir == "." || d.made[dir] {
		return nil
	}
	if err := d.root.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	if info, err := d.root.Lstat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("make directory %s: something else is there: %w", dir, cmp.Or(err, os.ErrExist))
	}
	d.made[dir] = true
	return nil
}

func (d *Directory) add(f *dataFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.id.redo {
		d.redo = append(d.redo, f)
	} else {
		d.files = append(d.files, f)
	}
}

// file looks a file up by its identity.
func (d *Directory) file(id fileID) (*dataFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.files
	if id.redo {
		list = d.redo
	}
	if int64(id.index) >= int64(len(list)) {
		return nil, fmt.Errorf("the clone has no file with index %d", id.index)
	}
	return list[id.index], nil
}

// redoFile makes a file of the redo log, or notes its size when it is announced again.
func (d *Directory) redoFile(meta stream.File) error {
	if int(meta.Index) < len(d.redo) {
		return d.redo[meta.Index].update(meta)
	}
	if int(meta.Index) != len(d.redo) || len(d.redo) >= maxRedoFiles || meta.Size > maxFileSize {
		return fmt.Errorf("redo file with index %d and %d bytes: want index %d", meta.Index, meta.Size, len(d.redo))
	}
	name := "ib_logfile" + strconv.Itoa(int(meta.Index))
	if d.server.AtLeast(8, 0, 30) {
		name = "#innodb_redo/#ib_redo" + strconv.Itoa(int(meta.Index))
	}
	f, err := newDataFile(fileID{redo: true, index: meta.Index}, meta, name)
	if err != nil {
		return err
	}
	if err := d.makeFile(f); err != nil {
		return err
	}
	d.add(f)
	return nil
}

// maxRedoFiles bounds a redo log's files; a server keeps 32, older ones at most 100.
const maxRedoFiles = 1024

// Data writes what has arrived of a file. data is not kept. The pages in it are checked; a bad one is an error only when the
// clone ends without having sent it again.
func (d *Directory) Data(h stream.DataHeader, data []byte) error {
	if h.Stage != d.stage || d.ended {
		return fmt.Errorf("data of %v in %v", h.Stage, d.stage)
	}
	f, err := d.file(fileID{redo: h.Stage == stream.StageRedoCopy, index: h.File})
	if err != nil {
		return err
	}
	d.bytes.Add(uint64(len(data)))
	if err := f.arrive(h, data); err != nil {
		return err
	}
	if f.pages {
		d.pages.Add(uint64(len(data) / f.fsp.PhysicalSize()))
	}
	if f.deleted.Load() || f.path == "" {
		return nil
	}
	out, err := d.open.acquire(f.id, f.path)
	if err != nil {
		return err
	}
	done, err := d.writeDirect(f, out, h, data)
	if err == nil && !done {
		err = f.write(out.File, h, data)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.path, err), d.open.release(out))
	}
	if err := d.open.release(out); err != nil {
		return fmt.Errorf("close a file of the clone: %w", err)
	}
	return nil
}

// arrive checks data's place and pages and keeps account of both.
func (f *dataFile) arrive(h stream.DataHeader, data []byte) error {
	var bad badPages
	if f.pages {
		var err error
		if bad, err = f.check(h.Offset, data); err != nil {
			return err
		}
	}
	n := uint64(len(data))
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.FileSize > maxFileSize || h.Offset > maxFileSize {
		return fmt.Errorf("file %q: a size of %d bytes or offset %d is beyond any server's", f.name, h.FileSize, h.Offset)
	}
	f.size = max(f.size, h.FileSize)
	if h.Stage == stream.StagePageCopy {
		// With several connections a page may come before the one that tells that the file has grown.
		f.size = max(f.size, h.Offset+n)
	}
	if h.Offset+n > f.size {
		return fmt.Errorf("file %q: %d bytes at offset %d lie beyond its end at %d", f.name, n, h.Offset, f.size)
	}
	if h.Stage == stream.StageFileCopy {
		f.arrived.add(h.Offset, n)
	}
	f.dirty = true
	if f.pages {
		return f.note(h.Offset, n, bad)
	}
	return nil
}

// StageEnd makes everything of the stage durable. When it returns nil the donor may forget the stage.
func (d *Directory) StageEnd(stage stream.Stage) error {
	if stage != d.stage || d.ended {
		return fmt.Errorf("end of %v in %v", stage, d.stage)
	}
	if stage == stream.StageFileCopy {
		for _, f := range d.files {
			if offset, missing := f.arrived.missing(); missing && !f.deleted.Load() {
				return fmt.Errorf("%w: %s lacks the part at offset %d", ErrIncomplete, f.name, offset)
			}
		}
	}
	d.ended = true
	return d.syncFiles()
}

// syncFiles makes the content of every file written since the last call durable.
func (d *Directory) syncFiles() error {
	var g errgroup.Group
	g.SetLimit(syncers)
	for _, list := range [][]*dataFile{d.files, d.redo} {
		for _, f := range list {
			if !f.dirty || f.path == "" || f.deleted.Load() {
				continue
			}
			f.dirty = false
			g.Go(func() error {
				out, err := d.open.acquire(f.id, f.path)
				if err != nil {
					return err
				}
				if err := out.Sync(); err != nil {
					return errors.Join(fmt.Errorf("sync %s: %w", f.path, err), d.open.release(out))
				}
				return d.open.release(out)
			})
		}
	}
	return g.Wait()
}
